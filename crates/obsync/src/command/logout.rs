//! `obsync logout`: forgets the token, here and at the service.

use std::sync::Arc;

use obsync_adapters::remote::Account;

use crate::failure::{Exit, Failure};
use crate::session::{api, token_file};
use crate::settings::Settings;
use crate::text::say;

pub(crate) async fn run(settings: Settings) -> Result<Exit, Failure> {
    let account = Account::new(api(&settings)?, None, Arc::new(token_file(&settings)));
    account.sign_out().await?;
    say("Signed out.");
    Ok(Exit::Done)
}
