//! Keeping the lease while a run works, and knowing when it is lost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument;

use crate::state::{Lease, StateError, StateStore};

/// Renews a lease in the background until it is dropped.
pub(crate) struct LeaseKeeper {
    gate: LeaseGate,
    task: JoinHandle<()>,
}

/// Lets writes through while the lease holds. A run that was paused longer than its lease finds the gate closed,
/// even before the state store tells it.
#[derive(Clone)]
pub(super) struct LeaseGate(Arc<Mutex<Instant>>);

impl LeaseGate {
    /// Whether this run may still write.
    ///
    /// # Errors
    /// [`StateError::Lost`].
    pub(super) fn check(&self) -> Result<(), StateError> {
        if Instant::now() < self.until() { Ok(()) } else { Err(StateError::Lost) }
    }

    fn until(&self) -> Instant {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn set(&self, until: Instant) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = until;
    }
}

impl LeaseKeeper {
    /// `since` is a moment before the lease was taken.
    pub(crate) fn start(state: Arc<dyn StateStore>, lease: Lease, since: Instant) -> Self {
        let gate = LeaseGate(Arc::new(Mutex::new(since + lease.ttl)));
        let task = tokio::spawn(renew(state, lease, gate.clone()).in_current_span());
        Self { gate, task }
    }

    pub(super) fn gate(&self) -> LeaseGate {
        self.gate.clone()
    }
}

impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn renew(state: Arc<dyn StateStore>, lease: Lease, gate: LeaseGate) {
    let mut pause = lease.ttl / 3;
    loop {
        tokio::time::sleep(pause).await;
        let asked = Instant::now();
        match state.renew(&lease).await {
            Ok(()) => {
                gate.set(asked + lease.ttl);
                pause = lease.ttl / 3;
            }
            Err(StateError::Lost) => return gate.set(asked),
            Err(error) => {
                tracing::warn!(%error, "the lease could not be renewed; trying again");
                pause = (lease.ttl / 20).max(Duration::from_millis(10));
            }
        }
    }
}
