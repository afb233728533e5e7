//! [`JumpingClock`].

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use obsync_core::clock::{Clock, SystemClock};

/// The machine's clock, but for how far it has jumped. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct JumpingClock(Arc<AtomicI64>);

impl JumpingClock {
    /// Jumps forward by so much.
    pub fn forward(&self, time: Duration) {
        self.0.fetch_add(milliseconds(time), Ordering::Relaxed);
    }

    /// Jumps back by so much.
    pub fn back(&self, time: Duration) {
        self.0.fetch_sub(milliseconds(time), Ordering::Relaxed);
    }
}

fn milliseconds(time: Duration) -> i64 {
    time.as_millis().try_into().unwrap()
}

impl Clock for JumpingClock {
    fn unix_ms(&self) -> i64 {
        SystemClock.unix_ms() + self.0.load(Ordering::Relaxed)
    }
}
