//! `obsync verify`: compares DEST with the vault.

use std::sync::Arc;

use obsync_core::filter::Filter;
use obsync_core::mirror::Failure as PathFailure;
use obsync_core::verify::Verification;
use serde_json::{Value, json};

use crate::cli::Verify;
use crate::destination::Template;
use crate::failure::{Exit, Failure};
use crate::memory;
use crate::progress::Display;
use crate::session::{Session, find};
use crate::settings::Settings;
use crate::text::{count, say};

pub(crate) async fn run(settings: Settings, args: &Verify) -> Result<Exit, Failure> {
    let template = Template::parse(&args.to, false)?;
    let state = memory::Location::parse(args.state.location.as_deref(), &settings.home)?;
    let session = Session::new(settings)?;
    let vaults = session.vaults().await?;
    let row = &find(&vaults, &args.vault)?.row;
    let blobs = template.fill(row.id.as_str(), &row.name)?.open(session.cloud()).await?;
    let state = state.open(session.cloud()).await?;
    let keys = session.keys(row).await?;
    let display = Arc::new(Display::start(&row.name, false));
    let mirror = session.mirror(row, keys, blobs.clone(), state.clone(), display.clone()).await?;
    let head = state.head(&mirror.id()).await?;
    // The mirror is compared with what it was last asked to hold.
    let filter = Filter::from_canonical(head.as_ref().map_or("", |head| &head.filter))
        .map_err(|e| Failure::usage(e.to_string(), "run `obsync sync` once more, then verify"))?;
    let result = mirror.verify(&filter, args.deep, &session.options()).await;
    display.end();
    let result = result?;
    if args.json {
        say(as_json(row.id.as_str(), &row.name, &blobs.location(), args.deep, &result));
    } else {
        print(&row.name, &blobs.location(), &result);
    }
    Ok(if result.is_exact() { Exit::Done } else { Exit::Partly })
}

fn as_json(id: &str, name: &str, destination: &str, deep: bool, result: &Verification) -> Value {
    let failures = |failures: &[PathFailure]| {
        failures.iter().map(|f| json!({ "path": f.path, "error": f.error })).collect::<Vec<_>>()
    };
    json!({
        "id": id,
        "name": name,
        "destination": destination,
        "deep": deep,
        "exact": result.is_exact(),
        "same": result.same,
        "missing": result.missing,
        "different": failures(&result.different),
        "extra": result.extra,
        "refused": failures(&result.refused),
        "foreign": result.foreign,
    })
}

fn print(name: &str, destination: &str, result: &Verification) {
    result.missing.iter().for_each(|path| say(format_args!("missing    {path:?}")));
    result.different.iter().for_each(|f| say(format_args!("different  {:?}: {}", f.path, f.error)));
    result.extra.iter().for_each(|path| say(format_args!("extra      {path:?}")));
    result.refused.iter().for_each(|f| say(format_args!("refused    {:?}: {}", f.path, f.error)));
    let differences = result.missing.len() + result.different.len() + result.extra.len() + result.refused.len();
    let verdict = if differences == 0 { "exact".to_owned() } else { count(differences as u64, "difference") };
    let foreign = match result.foreign {
        0 => String::new(),
        n => format!(" ({} beside the mirror, left alone)", count(n, "file")),
    };
    say(format_args!("{name} → {destination}: {verdict}, {} as in the vault{foreign}", count(result.same, "file")));
}
