//! Leases that are taken away, and state that is lost in part.

use std::sync::Arc;
use std::time::Duration;

use obsync_core::mirror::{Options, RunError};
use obsync_core::state::{StateError, StateStore};
use obsync_core::stop::Stop;
use obsync_testkit::fault::{FaultPlan, FaultyBlobs};
use obsync_testkit::generate::Shape;
use tokio::time::Instant;

use crate::fixture::Fixture;

#[tokio::test]
async fn with_the_state_lost_in_part_a_complete_run_comes_out_right() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::small(12));
    fixture.sync_exact().await;
    fixture.pulls();
    let id = fixture.mirror().id();
    assert!(fixture.state.lose_entries(&id, |path, _| path.len().is_multiple_of(3)) > 0);
    fixture.vault.random_changes(1, 5);
    let report = fixture.sync_complete().await;
    assert!(report.is_success(), "{report:?}");
    fixture.assert_exact();
    assert_eq!(fixture.state.head_of(&id).unwrap().files, fixture.blobs.files().len() as u64);
}

/// Promise 6: whoever lost the lease writes nothing more, and the new holder's work stands.
#[tokio::test]
async fn a_run_that_loses_its_lease_stops() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::notes(1, 80));
    fixture.emulator.configure(|config| config.latency = Duration::from_millis(20));
    let options = Options { lease_ttl: Duration::from_millis(90), ..fixture.options.clone() };
    let mirror = fixture.mirror();
    let id = mirror.id();
    let run = tokio::spawn(async move { mirror.sync(&options, &Default::default()).await });
    while fixture.state.holder_of(&id).is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(120)).await;
    let thief = fixture.state.steal(&id, "thief", Duration::from_secs(60));
    let recorded = fixture.state.entries_of(&id);
    let report = run.await.unwrap();
    assert!(matches!(report.error, Some(RunError::State(StateError::Lost))), "{report:?}");
    let written = fixture.blobs.files().len();
    assert!(written < 80, "it went on after the loss: {written}");
    assert_eq!(fixture.state.entries_of(&id), recorded, "it recorded something after the loss");
    fixture.state.unlock(thief).await.unwrap();
    fixture.sync_exact().await;
}

/// Promises 4 and 12: a comparison that no run has the time to finish is gone on with by the next.
#[tokio::test]
async fn a_comparison_out_of_time_is_gone_on_with() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::notes(16, 300));
    fixture.sync_exact().await;
    fixture.pulls();
    fixture.state.lose_everything();
    // Each look takes 100 ms, and 32 are taken at once: a second in all.
    let plan = FaultPlan::new();
    plan.delay(Duration::from_millis(100));
    let mut runs = 0;
    loop {
        let blobs = FaultyBlobs::new(Arc::new(fixture.blobs.clone()), plan.clone());
        let mirror = fixture.mirror_on(Arc::new(blobs), Arc::new(fixture.state.clone()));
        let stop = Stop { deadline: Some(Instant::now() + Duration::from_millis(600)), ..Stop::default() };
        let report = mirror.sync(&fixture.options, &stop).await;
        assert!(report.error.is_none(), "{report:?}");
        runs += 1;
        if !report.incomplete {
            break;
        }
        assert!(runs < 20, "no run gets any further");
    }
    assert!(runs > 1, "the deadline came too late for the test to mean anything");
    fixture.assert_exact();
    assert_eq!(fixture.pulls(), 0);
}
