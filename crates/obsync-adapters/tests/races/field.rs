//! The stores that are raced on.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt};
use obsync_adapters::state::{DynamoState, SqliteState};
use obsync_core::clock::{Clock, SystemClock};
use obsync_core::state::{Commit, Entry, Head, Lease, MirrorId, StateError, StateStore};
use obsync_proto::VaultPath;
use obsync_testkit::dynamodb::{Answer, DirectDynamo};
use obsync_testkit::memory::MemoryState;
use serde_json::Value;
use tempfile::TempDir;

use crate::racer::Gate;
use crate::script::{Change, State, TTL, mirror};

/// One place that state is kept in.
#[async_trait]
pub(crate) trait Field: Send + Sync {
    /// The store as another process has it open, which waits at `gate` before each of its steps.
    async fn open(&self, gate: &Gate) -> Arc<dyn StateStore>;

    /// The store as one more process has it open, which does not wait.
    async fn open_freely(&self) -> Arc<dyn StateStore>;

    /// What lets all leases run out.
    fn expire(&self) -> Box<dyn Fn() + Send>;

    /// As long as it is the same, the state is; `None`: look.
    fn version(&self) -> Option<u64> {
        None
    }

    /// What is there that no run has a use for.
    fn leftovers(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A clock that is set by hand.
#[derive(Debug, Clone)]
struct Hand(Arc<AtomicI64>);

impl Hand {
    fn now() -> Self {
        Self(Arc::new(AtomicI64::new(SystemClock.unix_ms())))
    }

    fn expire(&self) -> Box<dyn Fn() + Send> {
        let hand = self.clone();
        Box::new(move || {
            hand.0.fetch_add(TTL.as_millis() as i64 + 1, Ordering::Relaxed);
        })
    }
}

impl Clock for Hand {
    fn unix_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A table. A step is a request.
pub(crate) struct Table {
    table: DirectDynamo,
    hand: Hand,
}

impl Table {
    pub(crate) async fn new() -> Self {
        Self { table: DirectDynamo::with_table("state").await, hand: Hand::now() }
    }
}

#[async_trait]
impl Field for Table {
    async fn open(&self, gate: &Gate) -> Arc<dyn StateStore> {
        let gate = gate.clone();
        let config = self.table.asking(move || {
            let gate = gate.clone();
            Box::pin(async move {
                gate.pass().await;
                if gate.is_answer_lost() { Answer::Lost } else { Answer::Given }
            })
        });
        Arc::new(DynamoState::new(&config, "state").with_default(|_| true).with_clock(self.hand.clone()))
    }

    async fn open_freely(&self) -> Arc<dyn StateStore> {
        Arc::new(
            DynamoState::new(&self.table.sdk_config(), "state").with_default(|_| true).with_clock(self.hand.clone()),
        )
    }

    fn expire(&self) -> Box<dyn Fn() + Send> {
        self.hand.expire()
    }

    /// Of all that is in the table but leases.
    fn version(&self) -> Option<u64> {
        let mut items = self.table.items("state");
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.retain(|name, _| !name.starts_with("lease_") && name != "leftovers");
        }
        let mut items: Vec<String> = items.iter().map(Value::to_string).collect();
        items.sort();
        let mut hasher = DefaultHasher::new();
        items.hash(&mut hasher);
        Some(hasher.finish())
    }

    /// Parts of other generations than the head's.
    fn leftovers(&self) -> Vec<String> {
        let items = self.table.items("state");
        let generation = items.iter().find_map(|item| item["generation"]["S"].as_str()).map(|name| format!("#{name}#"));
        let is_left = |item: &&Value| {
            let key = item["vault_id"]["S"].as_str().unwrap();
            let is_head = !item["lease_token"].is_null();
            let is_part = generation.as_ref().is_some_and(|name| key.contains(name) || key.ends_with("#parts"));
            !is_head && !is_part || !item["leftovers"].is_null()
        };
        items.iter().filter(is_left).map(|item| item["vault_id"].to_string()).collect()
    }
}

/// A file of SQLite's. A step is a call.
pub(crate) struct Database {
    folder: TempDir,
    hand: Hand,
}

impl Database {
    pub(crate) fn new() -> Self {
        // In memory, where there is such a place: these are no tests of a disk, and it would take most of their time.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self { folder: folder.unwrap(), hand: Hand::now() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state.sqlite")
    }
}

#[async_trait]
impl Field for Database {
    async fn open(&self, gate: &Gate) -> Arc<dyn StateStore> {
        Arc::new(Gated { store: self.open_freely().await, gate: gate.clone() })
    }

    async fn open_freely(&self) -> Arc<dyn StateStore> {
        Arc::new(SqliteState::open_with(self.path(), self.hand.clone(), Duration::from_secs(30)).await.unwrap())
    }

    fn expire(&self) -> Box<dyn Fn() + Send> {
        self.hand.expire()
    }
}

/// Memory. A step is a call.
#[async_trait]
impl Field for MemoryState {
    async fn open(&self, gate: &Gate) -> Arc<dyn StateStore> {
        Arc::new(Gated { store: self.open_freely().await, gate: gate.clone() })
    }

    async fn open_freely(&self) -> Arc<dyn StateStore> {
        Arc::new(self.clone())
    }

    fn expire(&self) -> Box<dyn Fn() + Send> {
        let store = self.clone();
        Box::new(move || store.expire_leases())
    }
}

/// A store that waits at a gate before each call.
struct Gated {
    store: Arc<dyn StateStore>,
    gate: Gate,
}

#[async_trait]
impl StateStore for Gated {
    async fn head(&self, mirror: &MirrorId) -> Result<Option<Head>, StateError> {
        self.gate.pass().await;
        self.store.head(mirror).await
    }

    async fn entries(&self, mirror: &MirrorId, paths: &[VaultPath]) -> Result<HashMap<VaultPath, Entry>, StateError> {
        self.gate.pass().await;
        self.store.entries(mirror, paths).await
    }

    fn scan<'a>(&'a self, mirror: &'a MirrorId) -> BoxStream<'a, Result<(VaultPath, Entry), StateError>> {
        futures_util::stream::once(self.gate.pass()).flat_map(move |()| self.store.scan(mirror)).boxed()
    }

    async fn lock(&self, mirror: &MirrorId, holder: &str, ttl: Duration) -> Result<(Lease, Option<Head>), StateError> {
        self.gate.pass().await;
        self.store.lock(mirror, holder, ttl).await
    }

    async fn renew(&self, lease: &Lease) -> Result<(), StateError> {
        self.gate.pass().await;
        self.store.renew(lease).await
    }

    async fn commit(&self, lease: &Lease, commit: Commit) -> Result<(), StateError> {
        self.gate.pass().await;
        self.store.commit(lease, commit).await
    }

    async fn finish(&self, lease: Lease, commit: Commit) -> Result<(), StateError> {
        self.gate.pass().await;
        self.store.finish(lease, commit).await
    }

    async fn unlock(&self, lease: Lease) -> Result<(), StateError> {
        self.gate.pass().await;
        self.store.unlock(lease).await
    }

    async fn reset(&self, lease: &Lease) -> Result<(), StateError> {
        self.gate.pass().await;
        self.store.reset(lease).await
    }

    async fn mirrors(&self) -> Result<Vec<(MirrorId, Head)>, StateError> {
        self.gate.pass().await;
        self.store.mirrors().await
    }
}

/// One more run: it finds what the last step left, takes away what no run has a use for, and can go on.
pub(crate) async fn is_left_in_order(field: &dyn Field, state: &State, token: u64) {
    field.expire()();
    let store = field.open_freely().await;
    let (lease, head) = store.lock(&mirror(), "the next run", TTL).await.unwrap();
    assert!(lease.token > token && head == state.head);
    let paths: Vec<VaultPath> = state.entries.keys().cloned().collect();
    assert!(store.entries(&mirror(), &paths).await.unwrap().into_iter().collect::<BTreeMap<_, _>>() == state.entries);
    let commit = Change::sets(0..3).commit(9_999);
    store.finish(lease, commit.clone()).await.unwrap();
    assert!(State::of(&*store).await == state.after(&commit));
    assert_eq!(field.leftovers(), [""; 0]);
}
