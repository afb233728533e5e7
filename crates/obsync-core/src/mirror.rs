//! One run over one mirror.
//!
//! ```text
//! lock ─► list ─► survey ─► plan ─► clear ─► folders ─► copy ─► fetch ─► delete ─► finish
//!                                    └────── journal: entries, every few seconds ───┘  cursor, at the end
//! ```
//! The cursor moves only in the last step, and only if everything before it was applied or is noted by name; until
//! then a further run lists the same records again and finds in the entries what is done already.

mod fetch;
mod journal;
pub(crate) mod lease;
mod run;
mod width;

use std::sync::Arc;
use std::time::Duration;

use obsync_proto::crypto::VaultKeys;
use obsync_proto::{Cursor, VaultId};

use crate::blob::{BlobError, BlobStore};
use crate::clock::Clock;
use crate::filter::Filter;
use crate::plan::{Guarded, Rules};
use crate::progress::Observer;
use crate::remote::{Remote, RemoteError};
use crate::retry::RetryPolicy;
use crate::state::{MirrorId, StateError, StateStore};
use crate::stop::Stop;

/// A vault, a destination and the memory of earlier runs: everything that a run works on.
#[derive(Clone)]
pub struct Mirror {
    /// The vault.
    pub vault: VaultId,
    /// Its name, for people.
    pub vault_name: String,
    /// Its keys.
    pub keys: Arc<VaultKeys>,
    /// The service.
    pub remote: Arc<dyn Remote>,
    /// The destination.
    pub blobs: Arc<dyn BlobStore>,
    /// The memory.
    pub state: Arc<dyn StateStore>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Who is told of progress.
    pub observer: Arc<dyn Observer>,
}

/// How a run is to work.
#[derive(Debug, Clone)]
pub struct Options {
    /// Compare the whole vault with the state and the destination, instead of following the records since the last
    /// run.
    pub complete: bool,
    /// Find out what would be done, and do nothing.
    pub dry_run: bool,
    /// What is mirrored.
    pub filter: Filter,
    /// What may be deleted.
    pub rules: Rules,
    /// The most connections at once.
    pub jobs: usize,
    /// The most bytes of file content in memory at once. Raised to what one large file needs, if it is less.
    pub in_flight: u64,
    /// The most bytes of memory, about, that what the vault lists may take.
    pub max_listing: u64,
    /// How to try again what fails on the way to the service.
    pub retry: RetryPolicy,
    /// What to call this run towards others who want the lease.
    pub holder: String,
    /// How long the lease of a run outlives it if it dies.
    pub lease_ttl: Duration,
    /// How often to record what was done.
    pub commit_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            complete: false,
            dry_run: false,
            filter: Filter::default(),
            rules: Rules::default(),
            jobs: 4,
            in_flight: 32 << 20,
            max_listing: 1 << 30,
            retry: RetryPolicy::default(),
            holder: format!("process {}", std::process::id()),
            lease_ttl: Duration::from_secs(60),
            commit_every: Duration::from_secs(3),
        }
    }
}

/// Something that could not be brought up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The path, or what stands for it where it has none that can be shown.
    pub path: String,
    /// Why.
    pub error: String,
}

/// A fault that ended a run early.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RunError {
    /// At the service, or on the way to it.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// What the vault lists takes more memory than it may.
    #[error("what the vault lists takes more than {} MiB of memory", most >> 20)]
    Listing {
        /// How many bytes are allowed.
        most: u64,
    },
    /// At the destination.
    #[error(transparent)]
    Destination(#[from] BlobError),
    /// At the state store, or the lease is another run's.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What a run did.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Whether the whole vault was compared with the destination, as asked for or because there was no usable state.
    pub complete: bool,
    /// How far the mirror follows the vault now.
    pub cursor: Cursor,
    /// Files fetched and written.
    pub downloaded: u64,
    /// Files copied within the destination, or given a new modification time there.
    pub copied: u64,
    /// Files deleted.
    pub deleted: u64,
    /// Files of the mirror that were right already.
    pub unchanged: u64,
    /// What could not be brought up to date.
    pub failed: Vec<Failure>,
    /// Bytes of plaintext written.
    pub bytes: u64,
    /// When a run last left the mirror as the vault is, this one included: ms since 1970; 0: never.
    pub succeeded_at: i64,
    /// How long it took.
    pub elapsed: Duration,
    /// The run was stopped before everything was done; the next one goes on.
    pub incomplete: bool,
    /// Nothing was deleted, because it would have been too much.
    pub guarded: Option<Guarded>,
    /// What ended the run early.
    pub error: Option<RunError>,
}

impl Report {
    /// Whether the mirror now is what the vault is.
    pub fn is_success(&self) -> bool {
        self.failed.is_empty() && !self.incomplete && self.guarded.is_none() && self.error.is_none()
    }
}

impl Mirror {
    /// What the state knows this mirror by.
    pub fn id(&self) -> MirrorId {
        MirrorId { vault: self.vault.clone(), destination: self.blobs.location() }
    }

    /// Brings the mirror up to date. Whatever happens, what was done is recorded and told in the report.
    pub async fn sync(&self, options: &Options, stop: &Stop) -> Report {
        let started = tokio::time::Instant::now();
        let mut report = run::run(self, options, stop).await;
        report.elapsed = started.elapsed();
        report
    }

    /// Forgets what is known of the mirror; its files stay. The next run compares everything anew.
    ///
    /// # Errors
    /// [`StateError`]; [`StateError::Held`] while a run is working on it.
    pub async fn reset(state: &dyn StateStore, mirror: &MirrorId, options: &Options) -> Result<(), StateError> {
        let (lease, _) = state.lock(mirror, &options.holder, options.lease_ttl).await?;
        state.reset(&lease).await?;
        state.unlock(lease).await
    }
}
