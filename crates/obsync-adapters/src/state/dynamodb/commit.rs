//! Writing: changed shards with the head, or a new generation of shards.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::TransactWriteItem;
use obsync_core::state::{Commit, Entry, Head, Lease, StateError};
use obsync_proto::VaultPath;

use super::item::{self, Item};
use super::lease::{LEASE, held};
use super::session::{self, Cache, Damage, Packed, Session};
use super::table::{Change, Fault, READS_AT_ONCE, Table, WRITES_AT_ONCE};
use super::{DynamoState, unique};
use crate::state::packed::head::{self, Generation, MOST_SHARDS, Meta, Spill};
use crate::state::packed::shard::{self, Entries};

/// Entries to a shard when a generation begins: about 3 KB.
const FEW: u64 = 32;

/// Entries to a shard, on average, when the next generation is due: about 6 KB. One changed file is read and written
/// with its whole shard.
const MANY: u64 = 64;

/// The same in the midst and at the end of a run, which may be in a hurry then: a next generation takes as long as there
/// are shards. The commit without entries with which the next run begins has the time for it.
const TOO_MANY: u64 = 256;

/// The largest that a shard may be, however few its entries; half of what a generation may begin with. (AWS: an item
/// has at most 400 KB.)
const LARGE: usize = 120 << 10;

/// Bytes that go into one transaction. (AWS: 4 MB.)
const TRANSACTION: usize = 3 << 20;

/// The most bytes of pending changes that stand in the head: it is read and written by every run.
const PENDING_IN_HEAD: usize = 16 << 10;

/// Bytes of pending changes in one item.
const PENDING_PART: usize = 350 << 10;

/// Parts of pending changes that are looked for in a generation that is to be deleted.
const PENDING_PARTS: u32 = 8;

/// Parts live longer than their head by this factor.
const PARTS_LIVE: u32 = 3;

/// A row of writes in as few transactions as they fit in, each under the condition that the lease is held.
struct Writer<'a> {
    table: &'a Table,
    guard: TransactWriteItem,
    waiting: Vec<TransactWriteItem>,
    size: usize,
}

impl<'a> Writer<'a> {
    fn new(table: &'a Table, key: &str, lease: &Lease) -> Result<Self, Fault> {
        Ok(Self { table, guard: table.check(&held(key, lease))?, waiting: Vec::new(), size: 0 })
    }

    /// `size`: bytes that it adds to the transaction, about.
    async fn add(&mut self, write: TransactWriteItem, size: usize) -> Result<(), Fault> {
        self.make_room(1, size).await?;
        self.waiting.push(write);
        self.size += size;
        Ok(())
    }

    async fn make_room(&mut self, writes: usize, size: usize) -> Result<(), Fault> {
        if self.waiting.len() + writes >= WRITES_AT_ONCE || self.size + size > TRANSACTION {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        self.size = 0;
        let mut writes = std::mem::take(&mut self.waiting);
        if writes.is_empty() {
            return Ok(());
        }
        writes.insert(0, self.guard.clone());
        self.table.write(writes).await
    }

    /// Writes the rest together with the head.
    async fn end(mut self, head: &Change) -> Result<(), Fault> {
        let done = if self.waiting.is_empty() {
            self.table.update_quietly(head).await
        } else {
            self.waiting.insert(0, head.in_transaction(self.table)?);
            self.table.write(self.waiting).await
        };
        match done {
            // Made already, and the answer was lost.
            Err(Fault::Refused(0, item)) if is_own(&item, head) => Ok(()),
            other => other,
        }
    }
}

fn is_own(item: &Item, change: &Change) -> bool {
    let own = change.set.iter().find(|(name, _)| *name == "written").map(|(_, value)| value);
    own.is_some() && item.get("written") == own
}

/// Shards as a commit changes them.
#[derive(Default)]
struct Changed {
    shards: BTreeMap<u32, Packed>,
    added: u64,
    removed: u64,
    largest: usize,
}

/// A generation that is being written.
struct Build {
    meta: Meta,
    cache: Cache,
}

impl DynamoState {
    pub(super) async fn write(&self, lease: &Lease, commit: Commit, release: bool) -> Result<(), StateError> {
        let done = self.write_in_session(lease, commit, release).await;
        if matches!((&done, release), (Ok(()), true) | (Err(StateError::Lost), _)) {
            self.leases().remove(lease);
        }
        done
    }

    /// A session that meets a fault is forgotten, and read anew by the next call.
    async fn write_in_session(&self, lease: &Lease, commit: Commit, release: bool) -> Result<(), StateError> {
        let mut session = self.session(lease).await?;
        if session.leftovers {
            self.clean(&mut session, lease, &[]).await.map_err(|fault| self.lost(fault))?;
        }
        let Commit { entries, head } = commit;
        let many = if entries.is_empty() && !release { MANY } else { TOO_MANY };
        match session.meta.clone() {
            None => self.begin_generation(&mut session, lease, entries, &head, release).await?,
            Some(mut meta) => {
                let changed = self.change(&mut session, &meta, lease, entries).await?;
                meta.state.entries = meta.state.entries.saturating_add(changed.added).saturating_sub(changed.removed);
                if meta.state.entries > many * u64::from(meta.state.shards) || changed.largest > LARGE {
                    self.grow(&mut session, &meta, lease, &changed, &head, release).await?;
                } else {
                    self.refresh(&session, &mut meta, lease).await?;
                    let done = self.put_changed(&mut session, meta, lease, changed, &head, release).await;
                    done.map_err(|fault| self.lost(fault))?;
                }
            }
        }
        self.leases().give_back(&lease.mirror, session);
        Ok(())
    }

    /// Applies changes to the shards that they are in.
    async fn change(
        &self,
        session: &mut Session,
        meta: &Meta,
        lease: &Lease,
        entries: Vec<(VaultPath, Option<Entry>)>,
    ) -> Result<Changed, StateError> {
        let mut by_shard: BTreeMap<u32, Vec<(VaultPath, Option<Entry>)>> = BTreeMap::new();
        for (path, entry) in entries {
            let shard = shard::shard_of(shard::place(&path), meta.state.shards);
            by_shard.entry(shard).or_default().push((path, entry));
        }
        let mut changed = Changed::default();
        let shards: Vec<u32> = by_shard.keys().copied().collect();
        for page in shards.chunks(READS_AT_ONCE) {
            let read = session::read(&self.table, &session.key, meta, page, &mut session.cache).await;
            let packed = match read.map_err(|fault| self.error(fault))? {
                Ok(packed) => packed,
                Err(damage) => return Err(self.amiss(session, meta, lease, damage).await),
            };
            for (shard, packed) in packed {
                let mut entries = match session::unpack(&packed, shard, meta) {
                    Ok(entries) => entries,
                    Err(damage) => return Err(self.amiss(session, meta, lease, damage).await),
                };
                let before = entries.clone();
                apply(&mut entries, by_shard.remove(&shard).unwrap_or_default());
                if entries == before {
                    continue;
                }
                changed.added += entries.len() as u64;
                changed.removed += before.len() as u64;
                let bytes = shard::pack(&entries);
                changed.largest = changed.largest.max(bytes.len());
                let version = packed.version.max(meta.version(shard)) + 1;
                changed.shards.insert(shard, Packed { version, bytes: Some(bytes) });
            }
        }
        Ok(changed)
    }

    /// What to make of damage under a lease: another run has replaced the state, or it is so.
    async fn amiss(&self, session: &Session, meta: &Meta, lease: &Lease, damage: Damage) -> StateError {
        match self.mark(&session.key, meta, &damage.0).await {
            Err(Fault::Refused(..)) => StateError::Lost,
            _ => self.damaged(&lease.mirror, &damage.0),
        }
    }

    async fn put_changed(
        &self,
        session: &mut Session,
        mut meta: Meta,
        lease: &Lease,
        changed: Changed,
        head: &Head,
        release: bool,
    ) -> Result<(), Fault> {
        let mut writer = Writer::new(&self.table, &session.key, lease)?;
        for (shard, packed) in changed.shards {
            self.put_shard(&mut writer, &session.key, &meta, shard, &packed).await?;
            meta.versions[shard as usize] = packed.version;
            session.cache.put(shard, packed);
        }
        self.put_head(writer, session, meta, lease, head, Switch { generation: false, leftovers: false, release }).await
    }

    async fn put_shard(
        &self,
        writer: &mut Writer<'_>,
        head: &str,
        meta: &Meta,
        shard: u32,
        packed: &Packed,
    ) -> Result<(), Fault> {
        let Some(bytes) = &packed.bytes else { return Ok(()) };
        let key = item::shard_key(head, &meta.state.generation, shard);
        let size = key.len() + bytes.len() + 64;
        let part =
            [("version".to_owned(), item::n(packed.version)), ("entries".to_owned(), item::b(bytes.clone()))].into();
        writer.add(self.put_part(&key, meta, part)?, size).await
    }

    fn put_part(&self, key: &str, meta: &Meta, mut part: Item) -> Result<TransactWriteItem, Fault> {
        part.extend(item::key(key));
        part.extend(self.parts_ttl(meta).map(|ttl| ("ttl".to_owned(), item::n(ttl))));
        self.table.put(part)
    }

    /// When a part that is written now expires: no sooner than its head believes.
    fn parts_ttl(&self, meta: &Meta) -> Option<i64> {
        let until = self.parts_until()?;
        meta.state.parts_until.map(|believed| until.max(believed))
    }

    fn parts_until(&self) -> Option<i64> {
        self.ttl.map(|ttl| self.now().saturating_add(seconds(ttl.saturating_mul(PARTS_LIVE))))
    }

    fn head_until(&self) -> Option<i64> {
        self.ttl.map(|ttl| self.now().saturating_add(seconds(ttl)))
    }

    /// Writes what waits, and the head with or after it.
    async fn put_head(
        &self,
        mut writer: Writer<'_>,
        session: &mut Session,
        mut meta: Meta,
        lease: &Lease,
        head: &Head,
        switch: Switch,
    ) -> Result<(), Fault> {
        let gone = self.put_pending(&mut writer, &session.key, &mut meta, head).await?;
        writer.make_room(gone.len(), 0).await?;
        for key in gone {
            writer.waiting.push(self.table.delete(&key)?);
        }
        let change = self.head_change(&session.key, &meta, lease, head, switch)?;
        writer.end(&change).await?;
        session.meta = Some(meta);
        session.leftovers = switch.leftovers;
        Ok(())
    }

    /// Takes pending changes out of the head where they are many; gives the items that become useless with it.
    async fn put_pending(
        &self,
        writer: &mut Writer<'_>,
        key: &str,
        meta: &mut Meta,
        head: &Head,
    ) -> Result<Vec<String>, Fault> {
        meta.state.head = head.clone();
        let old = item::pending_keys(key, meta);
        let text = serde_json::to_vec(&head.pending).map_err(|e| Fault::Unusable(e.to_string()))?;
        if text.len() <= PENDING_IN_HEAD {
            meta.state.pending = None;
            return Ok(old);
        }
        meta.state.head.pending = Vec::new();
        let check = head::check(&text);
        if meta.state.pending.as_ref().is_some_and(|spill| spill.check == check) {
            return Ok(Vec::new());
        }
        let packed = shard::pack_bytes(&text);
        let slot = meta.state.pending.as_ref().map_or(0, |spill| 1 - spill.slot.min(1));
        let mut parts = 0;
        for chunk in packed.chunks(PENDING_PART) {
            let key = item::pending_key(key, &meta.state.generation, slot, parts);
            let part = [("pending".to_owned(), item::b(chunk.to_vec()))].into();
            writer.add(self.put_part(&key, meta, part)?, key.len() + chunk.len() + 64).await?;
            parts += 1;
        }
        meta.state.pending = Some(Spill { slot, parts, check });
        Ok(old)
    }

    fn head_change(&self, key: &str, meta: &Meta, lease: &Lease, head: &Head, switch: Switch) -> Result<Change, Fault> {
        let state = serde_json::to_string(&meta.state).map_err(|e| Fault::Unusable(e.to_string()))?;
        let mut change = held(key, lease);
        change.set = vec![
            ("state", item::s(state)),
            ("version", item::n(head.cursor.0)),
            ("updated_at", item::n(self.now())),
            ("generation", item::s(&meta.state.generation)),
            ("versions", item::b(head::pack_versions(&meta.versions))),
            ("written", item::s(format!("{:016x}", unique()))),
        ];
        match self.head_until() {
            Some(ttl) => change.set.push(("ttl", item::n(ttl))),
            None => change.remove.push("ttl"),
        }
        if switch.generation {
            change.remove.push("damaged");
            if !switch.leftovers {
                change.remove.push("leftovers");
            }
        }
        if switch.release {
            change.remove.extend(LEASE);
        }
        Ok(change)
    }

    /// Gives all parts new time where the head would outlive one of them.
    async fn refresh(&self, session: &Session, meta: &mut Meta, lease: &Lease) -> Result<(), StateError> {
        let until = self.parts_until();
        match (self.head_until(), meta.state.parts_until) {
            (None, None) => return Ok(()),
            (Some(head), Some(parts)) if head <= parts => return Ok(()),
            _ => {}
        }
        let key = &session.key;
        let written = (0..meta.state.shards).filter(|shard| meta.version(*shard) > 0);
        let mut keys: Vec<String> = written.map(|shard| item::shard_key(key, &meta.state.generation, shard)).collect();
        keys.extend(item::pending_keys(key, meta));
        keys.push(item::parts_key(key));
        match self.refresh_parts(key, lease, keys, until).await {
            Ok(()) => {
                meta.state.parts_until = until;
                Ok(())
            }
            // All but the first condition say that the part is there.
            Err(Fault::Refused(1.., _)) => {
                Err(self.amiss(session, meta, lease, Damage("a part is missing".to_owned())).await)
            }
            Err(fault) => Err(self.lost(fault)),
        }
    }

    async fn refresh_parts(
        &self,
        key: &str,
        lease: &Lease,
        parts: Vec<String>,
        until: Option<i64>,
    ) -> Result<(), Fault> {
        let mut writer = Writer::new(&self.table, key, lease)?;
        for part in parts {
            let change = Change { key: part, condition: "attribute_exists(#vault_id)", ..Change::default() };
            let change = match until {
                Some(until) => Change { set: vec![("ttl", item::n(until))], ..change },
                None => Change { remove: vec!["ttl"], ..change },
            };
            writer.add(change.in_transaction(&self.table)?, LARGE / 8).await?;
        }
        writer.flush().await
    }

    /// Begins a mirror's state, or begins it anew.
    async fn begin_generation(
        &self,
        session: &mut Session,
        lease: &Lease,
        entries: Vec<(VaultPath, Option<Entry>)>,
        head: &Head,
        release: bool,
    ) -> Result<(), StateError> {
        let entries: Entries = entries.into_iter().filter_map(|(path, entry)| Some((path, entry?))).collect();
        let mut shards = u32::try_from(entries.len() as u64 / FEW + 1).unwrap_or(MOST_SHARDS).min(MOST_SHARDS);
        let packed = loop {
            let packed = split(&entries, shards, 0..shards);
            let largest = packed.values().map(|(bytes, _)| bytes.len()).max().unwrap_or_default();
            if largest <= LARGE / 2 || u64::from(shards) > entries.len() as u64 || shards > MOST_SHARDS / 2 {
                break packed;
            }
            shards *= 2;
        };
        let work = async {
            let (mut build, cleaning) = self.announce(session, lease, shards).await?;
            let mut writer = Writer::new(&self.table, &session.key, lease)?;
            self.put_built(&mut writer, &session.key, &mut build, packed).await?;
            self.switch(writer, session, build, lease, head, cleaning, release).await
        };
        work.await.map_err(|fault| self.lost(fault))
    }

    /// Writes the state with more shards, each old one split into as many new ones.
    async fn grow(
        &self,
        session: &mut Session,
        old: &Meta,
        lease: &Lease,
        changed: &Changed,
        head: &Head,
        release: bool,
    ) -> Result<(), StateError> {
        let by_count = old.state.entries.div_ceil(FEW * u64::from(old.state.shards));
        let by_size = (changed.largest * 2).div_ceil(LARGE) as u64;
        // Rounded down: shards need not be as small as in a mirror that is begun with as many entries.
        let factor =
            by_count.max(by_size).checked_ilog2().map_or(1, |log| 1_u32.checked_shl(log).unwrap_or(u32::MAX)).max(2);
        let shards = old.state.shards.checked_mul(factor).filter(|shards| *shards <= MOST_SHARDS);
        let Some(shards) = shards else {
            return Err(self.unusable("the mirror has too many entries"));
        };
        let announced = self.announce(session, lease, shards).await;
        let (mut build, _) = announced.map_err(|fault| self.lost(fault))?;
        let mut writer = Writer::new(&self.table, &session.key, lease).map_err(|fault| self.error(fault))?;
        let all: Vec<u32> = (0..old.state.shards).collect();
        for page in all.chunks(READS_AT_ONCE / 2) {
            let unchanged: Vec<u32> = page.iter().copied().filter(|s| !changed.shards.contains_key(s)).collect();
            let read = session::read(&self.table, &session.key, old, &unchanged, &mut session.cache).await;
            let read = match read.map_err(|fault| self.error(fault))? {
                Ok(read) => read,
                Err(damage) => return Err(self.amiss(session, old, lease, damage).await),
            };
            for shard in page {
                let Some(packed) = changed.shards.get(shard).or_else(|| read.get(shard)) else { continue };
                let entries = match session::unpack(packed, *shard, old) {
                    Ok(entries) => entries,
                    Err(damage) => return Err(self.amiss(session, old, lease, damage).await),
                };
                let split = split(&entries, shards, shard * factor..(shard + 1) * factor);
                let put = self.put_built(&mut writer, &session.key, &mut build, split).await;
                put.map_err(|fault| self.lost(fault))?;
            }
        }
        let done = self.switch(writer, session, build, lease, head, true, release).await;
        done.map_err(|fault| self.lost(fault))
    }

    /// Begins a generation, and notes its name, so that its parts can be found whatever becomes of the head. Tells
    /// whether there may be others.
    async fn announce(&self, session: &mut Session, lease: &Lease, shards: u32) -> Result<(Build, bool), Fault> {
        let generation = format!("{:x}-{:08x}", lease.token, unique() & 0xffff_ffff);
        let meta = Meta::begin(&lease.mirror, generation.clone(), shards, self.parts_until());
        let mut generations = self.generations(&session.key).await?;
        generations.extend(session.meta.as_ref().map(generation_of));
        let others = !generations.is_empty();
        generations.push(Generation { generation, shards });
        let guard = Change { set: vec![("leftovers", item::n(1))], ..held(&session.key, lease) };
        let list = self.put_generations(&session.key, &generations, &meta)?;
        self.table.write(vec![guard.in_transaction(&self.table)?, list]).await?;
        session.leftovers = true;
        Ok((Build { meta, cache: Cache::default() }, others))
    }

    async fn put_built(
        &self,
        writer: &mut Writer<'_>,
        key: &str,
        build: &mut Build,
        shards: BTreeMap<u32, (Vec<u8>, u64)>,
    ) -> Result<(), Fault> {
        for (shard, (bytes, count)) in shards {
            let packed = Packed { version: 1, bytes: Some(bytes) };
            self.put_shard(writer, key, &build.meta, shard, &packed).await?;
            build.meta.versions[shard as usize] = 1;
            build.meta.state.entries += count;
            build.cache.put(shard, packed);
        }
        Ok(())
    }

    /// Lets the head name the new generation, and deletes the old ones.
    #[allow(clippy::too_many_arguments, reason = "one step of two callers")]
    async fn switch(
        &self,
        writer: Writer<'_>,
        session: &mut Session,
        build: Build,
        lease: &Lease,
        head: &Head,
        cleaning: bool,
        release: bool,
    ) -> Result<(), Fault> {
        let switch = Switch { generation: true, leftovers: cleaning, release: release && !cleaning };
        self.put_head(writer, session, build.meta, lease, head, switch).await?;
        session.cache = build.cache;
        if !cleaning {
            return Ok(());
        }
        self.clean_after(session, lease, &[]).await?;
        if release {
            let change = Change { remove: LEASE.to_vec(), ..held(&session.key, lease) };
            match self.table.update_quietly(&change).await {
                // All is written: whoever has the lease now found it so.
                Ok(()) | Err(Fault::Refused(..)) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// The generations that there may be parts of.
    async fn generations(&self, key: &str) -> Result<Vec<Generation>, Fault> {
        let item = self.table.get(&item::parts_key(key)).await?.unwrap_or_default();
        Ok(item::text(&item, "generations").map(head::read_generations).unwrap_or_default())
    }

    fn put_generations(&self, key: &str, list: &[Generation], meta: &Meta) -> Result<TransactWriteItem, Fault> {
        let text = serde_json::to_string(list).map_err(|e| Fault::Unusable(e.to_string()))?;
        self.put_part(&item::parts_key(key), meta, [("generations".to_owned(), item::s(text))].into())
    }

    /// Cleans up after all that matters is written. That is no failure where the lease was lost meanwhile: whoever took it
    /// cleans up.
    async fn clean_after(&self, session: &mut Session, lease: &Lease, more: &[Generation]) -> Result<(), Fault> {
        match self.clean(session, lease, more).await {
            Err(Fault::Refused(..)) => Ok(()),
            done => done,
        }
    }

    /// Deletes the parts of all generations but the one that the head names. Under the lease, as all that is written:
    /// what is useless to this run may be all that another one has.
    async fn clean(&self, session: &mut Session, lease: &Lease, more: &[Generation]) -> Result<(), Fault> {
        let key = &session.key;
        let mut generations = self.generations(key).await?;
        generations.extend_from_slice(more);
        let current = session.meta.as_ref().map(generation_of);
        generations.retain(|generation| current.as_ref().is_none_or(|c| c.generation != generation.generation));
        let mut keys: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
        for Generation { generation, shards } in &generations {
            keys.extend((0..*shards).map(|shard| item::shard_key(key, generation, shard)));
            let slots = [0, 1].into_iter().flat_map(|slot| (0..PENDING_PARTS).map(move |part| (slot, part)));
            keys.extend(slots.map(|(slot, part)| item::pending_key(key, generation, slot, part)));
        }
        let mut writer = Writer::new(&self.table, key, lease)?;
        for key in keys {
            writer.add(self.table.delete(&key)?, LARGE / 8).await?;
        }
        let list = match (&session.meta, current) {
            (Some(meta), Some(current)) => self.put_generations(key, &[current], meta)?,
            _ => self.table.delete(&item::parts_key(key))?,
        };
        writer.add(list, 256).await?;
        writer.end(&Change { remove: vec!["leftovers"], ..held(key, lease) }).await?;
        session.leftovers = false;
        Ok(())
    }

    /// Forgets a mirror. The head stays, with nothing but the lease and its token.
    pub(super) async fn forget(&self, lease: &Lease) -> Result<(), StateError> {
        let known = self.leases().take(lease);
        let done = self.forget_in_session(lease, known).await;
        if matches!(done, Err(StateError::Lost)) {
            self.leases().remove(lease);
        }
        done
    }

    async fn forget_in_session(&self, lease: &Lease, known: Option<Session>) -> Result<(), StateError> {
        let key = self.key_of(lease).await?;
        let change = Change {
            set: vec![("leftovers", item::n(1))],
            remove: vec!["state", "version", "updated_at", "ttl", "generation", "versions", "written", "damaged"],
            ..held(&key, lease)
        };
        self.table.update_quietly(&change).await.map_err(|fault| self.lost(fault))?;
        let old: Vec<Generation> = known.and_then(|s| s.meta).as_ref().map(generation_of).into_iter().collect();
        let mut session = Session { key, token: lease.token, meta: None, leftovers: true, cache: Cache::default() };
        self.clean_after(&mut session, lease, &old).await.map_err(|fault| self.lost(fault))?;
        self.leases().give_back(&lease.mirror, session);
        Ok(())
    }
}

/// What a new head changes beside the state.
#[derive(Clone, Copy)]
struct Switch {
    /// It names another generation.
    generation: bool,
    /// There are others.
    leftovers: bool,
    /// The lease ends.
    release: bool,
}

fn generation_of(meta: &Meta) -> Generation {
    Generation { generation: meta.state.generation.clone(), shards: meta.state.shards }
}

fn apply(entries: &mut Entries, changes: Vec<(VaultPath, Option<Entry>)>) {
    for (path, entry) in changes {
        match entry {
            Some(entry) => entries.insert(path, entry),
            None => entries.remove(&path),
        };
    }
}

/// Packs entries that lie in these shards; gives those that have any, with their count.
fn split(entries: &Entries, shards: u32, range: std::ops::Range<u32>) -> BTreeMap<u32, (Vec<u8>, u64)> {
    let mut split: BTreeMap<u32, Entries> = BTreeMap::new();
    for (path, entry) in entries {
        let shard = shard::shard_of(shard::place(path), shards);
        debug_assert!(range.contains(&shard), "a shard falls into those of its own stretch");
        split.entry(shard).or_default().insert(path.clone(), entry.clone());
    }
    split.into_iter().map(|(shard, entries)| (shard, (shard::pack(&entries), entries.len() as u64))).collect()
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}
