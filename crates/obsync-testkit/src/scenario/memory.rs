//! The stores in memory, which are open to all of it by themselves.

use std::sync::Arc;

use async_trait::async_trait;
use obsync_core::blob::BlobStore;
use obsync_core::state::StateStore;
use obsync_proto::VaultId;

use super::{TestDestination, TestState};
use crate::memory::{MemoryBlobs, MemoryState};
use crate::tree::Tree;

impl TestDestination for MemoryBlobs {
    fn open(&self, _: &VaultId) -> Arc<dyn BlobStore> {
        Arc::new(self.clone())
    }

    fn tree(&self) -> Tree {
        self.tree()
    }

    fn mtime(&self, path: &str) -> Option<i64> {
        self.times(path).map(|(mtime, _)| mtime)
    }

    fn unfinished(&self) -> usize {
        self.unfinished()
    }

    fn put(&self, path: &str, content: &[u8]) {
        self.put(path, content);
    }

    fn remove(&self, path: &str) {
        assert!(self.remove(path), "no file {path:?}");
    }

    fn take_requests(&self) -> Option<u64> {
        let counts = self.counts();
        self.reset_counts();
        Some(counts.requests() + counts.cleans)
    }
}

#[async_trait]
impl TestState for MemoryState {
    async fn open(&self) -> Arc<dyn StateStore> {
        Arc::new(self.clone())
    }

    async fn lose(&self) {
        self.lose_everything();
    }

    async fn expire_leases(&self) {
        self.expire_leases();
    }

    fn take_requests(&self) -> Option<u64> {
        let counts = self.counts();
        self.reset_counts();
        Some(counts.requests())
    }
}
