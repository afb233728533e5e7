//! A destination, a state store and a vault in memory. A clone is the same one: a second run sees what the first one
//! left.

mod blobs;
mod remote;
mod state;

pub use blobs::{BlobCounts, MemoryBlobs, StoredFile};
pub use remote::{MemoryVault, PushedFile};
pub use state::{MemoryState, StateCounts};
