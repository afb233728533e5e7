//! The account: signs in once, keeps the token, and signs in again when it is refused.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use obsync_core::clock::{Clock, SystemClock};
use obsync_proto::totp::{STEP, TotpSecret};
use obsync_proto::wire::api::{
    AccessVault, Call, ListVaults, SUPPORTED_ENCRYPTION_VERSION, SignIn, SignOut, SignedIn, VaultList, VaultRow,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use super::api::{Api, ApiError};
use super::token::{StoredToken, TokenStore, TokenStoreError};

/// What an account is signed in to with.
#[derive(Clone)]
pub struct Credentials {
    /// The account.
    pub email: String,
    /// Its password.
    pub password: SecretString,
    /// The secret that codes of two-factor sign-in are made from.
    pub totp: Option<Arc<TotpSecret>>,
    /// A code of two-factor sign-in, typed in by a person; goes before `totp`.
    pub mfa: Option<SecretString>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("email", &self.email).finish_non_exhaustive()
    }
}

/// Why the account cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AccountError {
    /// There is no token, and nothing to sign in with.
    #[error("not signed in, and no email and password to sign in with")]
    NoCredentials,
    /// Email or password is wrong, in the service's words.
    #[error("sign-in refused: {0}")]
    WrongCredentials(String),
    /// The account has two-factor sign-in, and there is no code.
    #[error("sign-in needs a code of two-factor sign-in")]
    MfaRequired,
    /// The code of two-factor sign-in is wrong, or was used before.
    #[error("the code of two-factor sign-in was refused")]
    MfaWrong,
    /// The key of this vault is refused: the vault's password is wrong.
    #[error("the vault's password was refused: {0}")]
    PasswordWrong(String),
    /// The token is refused, and nothing is there to sign in with, or signing in did not help.
    #[error("the token was refused: {0}")]
    TokenRefused(String),
    /// The service is out of reach, overloaded, or answers nonsense.
    #[error("{0}")]
    Unreachable(String),
    /// Refused for another reason, in the service's words.
    #[error("the service refused: {0}")]
    Refused(String),
    /// The token cannot be kept or read.
    #[error(transparent)]
    TokenStore(#[from] TokenStoreError),
}

impl From<ApiError> for AccountError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Refused { text } => Self::Refused(text),
            ApiError::Unreachable(_) | ApiError::Unexpected(_) => Self::Unreachable(error.to_string()),
        }
    }
}

/// One account at the service.
pub struct Account {
    api: Api,
    credentials: Option<Credentials>,
    tokens: Arc<dyn TokenStore>,
    clock: Arc<dyn Clock>,
    /// Held while signing in, so that tasks that find the token refused at one time sign in once.
    current: Mutex<Option<SecretString>>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("api", &self.api)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl Account {
    /// An account that signs in with `credentials`, if it has to, and keeps its token in `tokens`.
    pub fn new(api: Api, credentials: Option<Credentials>, tokens: Arc<dyn TokenStore>) -> Self {
        Self { api, credentials, tokens, clock: Arc::new(SystemClock), current: Mutex::new(None) }
    }

    /// With another clock: the codes of two-factor sign-in are made from its time.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The API that it uses.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// A token: the one in use, the one that was kept, or that of a sign-in.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn token(&self) -> Result<SecretString, AccountError> {
        let mut current = self.current.lock().await;
        if let Some(token) = &*current {
            return Ok(token.clone());
        }
        let email = self.credentials.as_ref().map(|c| c.email.as_str());
        let kept = match self.tokens.load().await {
            Err(error) if self.credentials.is_some() => {
                tracing::warn!(%error, "signing in instead");
                None
            }
            kept => kept?.filter(|kept| kept.serves(email)),
        };
        let token = match kept {
            Some(kept) => kept.token,
            None => self.sign_in_and_keep().await?,
        };
        Ok(current.insert(token).clone())
    }

    /// A token in place of one that the service refused: another task's or process's, or that of a sign-in.
    ///
    /// # Errors
    /// [`AccountError::TokenRefused`] where there is nothing to sign in with; others of the sign-in.
    pub async fn replace(&self, refused: &SecretString) -> Result<SecretString, AccountError> {
        let mut current = self.current.lock().await;
        match &*current {
            Some(token) if token.expose_secret() != refused.expose_secret() => Ok(token.clone()),
            _ if self.credentials.is_none() => Err(AccountError::TokenRefused("no longer signed in".into())),
            _ => {
                *current = None;
                let email = self.credentials.as_ref().map(|c| c.email.as_str());
                let kept = self.tokens.load().await.unwrap_or_default();
                // Another process may have signed in meanwhile; one code for all of them would not do.
                let newer =
                    kept.filter(|kept| kept.serves(email) && kept.token.expose_secret() != refused.expose_secret());
                let token = match newer {
                    Some(newer) => newer.token,
                    None => self.sign_in_and_keep().await?,
                };
                Ok(current.insert(token).clone())
            }
        }
    }

    /// Signs in, whatever token there is, and keeps the new one.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn sign_in(&self) -> Result<SignedIn, AccountError> {
        let mut current = self.current.lock().await;
        let signed_in = self.present().await?;
        self.tokens.save(&self.stored(&signed_in)).await?;
        *current = Some(signed_in.token.clone());
        Ok(signed_in)
    }

    /// Makes the kept token worthless and forgets it. Nothing to do without one.
    ///
    /// # Errors
    /// [`AccountError::Unreachable`] where the service could not be told: the token is forgotten all the same.
    pub async fn sign_out(&self) -> Result<(), AccountError> {
        let mut current = self.current.lock().await;
        let token = match current.take() {
            Some(token) => Some(token),
            None => self.tokens.load().await?.map(|kept| kept.token),
        };
        self.tokens.clear().await?;
        let Some(token) = token else { return Ok(()) };
        match self.api.call(&SignOut { token }).await {
            // Worthless already.
            Ok(_) | Err(ApiError::Refused { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The account's own vaults, and those shared with it.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn vaults(&self) -> Result<VaultList, AccountError> {
        let call = |token| ListVaults { token, supported_encryption_version: SUPPORTED_ENCRYPTION_VERSION };
        self.with_token(call).await
    }

    /// Asks whether the key that `keyhash` stands for opens the vault of this row.
    ///
    /// # Errors
    /// [`AccountError::PasswordWrong`] where it does not; others.
    pub async fn check_access(&self, row: &VaultRow, keyhash: &SecretString) -> Result<(), AccountError> {
        let call = |token| AccessVault {
            token,
            vault_uid: row.id.clone(),
            keyhash: keyhash.clone(),
            host: row.host.clone(),
            encryption_version: row.encryption_version,
        };
        match self.with_token(call).await {
            Err(AccountError::Refused(text)) if speaks_of(&text, &["key", "password", "encryption", "auth"]) => {
                Err(AccountError::PasswordWrong(text))
            }
            other => other.map(drop),
        }
    }

    /// Makes a call with a token and, where the token is refused, once more with another one.
    async fn with_token<C: Call>(&self, call: impl Fn(SecretString) -> C) -> Result<C::Answer, AccountError> {
        let token = self.token().await?;
        let text = match self.api.call(&call(token.clone())).await {
            Err(ApiError::Refused { text }) if is_token_refusal(&text) => text,
            other => return Ok(other?),
        };
        tracing::debug!(text, "the token was refused");
        let token = match self.replace(&token).await {
            Err(AccountError::TokenRefused(_)) => return Err(AccountError::TokenRefused(text)),
            other => other?,
        };
        match self.api.call(&call(token)).await {
            Err(ApiError::Refused { text }) if is_token_refusal(&text) => Err(AccountError::TokenRefused(text)),
            other => Ok(other?),
        }
    }

    async fn sign_in_and_keep(&self) -> Result<SecretString, AccountError> {
        let signed_in = self.present().await?;
        if let Err(error) = self.tokens.save(&self.stored(&signed_in)).await {
            // This run has its token; the next one signs in again.
            tracing::warn!(%error, "the token is not kept");
        }
        Ok(signed_in.token)
    }

    fn stored(&self, signed_in: &SignedIn) -> StoredToken {
        // As it was given to sign in with: that is what it will be compared with.
        let email = self.credentials.as_ref().map(|c| c.email.clone());
        StoredToken { email, token: signed_in.token.clone() }
    }

    /// Presents the credentials. A code that is refused can have been right, and used before in its 30 s: with a
    /// secret to make codes from, the next one is tried. Once: a service that is asked on and on locks the account.
    async fn present(&self) -> Result<SignedIn, AccountError> {
        let credentials = self.credentials.as_ref().ok_or(AccountError::NoCredentials)?;
        let made_from = credentials.totp.as_ref().filter(|_| credentials.mfa.is_none());
        let seconds = self.unix_seconds();
        let code = match (&credentials.mfa, made_from) {
            (Some(code), _) => code.clone(),
            (None, Some(secret)) => secret.code(seconds).into(),
            (None, None) => SecretString::default(),
        };
        match (self.present_code(credentials, code).await, made_from) {
            (Err(AccountError::MfaWrong), Some(secret)) => {
                let next = self.next_step(seconds).await;
                self.present_code(credentials, secret.code(next).into()).await
            }
            (presented, _) => presented,
        }
    }

    /// Waits until the code of another step than that of `seconds` holds.
    async fn next_step(&self, seconds: u64) -> u64 {
        let next = (seconds / STEP + 1) * STEP;
        let now = self.unix_seconds();
        if now >= next {
            return now;
        }
        // Waited for once, so that a clock that is set back meanwhile does not keep the run waiting.
        tokio::time::sleep(Duration::from_secs((next - now).min(STEP))).await;
        self.unix_seconds().max(next)
    }

    fn unix_seconds(&self) -> u64 {
        u64::try_from(self.clock.unix_ms() / 1000).unwrap_or(0)
    }

    async fn present_code(&self, credentials: &Credentials, mfa: SecretString) -> Result<SignedIn, AccountError> {
        let (email, password) = (credentials.email.clone(), credentials.password.clone());
        match self.api.call(&SignIn { email, password, mfa }).await {
            Err(ApiError::Refused { text }) => Err(sign_in_refusal(text)),
            other => Ok(other?),
        }
    }
}

fn speaks_of(text: &str, words: &[&str]) -> bool {
    let text = text.to_ascii_lowercase();
    words.iter().any(|word| text.contains(word))
}

/// What a refused sign-in was refused for (`protocol.md` §1).
fn sign_in_refusal(text: String) -> AccountError {
    if speaks_of(&text, &["2fa code is incorrect"]) {
        AccountError::MfaWrong
    } else if speaks_of(&text, &["2fa code"]) {
        AccountError::MfaRequired
    } else if speaks_of(&text, &["email", "password", "login failed"]) {
        AccountError::WrongCredentials(text)
    } else {
        AccountError::Refused(text)
    }
}

/// Whether a call was refused for its token.
fn is_token_refusal(text: &str) -> bool {
    speaks_of(text, &["not logged in", "token", "logged out", "log in", "sign in", "session expired"])
}
