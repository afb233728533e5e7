//! Faults of the service and on the way to it. Each: bounded time, no wrong byte, a clear report, and the next
//! undisturbed run is exact.

use std::time::Duration;

use obsync_core::mirror::RunError;
use obsync_core::remote::RemoteErrorKind;
use obsync_emulator::{Fault, FaultRule, OverLimit, Place};
use obsync_testkit::generate::Shape;
use obsync_testkit::scenario::faults::survives;
use obsync_testkit::tree::Tree;

use crate::fixture::Fixture;

fn every_fault() -> Vec<(Place, Fault)> {
    let everywhere = [Fault::Cut, Fault::Silence, Fault::BadJson, Fault::Raw("overloaded".into())];
    let mut faults: Vec<(Place, Fault)> = Vec::new();
    for place in [Place::Connect, Place::Init, Place::Listing, Place::Pull] {
        faults.extend(everywhere.iter().map(|fault| (place.clone(), fault.clone())));
    }
    faults.extend([
        (Place::Connect, Fault::Status(503)),
        (Place::Connect, Fault::Status(429)),
        (Place::Connect, Fault::Overloaded),
        (Place::Listing, Fault::CutAfter(3)),
        (Place::Listing, Fault::DuplicateRecords),
        (Place::Pull, Fault::CutInPiece(0)),
        (Place::Pull, Fault::CutAfter(0)),
        (Place::Pull, Fault::FlipBit),
        (Place::Pull, Fault::ShortPiece),
        (Place::Pull, Fault::ExtraPiece),
        (Place::Pull, Fault::WrongSize(7)),
        (Place::Pull, Fault::WrongPieces(0)),
        (Place::Pull, Fault::WrongPieces(1_000_000)),
        (Place::Pull, Fault::Refuse("Internal error".into())),
    ]);
    faults
}

/// No file of the mirror is other than the vault's.
fn assert_no_wrong_byte(fixture: &Fixture) {
    let vault: Tree = fixture.vault.tree();
    for (path, content) in fixture.blobs.files() {
        assert!(vault.files.get(&path) == Some(&content), "{path}");
    }
}

#[tokio::test]
async fn a_passing_fault_is_survived() {
    for (place, fault) in every_fault() {
        survives(Fixture::new().await.into_scenario(), place, fault).await;
    }
}

#[tokio::test]
async fn a_lasting_fault_ends_the_run_in_bounded_time_and_the_next_is_exact() {
    for (place, fault) in every_fault() {
        let mut fixture = Fixture::new().await;
        fixture.vault.fill(&Shape { folders: 1, ..Shape::notes(2, 3) });
        fixture.emulator.faults().add(FaultRule::new(place.clone(), fault.clone()).always());
        let report = tokio::time::timeout(Duration::from_secs(30), fixture.sync()).await.unwrap();
        // A piece too many comes after a file that is complete and verified.
        let harmless = matches!(fault, Fault::DuplicateRecords | Fault::ExtraPiece);
        assert_eq!(report.is_success(), harmless, "{place:?} {fault:?}: {report:?}");
        assert_no_wrong_byte(&fixture);
        fixture.emulator.faults().clear();
        fixture.sync_exact().await;
    }
}

/// A file that was deleted between the listing and its pull is no failure.
#[tokio::test]
async fn a_file_deleted_in_between_is_no_failure() {
    let mut fixture = Fixture::new().await;
    fixture.vault.put("stays", "stays", 1);
    let uid = fixture.vault.put("goes", "goes", 1);
    fixture.emulator.faults().add(FaultRule::new(Place::PullOf(uid), Fault::Gone).always());
    fixture.emulator.faults().add(FaultRule::new(Place::Pull, Fault::Delay(Duration::from_millis(300))).times(1));
    let mirror = fixture.mirror();
    let options = fixture.options.clone();
    let run = tokio::spawn(async move { mirror.sync(&options, &Default::default()).await });
    tokio::time::sleep(Duration::from_millis(150)).await;
    fixture.vault.delete("goes");
    let report = run.await.unwrap();
    assert!(report.is_success(), "{report:?}");
    fixture.assert_exact();
}

#[tokio::test]
async fn refused_connections_leave_the_work_to_the_others() {
    for over in [OverLimit::Status503, OverLimit::Close, OverLimit::Refuse] {
        let mut fixture = Fixture::new().await;
        fixture.vault.fill(&Shape::notes(4, 200));
        fixture.emulator.configure(|config| {
            (config.max_connections, config.over_limit) = (Some(2), over);
            config.latency = Duration::from_millis(2);
        });
        fixture.options.jobs = 8;
        let report = fixture.sync().await;
        assert!(report.is_success(), "{over:?}: {report:?}");
        fixture.assert_exact();
        // Seven are asked for at once, then fewer; five tries of each would be 30.
        let refused = fixture.emulator.counters().get().connects_refused;
        assert!(refused <= 12, "{over:?}: {refused} connections refused");
    }
}

#[tokio::test]
async fn refusals_of_the_session_are_told_apart() {
    let mut fixture = Fixture::new().await;
    fixture.vault.put("a", "a", 1);
    fixture.emulator.set_subscription_expired(true);
    let kind = |report: &obsync_core::mirror::Report| match &report.error {
        Some(RunError::Remote(error)) => Some(error.kind),
        _ => None,
    };
    assert_eq!(kind(&fixture.sync().await), Some(RemoteErrorKind::Subscription));
    fixture.emulator.set_subscription_expired(false);
    fixture.emulator.expire_tokens().unwrap();
    assert_eq!(kind(&fixture.sync().await), Some(RemoteErrorKind::Authentication));
    assert_eq!(fixture.blobs.counts().requests(), fixture.blobs.counts().lists);
}

/// Regression: the second pass made a failure of the first one good, and the next run brought the old version back.
#[tokio::test]
async fn a_failure_that_a_newer_version_made_good_is_forgotten() {
    let mut fixture = Fixture::new().await;
    let old = fixture.vault.put("a", "old", 1);
    let gone = fixture.vault.put("goes", "goes", 1);
    let slow = fixture.vault.put("slow", "slow", 1);
    let faults = fixture.emulator.faults();
    faults.add(FaultRule::new(Place::PullOf(old), Fault::FlipBit).always());
    faults.add(FaultRule::new(Place::PullOf(gone), Fault::Gone).always());
    faults.add(FaultRule::new(Place::PullOf(slow), Fault::Delay(Duration::from_millis(300))).times(1));
    let mirror = fixture.mirror();
    let options = fixture.options.clone();
    let run = tokio::spawn(async move { mirror.sync(&options, &Default::default()).await });
    tokio::time::sleep(Duration::from_millis(150)).await;
    fixture.vault.put("a", "new", 2);
    fixture.vault.delete("goes");
    let report = run.await.unwrap();
    fixture.emulator.faults().clear();
    assert!(report.is_success(), "{report:?}");
    fixture.assert_exact();
    fixture.sync_exact().await;
}

/// Regression: workers without a connection kept files from those that had one.
#[tokio::test]
async fn one_connection_alone_does_all_the_work_in_time() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape { folders: 0, ..Shape::notes(4, 20) });
    fixture.emulator.configure(|config| (config.max_connections, config.over_limit) = (Some(1), OverLimit::Status503));
    fixture.options.retry = obsync_core::retry::RetryPolicy::default();
    fixture.sync_exact().await;
}
