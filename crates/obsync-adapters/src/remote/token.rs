//! Where an account's token is kept between runs, so that not every run signs in.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use obsync_proto::wire::to_json;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// A token, and whose it is.
#[derive(Debug, Clone)]
pub struct StoredToken {
    /// The account; `None` for a token that came without one.
    pub email: Option<String>,
    /// Stands for the account.
    pub token: SecretString,
}

impl StoredToken {
    /// Whether it can serve the account `email`. Without the one or the other, nothing speaks against it.
    pub fn serves(&self, email: Option<&str>) -> bool {
        match (&self.email, email) {
            (Some(own), Some(wanted)) => own.trim().to_lowercase() == wanted.trim().to_lowercase(),
            _ => true,
        }
    }
}

/// A token that could not be kept or read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the token {place}: {message}")]
pub struct TokenStoreError {
    /// Where it is kept.
    pub place: String,
    /// The fact.
    pub message: String,
}

/// Keeps one token.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// The token, if there is one.
    ///
    /// # Errors
    /// [`TokenStoreError`].
    async fn load(&self) -> Result<Option<StoredToken>, TokenStoreError>;

    /// Keeps `token` in place of an earlier one.
    ///
    /// # Errors
    /// [`TokenStoreError`]; the earlier one is then still there.
    async fn save(&self, token: &StoredToken) -> Result<(), TokenStoreError>;

    /// Forgets the token.
    ///
    /// # Errors
    /// [`TokenStoreError`].
    async fn clear(&self) -> Result<(), TokenStoreError>;
}

/// A token for this process only: one that was passed in, or that of a sign-in.
#[derive(Debug, Default)]
pub struct TokenInMemory(Mutex<Option<StoredToken>>);

impl TokenInMemory {
    /// Starts with `token`.
    pub fn with(token: StoredToken) -> Self {
        Self(Mutex::new(Some(token)))
    }

    fn set(&self, token: Option<StoredToken>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }
}

#[async_trait]
impl TokenStore for TokenInMemory {
    async fn load(&self) -> Result<Option<StoredToken>, TokenStoreError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn save(&self, token: &StoredToken) -> Result<(), TokenStoreError> {
        self.set(Some(token.clone()));
        Ok(())
    }

    async fn clear(&self) -> Result<(), TokenStoreError> {
        self.set(None);
        Ok(())
    }
}

/// A token in a file that its owner alone can read.
#[derive(Debug, Clone)]
pub struct TokenFile {
    path: PathBuf,
}

/// What is in the file, to be written.
#[derive(Serialize)]
struct Contents<'a> {
    email: Option<&'a str>,
    token: &'a str,
}

/// What is in the file, as it was read.
#[derive(Deserialize)]
struct Kept {
    #[serde(default)]
    email: Option<String>,
    token: SecretString,
}

impl TokenFile {
    /// A file of this path. It need not exist, and neither need its folder.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, TokenStoreError> {
        let path = self.path.clone();
        let done = tokio::task::spawn_blocking(move || work(&path)).await;
        done.map_err(io::Error::other)
            .flatten()
            .map_err(|e| TokenStoreError { place: self.path.display().to_string(), message: e.to_string() })
    }
}

#[async_trait]
impl TokenStore for TokenFile {
    async fn load(&self) -> Result<Option<StoredToken>, TokenStoreError> {
        self.blocking(read).await
    }

    async fn save(&self, token: &StoredToken) -> Result<(), TokenStoreError> {
        let token = token.clone();
        self.blocking(move |path| write(path, &token)).await
    }

    async fn clear(&self) -> Result<(), TokenStoreError> {
        self.blocking(|path| match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        })
        .await
    }
}

fn read(path: &Path) -> io::Result<Option<StoredToken>> {
    let text = match fs::read(path) {
        Ok(text) => Zeroizing::new(text),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    match serde_json::from_slice::<Kept>(&text) {
        Ok(Kept { email, token }) => Ok(Some(StoredToken { email, token })),
        Err(_) => {
            // A token is a cache of a sign-in: with a damaged one there is just none.
            tracing::warn!(path = %path.display(), "the token file is damaged and is not used");
            Ok(None)
        }
    }
}

/// Temp, fsync, rename, fsync of the folder: a reader sees the old token or the new one, after a loss of power too.
/// The file is the owner's alone before the token is in it.
fn write(path: &Path, token: &StoredToken) -> io::Result<()> {
    let text = to_json(&Contents { email: token.email.as_deref(), token: token.token.expose_secret() })?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_private_folder(folder)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let temp = folder.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let result = write_new(&temp, &text).and_then(|()| fs::rename(&temp, path)).and_then(|()| sync_folder(folder));
    if result.is_err() {
        let _ = fs::remove_file(&temp);
    }
    result
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    // Left behind by a killed process of the same number.
    let _ = fs::remove_file(path);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

fn create_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
