//! The seam to a destination: files in a folder, or objects in a bucket.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use obsync_proto::crypto::Verified;
use obsync_proto::{ContentHash, VaultPath};
use serde::{Deserialize, Serialize};

/// What is known of a file before its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobMeta {
    /// SHA-256 of the plaintext; `None` for the few old records that have none.
    pub hash: Option<ContentHash>,
    /// Bytes of plaintext.
    pub size: u64,
    /// Modification time, ms since 1970.
    pub mtime: i64,
    /// Creation time, ms since 1970.
    pub ctime: i64,
}

/// The store's own mark of one version of one file, for comparison only: another stamp, and the content may be
/// another. A folder's stamp is made of size and times, a bucket's is the ETag.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamp(pub Box<str>);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One thing found at a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where.
    pub path: VaultPath,
    /// What.
    pub kind: ListedKind,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedKind {
    /// A folder. Only stores with [`BlobStore::keeps_folders`] have them.
    Folder,
    /// A file or object.
    File {
        /// Bytes.
        size: u64,
        /// Its version.
        stamp: Stamp,
    },
}

/// What a destination can prove of a file that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// SHA-256 of the content.
    pub hash: ContentHash,
    /// Bytes.
    pub size: u64,
    /// Modification time, ms since 1970.
    pub mtime: i64,
    /// The version that this is about.
    pub stamp: Stamp,
}

/// What kind of fault it is: all that the engine's answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobErrorKind {
    /// This destination cannot hold this path: a name too long, something foreign in the way.
    Unfit,
    /// The file is not there.
    NotFound,
    /// The file is not the version that was expected.
    Changed,
    /// Nothing can be written at all: out of reach, full, read-only, access denied.
    Unusable,
    /// This one file may not be touched: access is denied. Nothing was changed.
    Denied,
    /// Another fault with this one file.
    Other,
}

/// A fault at a destination.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct BlobError {
    /// What kind of fault.
    pub kind: BlobErrorKind,
    /// The fact and its values, for people.
    pub message: String,
}

impl BlobError {
    /// An error of this kind.
    pub fn new(kind: BlobErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Whether what was asked for may have been done all the same: only the word of it did not come back.
    pub fn leaves_doubt(&self) -> bool {
        matches!(self.kind, BlobErrorKind::Unusable | BlobErrorKind::Other)
    }
}

/// A place that holds a mirror's files under the vault's paths.
///
/// Every method may be called from several tasks at once, for different paths.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Names the place, the same for every run on it: part of the mirror's identity, and shown to people.
    fn location(&self) -> String;

    /// Whether this place can hold `path` at all.
    ///
    /// # Errors
    /// [`BlobErrorKind::Unfit`], with the reason.
    fn check(&self, path: &VaultPath) -> Result<(), BlobError>;

    /// Whether folders are things of their own here, so that an empty one can be kept.
    fn keeps_folders(&self) -> bool;

    /// The most bytes that one [`BlobWriter`] holds in memory.
    fn write_buffer(&self) -> u64;

    /// Starts to write a file. Nothing is visible under `path` before [`BlobWriter::commit`]; folders on the way are
    /// made as needed.
    ///
    /// # Errors
    /// [`BlobError`].
    async fn writer(&self, path: &VaultPath, meta: &BlobMeta) -> Result<Box<dyn BlobWriter>, BlobError>;

    /// Makes `to` a file with the content of `from` and this `meta`, provided that `from` still has the version
    /// `stamp` or the content `meta.hash`. With `from == to` only the metadata change.
    ///
    /// # Errors
    /// [`BlobErrorKind::Changed`] or [`BlobErrorKind::NotFound`] where `from` is not what was expected; `to` is as it
    /// was then.
    async fn copy(&self, from: &VaultPath, stamp: &Stamp, to: &VaultPath, meta: &BlobMeta) -> Result<Stamp, BlobError>;

    /// Deletes files, and gives one result for each. A file that is not there is deleted already.
    async fn delete(&self, paths: &[VaultPath]) -> Vec<Result<(), BlobError>>;

    /// Makes a folder and those above it. Nothing to do where folders are not kept.
    ///
    /// # Errors
    /// [`BlobError`].
    async fn create_folder(&self, path: &VaultPath) -> Result<(), BlobError>;

    /// Removes a folder if it is empty; leaves it, without an error, if it is not or is not there.
    ///
    /// # Errors
    /// [`BlobError`].
    async fn remove_folder(&self, path: &VaultPath) -> Result<(), BlobError>;

    /// Looks a file up without reading it.
    ///
    /// # Errors
    /// [`BlobError`].
    async fn stat(&self, path: &VaultPath) -> Result<Option<ListedKind>, BlobError>;

    /// Reads a file, in chunks.
    ///
    /// # Errors
    /// [`BlobErrorKind::NotFound`] and others, here or in the stream.
    async fn read(&self, path: &VaultPath) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError>;

    /// What this place can prove of a file: by reading it, or by what was recorded with it when it was written.
    /// With `deep`, always by reading it. `None` where there is no such file.
    ///
    /// # Errors
    /// [`BlobError`].
    async fn digest(&self, path: &VaultPath, deep: bool) -> Result<Option<Digest>, BlobError>;

    /// The content hash that obsync noted with a file when it wrote it under this path. This tells what an earlier
    /// run has left, of which the state knows nothing any more, from files that are not obsync's. `None` where there
    /// is no such note, or it came here from another path.
    ///
    /// # Errors
    /// [`BlobError`].
    async fn noted_hash(&self, path: &VaultPath) -> Result<Option<ContentHash>, BlobError>;

    /// Everything that is there, in any order. Leaves out what is no [`VaultPath`] and what the store keeps for
    /// itself.
    fn list(&self) -> BoxStream<'_, Result<Listed, BlobError>>;

    /// Makes everything that was committed, copied and deleted so far survive a loss of power. Called before the
    /// state records it.
    ///
    /// # Errors
    /// [`BlobError`].
    async fn sync(&self) -> Result<(), BlobError>;

    /// Removes what a killed run left unfinished. Called by the one holder of the mirror's lease.
    ///
    /// # Errors
    /// [`BlobError`].
    async fn clean(&self) -> Result<(), BlobError>;
}

/// A file on its way in. Dropped or aborted, it leaves nothing behind.
#[async_trait]
pub trait BlobWriter: Send {
    /// Adds content, not yet to be trusted.
    ///
    /// # Errors
    /// [`BlobError`]; the writer is then of no more use.
    async fn write(&mut self, chunk: Bytes) -> Result<(), BlobError>;

    /// Makes the file visible, whole, in place of an earlier one. `proof` is the word of the decryption that the
    /// bytes written are the vault's.
    ///
    /// # Errors
    /// [`BlobError`]; the earlier file is then still there, or the new one is.
    async fn commit(self: Box<Self>, proof: Verified) -> Result<Stamp, BlobError>;

    /// Leaves the earlier file as it was.
    async fn abort(self: Box<Self>);
}
