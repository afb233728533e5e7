//! What a store remembers while it holds a lease: the head, and the shards that it has read or written, packed.

use std::collections::{BTreeMap, HashMap};

use obsync_core::state::{Lease, MirrorId};

use super::item;
use super::table::{Fault, Table};
use crate::state::packed::head::Meta;
use crate::state::packed::shard::{self, Entries};

/// The most bytes of shards that are remembered; beyond, they are read again.
const MOST_CACHED: usize = 32 << 20;

/// What is wrong with a shard.
#[derive(Debug)]
pub(super) struct Damage(pub(super) String);

/// A shard as it stands in its item.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    pub(super) version: u64,
    /// `None`: there is no item, and need be none.
    pub(super) bytes: Option<Vec<u8>>,
}

/// Shards, packed.
#[derive(Debug, Default)]
pub(super) struct Cache {
    shards: HashMap<u32, Packed>,
    size: usize,
}

impl Cache {
    pub(super) fn put(&mut self, shard: u32, packed: Packed) {
        self.size += packed.bytes.as_ref().map_or(0, Vec::len);
        if self.size > MOST_CACHED {
            *self = Self::default();
            return;
        }
        if let Some(was) = self.shards.insert(shard, packed) {
            self.size -= was.bytes.map_or(0, |bytes| bytes.len());
        }
    }
}

/// What is known under a lease.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) key: String,
    pub(super) token: u64,
    /// `None`: no state that is believed; the next commit begins one.
    pub(super) meta: Option<Meta>,
    /// There may be parts of other generations.
    pub(super) leftovers: bool,
    pub(super) cache: Cache,
}

/// The leases that this store holds.
#[derive(Debug, Default)]
pub(super) struct Leases(HashMap<MirrorId, Held>);

#[derive(Debug)]
struct Held {
    key: String,
    token: u64,
    /// ms since 1970.
    until: i64,
    /// Away while it is used, and gone when that use was broken off.
    session: Option<Session>,
}

impl Leases {
    pub(super) fn add(&mut self, mirror: &MirrorId, session: Session, until: i64) {
        let (key, token) = (session.key.clone(), session.token);
        self.0.insert(mirror.clone(), Held { key, token, until, session: Some(session) });
    }

    pub(super) fn prolong(&mut self, lease: &Lease, until: i64) {
        if let Some(held) = self.0.get_mut(&lease.mirror).filter(|held| held.token == lease.token) {
            held.until = until;
        }
    }

    /// The session of a mirror for reading, while its lease has surely not run out.
    pub(super) fn borrow(&mut self, mirror: &MirrorId, now: i64) -> Option<Session> {
        self.0.get_mut(mirror).filter(|held| held.until > now)?.session.take()
    }

    /// The session of a lease for writing: the write itself proves that it is held.
    pub(super) fn take(&mut self, lease: &Lease) -> Option<Session> {
        self.0.get_mut(&lease.mirror).filter(|held| held.token == lease.token)?.session.take()
    }

    pub(super) fn give_back(&mut self, mirror: &MirrorId, session: Session) {
        if let Some(held) = self.0.get_mut(mirror).filter(|held| held.token == session.token) {
            held.session = Some(session);
        }
    }

    /// Where the head of a lease is, for leases of this store.
    pub(super) fn key(&self, lease: &Lease) -> Option<String> {
        self.0.get(&lease.mirror).filter(|held| held.token == lease.token).map(|held| held.key.clone())
    }

    pub(super) fn remove(&mut self, lease: &Lease) {
        if self.0.get(&lease.mirror).is_some_and(|held| held.token == lease.token) {
            self.0.remove(&lease.mirror);
        }
    }
}

/// Reads shards, from the cache as far as they are there.
pub(super) async fn read(
    table: &Table,
    head: &str,
    meta: &Meta,
    wanted: &[u32],
    cache: &mut Cache,
) -> Result<Result<BTreeMap<u32, Packed>, Damage>, Fault> {
    let mut found: BTreeMap<u32, Packed> =
        wanted.iter().filter_map(|shard| Some((*shard, cache.shards.get(shard)?.clone()))).collect();
    let missing: Vec<u32> = wanted.iter().copied().filter(|shard| !found.contains_key(shard)).collect();
    let key = |shard: u32| item::shard_key(head, &meta.state.generation, shard);
    let keys: Vec<String> = missing.iter().map(|shard| key(*shard)).collect();
    let items = table.get_many(&keys).await?;
    for (shard, key) in missing.into_iter().zip(keys) {
        let least = meta.version(shard);
        let packed = match items.get(&key) {
            None if least == 0 => Packed { version: 0, bytes: None },
            None => return Ok(Err(Damage(format!("shard {shard} of {} is missing", meta.state.shards)))),
            Some(item) => {
                let version = item::number(item, "version").and_then(|version| u64::try_from(version).ok());
                let version = version.filter(|version| *version >= least);
                match (version, item::bytes(item, "entries")) {
                    (Some(version), Some(bytes)) => Packed { version, bytes: Some(bytes.to_vec()) },
                    _ => return Ok(Err(Damage(format!("shard {shard} of {} is an old one", meta.state.shards)))),
                }
            }
        };
        cache.put(shard, packed.clone());
        found.insert(shard, packed);
    }
    Ok(Ok(found))
}

pub(super) fn unpack(packed: &Packed, shard: u32, meta: &Meta) -> Result<Entries, Damage> {
    let Some(bytes) = &packed.bytes else { return Ok(Entries::new()) };
    let shards = meta.state.shards;
    shard::unpack(bytes, shard, shards).ok_or_else(|| Damage(format!("shard {shard} of {shards} cannot be read")))
}

pub(super) fn unpack_all(packed: &BTreeMap<u32, Packed>, meta: &Meta) -> Result<BTreeMap<u32, Entries>, Damage> {
    packed.iter().map(|(shard, packed)| Ok((*shard, unpack(packed, *shard, meta)?))).collect()
}
