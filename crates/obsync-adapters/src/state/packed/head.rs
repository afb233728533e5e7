//! The head: what is known of a mirror as a whole, and which generation of shards holds its entries.

use obsync_core::state::{Head, MirrorId, Pending};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::shard;

/// The layout that this program writes, and the only one that it reads.
const LAYOUT: u32 = 1;

/// The most shards of a generation: at 32 entries to a shard more than a listing may have records.
pub const MOST_SHARDS: u32 = 1 << 20;

/// The most parts that pending changes may be in: more than can be unpacked.
const MOST_PARTS: u32 = 128;

/// The most bytes of one version (LEB128).
const VERSION: usize = 10;

/// What the attribute `state` of a head holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Of this text.
    layout: u32,
    /// Of the mirror.
    pub destination: String,
    /// Without its pending changes where `pending` says that they are elsewhere.
    pub head: Head,
    /// The one generation that counts.
    pub generation: String,
    /// In the generation.
    pub shards: u32,
    /// In all shards.
    pub entries: u64,
    /// No part of the generation expires before, s since 1970; `None`: none ever.
    pub parts_until: Option<i64>,
    /// Where the pending changes are.
    pub pending: Option<Spill>,
}

/// Pending changes that the head has no room for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spill {
    /// Two take turns, so that those of the head as it was stand until the new head does.
    pub slot: u8,
    /// How many items they are in.
    pub parts: u32,
    /// Of their text, so that others are not taken for them.
    pub check: String,
}

/// A head that can be believed, as far as it can be told from the head alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// What it says.
    pub state: State,
    /// The version of each shard, which it has or has passed. 0: there may be no such item.
    pub versions: Vec<u64>,
}

impl Meta {
    /// A generation without entries.
    pub fn begin(mirror: &MirrorId, generation: String, shards: u32, parts_until: Option<i64>) -> Self {
        let state = State {
            layout: LAYOUT,
            destination: mirror.destination.clone(),
            head: Head::default(),
            generation,
            shards,
            entries: 0,
            parts_until,
            pending: None,
        };
        Self { state, versions: vec![0; shards as usize] }
    }

    /// The version of one shard.
    pub fn version(&self, shard: u32) -> u64 {
        self.versions.get(shard as usize).copied().unwrap_or_default()
    }
}

/// The attribute `versions`.
pub fn pack_versions(versions: &[u64]) -> Vec<u8> {
    let mut plain = Vec::new();
    versions.iter().for_each(|version| shard::put_number(&mut plain, *version));
    shard::pack_bytes(&plain)
}

/// The attributes of a head's item, as far as they are there and of the right kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes<'a> {
    /// [`State`] as JSON.
    pub state: Option<&'a str>,
    /// As in the state: the condition that others write under.
    pub generation: Option<&'a str>,
    /// [`pack_versions`].
    pub versions: Option<&'a [u8]>,
    /// When the item expires, s since 1970.
    pub ttl: Option<i64>,
    /// Why the state is not to be believed.
    pub damaged: Option<&'a str>,
}

/// What a head's item says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Nothing of this mirror.
    Nothing,
    /// Something that is not to be believed, and why not.
    Unusable(String),
    /// A state.
    Good(Box<Meta>),
}

/// Reads a head's item for the mirror, or for whichever it is of. `now`: s since 1970.
pub fn read(item: &Attributes<'_>, destination: Option<&str>, now: i64) -> Reading {
    let Some(text) = item.state else { return Reading::Nothing };
    let unusable = |why: &str| Reading::Unusable(why.to_owned());
    #[derive(Deserialize)]
    struct Layout {
        layout: Option<u32>,
    }
    match serde_json::from_str(text) {
        Ok(Layout { layout: Some(LAYOUT) }) => {}
        Ok(Layout { layout: Some(other) }) => return Reading::Unusable(format!("it is of layout {other}")),
        Ok(Layout { layout: None }) => return unusable("it is an earlier program's"),
        Err(_) => return unusable("it cannot be read"),
    }
    let Ok(state) = serde_json::from_str::<State>(text) else { return unusable("it cannot be read") };
    if destination.is_some_and(|destination| destination != state.destination) {
        return Reading::Nothing;
    }
    if item.ttl.is_some_and(|ttl| ttl <= now) {
        return unusable("it has expired");
    }
    if let Some(why) = item.damaged {
        return unusable(why);
    }
    let fits = item.generation == Some(&state.generation)
        && state.pending.as_ref().is_none_or(|spill| spill.parts <= MOST_PARTS);
    match item.versions.and_then(|packed| unpack_versions(packed, state.shards)) {
        Some(versions) if fits => Reading::Good(Box::new(Meta { state, versions })),
        _ => unusable("its attributes do not fit together"),
    }
}

fn unpack_versions(packed: &[u8], shards: u32) -> Option<Vec<u64>> {
    if !(1..=MOST_SHARDS).contains(&shards) {
        return None;
    }
    let plain = shard::unpack_bytes(packed, shards as usize * VERSION)?;
    let mut plain = plain.as_slice();
    let mut versions = Vec::with_capacity(shards as usize);
    for _ in 0..shards {
        // No shard's item can have a higher one: it could not be told from a damaged one.
        let version = shard::take_number(&mut plain).filter(|version| i64::try_from(*version).is_ok())?;
        versions.push(version);
    }
    plain.is_empty().then_some(versions)
}

/// Reads the pending changes that a head has elsewhere, out of their parts put together; `None` for others.
pub fn read_pending(spill: &Spill, packed: &[u8]) -> Option<Vec<Pending>> {
    let text = shard::unpack_bytes(packed, shard::MOST_UNPACKED).filter(|text| check(text) == spill.check)?;
    serde_json::from_slice(&text).ok()
}

/// A mark of a text, to tell it from others.
pub fn check(text: &[u8]) -> String {
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A generation that there may be parts of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its name.
    pub generation: String,
    /// In it.
    pub shards: u32,
}

/// Reads the list of all generations; what cannot be read is not listed. Whoever cleans up after them goes through all
/// of their shards, so one with more than there can be is not listed either.
pub fn read_generations(text: &str) -> Vec<Generation> {
    let mut generations: Vec<Generation> = serde_json::from_str(text).unwrap_or_default();
    generations.retain(|generation| generation.shards <= MOST_SHARDS);
    generations
}
