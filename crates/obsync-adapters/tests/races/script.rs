//! What a client of a state store does.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use obsync_core::blob::Stamp;
use obsync_core::state::{Commit, Entry, FileEntry, Head, Lease, MirrorId, Pending, StateError, StateStore};
use obsync_proto::wire::Record;
use obsync_proto::{ContentHash, Cursor, Uid, VaultPath};

use crate::racer::Gate;

/// How long a lease holds.
pub(crate) const TTL: Duration = Duration::from_secs(60);

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Lock,
    Commit(Change),
    Renew,
    Finish(Change),
    Unlock,
    Reset,
    Head,
    Scan,
}

/// What a commit changes. Each sets another head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) sets: Range<u64>,
    pub(crate) forgets: Range<u64>,
    /// There are pending changes, more than a head in a table has room for.
    pub(crate) spills: bool,
}

impl Change {
    pub(crate) fn sets(sets: Range<u64>) -> Self {
        Self { sets, ..Self::default() }
    }

    /// As `author` makes it, who never makes it twice.
    pub(crate) fn commit(&self, author: u64) -> Commit {
        let set = self.sets.clone().map(|n| (nth(n), Some(file(author))));
        let forgotten = self.forgets.clone().map(|n| (nth(n), None));
        let pending = self.spills.then(|| {
            let record = Record {
                uid: Uid(author),
                path: String::new(),
                hash: String::new(),
                size: 0,
                ctime: 0,
                mtime: 0,
                folder: false,
                deleted: false,
                device: String::new(),
                user: 0,
                relatedpath: None,
            };
            Pending { name: "spilled".to_owned(), record, error: "too long ".repeat(3_000) }
        });
        let head = Head { cursor: Cursor(author), pending: pending.into_iter().collect(), ..Head::default() };
        Commit { entries: set.chain(forgotten).collect(), head }
    }
}

pub(crate) fn mirror() -> MirrorId {
    MirrorId { vault: "b3f1c2d4e5a697880123456789abcdef".parse().unwrap(), destination: "s3://bucket/Notes".to_owned() }
}

fn nth(n: u64) -> VaultPath {
    VaultPath::parse(format!("Notes/{n}.md")).unwrap()
}

fn file(uid: u64) -> Entry {
    let (hash, stamp) = (ContentHash::of(&uid.to_be_bytes()), Stamp(uid.to_string().into()));
    Entry::File(FileEntry { uid: Uid(uid), hash, size: uid, mtime: 1, ctime: 1, stamp })
}

/// What a store holds of the mirror.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) head: Option<Head>,
    pub(crate) entries: BTreeMap<VaultPath, Entry>,
}

impl State {
    /// As it is between two steps.
    pub(crate) async fn of(store: &dyn StateStore) -> Self {
        let head = store.head(&mirror()).await.unwrap();
        Self { head, entries: scan(store).await.unwrap() }
    }

    /// With this commit made.
    pub(crate) fn after(&self, commit: &Commit) -> Self {
        let mut entries = self.entries.clone();
        for (path, entry) in &commit.entries {
            match entry {
                Some(entry) => entries.insert(path.clone(), entry.clone()),
                None => entries.remove(path),
            };
        }
        Self { head: Some(commit.head.clone()), entries }
    }
}

pub(crate) async fn scan(store: &dyn StateStore) -> Result<BTreeMap<VaultPath, Entry>, StateError> {
    store.scan(&mirror()).try_collect().await
}

/// A call that is under way or has come to its end.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) client: usize,
    /// A number that no other call has.
    pub(crate) id: u64,
    pub(crate) step: Step,
    /// Of the lease that it is made under.
    pub(crate) token: Option<u64>,
    /// How many steps had been taken when it began, with the one that it began in.
    pub(crate) began: usize,
}

impl Call {
    /// What it is to write.
    pub(crate) fn commit(&self) -> Option<Commit> {
        match &self.step {
            Step::Commit(change) | Step::Finish(change) => Some(change.commit(self.id)),
            _ => None,
        }
    }
}

/// What came of a call.
#[derive(Debug)]
pub(crate) enum Got {
    Done,
    Locked(Lease, Option<Head>),
    Head(Option<Head>),
    Entries(BTreeMap<VaultPath, Entry>),
    Failed(StateError),
}

/// What clients tell of themselves. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Notes>>);

#[derive(Default)]
pub(crate) struct Notes {
    /// Steps that have been taken, by anyone, with the one that is being taken.
    pub(crate) steps: usize,
    /// The call that each client makes.
    pub(crate) doing: BTreeMap<usize, Call>,
    /// What came of calls, since it was last looked at.
    pub(crate) results: Vec<(Call, Got)>,
}

impl Log {
    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the calls of a script. A lease that was lost is used on, as by a run that has not noticed; without one, what
/// needs one is left out. To begin with a lock takes a turn at `gate`: what a client takes for the time of day is then that
/// of its turn, and not that of the race's beginning, when no lease had run out yet.
pub(crate) async fn play(client: usize, store: Arc<dyn StateStore>, gate: Gate, script: Vec<Step>, log: Log) {
    let mut lease: Option<Lease> = None;
    for (number, step) in script.into_iter().enumerate() {
        if lease.is_none() && !matches!(step, Step::Lock | Step::Head | Step::Scan) {
            continue;
        }
        if step == Step::Lock {
            gate.pass().await;
        }
        let call = {
            let mut notes = log.notes();
            let (id, token) = ((client * 100 + number + 1) as u64, lease.as_ref().map(|lease| lease.token));
            let call = Call { client, id, step, token, began: notes.steps };
            notes.doing.insert(client, call.clone());
            call
        };
        let got = make(&*store, &call, &mut lease).await.unwrap_or_else(Got::Failed);
        let mut notes = log.notes();
        notes.results.push((call, got));
    }
}

async fn make(store: &dyn StateStore, call: &Call, lease: &mut Option<Lease>) -> Result<Got, StateError> {
    let commit = call.commit().unwrap_or_default();
    match (&call.step, &mut *lease) {
        (Step::Lock, _) => {
            let (taken, head) = store.lock(&mirror(), &call.client.to_string(), TTL).await?;
            *lease = Some(taken.clone());
            return Ok(Got::Locked(taken, head));
        }
        (Step::Head, _) => return Ok(Got::Head(store.head(&mirror()).await?)),
        (Step::Scan, _) => return Ok(Got::Entries(scan(store).await?)),
        (Step::Commit(_), Some(lease)) => store.commit(lease, commit).await?,
        (Step::Renew, Some(lease)) => store.renew(lease).await?,
        (Step::Reset, Some(lease)) => store.reset(lease).await?,
        (Step::Finish(_), lease) => {
            if let Some(lease) = lease.take() {
                store.finish(lease, commit).await?;
            }
        }
        (Step::Unlock, lease) => {
            if let Some(lease) = lease.take() {
                store.unlock(lease).await?;
            }
        }
        (Step::Commit(_) | Step::Renew | Step::Reset, None) => {}
    }
    Ok(Got::Done)
}
