//! [`FaultyRemote`].

use std::sync::Arc;

use async_trait::async_trait;
use obsync_core::remote::{Connection, Remote, RemoteError, RemoteErrorKind};
use obsync_proto::session::Event;
use obsync_proto::{Cursor, Uid};

use super::{FaultPlan, Struck};

/// A service whose answers follow a [`FaultPlan`]: `remote.open`, `remote.pull`, `remote.next`. A fault is a connection
/// that breaks.
pub struct FaultyRemote {
    inner: Arc<dyn Remote>,
    plan: FaultPlan,
}

impl FaultyRemote {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Remote>, plan: FaultPlan) -> Self {
        Self { inner, plan }
    }
}

impl From<Struck> for RemoteError {
    fn from(struck: Struck) -> Self {
        Self::new(RemoteErrorKind::Unreachable, struck.message())
    }
}

#[async_trait]
impl Remote for FaultyRemote {
    async fn open(&self, cursor: Cursor) -> Result<Box<dyn Connection>, RemoteError> {
        let inner = self.plan.question("remote.open", None, self.inner.open(cursor)).await?;
        Ok(Box::new(FaultyConnection { inner, plan: self.plan.clone() }))
    }
}

struct FaultyConnection {
    inner: Box<dyn Connection>,
    plan: FaultPlan,
}

#[async_trait]
impl Connection for FaultyConnection {
    async fn pull(&mut self, uid: Uid) -> Result<(), RemoteError> {
        self.plan.question("remote.pull", None, self.inner.pull(uid)).await
    }

    async fn next(&mut self) -> Result<Event, RemoteError> {
        self.plan.question("remote.next", None, self.inner.next()).await
    }
}
