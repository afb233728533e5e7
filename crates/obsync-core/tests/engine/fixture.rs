//! A scenario's fixture on stores in memory, which stay in reach.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::memory::{MemoryBlobs, MemoryState};
use obsync_testkit::scenario::{self, Pair, Pairs};

pub(crate) fn folders() -> Pairs {
    Pairs::new(async || Pair::new(MemoryBlobs::folder(), MemoryState::new()))
}

pub(crate) fn buckets() -> Pairs {
    Pairs::new(async || Pair::new(MemoryBlobs::bucket(), MemoryState::new()))
}

pub(crate) struct Fixture {
    scenario: scenario::Fixture,
    pub(crate) blobs: MemoryBlobs,
    pub(crate) state: MemoryState,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let (blobs, state) = (MemoryBlobs::folder(), MemoryState::new());
        let pair = Pair::new(blobs.clone(), state.clone());
        let scenario = scenario::Fixture::new(pair, EncryptionVersion::V3).await;
        let mut fixture = Self { scenario, blobs, state };
        // Some of its faults are silence.
        fixture.patience = Duration::from_millis(400);
        fixture
    }

    /// Without the stores.
    pub(crate) fn into_scenario(self) -> scenario::Fixture {
        self.scenario
    }
}

impl Deref for Fixture {
    type Target = scenario::Fixture;

    fn deref(&self) -> &scenario::Fixture {
        &self.scenario
    }
}

impl DerefMut for Fixture {
    fn deref_mut(&mut self) -> &mut scenario::Fixture {
        &mut self.scenario
    }
}
