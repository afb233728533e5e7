//! `obsync reset`: forgets what is known of a mirror.

use obsync_core::mirror::{Mirror, Options};

use crate::cli::Reset;
use crate::destination::Template;
use crate::failure::{Exit, Failure};
use crate::memory;
use crate::settings::Settings;
use crate::text::say;

pub(crate) async fn run(settings: &Settings, args: &Reset) -> Result<Exit, Failure> {
    let template = Template::parse(&args.to, false)?;
    let state = memory::Location::parse(args.state.location.as_deref(), &settings.home)?.open(&settings.cloud).await?;
    let mut found = Vec::new();
    for (id, head) in state.mirrors().await? {
        if id.vault.as_str() != args.vault && head.vault_name != args.vault {
            continue;
        }
        if template.fill(id.vault.as_str(), &head.vault_name)?.open(&settings.cloud).await?.location() == id.destination
        {
            found.push(id);
        }
    }
    match &found[..] {
        [] => Err(Failure::new(
            Exit::NoVault,
            format!("there is no mirror of a vault {:?} at {}", args.vault, args.to),
            "see `obsync status` for the mirrors that this state knows",
        )),
        [id] => {
            Mirror::reset(state.as_ref(), id, &Options::default()).await?;
            say(format_args!("Forgotten. The files at {} stay; the next run compares them all.", id.destination));
            Ok(Exit::Done)
        }
        several => {
            let ids: Vec<&str> = several.iter().map(|id| id.vault.as_str()).collect();
            Err(Failure::usage(
                format!("{} vaults named {:?} were mirrored there", ids.len(), args.vault),
                format!("give the id instead of the name: {}", ids.join(", ")),
            ))
        }
    }
}
