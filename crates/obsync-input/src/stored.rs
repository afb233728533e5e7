//! What is kept for good: the configuration file, or the Lambda function's secret (`contract.md`).

use std::collections::HashMap;

use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// An account, and its vaults' passwords.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// The account.
    #[serde(default)]
    pub auth: Auth,
    /// By name or id.
    #[serde(default)]
    pub vaults: HashMap<String, Vault>,
}

/// How to sign in.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The account's address.
    pub email: Option<String>,
    /// Its password.
    pub password: Option<SecretString>,
    /// The secret of two-factor sign-in, in Base32.
    pub totp_secret: Option<SecretString>,
    /// A token to use instead of signing in.
    pub token: Option<SecretString>,
}

/// What is known of one vault.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    /// Its encryption password.
    pub password: Option<SecretString>,
}

/// A text that is not what it should be. It tells where, and quotes nothing: the text is full of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not of the expected form (line {line}, column {column})")]
pub struct NotOfForm {
    /// From 1; 0 where the text is empty.
    pub line: usize,
    /// From 1; 0 at the beginning of a line.
    pub column: usize,
}

impl Stored {
    /// Reads JSON: `{"auth":{"email","password","totp_secret","token"},"vaults":{NAME OR ID:{"password"}}}`.
    ///
    /// # Errors
    /// [`NotOfForm`], also for a key that is not one of these: a password under a misspelt one would be none.
    pub fn parse(text: &str) -> Result<Self, NotOfForm> {
        parse(text)
    }
}

/// Reads `{NAME OR ID: PASSWORD}`.
///
/// # Errors
/// [`NotOfForm`].
pub fn passwords(json: &str) -> Result<HashMap<String, SecretString>, NotOfForm> {
    parse(json)
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, NotOfForm> {
    serde_json::from_str(text).map_err(|e| NotOfForm { line: e.line(), column: e.column() })
}
