//! A mirror's state as text and bytes that stand in the items of a table.
//!
//! It knows no table: what is read here may be damaged or made by others, so it can be tried by itself.

pub mod head;
pub mod shard;
