//! The seam to the memory of earlier runs.
//!
//! State is a cache: with all of it lost, a run compares the vault with the destination and comes out right.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use obsync_proto::wire::Record;
use obsync_proto::{ContentHash, Cursor, Uid, VaultId, VaultPath};
use serde::{Deserialize, Serialize};

use crate::blob::Stamp;

/// One mirror: a vault at a destination. Two destinations of one vault are two mirrors, each with its own state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MirrorId {
    /// The vault.
    pub vault: VaultId,
    /// [`BlobStore::location`](crate::blob::BlobStore::location).
    pub destination: String,
}

impl fmt::Display for MirrorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.vault, self.destination)
    }
}

/// What a mirror holds under one path, as far as obsync wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A folder that the vault has by itself, empty or not.
    Folder,
    /// A file.
    File(FileEntry),
}

/// A file that was written and verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// The record that it came from.
    pub uid: Uid,
    /// SHA-256 of its content.
    pub hash: ContentHash,
    /// Bytes.
    pub size: u64,
    /// Modification time, ms since 1970.
    pub mtime: i64,
    /// Creation time, ms since 1970.
    pub ctime: i64,
    /// The version that the destination gave it.
    pub stamp: Stamp,
}

/// A change of the vault that could not be applied, kept by name until it is or the vault takes it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What to call it: its path, or what stands for it where it has none that can be shown.
    pub name: String,
    /// The record, as the service sent it.
    pub record: Record,
    /// Why the last try failed.
    pub error: String,
}

/// What is known of a mirror as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Every record up to it was applied or is in `pending`.
    pub cursor: Cursor,
    /// The vault's name when the mirror was last written.
    pub vault_name: String,
    /// The filters that the mirror was written with, in their canonical form.
    pub filter: String,
    /// The [`fingerprint`](obsync_proto::crypto::VaultKeys::fingerprint) of the keys that the cursor is about.
    #[serde(default)]
    pub keys: String,
    /// Files in the mirror.
    pub files: u64,
    /// Changes that could not be applied.
    #[serde(default)]
    pub pending: Vec<Pending>,
    /// A run has begun to change the destination and has not come to its end: it is at work, or it died. What the
    /// entries say may then not be what is there.
    #[serde(default)]
    pub unfinished: bool,
    /// When the last run ended, ms since 1970.
    #[serde(default)]
    pub ended_at: i64,
    /// When the last run with nothing left to do ended, ms since 1970; 0: never.
    #[serde(default)]
    pub succeeded_at: i64,
}

/// The right to write one mirror. Its token grows with every lease of the mirror, so that a holder who lost the
/// lease without noticing is recognised at its next commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The mirror.
    pub mirror: MirrorId,
    /// Higher than that of every earlier lease of this mirror, even after a [`StateStore::reset`].
    pub token: u64,
    /// How long it holds from each renewal.
    pub ttl: Duration,
}

/// Changes to a mirror's state, made together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// Entries to set or, with `None`, to forget.
    pub entries: Vec<(VaultPath, Option<Entry>)>,
    /// The new head.
    pub head: Head,
}

/// A fault of the state store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StateError {
    /// Another run holds the lease.
    #[error("another run is writing this mirror: {holder}")]
    Held {
        /// Who, as it called itself.
        holder: String,
    },
    /// The lease was lost to another run.
    #[error("this run lost its lease to another one; nothing more was written")]
    Lost,
    /// The store cannot be reached, read or written.
    #[error("the state store {location}: {message}")]
    Unusable {
        /// Which.
        location: String,
        /// The fact.
        message: String,
    },
}

/// Keeps the state of many mirrors.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// The head of a mirror; `None` for one that was never written, or whose state was found damaged.
    ///
    /// # Errors
    /// [`StateError::Unusable`].
    async fn head(&self, mirror: &MirrorId) -> Result<Option<Head>, StateError>;

    /// The entries of these paths, as far as there are any.
    ///
    /// # Errors
    /// [`StateError::Unusable`].
    async fn entries(&self, mirror: &MirrorId, paths: &[VaultPath]) -> Result<HashMap<VaultPath, Entry>, StateError>;

    /// All entries of a mirror, in any order.
    fn scan<'a>(&'a self, mirror: &'a MirrorId) -> BoxStream<'a, Result<(VaultPath, Entry), StateError>>;

    /// Where the entry of a path lies, for a store that keeps many entries together: what has near places costs less
    /// when it is committed together than what is scattered. The engine works in this order where none is better.
    fn place(&self, _: &VaultPath) -> u64 {
        0
    }

    /// Takes the lease of a mirror, for `ttl` from now, and reads its head. `holder` is shown to others. A lease that
    /// has run out, or whose holder is known to be dead, is taken over.
    ///
    /// # Errors
    /// [`StateError::Held`] where another run has it.
    async fn lock(&self, mirror: &MirrorId, holder: &str, ttl: Duration) -> Result<(Lease, Option<Head>), StateError>;

    /// Makes the lease hold for its `ttl` from now.
    ///
    /// # Errors
    /// [`StateError::Lost`].
    async fn renew(&self, lease: &Lease) -> Result<(), StateError>;

    /// Writes changes: the entries before the head, all or (after a crash) the first of them. Nothing at all where
    /// the lease is lost.
    ///
    /// # Errors
    /// [`StateError::Lost`].
    async fn commit(&self, lease: &Lease, commit: Commit) -> Result<(), StateError>;

    /// Writes the last changes and gives the lease back, in one step where the store can.
    ///
    /// # Errors
    /// [`StateError::Lost`].
    async fn finish(&self, lease: Lease, commit: Commit) -> Result<(), StateError>;

    /// Gives the lease back without a change. Not an error where it was lost.
    ///
    /// # Errors
    /// [`StateError::Unusable`].
    async fn unlock(&self, lease: Lease) -> Result<(), StateError>;

    /// Forgets a mirror: its head and all its entries. Tokens go on from where they were.
    ///
    /// # Errors
    /// [`StateError::Lost`].
    async fn reset(&self, lease: &Lease) -> Result<(), StateError>;

    /// All mirrors that have a head.
    ///
    /// # Errors
    /// [`StateError::Unusable`].
    async fn mirrors(&self) -> Result<Vec<(MirrorId, Head)>, StateError>;
}
