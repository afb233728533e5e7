//! `obsync vaults`: lists the vaults of the account.

use serde_json::json;

use crate::cli::Vaults;
use crate::failure::{Exit, Failure};
use crate::session::{Session, Vault};
use crate::settings::Settings;
use crate::text::say;

pub(crate) async fn run(settings: Settings, args: &Vaults) -> Result<Exit, Failure> {
    let vaults = Session::new(settings)?.vaults().await?;
    if args.json {
        let rows: Vec<_> = vaults.iter().map(as_json).collect();
        say(json!({ "vaults": rows }));
        return Ok(Exit::Done);
    }
    if vaults.is_empty() {
        eprintln!("This account has no vaults.");
    }
    let width = vaults.iter().map(|vault| vault.row.id.as_str().len()).max().unwrap_or(0);
    for vault in &vaults {
        let shared = if vault.shared { ", shared" } else { "" };
        say(format_args!("{:width$}  {}  ({}{shared})", vault.row.id, vault.row.name, encryption(vault)));
    }
    Ok(Exit::Done)
}

fn encryption(vault: &Vault) -> &'static str {
    if vault.row.password.is_some() { "managed" } else { "end-to-end" }
}

fn as_json(vault: &Vault) -> serde_json::Value {
    json!({
        "id": vault.row.id,
        "name": vault.row.name,
        "shared": vault.shared,
        "encryption": encryption(vault),
        "encryption_version": vault.row.encryption_version,
        "region": vault.row.region,
    })
}
