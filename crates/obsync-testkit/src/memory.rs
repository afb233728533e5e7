//! A destination and a state store in memory. A clone is the same store: a second run sees what the first one left.

mod blobs;
mod state;

pub use blobs::{BlobCounts, MemoryBlobs};
pub use state::{MemoryState, StateCounts};
