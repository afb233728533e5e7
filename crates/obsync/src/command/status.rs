//! `obsync status`: the mirrors that the state knows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use obsync_core::state::{Head, MirrorId};
use serde_json::json;

use crate::cli::Status;
use crate::failure::{Exit, Failure};
use crate::memory;
use crate::settings::Settings;
use crate::text::{count, say};

pub(crate) async fn run(settings: &Settings, args: &Status) -> Result<Exit, Failure> {
    let state = memory::Location::parse(args.state.location.as_deref(), &settings.home)?.open(&settings.cloud).await?;
    let mut mirrors = state.mirrors().await?;
    mirrors.sort_by(|(a, x), (b, y)| (&x.vault_name, &a.destination).cmp(&(&y.vault_name, &b.destination)));
    if args.json {
        let rows: Vec<_> = mirrors.iter().map(as_json).collect();
        say(json!({ "mirrors": rows }));
        return Ok(Exit::Done);
    }
    if mirrors.is_empty() {
        eprintln!("No vault was mirrored with this state yet: see `obsync sync --help`.");
    }
    for (id, head) in &mirrors {
        say(format_args!("{} → {}", head.vault_name, id.destination));
        say(format_args!(
            "  {}, up to record {}, last success {}",
            count(head.files, "file"),
            head.cursor,
            ago(head.succeeded_at)
        ));
        for pending in &head.pending {
            say(format_args!("  not mirrored: {:?}: {}", pending.name, pending.error));
        }
    }
    Ok(Exit::Done)
}

fn as_json((id, head): &(MirrorId, Head)) -> serde_json::Value {
    json!({
        "id": id.vault,
        "name": head.vault_name,
        "destination": id.destination,
        "cursor": head.cursor,
        "files": head.files,
        "pending": head.pending.iter().map(|p| json!({ "path": p.name, "error": p.error })).collect::<Vec<_>>(),
        "ended_at": head.ended_at,
        "succeeded_at": head.succeeded_at,
    })
}

/// How long ago a moment in ms since 1970 was.
fn ago(unix_ms: i64) -> String {
    let Ok(ms @ 1..) = u64::try_from(unix_ms) else { return "never".into() };
    let then = UNIX_EPOCH + Duration::from_millis(ms);
    let seconds = SystemTime::now().duration_since(then).unwrap_or_default().as_secs();
    match seconds {
        0..120 => format!("{} ago", count(seconds, "second")),
        120..7200 => format!("{} ago", count(seconds / 60, "minute")),
        7200..172_800 => format!("{} ago", count(seconds / 3600, "hour")),
        _ => format!("{} ago", count(seconds / 86_400, "day")),
    }
}
