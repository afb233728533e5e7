//! Memories of earlier runs.

#[cfg(feature = "dynamodb")]
pub mod dynamodb;
#[cfg(feature = "packed")]
pub mod packed;
#[cfg(feature = "sqlite")]
pub mod sqlite;

#[cfg(feature = "dynamodb")]
pub use dynamodb::DynamoState;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteState;
