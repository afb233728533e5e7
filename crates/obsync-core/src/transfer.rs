//! The state of mirrors on its way out of a store and into another one, or into a file.
//!
//! A state is a sequence of [`Part`]s: for each mirror its head, its entries, and how many they were. Whoever writes
//! them to a file writes one a line.

use std::sync::Arc;

use futures_util::TryStreamExt;
use obsync_proto::VaultPath;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::mirror::Options;
use crate::mirror::lease::LeaseKeeper;
use crate::state::{Commit, Entry, Head, Lease, MirrorId, StateError, StateStore};

/// Entries of one commit: enough that a store which packs them writes few packets twice.
const BATCH: usize = 20_000;

/// A part of the state of mirrors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A mirror, whose entries follow.
    Mirror {
        /// Which.
        id: MirrorId,
        /// What is known of it as a whole.
        head: Head,
    },
    /// What it holds under a path.
    Entry {
        /// The path.
        path: VaultPath,
        /// What is there.
        entry: Entry,
    },
    /// The end of the mirror.
    End {
        /// How many entries it has: where they are fewer, some were lost on the way.
        entries: u64,
    },
}

/// Why a state cannot be taken in.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ImportError {
    /// It is not whole.
    #[error("{0}")]
    Malformed(String),
    /// The store fails.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Hands all parts of a mirror's state to `each`, under the mirror's lease, so that no run changes it meanwhile. Nothing
/// of it where the mirror has no state.
///
/// # Errors
/// Those of the store, and of `each`.
pub async fn export<E: From<StateError>>(
    store: &Arc<dyn StateStore>,
    id: &MirrorId,
    options: &Options,
    mut each: impl AsyncFnMut(Part) -> Result<(), E>,
) -> Result<(), E> {
    let since = Instant::now();
    let (lease, head) = store.lock(id, &options.holder, options.lease_ttl).await?;
    let _keeper = LeaseKeeper::start(store.clone(), lease.clone(), since);
    let exported = match head {
        Some(head) => hand_over(store.as_ref(), id, head, &mut each).await,
        None => Ok(()),
    };
    store.unlock(lease).await?;
    exported
}

async fn hand_over<E: From<StateError>>(
    store: &dyn StateStore,
    id: &MirrorId,
    head: Head,
    each: &mut impl AsyncFnMut(Part) -> Result<(), E>,
) -> Result<(), E> {
    each(Part::Mirror { id: id.clone(), head }).await?;
    let mut scan = store.scan(id);
    let mut entries = 0;
    while let Some((path, entry)) = scan.try_next().await? {
        entries += 1;
        each(Part::Entry { path, entry }).await?;
    }
    each(Part::End { entries }).await
}

/// Takes the state of mirrors into a store, in place of what it knows of them.
///
/// Until a mirror's end has come, its head says that it is unfinished: were the import to die before, the next run
/// would compare everything.
pub struct Import {
    store: Arc<dyn StateStore>,
    options: Options,
    mirrors: u64,
    current: Option<Current>,
}

/// The mirror whose entries come in.
struct Current {
    lease: Lease,
    keeper: LeaseKeeper,
    head: Head,
    batch: Vec<(VaultPath, Option<Entry>)>,
    entries: u64,
}

impl Import {
    /// Takes parts into `store`. `options` has the name and the length of its leases.
    pub fn new(store: Arc<dyn StateStore>, options: Options) -> Self {
        Self { store, options, mirrors: 0, current: None }
    }

    /// The next part.
    ///
    /// # Errors
    /// [`ImportError`].
    pub async fn take(&mut self, part: Part) -> Result<(), ImportError> {
        match part {
            Part::Mirror { id, head } => self.begin(&id, head).await,
            Part::Entry { path, entry } => self.add(path, entry).await,
            Part::End { entries } => self.complete(entries).await,
        }
    }

    /// How many mirrors came in.
    ///
    /// # Errors
    /// [`ImportError::Malformed`] in the midst of one.
    pub fn end(self) -> Result<u64, ImportError> {
        match self.current {
            Some(current) => Err(cut_off(&current)),
            None => Ok(self.mirrors),
        }
    }

    async fn begin(&mut self, id: &MirrorId, head: Head) -> Result<(), ImportError> {
        if let Some(current) = &self.current {
            return Err(cut_off(current));
        }
        let since = Instant::now();
        let (lease, _) = self.store.lock(id, &self.options.holder, self.options.lease_ttl).await?;
        let keeper = LeaseKeeper::start(self.store.clone(), lease.clone(), since);
        self.store.reset(&lease).await?;
        self.current = Some(Current { lease, keeper, head, batch: Vec::new(), entries: 0 });
        Ok(())
    }

    async fn add(&mut self, path: VaultPath, entry: Entry) -> Result<(), ImportError> {
        let Some(current) = &mut self.current else {
            return Err(ImportError::Malformed(format!("{path} belongs to no mirror")));
        };
        current.entries += 1;
        current.batch.push((path, Some(entry)));
        if current.batch.len() < BATCH {
            return Ok(());
        }
        let head = Head { unfinished: true, ..current.head.clone() };
        let commit = Commit { entries: std::mem::take(&mut current.batch), head };
        Ok(self.store.commit(&current.lease, commit).await?)
    }

    async fn complete(&mut self, entries: u64) -> Result<(), ImportError> {
        let Some(current) = self.current.take_if(|current| current.entries == entries) else {
            return Err(self.current.as_ref().map_or_else(
                || ImportError::Malformed("an end without a mirror".into()),
                |current| {
                    let Current { lease, entries: there, .. } = current;
                    ImportError::Malformed(format!("{} has {there} entries instead of {entries}", lease.mirror))
                },
            ));
        };
        let commit = Commit { entries: current.batch, head: current.head };
        self.store.finish(current.lease, commit).await?;
        drop(current.keeper);
        self.mirrors += 1;
        Ok(())
    }
}

fn cut_off(current: &Current) -> ImportError {
    ImportError::Malformed(format!("{} is cut off after {} entries", current.lease.mirror, current.entries))
}
