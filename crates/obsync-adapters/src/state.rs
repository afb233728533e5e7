//! Memories of earlier runs.

pub mod sqlite;

pub use sqlite::SqliteState;
