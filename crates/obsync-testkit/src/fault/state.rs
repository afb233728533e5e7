//! [`FaultyState`].

use std::collections::HashMap;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use obsync_core::state::{Commit, Entry, Head, Lease, MirrorId, StateError, StateStore};
use obsync_proto::VaultPath;

use super::FaultPlan;

/// A state store whose calls follow a [`FaultPlan`].
pub struct FaultyState {
    inner: Arc<dyn StateStore>,
    plan: FaultPlan,
}

impl FaultyState {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn StateStore>, plan: FaultPlan) -> Self {
        Self { inner, plan }
    }

    /// A commit that was cut off: the first of its entries are there, the head is the old one.
    async fn half(&self, lease: &Lease, mut commit: Commit) {
        commit.entries.truncate(commit.entries.len() / 2);
        if let Ok(Some(head)) = self.inner.head(&lease.mirror).await {
            let _ = self.inner.commit(lease, Commit { head, ..commit }).await;
        }
    }
}

#[async_trait]
impl StateStore for FaultyState {
    async fn head(&self, mirror: &MirrorId) -> Result<Option<Head>, StateError> {
        self.plan.question("state.head", None, self.inner.head(mirror)).await
    }

    async fn entries(&self, mirror: &MirrorId, paths: &[VaultPath]) -> Result<HashMap<VaultPath, Entry>, StateError> {
        self.plan.question("state.entries", None, self.inner.entries(mirror, paths)).await
    }

    fn scan<'a>(&'a self, mirror: &'a MirrorId) -> BoxStream<'a, Result<(VaultPath, Entry), StateError>> {
        self.plan.listing("state.scan", move || self.inner.scan(mirror))
    }

    fn place(&self, path: &VaultPath) -> u64 {
        self.inner.place(path)
    }

    async fn lock(&self, mirror: &MirrorId, holder: &str, ttl: Duration) -> Result<(Lease, Option<Head>), StateError> {
        self.plan.effect("state.lock", None, ready(()), self.inner.lock(mirror, holder, ttl)).await
    }

    async fn renew(&self, lease: &Lease) -> Result<(), StateError> {
        self.plan.effect("state.renew", None, ready(()), self.inner.renew(lease)).await
    }

    async fn commit(&self, lease: &Lease, commit: Commit) -> Result<(), StateError> {
        let half = self.half(lease, commit.clone());
        self.plan.effect("state.commit", None, half, self.inner.commit(lease, commit)).await
    }

    async fn finish(&self, lease: Lease, commit: Commit) -> Result<(), StateError> {
        let half = self.half(&lease, commit.clone());
        self.plan.effect("state.finish", None, half, self.inner.finish(lease.clone(), commit)).await
    }

    async fn unlock(&self, lease: Lease) -> Result<(), StateError> {
        self.plan.effect("state.unlock", None, ready(()), self.inner.unlock(lease)).await
    }

    async fn reset(&self, lease: &Lease) -> Result<(), StateError> {
        self.plan.effect("state.reset", None, ready(()), self.inner.reset(lease)).await
    }

    async fn mirrors(&self) -> Result<Vec<(MirrorId, Head)>, StateError> {
        self.plan.question("state.mirrors", None, self.inner.mirrors()).await
    }
}
