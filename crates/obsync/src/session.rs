//! An account and its vaults, ready to be mirrored.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use obsync_adapters::remote::{
    Account, Api, ApiConfig, Credentials, SocketConfig, SocketRemote, StoredToken, TokenFile, TokenInMemory, TokenStore,
};
use obsync_core::blob::BlobStore;
use obsync_core::clock::SystemClock;
use obsync_core::mirror::{Mirror, Options, Report, RunError};
use obsync_core::progress::Observer;
use obsync_core::remote::{Remote, RemoteErrorKind};
use obsync_core::state::StateStore;
use obsync_core::stop::Stop;
use obsync_proto::VaultId;
use obsync_proto::crypto::{EncryptionVersion, VaultKeys};
use obsync_proto::host::SessionHost;
use obsync_proto::wire::api::VaultRow;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use crate::cloud::Cloud;
use crate::failure::{Exit, Failure};
use crate::prompt;
use crate::settings::Settings;

/// Sent with every request.
pub const USER_AGENT: &str = concat!("obsync/", env!("CARGO_PKG_VERSION"));

/// A vault of the account.
#[derive(Debug, Clone)]
pub struct Vault {
    /// As the service lists it.
    pub row: VaultRow,
    /// Someone else's, shared with the account.
    pub shared: bool,
}

/// An account, and what it was configured with. Kept, it signs in once and derives each vault's keys once.
pub struct Session {
    settings: Settings,
    account: Account,
    keys: Mutex<Vec<Derived>>,
    /// Passwords that were typed, so that each is asked for once.
    typed: Mutex<HashMap<VaultId, SecretString>>,
}

/// Keys, and what they were derived from.
struct Derived {
    password: SecretString,
    salt: String,
    version: EncryptionVersion,
    keys: Arc<VaultKeys>,
    /// Vaults that the service says they open. It looks again at the beginning of every session.
    opens: HashSet<VaultId>,
}

impl Derived {
    fn is_from(&self, password: &SecretString, salt: &str, version: EncryptionVersion) -> bool {
        self.version == version && self.salt == salt && self.password.expose_secret() == password.expose_secret()
    }
}

impl Session {
    /// Prepares the account, with its token in a file; sends nothing yet.
    ///
    /// # Errors
    /// [`Failure`] for settings that cannot be used.
    pub fn new(settings: Settings) -> Result<Self, Failure> {
        let tokens = Arc::new(token_file(&settings));
        Self::with_tokens(settings, tokens)
    }

    /// Prepares the account, with its token in `tokens`, unless the settings have one.
    ///
    /// # Errors
    /// [`Failure`] for settings that cannot be used.
    pub fn with_tokens(settings: Settings, tokens: Arc<dyn TokenStore>) -> Result<Self, Failure> {
        let tokens = match &settings.token {
            Some(token) => Arc::new(TokenInMemory::with(StoredToken { email: None, token: token.clone() })),
            None => tokens,
        };
        let credentials = match (&settings.email, &settings.password) {
            (Some(email), Some(password)) => Some(Credentials {
                email: email.clone(),
                password: password.clone(),
                totp: settings.totp()?.map(Arc::new),
                mfa: None,
            }),
            _ => None,
        };
        let account = Account::new(api(&settings)?, credentials, tokens);
        Ok(Self { account, settings, keys: Mutex::default(), typed: Mutex::default() })
    }

    /// Buckets and tables.
    pub fn cloud(&self) -> &Cloud {
        &self.settings.cloud
    }

    /// Options of runs, with the limits that are configured.
    pub fn options(&self) -> Options {
        Options { max_listing: self.settings.max_listing, ..Options::default() }
    }

    /// All vaults of the account, its own first.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn vaults(&self) -> Result<Vec<Vault>, Failure> {
        let list = self.account.vaults().await?;
        let own = list.vaults.into_iter().map(|row| Vault { row, shared: false });
        Ok(own.chain(list.shared.into_iter().map(|row| Vault { row, shared: true })).collect())
    }

    /// The keys of a vault, checked with the service once.
    ///
    /// # Errors
    /// [`Failure`] where there is no password for it, or a wrong one.
    pub async fn keys(&self, row: &VaultRow) -> Result<Arc<VaultKeys>, Failure> {
        let version: EncryptionVersion = row
            .encryption_version
            .try_into()
            .map_err(|e| Failure::usage(format!("the vault {:?}: {e}", row.name), "update obsync"))?;
        let typed = self.typed.lock().await.get(&row.id).cloned();
        let password = match self.settings.password_of(row).or(typed) {
            Some(password) => password,
            None if prompt::possible() => {
                let password = prompt::secret(&format!("Encryption password of the vault {:?}", row.name))?;
                self.typed.lock().await.insert(row.id.clone(), password.clone());
                password
            }
            None => {
                return Err(Failure::new(
                    Exit::Refused,
                    format!(
                        "the vault {:?} ({}) is end-to-end encrypted, and there is no password for it",
                        row.name, row.id
                    ),
                    "set OBSIDIAN_VAULT_PASSWORD, or OBSIDIAN_VAULT_PASSWORDS='{\"NAME OR ID\":\"PASSWORD\"}'",
                ));
            }
        };
        let (keys, is_checked) = self.derive(&password, row, version).await?;
        if !is_checked {
            self.account.check_access(row, &keys.keyhash).await.map_err(|e| named(e.into(), row))?;
            let mut known = self.keys.lock().await;
            let derived = known.iter_mut().find(|derived| derived.is_from(&password, &row.salt, version));
            derived.map(|derived| derived.opens.insert(row.id.clone()));
        }
        Ok(keys)
    }

    /// The keys, and whether it is known that they open the vault. scrypt keeps a core busy for a tenth of a second:
    /// once for each vault.
    async fn derive(
        &self,
        password: &SecretString,
        row: &VaultRow,
        version: EncryptionVersion,
    ) -> Result<(Arc<VaultKeys>, bool), Failure> {
        let mut known = self.keys.lock().await;
        if let Some(derived) = known.iter().find(|derived| derived.is_from(password, &row.salt, version)) {
            return Ok((derived.keys.clone(), derived.opens.contains(&row.id)));
        }
        let (secret, owned_salt) = (password.clone(), row.salt.clone());
        let keys = tokio::task::spawn_blocking(move || VaultKeys::from_password(&secret, &owned_salt, version))
            .await
            .map_err(|e| Failure::new(Exit::Partly, format!("the keys could not be derived: {e}"), ""))?;
        let keys = Arc::new(keys);
        let (password, salt) = (password.clone(), row.salt.clone());
        known.push(Derived { password, salt, version, keys: keys.clone(), opens: HashSet::new() });
        Ok((keys, false))
    }

    /// Brings a vault to its place. Where the token runs out on the way, once more with a new one, from where the
    /// first run stopped.
    ///
    /// # Errors
    /// [`Failure`] where the run cannot begin; how it ended is in the report.
    pub async fn sync(
        &self,
        row: &VaultRow,
        blobs: Arc<dyn BlobStore>,
        state: Arc<dyn StateStore>,
        observer: Arc<dyn Observer>,
        options: &Options,
        stop: &Stop,
    ) -> Result<Report, Failure> {
        let prepare = async || -> Result<(Mirror, SecretString), Failure> {
            let keys = self.keys(row).await?;
            let token = self.account.token().await?;
            Ok((self.mirror(row, keys, blobs.clone(), state.clone(), observer.clone()).await?, token))
        };
        let Some((mirror, token)) = stop.or(prepare()).await.transpose()? else {
            return Ok(Report { incomplete: true, complete: options.complete, ..Report::default() });
        };
        let report = mirror.sync(options, stop).await;
        match &report.error {
            Some(RunError::Remote(error)) if error.kind == RemoteErrorKind::Authentication => {
                let again = async || {
                    self.account.replace(&token).await?;
                    prepare().await
                };
                match stop.or(again()).await {
                    Some(Ok((mirror, _))) => Ok(mirror.sync(options, stop).await),
                    Some(Err(_)) => Ok(report),
                    None => Ok(Report { error: None, incomplete: true, ..report }),
                }
            }
            _ => Ok(report),
        }
    }

    /// A mirror of a vault.
    ///
    /// # Errors
    /// [`Failure`] where the vault lies on a host that is not to be trusted, or there is no token.
    pub async fn mirror(
        &self,
        row: &VaultRow,
        keys: Arc<VaultKeys>,
        blobs: Arc<dyn BlobStore>,
        state: Arc<dyn StateStore>,
        observer: Arc<dyn Observer>,
    ) -> Result<Mirror, Failure> {
        let remote = Arc::new(self.connect(row, &keys).await?);
        Ok(Mirror {
            vault: row.id.clone(),
            vault_name: row.name.clone(),
            keys,
            remote,
            blobs,
            state,
            clock: Arc::new(SystemClock),
            observer,
        })
    }

    /// Connections to a vault, with the token as it is now.
    ///
    /// # Errors
    /// [`Failure`] where the vault lies on a host that is not to be trusted, or there is no token or no password.
    pub async fn remote(&self, row: &VaultRow) -> Result<Arc<dyn Remote>, Failure> {
        let keys = self.keys(row).await?;
        Ok(Arc::new(self.connect(row, &keys).await?))
    }

    async fn connect(&self, row: &VaultRow, keys: &VaultKeys) -> Result<SocketRemote, Failure> {
        let host = SessionHost::parse(&row.host, self.account.api().allows_loopback())
            .map_err(|e| named(Failure::new(Exit::Unreachable, e.to_string(), ""), row))?;
        Ok(SocketRemote::new(SocketConfig {
            host,
            token: self.account.token().await?,
            vault: row.id.clone(),
            keyhash: keys.keyhash.clone(),
            version: row.encryption_version,
            device: self.settings.device_name.clone(),
            user_agent: USER_AGENT.to_owned(),
            limits: self.settings.session_limits(),
            connect_timeout: self.settings.connect_timeout(),
        }))
    }
}

/// The API's client.
///
/// # Errors
/// [`Failure`] for a base that nothing will be sent to.
pub fn api(settings: &Settings) -> Result<Api, Failure> {
    let config = ApiConfig {
        base: settings.api_url.clone(),
        connect_timeout: settings.connect_timeout(),
        answer_timeout: settings.timeout,
        ..ApiConfig::new(USER_AGENT)
    };
    Api::new(&config).map_err(|e| Failure::usage(e.to_string(), "set OBSYNC_API_URL to https://…, or unset it"))
}

/// Where `obsync login` keeps the token.
pub fn token_file(settings: &Settings) -> TokenFile {
    TokenFile::new(settings.home.join("token.json"))
}

/// Says which vault a failure is about.
fn named(failure: Failure, row: &VaultRow) -> Failure {
    Failure { problem: format!("the vault {:?} ({}): {}", row.name, row.id, failure.problem), ..failure }
}

/// Finds vaults by id or name, in the order asked for, each once.
///
/// # Errors
/// [`Failure`] for one that is not there, and for a name that several have.
pub fn select(vaults: &[Vault], wanted: &[String]) -> Result<Vec<Vault>, Failure> {
    let mut selected: Vec<Vault> = Vec::new();
    for text in wanted {
        let vault = find(vaults, text)?;
        if !selected.iter().any(|known| known.row.id == vault.row.id) {
            selected.push(vault.clone());
        }
    }
    Ok(selected)
}

/// Finds one vault by id or name.
///
/// # Errors
/// As [`select`].
pub fn find<'a>(vaults: &'a [Vault], text: &str) -> Result<&'a Vault, Failure> {
    if let Some(vault) = vaults.iter().find(|vault| vault.row.id.as_str() == text) {
        return Ok(vault);
    }
    let named: Vec<&Vault> = vaults.iter().filter(|vault| vault.row.name == text).collect();
    match named[..] {
        [vault] => Ok(vault),
        [] => {
            let names: Vec<String> = vaults.iter().map(|vault| format!("{:?}", vault.row.name)).collect();
            let advice = if names.is_empty() {
                "this account has no vaults".to_owned()
            } else {
                format!("this account has {}", names.join(", "))
            };
            Err(Failure::new(Exit::NoVault, format!("there is no vault {text:?}"), advice))
        }
        _ => {
            let ids: Vec<&str> = named.iter().map(|vault| vault.row.id.as_str()).collect();
            Err(Failure::usage(
                format!("{} vaults are named {text:?}", ids.len()),
                format!("give the id instead of the name: {}", ids.join(", ")),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vaults() -> Vec<Vault> {
        let row = |id: &str, name: &str| {
            serde_json::from_str(&format!(r#"{{"id":"{id}","name":"{name}","host":"h"}}"#)).unwrap()
        };
        [("1", "Notes"), ("2", "Work"), ("3", "Work"), ("4", "1")]
            .map(|(id, name)| Vault { row: row(id, name), shared: id == "3" })
            .into()
    }

    fn ids(wanted: &[&str]) -> Result<Vec<String>, Failure> {
        let wanted: Vec<String> = wanted.iter().map(|w| (*w).to_owned()).collect();
        Ok(select(&vaults(), &wanted)?.iter().map(|v| v.row.id.to_string()).collect())
    }

    #[test]
    fn vaults_are_found_by_id_before_name() {
        assert_eq!(ids(&["Notes", "3", "1"]).unwrap(), ["1", "3"]);
    }

    #[test]
    fn an_ambiguous_name_lists_the_ids() {
        let failure = ids(&["Work"]).unwrap_err();
        assert_eq!((failure.exit, failure.advice.contains("2, 3")), (Exit::Usage, true));
    }

    #[test]
    fn an_unknown_vault_lists_the_names() {
        let failure = ids(&["Nots"]).unwrap_err();
        assert_eq!(failure.exit, Exit::NoVault);
        assert!(failure.advice.contains("\"Notes\""));
    }
}
