//! State in a table of AWS DynamoDB.
//!
//! A mirror is a head, which is one item, and the entries in shards (`dynamodb/item.rs` has the table). A run that
//! finds nothing new takes the lease and gives it back, which reads and writes the head: two requests. One that finds
//! changes reads the shards of their paths, and writes them together with the head.
//!
//! What keeps it right:
//! - **One writer.** Every write is a transaction, or an update, under the condition that the head has the lease's
//!   token.
//! - **Entries before the head.** A commit is one transaction, or, where it does not fit, several with the head in the
//!   last. The head says which version each shard has at least.
//! - **Noticed, not believed.** A shard that is missing, or older than the head says, or that does not unpack, is
//!   damage: the call fails, the head is marked, and the next run finds no head, compares everything and begins a new
//!   generation of shards, as it does for another layout.
//! - **The head expires first.** With a time to live `t`, a head has `t` from each write, and its parts three times
//!   that from theirs. Before a head would outlive a part, all parts are given new time. A head that has expired and
//!   is still there does not count.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use obsync_core::clock::{Clock, SystemClock};
use obsync_core::state::{Commit, Entry, Head, Lease, MirrorId, StateError, StateStore};
use obsync_proto::{VaultId, VaultPath};

mod commit;
mod item;
mod lease;
mod session;
mod table;

use super::packed::head::{self, Meta, Reading};
use super::packed::shard;
use item::Item;
use session::{Cache, Damage, Leases};
use table::{Change, Fault, Table};

/// Shards that [`StateStore::scan`] has in memory at a time.
const PAGE: u32 = 100;

/// How often to look again at a state that another run replaces while it is read.
const LOOKS: u32 = 5;

/// Tells whether a mirror is its vault's default one.
type IsDefault = Arc<dyn Fn(&MirrorId) -> bool + Send + Sync>;

/// State in a table. Clones are the same one.
#[derive(Clone)]
pub struct DynamoState {
    table: Table,
    is_default: IsDefault,
    ttl: Option<Duration>,
    clock: Arc<dyn Clock>,
    leases: Arc<Mutex<Leases>>,
}

impl fmt::Debug for DynamoState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoState").field("table", &self.table.name).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl DynamoState {
    /// The table of this name, reached as `config` says. Its partition key is the string `vault_id`, and it has no
    /// sort key. No request is made.
    pub fn new(config: &SdkConfig, table: impl Into<String>) -> Self {
        Self {
            table: Table { client: Client::new(config), name: table.into() },
            is_default: Arc::new(|_| false),
            ttl: None,
            clock: Arc::new(SystemClock),
            leases: Arc::default(),
        }
    }

    /// Which mirrors are their vaults' default ones: the head of such a one is the item with the vault's id. A mirror
    /// that has a state is found whatever is said here; programs that run at once on a mirror which has none yet must
    /// say the same.
    #[must_use]
    pub fn with_default(mut self, is_default: impl Fn(&MirrorId) -> bool + Send + Sync + 'static) -> Self {
        self.is_default = Arc::new(is_default);
        self
    }

    /// How long the state of a mirror is kept after its last run; forever where it is not said. The table's time to
    /// live has to be switched on for the attribute `ttl`.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Option<Duration>) -> Self {
        self.ttl = ttl;
        self
    }

    /// The clock that leases and states end by.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since 1970.
    fn now(&self) -> i64 {
        self.clock.unix_ms() / 1000
    }

    fn unusable(&self, message: impl Into<String>) -> StateError {
        StateError::Unusable { location: format!("dynamodb:{}", self.table.name), message: message.into() }
    }

    /// What a fault means that no condition was expected of.
    fn error(&self, fault: Fault) -> StateError {
        match fault {
            Fault::Refused(..) => self.unusable("an item was changed by another program"),
            Fault::Unusable(message) => self.unusable(message),
        }
    }

    /// Where the head of a mirror may be: first where it belongs, then where another program may have put it.
    fn keys(&self, mirror: &MirrorId) -> [String; 2] {
        let keys = [item::plain_key(mirror), item::hashed_key(mirror)];
        if (self.is_default)(mirror) {
            keys
        } else {
            keys.into_iter().rev().collect::<Vec<_>>().try_into().unwrap_or_default()
        }
    }

    fn read(&self, item: &Item, mirror: &MirrorId) -> Reading {
        item::read(item, Some(&mirror.destination), self.now())
    }

    /// The mirror's head, where there is one to be believed.
    async fn find(&self, mirror: &MirrorId) -> Result<Option<(String, Meta)>, Fault> {
        let mut damaged = None;
        for key in self.keys(mirror) {
            let Some(item) = self.table.get(&key).await? else { continue };
            match self.read(&item, mirror) {
                Reading::Good(meta) => return Ok(Some((key, *meta))),
                Reading::Unusable(why) => damaged = damaged.or(Some(why)),
                Reading::Nothing => {}
            }
        }
        if let Some(why) = damaged {
            warn(mirror, &why);
        }
        Ok(None)
    }

    /// The head with all its pending changes; `None` where they are damaged.
    async fn head_of(&self, key: &str, meta: &Meta) -> Result<Option<Head>, Fault> {
        let mut head = meta.state.head.clone();
        let Some(spill) = &meta.state.pending else { return Ok(Some(head)) };
        let keys = item::pending_keys(key, meta);
        let items = self.table.get_many(&keys).await?;
        let parts = keys.iter().map(|key| item::bytes(items.get(key)?, "pending"));
        let packed: Option<Vec<&[u8]>> = parts.collect();
        let pending = packed.and_then(|packed| head::read_pending(spill, &packed.concat()));
        Ok(pending.map(|pending| {
            head.pending = pending;
            head
        }))
    }

    /// Reads a head, and the same again where it was replaced meanwhile.
    async fn read_head(&self, mirror: &MirrorId) -> Result<Option<Head>, Fault> {
        let mut seen = None;
        loop {
            let Some((key, meta)) = self.find(mirror).await? else { return Ok(None) };
            if let Some(head) = self.head_of(&key, &meta).await? {
                return Ok(Some(head));
            }
            let now = (meta.state.generation.clone(), meta.state.pending.clone());
            if seen.as_ref() == Some(&now) {
                let _ = self.mark(&key, &meta, "its pending changes are damaged").await;
                warn(mirror, "its pending changes are damaged");
                return Ok(None);
            }
            seen = Some(now);
        }
    }

    /// Marks a head as not to be believed, as long as it is of this generation. Where that fails, the damage is found
    /// again.
    async fn mark(&self, key: &str, meta: &Meta, why: &str) -> Result<(), Fault> {
        let change = Change {
            key: key.to_owned(),
            set: vec![("damaged", item::s(why))],
            condition: "#generation = :seen",
            values: vec![("seen", item::s(&meta.state.generation))],
            ..Change::default()
        };
        let marked = self.table.update_quietly(&change).await;
        marked.inspect_err(|fault| tracing::warn!(key, ?fault, "a damaged state could not be marked"))
    }

    fn damaged(&self, mirror: &MirrorId, what: &str) -> StateError {
        self.unusable(format!(
            "the state of {mirror} is damaged ({what}); the next run compares everything and mends it"
        ))
    }

    /// Reads shards of whatever generation the head names, again where it is replaced meanwhile.
    async fn look<T>(
        &self,
        mirror: &MirrorId,
        wanted: impl Fn(&Meta) -> Vec<u32>,
        done: impl Fn(&str, &Meta, BTreeMap<u32, shard::Entries>) -> T,
    ) -> Result<Option<T>, StateError> {
        let mut seen: Option<String> = None;
        for _ in 0..LOOKS {
            let found = self.find(mirror).await.map_err(|fault| self.error(fault))?;
            let Some((key, meta)) = found else { return Ok(None) };
            let read = session::read(&self.table, &key, &meta, &wanted(&meta), &mut Cache::default()).await;
            match read.map_err(|fault| self.error(fault))? {
                Ok(packed) => {
                    let unpacked = session::unpack_all(&packed, &meta);
                    match unpacked {
                        Ok(entries) => return Ok(Some(done(&key, &meta, entries))),
                        Err(Damage(what)) => {
                            let _ = self.mark(&key, &meta, &what).await;
                            return Err(self.damaged(mirror, &what));
                        }
                    }
                }
                // Gone because there is a new generation? Then the head says so at the next look.
                Err(Damage(what)) if seen.as_ref() == Some(&meta.state.generation) => {
                    let _ = self.mark(&key, &meta, &what).await;
                    return Err(self.damaged(mirror, &what));
                }
                Err(Damage(_)) => seen = Some(meta.state.generation),
            }
        }
        Err(self.unusable(format!("the state of {mirror} changes faster than it can be read")))
    }

    /// Some entries, from the head that the lease was taken with and the shards that were read since; `None` where
    /// this store does not hold the lease, or something seems amiss.
    async fn entries_in_session(&self, mirror: &MirrorId, places: &[u64]) -> Option<BTreeMap<u32, shard::Entries>> {
        let now = self.clock.unix_ms();
        let mut session = self.leases().borrow(mirror, now)?;
        let entries = match &session.meta {
            None => Some(BTreeMap::new()),
            Some(meta) => {
                let wanted = shards_of(places, meta);
                let read = session::read(&self.table, &session.key, meta, &wanted, &mut session.cache).await;
                read.ok().and_then(Result::ok).and_then(|packed| session::unpack_all(&packed, meta).ok())
            }
        }?;
        self.leases().give_back(mirror, session);
        Some(entries)
    }

    /// The entries from `place` on, and the place behind them; `None`: there is no state. `known` is the head as the
    /// last page found it.
    async fn page(
        &self,
        mirror: &MirrorId,
        place: u128,
        known: Option<(String, Meta)>,
    ) -> Result<Option<(Vec<(VaultPath, Entry)>, Position)>, StateError> {
        let range = |meta: &Meta| {
            let first = shard::shard_of(u64::try_from(place).unwrap_or(u64::MAX), meta.state.shards);
            first..meta.state.shards.min(first + PAGE)
        };
        let wanted = |meta: &Meta| range(meta).collect::<Vec<u32>>();
        let mut found = None;
        if let Some((key, meta)) = known {
            let read = session::read(&self.table, &key, &meta, &wanted(&meta), &mut Cache::default()).await;
            let read = read.map_err(|fault| self.error(fault))?;
            let read = read.and_then(|packed| session::unpack_all(&packed, &meta)).ok();
            found = read.map(|shards| (shards, key, meta));
        }
        if found.is_none() {
            let look = self.look(mirror, wanted, |key, meta, shards| (shards, key.to_owned(), meta.clone()));
            found = look.await?;
        }
        Ok(found.map(|(shards, key, meta)| {
            let entries = shards.into_values().flatten();
            let entries = entries.filter(|(path, _)| u128::from(shard::place(path)) >= place).collect();
            let next = shard::first_place(range(&meta).end, meta.state.shards);
            (entries, (next, Some((key, meta))))
        }))
    }
}

/// How far a scan has come, and the head as it was found last.
type Position = (u128, Option<(String, Meta)>);

fn shards_of(places: &[u64], meta: &Meta) -> Vec<u32> {
    let shards: BTreeSet<u32> = places.iter().map(|place| shard::shard_of(*place, meta.state.shards)).collect();
    shards.into_iter().collect()
}

fn warn(mirror: &MirrorId, why: &str) {
    tracing::warn!(%mirror, why, "the state of this mirror is not used: this run compares everything");
}

/// A number that no other call gives, in any process: from the system's randomness.
fn unique() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[async_trait]
impl StateStore for DynamoState {
    async fn head(&self, mirror: &MirrorId) -> Result<Option<Head>, StateError> {
        self.read_head(mirror).await.map_err(|fault| self.error(fault))
    }

    async fn entries(&self, mirror: &MirrorId, paths: &[VaultPath]) -> Result<HashMap<VaultPath, Entry>, StateError> {
        let places: Vec<u64> = paths.iter().map(shard::place).collect();
        if paths.is_empty() {
            return Ok(HashMap::new());
        }
        let mut shards = match self.entries_in_session(mirror, &places).await {
            Some(shards) => shards,
            None => {
                self.look(mirror, |meta| shards_of(&places, meta), |_, _, shards| shards).await?.unwrap_or_default()
            }
        };
        let mut all = HashMap::new();
        let wanted: std::collections::HashSet<&VaultPath> = paths.iter().collect();
        while let Some((_, entries)) = shards.pop_first() {
            all.extend(entries.into_iter().filter(|(path, _)| wanted.contains(path)));
        }
        Ok(all)
    }

    fn scan<'a>(&'a self, mirror: &'a MirrorId) -> BoxStream<'a, Result<(VaultPath, Entry), StateError>> {
        let pages = stream::try_unfold((0, None), move |(place, known): Position| async move {
            if place > u128::from(u64::MAX) {
                return Ok(None);
            }
            let page = self.page(mirror, place, known).await?;
            Ok::<_, StateError>(page.map(|(entries, next)| (stream::iter(entries.into_iter().map(Ok)), next)))
        });
        pages.try_flatten().boxed()
    }

    fn place(&self, path: &VaultPath) -> u64 {
        shard::place(path)
    }

    async fn lock(&self, mirror: &MirrorId, holder: &str, ttl: Duration) -> Result<(Lease, Option<Head>), StateError> {
        self.take(mirror, holder, ttl).await
    }

    async fn renew(&self, lease: &Lease) -> Result<(), StateError> {
        self.prolong(lease).await
    }

    async fn commit(&self, lease: &Lease, commit: Commit) -> Result<(), StateError> {
        self.write(lease, commit, false).await
    }

    async fn finish(&self, lease: Lease, commit: Commit) -> Result<(), StateError> {
        self.write(&lease, commit, true).await
    }

    async fn unlock(&self, lease: Lease) -> Result<(), StateError> {
        self.let_go(&lease).await
    }

    async fn reset(&self, lease: &Lease) -> Result<(), StateError> {
        self.forget(lease).await
    }

    async fn mirrors(&self) -> Result<Vec<(MirrorId, Head)>, StateError> {
        let mut mirrors = Vec::new();
        for item in self.table.heads().await.map_err(|fault| self.error(fault))? {
            let Reading::Good(meta) = item::read(&item, None, self.now()) else { continue };
            let Some(key) = item::text(&item, item::KEY) else { continue };
            let vault = key.split('#').next().unwrap_or_default().to_owned();
            let Ok(vault) = VaultId::try_from(vault) else { continue };
            let mirror = MirrorId { vault, destination: meta.state.destination.clone() };
            if !self.keys(&mirror).iter().any(|own| own == key) {
                continue;
            }
            let head = match &meta.state.pending {
                None => Some(meta.state.head),
                Some(_) => self.read_head(&mirror).await.map_err(|fault| self.error(fault))?,
            };
            mirrors.extend(head.map(|head| (mirror, head)));
        }
        Ok(mirrors)
    }
}
