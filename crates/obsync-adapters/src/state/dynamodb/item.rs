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
use obsync_core::state::MirrorId;
use sha2::{Digest, Sha256};

use crate::state::packed::head::{self, Attributes, Meta, Reading};

/// An item as the SDK has it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// The partition key.
pub(super) const KEY: &str = "vault_id";

/// Reads a head's item for the mirror, or for whichever it is of. `now`: s since 1970.
pub(super) fn read(item: &Item, destination: Option<&str>, now: i64) -> Reading {
    let attributes = Attributes {
        state: text(item, "state"),
        generation: text(item, "generation"),
        versions: bytes(item, "versions"),
        ttl: number(item, "ttl"),
        damaged: text(item, "damaged"),
    };
    head::read(&attributes, destination, now)
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

/// The keys of the items that pending changes are in.
pub(super) fn pending_keys(head: &str, meta: &Meta) -> Vec<String> {
    let Some(spill) = &meta.state.pending else { return Vec::new() };
    (0..spill.parts).map(|n| pending_key(head, &meta.state.generation, spill.slot, n)).collect()
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
