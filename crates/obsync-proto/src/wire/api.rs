//! The HTTP API (`protocol.md` §1): every call is a `POST` of one JSON object to `<base><path>`.
//!
//! An answer with status 2xx and a key `error` is a refusal: parse it with [`parse_answer`].

use secrecy::SecretString;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::{limits, number, secret};
use crate::ids::VaultId;

/// The service's own base address.
pub const API_BASE: &str = "https://api.obsidian.md";

/// What the official client sends as `Origin` when it signs in.
pub const ORIGIN: &str = "https://obsidian.md";

/// The newest encryption version that this crate reads; sent with `/vault/list`.
pub const SUPPORTED_ENCRYPTION_VERSION: u8 = 3;

/// A call: its path, what it sends and what it is answered.
pub trait Call: Serialize {
    /// The path behind the API base.
    const PATH: &'static str;
    /// What a granted call is answered with.
    type Answer: DeserializeOwned;
}

/// Signs in to an account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SignIn {
    /// The account.
    pub email: String,
    /// The account's password.
    #[serde(serialize_with = "secret::serialize")]
    pub password: SecretString,
    /// The code of two-factor sign-in, or `""` for none.
    #[serde(serialize_with = "secret::serialize")]
    pub mfa: SecretString,
}

/// The answer to [`SignIn`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SignedIn {
    /// Stands for the account in every later call.
    #[serde(serialize_with = "secret::serialize")]
    pub token: SecretString,
    /// The account's display name.
    #[serde(default)]
    pub name: String,
    /// The account's address.
    #[serde(default)]
    pub email: String,
}

impl Call for SignIn {
    const PATH: &'static str = "/user/signin";
    type Answer = SignedIn;
}

/// An answer in which nothing matters but that it is no refusal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Granted {}

/// Makes a token worthless.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SignOut {
    /// The token.
    #[serde(serialize_with = "secret::serialize")]
    pub token: SecretString,
}

impl Call for SignOut {
    const PATH: &'static str = "/user/signout";
    type Answer = Granted;
}

/// Asks whose token it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UserInfo {
    /// The token.
    #[serde(serialize_with = "secret::serialize")]
    pub token: SecretString,
}

/// The answer to [`UserInfo`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct User {
    /// The account's number or name, whichever the service uses.
    #[serde(default)]
    pub uid: serde_json::Value,
    /// The account's display name.
    #[serde(default)]
    pub name: String,
    /// The account's address.
    #[serde(default)]
    pub email: String,
}

impl Call for UserInfo {
    const PATH: &'static str = "/user/info";
    type Answer = User;
}

/// Lists the account's vaults and those shared with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListVaults {
    /// The token.
    #[serde(serialize_with = "secret::serialize")]
    pub token: SecretString,
    /// [`SUPPORTED_ENCRYPTION_VERSION`].
    pub supported_encryption_version: u8,
}

/// The answer to [`ListVaults`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct VaultList {
    /// The account's own vaults.
    #[serde(default)]
    pub vaults: Vec<VaultRow>,
    /// Vaults that others share with the account.
    #[serde(default)]
    pub shared: Vec<VaultRow>,
}

/// One vault.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VaultRow {
    /// The vault.
    pub id: VaultId,
    /// Its name, chosen by its owner. Not unique.
    pub name: String,
    /// Where its WebSocket is: a host name without scheme. Check it with [`crate::host`] before use.
    pub host: String,
    /// Where that host stands.
    #[serde(default, deserialize_with = "number::or_default")]
    pub region: String,
    /// The salt of its keys, used as a string.
    #[serde(default, deserialize_with = "number::or_default")]
    pub salt: String,
    /// 0, 2 or 3.
    #[serde(default, deserialize_with = "number::or_default")]
    pub encryption_version: u8,
    /// The encryption password itself, for a vault under managed encryption only.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "secret::optional::serialize")]
    pub password: Option<SecretString>,
    /// Bytes in it, where the service says so.
    #[serde(default, deserialize_with = "number::unsigned")]
    pub size: u64,
}

impl Call for ListVaults {
    const PATH: &'static str = "/vault/list";
    type Answer = VaultList;
}

/// Asks whether a key opens a vault.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccessVault {
    /// The token.
    #[serde(serialize_with = "secret::serialize")]
    pub token: SecretString,
    /// The row's `id`.
    pub vault_uid: VaultId,
    /// Stands for the key (`protocol.md` §2).
    #[serde(serialize_with = "secret::serialize")]
    pub keyhash: SecretString,
    /// The row's `host`.
    pub host: String,
    /// The row's `encryption_version`.
    pub encryption_version: u8,
}

impl Call for AccessVault {
    const PATH: &'static str = "/vault/access";
    type Answer = Granted;
}

/// Makes a vault. Without `keyhash` and `salt` it is under managed encryption.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateVault {
    /// The token.
    #[serde(serialize_with = "secret::serialize")]
    pub token: SecretString,
    /// Its name.
    pub name: String,
    /// Stands for the key, for end-to-end encryption.
    #[serde(default, serialize_with = "secret::optional::serialize")]
    pub keyhash: Option<SecretString>,
    /// The salt of its keys, for end-to-end encryption.
    #[serde(default)]
    pub salt: Option<String>,
    /// Where to keep it, from [`Regions`].
    #[serde(default)]
    pub region: Option<String>,
    /// 0, 2 or 3.
    pub encryption_version: u8,
}

impl Call for CreateVault {
    const PATH: &'static str = "/vault/create";
    type Answer = VaultRow;
}

/// Asks for the regions that a vault can be kept in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Regions {
    /// The token.
    #[serde(serialize_with = "secret::serialize")]
    pub token: SecretString,
}

/// The answer to [`Regions`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RegionList {
    /// The regions.
    pub regions: Vec<Region>,
}

/// One region.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Region {
    /// What to send.
    pub value: String,
    /// What to show.
    pub name: String,
}

impl Call for Regions {
    const PATH: &'static str = "/vault/regions";
    type Answer = RegionList;
}

/// A refusal: status 2xx with a text for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The text.
    pub error: String,
}

/// Why an answer gave nothing to work with.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The service understood the call and refuses it.
    #[error("refused: {}", .0.error)]
    Refused(Refusal),
    /// The answer is no JSON object of the call's form: a proxy's page, or an "overloaded" text.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
}

/// Reads the body of a 2xx answer.
///
/// # Errors
/// [`AnswerError::Refused`] for a body with a key `error`; [`AnswerError::Unexpected`] for anything that is not
/// the call's answer. Neither quotes more than a first line of the body, and never an answer that parsed.
pub fn parse_answer<T: DeserializeOwned>(body: &[u8]) -> Result<T, AnswerError> {
    // Not the value: a body of 8 MiB can hold one that takes a hundred times as much memory.
    #[derive(Deserialize)]
    struct Probe {
        error: Option<IgnoredAny>,
    }
    match serde_json::from_slice::<Probe>(body) {
        Ok(Probe { error: Some(_) }) => {
            let text = serde_json::from_slice::<Refusal>(body).map(|refusal| refusal.error);
            let text = text.unwrap_or_else(|_| "the reason given is no text".to_owned());
            Err(AnswerError::Refused(Refusal { error: limits::label(&text).to_owned() }))
        }
        Ok(_) => serde_json::from_slice(body).map_err(|e| {
            // serde_json's text quotes values of the answer, which can be a vault's password: say where, not what.
            AnswerError::Unexpected(format!("a JSON object of another form (line {}, column {})", e.line(), e.column()))
        }),
        Err(_) => Err(AnswerError::Unexpected(first_line(body))),
    }
}

/// The start of a body that is no JSON, for a message to people. JSON that was cut off can hold a token: it is not
/// quoted.
fn first_line(body: &[u8]) -> String {
    let body = body.trim_ascii_start();
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
    if text.trim_start().starts_with(['{', '[', '"']) {
        return "broken JSON".to_owned();
    }
    let line = text.trim().lines().next().unwrap_or_default();
    if line.is_empty() { "an empty body".to_owned() } else { format!("{line:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_is_told_from_an_answer() {
        let refused = parse_answer::<VaultList>(br#"{"error":"Not logged in"}"#).unwrap_err();
        assert!(matches!(refused, AnswerError::Refused(r) if r.error == "Not logged in"));
        let refused = parse_answer::<VaultList>(br#"{"error":{"code":7}}"#).unwrap_err();
        assert!(matches!(refused, AnswerError::Refused(r) if r.error == "the reason given is no text"));
        let list = parse_answer::<VaultList>(br#"{"error":null,"vaults":[],"shared":[],"limit":1}"#).unwrap();
        assert!(list.vaults.is_empty());
    }

    #[test]
    fn page_with_status_200_is_named_not_believed() {
        let error = parse_answer::<VaultList>(b"<html>Server overloaded</html>\nmore").unwrap_err();
        assert_eq!(error.to_string(), r#"unexpected answer: "<html>Server overloaded</html>""#);
    }

    #[test]
    fn answer_of_another_form_is_not_quoted() {
        let error = parse_answer::<VaultList>(br#"{"vaults":[{"id":"a","password":"hunter2","name":7}]}"#).unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
        let cut_off = parse_answer::<SignedIn>(br#"{"token":"hunter2","na"#).unwrap_err();
        assert_eq!(cut_off.to_string(), "unexpected answer: broken JSON");
    }

    #[test]
    fn debug_shows_no_secret() {
        let call =
            SignIn { email: "e@x".into(), password: "hunter2".to_owned().into(), mfa: "123456".to_owned().into() };
        let shown = format!("{call:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("123456"), "{shown}");
    }
}
