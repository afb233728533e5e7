//! `obsync login`: signs in and keeps the token.

use std::sync::Arc;

use obsync_adapters::remote::{Account, AccountError, Api, Credentials};
use secrecy::SecretString;

use crate::cli::Login;
use crate::failure::{Exit, Failure};
use crate::prompt;
use crate::session::{api, token_file};
use crate::settings::Settings;
use crate::text::say;

pub(crate) async fn run(settings: Settings, args: Login) -> Result<Exit, Failure> {
    let email = match args.email.or_else(|| settings.email.clone()) {
        Some(email) => email,
        None if prompt::possible() => prompt::line("Email")?,
        None => return Err(Failure::usage("no account to sign in to", "give --email, or set OBSIDIAN_EMAIL")),
    };
    let password = match settings.password.clone() {
        _ if args.password_stdin => prompt::secret_from_stdin()?,
        Some(password) => password,
        None if prompt::possible() => prompt::secret("Password")?,
        None => {
            return Err(Failure::usage(
                "no password to sign in with",
                "give it with --password-stdin, set OBSIDIAN_PASSWORD, or run this on a terminal",
            ));
        }
    };
    let api = api(&settings)?;
    let totp = settings.totp()?.map(Arc::new);
    let mfa = args.mfa.map(SecretString::from);
    let credentials = Credentials { email, password, totp, mfa };
    let signed_in = match sign_in(&settings, api.clone(), credentials.clone()).await {
        Err(AccountError::MfaRequired) if prompt::possible() => {
            let mfa = Some(SecretString::from(prompt::line("Two-factor code")?));
            sign_in(&settings, api, Credentials { mfa, ..credentials }).await
        }
        other => other,
    }?;
    say(format_args!("Signed in as {}.", signed_in.email));
    Ok(Exit::Done)
}

async fn sign_in(
    settings: &Settings,
    api: Api,
    credentials: Credentials,
) -> Result<obsync_proto::wire::api::SignedIn, AccountError> {
    let email = credentials.email.clone();
    let mut signed_in = Account::new(api, Some(credentials), Arc::new(token_file(settings))).sign_in().await?;
    if signed_in.email.is_empty() {
        signed_in.email = email;
    }
    Ok(signed_in)
}
