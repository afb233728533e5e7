//! What a run did and has not recorded yet.

use std::collections::HashMap;
use std::time::Duration;

use obsync_proto::{Cursor, VaultPath};
use tokio::time::Instant;

use super::{Mirror, RunError};
use crate::state::{Commit, Entry, Head, Lease};

/// The most entries that wait for a commit, whatever the time.
const MOST_WAITING: usize = 2_000;

/// Collects changes of the state and commits them from time to time.
pub(super) struct Journal {
    /// The head as it was, with what changes during a run: the count of files.
    head: Head,
    waiting: HashMap<VaultPath, Option<Entry>>,
    /// A commit failed: what it held may not be recorded.
    broken: bool,
    every: Duration,
    last: Instant,
}

impl Journal {
    pub(super) fn new(head: Head, every: Duration) -> Self {
        Self { head, waiting: HashMap::new(), broken: false, every, last: Instant::now() }
    }

    /// Notes what is now at `path` (`None`: nothing), and what was known to be there.
    pub(super) fn note(&mut self, path: VaultPath, was: Option<&Entry>, is: Option<Entry>) {
        let is_file = |entry: Option<&Entry>| u64::from(matches!(entry, Some(Entry::File(_))));
        self.head.files = (self.head.files + is_file(is.as_ref())).saturating_sub(is_file(was));
        self.waiting.insert(path, is);
    }

    /// Files in the mirror now.
    pub(super) fn files(&self) -> u64 {
        self.head.files
    }

    /// Whether something that was noted may not be recorded.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Corrects the count of files, after all entries were counted.
    pub(super) fn set_files(&mut self, files: u64) {
        self.head.files = files;
    }

    /// The head as the last run left it, with the present count of files.
    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// From here on, whatever is recorded says that nothing of the vault has been listed under this filter and these
    /// keys: a run that takes over lists all of it.
    pub(super) fn begin_anew(&mut self, filter: &str, keys: String) {
        self.head.cursor = Cursor::START;
        filter.clone_into(&mut self.head.filter);
        self.head.keys = keys;
    }

    /// Records that a run is about to change the destination. Were the process to die then, the next run would find the
    /// head unfinished, and would believe no entry that the destination does not confirm.
    pub(super) async fn begin(&mut self, mirror: &Mirror, lease: &Lease) -> Result<(), RunError> {
        self.record(mirror, lease).await
    }

    /// When the next commit is due.
    pub(super) fn due(&self) -> Instant {
        if self.waiting.len() >= MOST_WAITING { self.last } else { self.last + self.every }
    }

    /// Commits if it is time.
    pub(super) async fn commit_if_due(&mut self, mirror: &Mirror, lease: &Lease) -> Result<(), RunError> {
        if Instant::now() >= self.due() { self.commit(mirror, lease).await } else { Ok(()) }
    }

    /// Commits what waits: the destination first, so that the state never knows of more than is there.
    pub(super) async fn commit(&mut self, mirror: &Mirror, lease: &Lease) -> Result<(), RunError> {
        self.last = Instant::now();
        if self.waiting.is_empty() { Ok(()) } else { self.record(mirror, lease).await }
    }

    async fn record(&mut self, mirror: &Mirror, lease: &Lease) -> Result<(), RunError> {
        if !self.waiting.is_empty() {
            mirror.blobs.sync().await?;
        }
        self.head.unfinished = true;
        let commit = Commit { entries: self.waiting.drain().collect(), head: self.head.clone() };
        let committed = mirror.state.commit(lease, commit).await;
        self.broken |= committed.is_err();
        committed?;
        self.last = Instant::now();
        Ok(())
    }

    /// Commits what waits together with the head of the finished run, and gives the lease back.
    pub(super) async fn finish(&mut self, mirror: &Mirror, lease: Lease, head: Head) -> Result<(), RunError> {
        if !self.waiting.is_empty() {
            mirror.blobs.sync().await?;
        }
        let commit = Commit { entries: self.waiting.drain().collect(), head };
        mirror.state.finish(lease, commit).await?;
        Ok(())
    }
}
