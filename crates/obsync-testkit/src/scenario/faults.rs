//! Faults of the service and on the way to it.

use std::time::Duration;

use obsync_emulator::{Fault, FaultRule, Place};

use super::{Fixture, Pairs};
use crate::generate::Shape;

/// A connection that is cut, wherever, is made again, and the run succeeds.
pub async fn a_passing_cut_is_survived(pairs: &Pairs) {
    for (place, fault) in [
        (Place::Connect, Fault::Cut),
        (Place::Init, Fault::Cut),
        (Place::Listing, Fault::CutAfter(3)),
        (Place::Pull, Fault::Cut),
        (Place::Pull, Fault::CutInPiece(0)),
        (Place::Pull, Fault::CutAfter(0)),
    ] {
        survives(pairs.fixture().await, place, fault).await;
    }
}

/// A run succeeds although the service has this fault once.
///
/// # Panics
/// Where it does not, or not in time.
pub async fn survives(mut fixture: Fixture, place: Place, fault: Fault) {
    fixture.vault.fill(&Shape { folders: 2, ..Shape::notes(2, 12) });
    fixture.emulator.faults().add(FaultRule::new(place.clone(), fault.clone()).after(1).times(1));
    fixture.options.jobs = 2;
    let report = tokio::time::timeout(Duration::from_secs(20), fixture.sync()).await.unwrap();
    assert!(report.is_success(), "{place:?} {fault:?}: {report:?}");
    fixture.assert_exact();
}

/// Promise 5 (never ahead), trap: a failed pull is never tried again.
pub async fn a_file_that_failed_is_fetched_by_the_next_run(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.put("good.md", "good", 1);
    let uid = fixture.vault.put("bad.md", "bad", 1);
    let fault = fixture.emulator.faults().add(FaultRule::new(Place::PullOf(uid), Fault::FlipBit).always());
    for _ in 0..2 {
        let report = fixture.sync().await;
        assert_eq!(report.failed.len(), 1);
        assert_eq!(report.failed[0].path, "bad.md");
        assert!(report.failed[0].error.contains("authentication tag"), "{report:?}");
        assert_eq!(fixture.paths(), ["good.md"]);
        fixture.vault.put("later.md", "later", 1);
        fixture.vault.delete("later.md");
    }
    fixture.emulator.faults().remove(fault);
    let report = fixture.sync_exact().await;
    assert_eq!(report.downloaded, 1);
}

/// Promise 5: what is noted is tried again, and told of, until the vault has another version.
pub async fn a_version_that_the_service_lost_is_reported_until_there_is_a_newer_one(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    let uid = fixture.vault.put("lost", "lost", 1);
    fixture.emulator.faults().add(FaultRule::new(Place::PullOf(uid), Fault::Gone).always());
    for _ in 0..2 {
        let report = fixture.sync().await;
        assert_eq!(report.failed.len(), 1, "{report:?}");
    }
    fixture.vault.put("lost", "written again", 2);
    fixture.sync_exact().await;
}
