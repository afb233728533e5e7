//! What the environment and the configuration file say, read once.
//!
//! The configuration file is `OBSYNC_HOME/config.json`, in the form of the Lambda's secret (`contract.md`):
//! `{"auth":{"email","password","totp_secret","token"},"vaults":{NAME OR ID:{"password"}}}`. The environment goes
//! before it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use directories::ProjectDirs;
use obsync_core::mirror::Options;
use obsync_input::stored::{self, Stored};
use obsync_proto::session::SessionLimits;
use obsync_proto::totp::TotpSecret;
use obsync_proto::wire::api::{API_BASE, VaultRow};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use crate::cloud::Cloud;
use crate::failure::Failure;

/// Everything that is configured.
#[derive(Debug)]
pub struct Settings {
    /// Configuration, token and local state.
    pub home: PathBuf,
    /// The API's base address.
    pub api_url: String,
    /// Shown in the vault's version history.
    pub device_name: String,
    /// The account.
    pub email: Option<String>,
    /// The account's password.
    pub password: Option<SecretString>,
    /// The secret of two-factor sign-in, in Base32.
    pub totp_secret: Option<SecretString>,
    /// A token to use instead of signing in.
    pub token: Option<SecretString>,
    /// The encryption password of every vault without one of its own.
    pub vault_password: Option<SecretString>,
    /// Encryption passwords by vault name or id.
    pub vault_passwords: HashMap<String, SecretString>,
    /// How long the service may take for an answer, or say nothing in the midst of one.
    pub timeout: Duration,
    /// The most bytes of memory that what a vault lists may take.
    pub max_listing: u64,
    /// Buckets and tables.
    pub cloud: Cloud,
}

/// The most seconds that `OBSYNC_TIMEOUT` can be.
const LONGEST_TIMEOUT: u64 = 3600;

impl Settings {
    /// Reads the settings of a user: the environment, then `OBSYNC_HOME/config.json`. `env` looks up an environment
    /// variable.
    ///
    /// # Errors
    /// [`Failure`] for a file or a variable that cannot be read, by its name and without its content.
    pub fn read(env: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let home = match env("OBSYNC_HOME").filter(|home| !home.is_empty()) {
            Some(home) => PathBuf::from(home),
            None => default_home()?,
        };
        let stored = read_file(&home.join("config.json"))?;
        let cloud = Cloud::new(&env);
        Self::new(env, home, cloud, stored)
    }

    /// The settings in the environment, and below them those in `stored`.
    ///
    /// # Errors
    /// [`Failure`] for a variable that cannot be read.
    pub fn new(
        env: impl Fn(&str) -> Option<String>,
        home: PathBuf,
        cloud: Cloud,
        stored: Stored,
    ) -> Result<Self, Failure> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let secret = |name: &str| set(name).map(SecretString::from);
        let mut vault_passwords: HashMap<String, SecretString> =
            stored.vaults.into_iter().filter_map(|(name, vault)| Some((name, vault.password?))).collect();
        if let Some(json) = set("OBSIDIAN_VAULT_PASSWORDS").map(Zeroizing::new) {
            vault_passwords.extend(parse_passwords(&json)?);
        }
        let number = |name: &str, most: u64| set(name).map(|text| parse_number(name, &text, most)).transpose();
        let timeout = number("OBSYNC_TIMEOUT", LONGEST_TIMEOUT)?.map(Duration::from_secs);
        // In the function half of its memory; the other half is for what is done with the listing, and for the rest.
        let mebibytes = match number("OBSYNC_MAX_LISTING", u64::MAX >> 20)? {
            None => {
                set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").and_then(|mebibytes| mebibytes.parse().ok()).map(|m: u64| m / 2)
            }
            given => given,
        };
        Ok(Self {
            home,
            api_url: set("OBSYNC_API_URL").unwrap_or_else(|| API_BASE.to_owned()),
            device_name: set("OBSYNC_DEVICE_NAME").unwrap_or_else(|| "obsync".to_owned()),
            email: set("OBSIDIAN_EMAIL").or(stored.auth.email),
            password: secret("OBSIDIAN_PASSWORD").or(stored.auth.password),
            totp_secret: secret("OBSIDIAN_TOTP_SECRET").or(stored.auth.totp_secret),
            token: secret("OBSIDIAN_AUTH_TOKEN").or(stored.auth.token),
            vault_password: secret("OBSIDIAN_VAULT_PASSWORD"),
            vault_passwords,
            timeout: timeout.unwrap_or(SessionLimits::default().answer),
            max_listing: mebibytes.map_or(Options::default().max_listing, |mebibytes| mebibytes << 20),
            cloud,
        })
    }

    /// How long a connection may take to be there: four round trips or more, whatever the timeout.
    pub fn connect_timeout(&self) -> Duration {
        (self.timeout / 4).max(Duration::from_secs(2))
    }

    /// What a connection to a vault keeps to. A shorter timeout makes all of its pauses shorter; a longer one only that
    /// for an answer: an idle connection has to be spoken to before routers forget it.
    pub fn session_limits(&self) -> SessionLimits {
        let usual = SessionLimits::default();
        SessionLimits {
            answer: self.timeout,
            ping_after: usual.ping_after.min(self.timeout / 6),
            idle: usual.idle.min(self.timeout * 2),
            ..usual
        }
    }

    /// The secret that codes of two-factor sign-in are made from.
    ///
    /// # Errors
    /// [`Failure`] where it is no Base32.
    pub fn totp(&self) -> Result<Option<TotpSecret>, Failure> {
        use secrecy::ExposeSecret;
        let Some(secret) = &self.totp_secret else { return Ok(None) };
        TotpSecret::parse(secret.expose_secret()).map(Some).map_err(|e| {
            Failure::usage(
                format!("the two-factor secret is {e}"),
                "set OBSIDIAN_TOTP_SECRET to the secret that you gave to your authenticator app, not to a code from it",
            )
        })
    }

    /// The encryption password of a vault: the service's own for a managed one, then the vault's, then the one for
    /// all vaults, then the account's.
    pub fn password_of(&self, row: &VaultRow) -> Option<SecretString> {
        row.password
            .clone()
            .or_else(|| self.vault_passwords.get(row.id.as_str()).cloned())
            .or_else(|| self.vault_passwords.get(&row.name).cloned())
            .or_else(|| self.vault_password.clone())
            .or_else(|| self.password.clone())
    }
}

fn default_home() -> Result<PathBuf, Failure> {
    ProjectDirs::from("", "", "obsync").map(|dirs| dirs.data_local_dir().to_owned()).ok_or_else(|| {
        Failure::usage("this user has no home folder", "set OBSYNC_HOME to a folder for configuration, token and state")
    })
}

/// Reads a file; one that is not there says nothing.
fn read_file(path: &Path) -> Result<Stored, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&Zeroizing::new(text), &path.display().to_string()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Stored::default()),
        Err(e) => Err(Failure::usage(format!("{}: {e}", path.display()), "make it readable for this user")),
    }
}

/// Reads what is kept for good; `place` names where it comes from.
///
/// # Errors
/// [`Failure`] that names the place and the line, and quotes nothing.
pub fn parse(text: &str, place: &str) -> Result<Stored, Failure> {
    Stored::parse(text).map_err(|e| {
        Failure::usage(
            format!("{place} is {e}"),
            r#"it is {"auth":{"email","password","totp_secret","token"},"vaults":{NAME OR ID:{"password"}}}"#,
        )
    })
}

fn parse_number(name: &str, text: &str, most: u64) -> Result<u64, Failure> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    let advice = || format!("set it to a number from 1 to {most}");
    number.ok_or_else(|| Failure::usage(format!("{name} is no number that it can be"), advice()))
}

fn parse_passwords(json: &str) -> Result<HashMap<String, SecretString>, Failure> {
    stored::passwords(json).map_err(|e| {
        Failure::usage(format!("OBSIDIAN_VAULT_PASSWORDS is {e}"), r#"set it to {"NAME OR ID":"PASSWORD"}"#)
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn read(home: &Path, variables: &[(&str, &str)]) -> Result<Settings, Failure> {
        let mut variables: HashMap<String, String> =
            variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        variables.insert("OBSYNC_HOME".into(), home.display().to_string());
        Settings::read(|name| variables.get(name).cloned())
    }

    fn row(json: &str) -> VaultRow {
        serde_json::from_str(json).unwrap()
    }

    fn shown(password: Option<SecretString>) -> String {
        password.map(|p| p.expose_secret().to_owned()).unwrap_or_default()
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let home = tempfile::tempdir().unwrap();
        let file =
            r#"{"auth":{"email":"file@x","token":"t"},"vaults":{"Notes":{"password":"n"},"Other":{"password":"o"}}}"#;
        std::fs::write(home.path().join("config.json"), file).unwrap();
        let settings =
            read(home.path(), &[("OBSIDIAN_EMAIL", "env@x"), ("OBSIDIAN_VAULT_PASSWORDS", r#"{"Notes":"N"}"#)])
                .unwrap();
        assert_eq!(settings.email.as_deref(), Some("env@x"));
        assert_eq!(shown(settings.token), "t");
        assert_eq!(shown(settings.vault_passwords.get("Notes").cloned()), "N");
        assert_eq!(shown(settings.vault_passwords.get("Other").cloned()), "o");
    }

    #[test]
    fn passwords_are_looked_up_from_the_nearest_to_the_most_general() {
        let home = tempfile::tempdir().unwrap();
        let variables = [
            ("OBSIDIAN_PASSWORD", "account"),
            ("OBSIDIAN_VAULT_PASSWORD", "all"),
            ("OBSIDIAN_VAULT_PASSWORDS", r#"{"id1":"by id","Named":"by name"}"#),
        ];
        let settings = read(home.path(), &variables).unwrap();
        for (row_json, expected) in [
            (r#"{"id":"id1","name":"Named","host":"h","password":"managed"}"#, "managed"),
            (r#"{"id":"id1","name":"Named","host":"h"}"#, "by id"),
            (r#"{"id":"id2","name":"Named","host":"h"}"#, "by name"),
            (r#"{"id":"id2","name":"x","host":"h"}"#, "all"),
        ] {
            assert_eq!(shown(settings.password_of(&row(row_json))), expected);
        }
        let account_only = read(home.path(), &variables[..1]).unwrap();
        assert_eq!(shown(account_only.password_of(&row(r#"{"id":"a","name":"x","host":"h"}"#))), "account");
    }

    #[test]
    fn limits_are_as_set_and_otherwise_the_official_clients() {
        let home = tempfile::tempdir().unwrap();
        let unset = read(home.path(), &[]).unwrap();
        let (limits, usual) = (unset.session_limits(), SessionLimits::default());
        assert_eq!((limits.answer, limits.ping_after, limits.idle), (usual.answer, usual.ping_after, usual.idle));
        assert_eq!((unset.connect_timeout().as_secs(), unset.max_listing), (15, 1 << 30));
        let set = read(home.path(), &[("OBSYNC_TIMEOUT", "12"), ("OBSYNC_MAX_LISTING", "64")]).unwrap();
        assert_eq!((set.session_limits().idle.as_secs(), set.max_listing), (24, 64 << 20));
        let function = read(home.path(), &[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")]).unwrap();
        assert_eq!(function.max_listing, 256 << 20);
        for (name, text) in [("OBSYNC_TIMEOUT", "0"), ("OBSYNC_TIMEOUT", "1e3"), ("OBSYNC_MAX_LISTING", "-1")] {
            assert!(read(home.path(), &[(name, text)]).unwrap_err().problem.contains(name), "{name}={text}");
        }
    }

    #[test]
    fn broken_settings_are_named_and_not_quoted() {
        let home = tempfile::tempdir().unwrap();
        let error = read(home.path(), &[("OBSIDIAN_VAULT_PASSWORDS", r#"{"a":hunter2}"#)]).unwrap_err();
        assert!(error.problem.starts_with("OBSIDIAN_VAULT_PASSWORDS") && !error.to_string().contains("hunter2"));
        std::fs::write(home.path().join("config.json"), r#"{"auth":{"pasword":"hunter2"}}"#).unwrap();
        let error = read(home.path(), &[]).unwrap_err();
        assert!(error.problem.contains("config.json") && !error.to_string().contains("hunter2"), "{error}");
    }
}
