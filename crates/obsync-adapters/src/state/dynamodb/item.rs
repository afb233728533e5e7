//! The items of a mirror, and what stands in them.
//!
//! | `vault_id` | attributes |
//! |---|---|
//! | the head: `<vault id>`, or `<vault id>#<16 hex>` | `state`, `version`, `updated_at`, `ttl`, `generation`, `versions`, `written`, `leftovers`, `damaged`, `lease_token`, `lease_until`, `lease_holder`, `lease_nonce` |
//! | a shard: `<head>#<generation>#<number>` | `version`, `entries`, `ttl` |
//! | pending changes: `<head>#<generation>#p<slot>.<number>` | `pending`, `ttl` |
//! | all generations: `<head>#parts` | `generations`, `ttl` |
//!
//! The head names one generation; a mirror that grows, or whose state is lost, begins another one. What the head does
//! not name does not count.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use obsync_core::state::{Head, MirrorId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::shard;

/// An item as the SDK has it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// The layout that this program writes, and the only one that it reads.
const LAYOUT: u32 = 1;

/// The partition key.
pub(super) const KEY: &str = "vault_id";

/// What the attribute `state` of a head holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) layout: u32,
    pub(super) destination: String,
    /// Without its pending changes where `pending` says that they are elsewhere.
    pub(super) head: Head,
    pub(super) generation: String,
    pub(super) shards: u32,
    /// In all shards.
    pub(super) entries: u64,
    /// No part of the generation expires before, s since 1970; `None`: none ever.
    pub(super) parts_until: Option<i64>,
    pub(super) pending: Option<Spill>,
}

/// Pending changes that the head has no room for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spill {
    /// Two take turns, so that those of the head as it was stand until the new head does.
    pub(super) slot: u8,
    pub(super) parts: u32,
    /// Of their text, so that others are not taken for them.
    pub(super) check: String,
}

/// A head that can be believed, as far as it can be told from the head alone.
#[derive(Debug, Clone)]
pub(super) struct Meta {
    pub(super) state: State,
    /// The version of each shard, which it has or has passed. 0: there may be no such item.
    pub(super) versions: Vec<u64>,
}

impl Meta {
    /// A generation without entries.
    pub(super) fn begin(mirror: &MirrorId, generation: String, shards: u32, parts_until: Option<i64>) -> Self {
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

    pub(super) fn version(&self, shard: u32) -> u64 {
        self.versions.get(shard as usize).copied().unwrap_or_default()
    }

    pub(super) fn packed_versions(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        self.versions.iter().for_each(|version| shard::put_number(&mut plain, *version));
        shard::pack_bytes(&plain)
    }

    /// The keys of the items that pending changes are in.
    pub(super) fn pending_keys(&self, head: &str) -> Vec<String> {
        let Some(spill) = &self.state.pending else { return Vec::new() };
        (0..spill.parts).map(|n| pending_key(head, &self.state.generation, spill.slot, n)).collect()
    }
}

/// What a head's item says.
#[derive(Debug, Clone)]
pub(super) enum Reading {
    /// Nothing of this mirror.
    Nothing,
    /// Something that is not to be believed, and why not.
    Unusable(String),
    Good(Box<Meta>),
}

/// Reads a head's item for the mirror, or for whichever it is of. `now`: s since 1970.
pub(super) fn read(item: &Item, destination: Option<&str>, now: i64) -> Reading {
    let Some(text) = text(item, "state") else { return Reading::Nothing };
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
    if number(item, "ttl").is_some_and(|ttl| ttl <= now) {
        return unusable("it has expired");
    }
    if let Some(why) = self::text(item, "damaged") {
        return unusable(why);
    }
    let generation = self::text(item, "generation") == Some(&state.generation);
    match versions(item, state.shards) {
        Some(versions) if generation => Reading::Good(Box::new(Meta { state, versions })),
        _ => unusable("its attributes do not fit together"),
    }
}

fn versions(item: &Item, shards: u32) -> Option<Vec<u64>> {
    let plain = shard::unpack_bytes(bytes(item, "versions")?)?;
    let mut plain = plain.as_slice();
    let mut versions = Vec::new();
    while !plain.is_empty() {
        versions.push(shard::take_number(&mut plain)?);
    }
    (versions.len() == shards as usize && shards > 0).then_some(versions)
}

/// Where the head of a vault's default mirror is.
pub(super) fn plain_key(mirror: &MirrorId) -> String {
    mirror.vault.as_str().to_owned()
}

/// Where the head of any other mirror is.
pub(super) fn hashed_key(mirror: &MirrorId) -> String {
    let hash = Sha256::digest(mirror.destination.as_bytes());
    let short: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{}#{short}", mirror.vault)
}

pub(super) fn shard_key(head: &str, generation: &str, shard: u32) -> String {
    format!("{head}#{generation}#{shard}")
}

pub(super) fn pending_key(head: &str, generation: &str, slot: u8, part: u32) -> String {
    format!("{head}#{generation}#p{slot}.{part}")
}

/// Where the generations are listed that there may be parts of.
pub(super) fn parts_key(head: &str) -> String {
    format!("{head}#parts")
}

/// A generation that there may be parts of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Generation {
    pub(super) generation: String,
    pub(super) shards: u32,
}

pub(super) fn key(key: &str) -> Item {
    HashMap::from([(KEY.to_owned(), s(key))])
}

pub(super) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn n(number: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(number.into().to_string())
}

pub(super) fn b(bytes: Vec<u8>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

pub(super) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

pub(super) fn number(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

pub(super) fn bytes<'a>(item: &'a Item, name: &str) -> Option<&'a [u8]> {
    item.get(name)?.as_b().ok().map(AsRef::as_ref)
}
