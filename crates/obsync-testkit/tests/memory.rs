//! The stores in memory pass the suites, bare and behind wrappers that let everything through.

use std::sync::Arc;

use obsync_testkit::conformance::{self, BlobFixture, StateFixture};
use obsync_testkit::fault::{FaultPlan, FaultyBlobs, FaultyState};
use obsync_testkit::memory::{MemoryBlobs, MemoryState};

fn blobs(memory: MemoryBlobs) -> BlobFixture {
    let counted = memory.clone();
    BlobFixture::new(Arc::new(memory)).with_leftovers(move || {
        let count = counted.unfinished();
        Box::pin(async move { count })
    })
}

#[tokio::test]
async fn memory_folder_conforms() {
    conformance::blob(async || blobs(MemoryBlobs::folder())).await;
}

#[tokio::test]
async fn memory_bucket_conforms() {
    conformance::blob(async || blobs(MemoryBlobs::bucket())).await;
}

#[tokio::test]
async fn faultless_wrapper_of_a_folder_conforms() {
    conformance::blob(async || {
        BlobFixture::new(Arc::new(FaultyBlobs::new(Arc::new(MemoryBlobs::folder()), FaultPlan::new())))
    })
    .await;
}

#[tokio::test]
async fn memory_state_conforms() {
    conformance::state(async || {
        let memory = MemoryState::new();
        StateFixture::new(Arc::new(memory.clone())).opened_again_by(move || {
            let memory = memory.clone();
            Box::pin(async move { Arc::new(memory) as _ })
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn faultless_wrapper_of_a_state_conforms() {
    conformance::state(async || {
        StateFixture::new(Arc::new(FaultyState::new(Arc::new(MemoryState::new()), FaultPlan::new())))
    })
    .await;
}
