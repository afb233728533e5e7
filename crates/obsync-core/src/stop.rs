//! Ending a run before it is done: on request, or because its time is up.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// When a run has to stop. It then starts nothing new, lets what is in flight end within
/// [`grace`](Self::grace), records what it did, and says that it is incomplete.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Cancelled to stop the run.
    pub request: CancellationToken,
    /// When to stop at the latest.
    pub deadline: Option<Instant>,
    /// How long what is in flight may take to end.
    pub grace: Duration,
}

impl Default for Stop {
    fn default() -> Self {
        Self { request: CancellationToken::new(), deadline: None, grace: Duration::from_secs(3) }
    }
}

impl Stop {
    /// Whether the time to stop has come.
    pub fn has_come(&self) -> bool {
        self.request.is_cancelled() || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Waits until the time to stop has come.
    pub async fn wait(&self) {
        match self.deadline {
            Some(deadline) => tokio::select! {
                () = self.request.cancelled() => {}
                () = tokio::time::sleep_until(deadline) => {}
            },
            None => self.request.cancelled().await,
        }
    }

    /// Runs `future` to its end, or gives `None` when the time to stop comes before.
    pub async fn or<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.wait() => None,
            value = future => Some(value),
        }
    }
}
