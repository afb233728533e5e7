//! [`MemoryState`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use obsync_core::state::{Commit, Entry, Head, Lease, MirrorId, StateError, StateStore};
use obsync_proto::VaultPath;
use tokio::time::Instant;

use crate::lock;

/// A state store in memory. Leases run out by tokio's clock, so that a test can pause and advance it.
#[derive(Debug, Clone, Default)]
pub struct MemoryState(Arc<Mutex<Shared>>);

/// How often a state store was asked for what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateCounts {
    /// Calls of `head`.
    pub heads: u64,
    /// Calls of `entries`.
    pub lookups: u64,
    /// Paths in them.
    pub looked_up: u64,
    /// Calls of `scan`.
    pub scans: u64,
    /// Calls of `lock`.
    pub locks: u64,
    /// Calls of `renew`.
    pub renewals: u64,
    /// Calls of `commit`.
    pub commits: u64,
    /// Calls of `finish`.
    pub finishes: u64,
    /// Entries set or forgotten by commits and finishes that were taken.
    pub entries_written: u64,
    /// Calls of `unlock`.
    pub unlocks: u64,
    /// Calls of `reset`.
    pub resets: u64,
    /// Calls of `mirrors`.
    pub mirrors: u64,
}

impl StateCounts {
    /// All calls.
    pub fn requests(&self) -> u64 {
        self.heads
            + self.lookups
            + self.scans
            + self.locks
            + self.renewals
            + self.commits
            + self.finishes
            + self.unlocks
            + self.resets
            + self.mirrors
    }
}

#[derive(Debug, Default)]
struct Shared {
    mirrors: HashMap<MirrorId, Mirror>,
    counts: StateCounts,
}

#[derive(Debug, Default)]
struct Mirror {
    head: Option<Head>,
    entries: BTreeMap<VaultPath, Entry>,
    holder: Option<Holder>,
    last_token: u64,
}

#[derive(Debug)]
struct Holder {
    name: String,
    token: u64,
    until: Instant,
}

impl MemoryState {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was asked for since the start or the last [`reset_counts`](Self::reset_counts).
    pub fn counts(&self) -> StateCounts {
        self.lock_all().counts
    }

    /// Counts from 0 again.
    pub fn reset_counts(&self) {
        self.lock_all().counts = StateCounts::default();
    }

    /// The head of a mirror, without counting.
    pub fn head_of(&self, mirror: &MirrorId) -> Option<Head> {
        self.lock_all().mirrors.get(mirror)?.head.clone()
    }

    /// The entries of a mirror, without counting.
    pub fn entries_of(&self, mirror: &MirrorId) -> BTreeMap<String, Entry> {
        let shared = self.lock_all();
        let entries = shared.mirrors.get(mirror).map(|m| &m.entries).into_iter().flatten();
        entries.map(|(path, entry)| (path.to_string(), entry.clone())).collect()
    }

    /// Who holds the lease of a mirror now.
    pub fn holder_of(&self, mirror: &MirrorId) -> Option<String> {
        let shared = self.lock_all();
        let holder = shared.mirrors.get(mirror)?.holder.as_ref()?;
        (holder.until > Instant::now()).then(|| holder.name.clone())
    }

    /// Loses heads, entries, leases and tokens of all mirrors.
    pub fn lose_everything(&self) {
        self.lock_all().mirrors.clear();
    }

    /// Loses the entries that `lost` names; how many.
    pub fn lose_entries(&self, mirror: &MirrorId, lost: impl Fn(&VaultPath, &Entry) -> bool) -> usize {
        self.tamper(mirror, |m| {
            let before = m.entries.len();
            m.entries.retain(|path, entry| !lost(path, entry));
            before - m.entries.len()
        })
    }

    /// Sets an entry behind obsync's back.
    pub fn put_entry(&self, mirror: &MirrorId, path: &str, entry: Entry) {
        let path = VaultPath::parse(path).unwrap();
        self.tamper(mirror, |m| m.entries.insert(path, entry));
    }

    /// Sets or loses the head behind obsync's back.
    pub fn put_head(&self, mirror: &MirrorId, head: Option<Head>) {
        self.tamper(mirror, |m| m.head = head);
    }

    /// Gives the lease to `thief`, as if the holder's had run out. The holder does not notice.
    pub fn steal(&self, mirror: &MirrorId, thief: &str, ttl: Duration) -> Lease {
        let token = self.tamper(mirror, |m| m.lease_to(thief, ttl));
        Lease { mirror: mirror.clone(), token, ttl }
    }

    /// Lets all leases run out now, as those of killed runs do in time.
    pub fn expire_leases(&self) {
        for mirror in self.lock_all().mirrors.values_mut() {
            if let Some(holder) = &mut mirror.holder {
                holder.until = Instant::now();
            }
        }
    }

    fn tamper<T>(&self, mirror: &MirrorId, change: impl FnOnce(&mut Mirror) -> T) -> T {
        change(self.lock_all().mirrors.entry(mirror.clone()).or_default())
    }

    fn lock_all(&self) -> MutexGuard<'_, Shared> {
        lock(&self.0)
    }

    /// Counts, then makes a change under a lease.
    fn under<T>(
        &self,
        lease: &Lease,
        count: impl FnOnce(&mut StateCounts),
        change: impl FnOnce(&mut Mirror) -> T,
    ) -> Result<T, StateError> {
        let mut shared = self.lock_all();
        count(&mut shared.counts);
        let mirror = shared.mirrors.get_mut(&lease.mirror).ok_or(StateError::Lost)?;
        if !mirror.is_held_by(lease) {
            return Err(StateError::Lost);
        }
        Ok(change(mirror))
    }
}

impl Mirror {
    fn is_held_by(&self, lease: &Lease) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.token == lease.token)
    }

    fn lease_to(&mut self, name: &str, ttl: Duration) -> u64 {
        self.last_token += 1;
        let until = Instant::now() + ttl;
        self.holder = Some(Holder { name: name.to_owned(), token: self.last_token, until });
        self.last_token
    }

    fn apply(&mut self, commit: Commit) {
        for (path, entry) in commit.entries {
            match entry {
                Some(entry) => self.entries.insert(path, entry),
                None => self.entries.remove(&path),
            };
        }
        self.head = Some(commit.head);
    }
}

#[async_trait]
impl StateStore for MemoryState {
    async fn head(&self, mirror: &MirrorId) -> Result<Option<Head>, StateError> {
        self.lock_all().counts.heads += 1;
        Ok(self.head_of(mirror))
    }

    async fn entries(&self, mirror: &MirrorId, paths: &[VaultPath]) -> Result<HashMap<VaultPath, Entry>, StateError> {
        let mut shared = self.lock_all();
        shared.counts.lookups += 1;
        shared.counts.looked_up += paths.len() as u64;
        let Some(found) = shared.mirrors.get(mirror) else { return Ok(HashMap::new()) };
        Ok(paths.iter().filter_map(|path| Some((path.clone(), found.entries.get(path)?.clone()))).collect())
    }

    fn scan<'a>(&'a self, mirror: &'a MirrorId) -> BoxStream<'a, Result<(VaultPath, Entry), StateError>> {
        let mut shared = self.lock_all();
        shared.counts.scans += 1;
        let entries = shared.mirrors.get(mirror).map(|m| m.entries.clone()).unwrap_or_default();
        stream::iter(entries.into_iter().map(Ok)).boxed()
    }

    async fn lock(&self, mirror: &MirrorId, holder: &str, ttl: Duration) -> Result<(Lease, Option<Head>), StateError> {
        let mut shared = self.lock_all();
        shared.counts.locks += 1;
        let found = shared.mirrors.entry(mirror.clone()).or_default();
        if let Some(other) = found.holder.as_ref().filter(|other| other.until > Instant::now()) {
            return Err(StateError::Held { holder: other.name.clone() });
        }
        let token = found.lease_to(holder, ttl);
        Ok((Lease { mirror: mirror.clone(), token, ttl }, found.head.clone()))
    }

    async fn renew(&self, lease: &Lease) -> Result<(), StateError> {
        self.under(
            lease,
            |counts| counts.renewals += 1,
            |mirror| {
                if let Some(holder) = &mut mirror.holder {
                    holder.until = Instant::now() + lease.ttl;
                }
            },
        )
    }

    async fn commit(&self, lease: &Lease, commit: Commit) -> Result<(), StateError> {
        let written = commit.entries.len() as u64;
        self.under(lease, |counts| counts.commits += 1, |mirror| mirror.apply(commit))?;
        self.lock_all().counts.entries_written += written;
        Ok(())
    }

    async fn finish(&self, lease: Lease, commit: Commit) -> Result<(), StateError> {
        let written = commit.entries.len() as u64;
        let change = |mirror: &mut Mirror| {
            mirror.apply(commit);
            mirror.holder = None;
        };
        self.under(&lease, |counts| counts.finishes += 1, change)?;
        self.lock_all().counts.entries_written += written;
        Ok(())
    }

    async fn unlock(&self, lease: Lease) -> Result<(), StateError> {
        // Not an error where it was lost.
        let _ = self.under(&lease, |counts| counts.unlocks += 1, |mirror| mirror.holder = None);
        Ok(())
    }

    async fn reset(&self, lease: &Lease) -> Result<(), StateError> {
        let change = |mirror: &mut Mirror| {
            mirror.head = None;
            mirror.entries.clear();
        };
        self.under(lease, |counts| counts.resets += 1, change)
    }

    async fn mirrors(&self) -> Result<Vec<(MirrorId, Head)>, StateError> {
        let mut shared = self.lock_all();
        shared.counts.mirrors += 1;
        Ok(shared.mirrors.iter().filter_map(|(id, mirror)| Some((id.clone(), mirror.head.clone()?))).collect())
    }
}
