//! First runs, runs with nothing to do, and runs that were stopped.

use std::time::Duration;

use obsync_core::mirror::Options;
use obsync_core::stop::Stop;
use obsync_proto::crypto::EncryptionVersion;
use tokio::time::Instant;

use super::Pairs;
use crate::generate::Shape;

/// Promise 1 (exact), in every encryption version.
pub async fn a_vault_arrives_byte_for_byte(pairs: &Pairs) {
    for version in [EncryptionVersion::V0, EncryptionVersion::V2, EncryptionVersion::V3] {
        let mut fixture = pairs.fixture_under(version).await;
        fixture.vault.fill(&Shape::small(7));
        let report = fixture.sync_exact().await;
        assert_eq!(report.downloaded, fixture.paths().len() as u64);
        fixture.assert_times();
    }
}

/// Files on both sides of every edge: of a piece, of what is streamed, of what is uploaded in parts.
pub async fn files_of_every_edge_size_arrive(pairs: &Pairs) {
    const MIB: usize = 1 << 20;
    let mut fixture = pairs.fixture().await;
    let sizes =
        [0, 1, 12, 15, 16, 17, 2 * MIB - 29, 2 * MIB - 28, 2 * MIB - 27, 2 * MIB, 4 * MIB, 4 * MIB + 1, 11 * MIB];
    for (n, size) in sizes.into_iter().enumerate() {
        fixture.vault.put(&format!("{size}.bin"), vec![n as u8; size], 1);
    }
    fixture.sync_exact().await;
}

/// Promise 7 (proportional): nothing changed, no blob request, no pull, and the lease taken and given back.
pub async fn a_second_run_does_nothing(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.fill(&Shape::small(8));
    let files = fixture.sync_exact().await.downloaded;
    fixture.pulls();
    fixture.pair.destination.take_requests();
    fixture.pair.state.take_requests();
    let report = fixture.sync_exact().await;
    assert_eq!((report.downloaded, report.unchanged, fixture.pulls()), (0, files, 0));
    assert_eq!(fixture.pair.destination.take_requests().unwrap_or(0), 0);
    assert_eq!(fixture.pair.state.take_requests().unwrap_or(2), 2);
}

/// A vault with nothing in it.
pub async fn an_empty_vault_is_mirrored(pairs: &Pairs) {
    let fixture = pairs.fixture().await;
    assert_eq!(fixture.sync_exact().await.downloaded, 0);
    fixture.sync_exact().await;
}

/// What listings may look like: every record twice, earlier versions, deleted records.
pub async fn listings_with_earlier_doubled_and_deleted_records_mean_the_same(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.fill(&Shape::small(9));
    fixture.emulator.configure(|config| {
        (config.listing.earlier, config.listing.deleted, config.listing.twice) = (true, true, true);
    });
    fixture.sync_exact().await;
}

/// Promise 4 (resumable): what a stopped run has written is not fetched again.
pub async fn a_run_out_of_time_is_gone_on_with(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.fill(&Shape::notes(3, 120));
    fixture.emulator.configure(|config| config.latency = Duration::from_millis(5));
    let mut runs = 0;
    loop {
        // A little more each time, or a busy machine would never come to the end.
        let time = Duration::from_millis(100 + 20 * runs);
        let stop = Stop { deadline: Some(Instant::now() + time), ..Stop::default() };
        let report = fixture.mirror().sync(&fixture.options, &stop).await;
        assert!(report.error.is_none() && report.failed.is_empty(), "{report:?}");
        runs += 1;
        if !report.incomplete {
            break;
        }
        assert_eq!(report.cursor.0, 0, "the cursor waits for the end");
        assert!(runs < 60);
    }
    assert!(runs > 1, "the deadline came too late for the test to mean anything");
    fixture.assert_exact();
    assert_eq!(fixture.pulls(), 120, "a file was fetched twice");
}

/// A run that is told to stop before it knows anything.
pub async fn a_run_stopped_before_it_listed_changes_nothing(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.put("a.md", "a", 1);
    let stop = Stop::default();
    stop.request.cancel();
    let report = fixture.mirror().sync(&fixture.options, &stop).await;
    assert!(report.incomplete && report.error.is_none(), "{report:?}");
    assert_eq!(fixture.paths().len(), 0);
    fixture.sync_exact().await;
}

/// It tells what the next run does, and needs no lease for it.
pub async fn a_dry_run_tells_and_changes_nothing(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.fill(&Shape::small(4));
    let dry = Options { dry_run: true, ..fixture.options.clone() };
    let (lease, _) = fixture.state.lock(&fixture.mirror().id(), "the other", Duration::from_secs(60)).await.unwrap();
    let told = fixture.sync_with(&dry).await;
    assert!(told.error.is_none(), "{told:?}");
    fixture.state.unlock(lease).await.unwrap();
    assert_eq!((fixture.paths().len(), fixture.pulls()), (0, 0));
    assert_eq!(fixture.head().await, None);
    let done = fixture.sync_exact().await;
    assert_eq!((told.downloaded, told.bytes), (done.downloaded, done.bytes));
    fixture.vault.random_changes(1, 10);
    let told = fixture.sync_with(&dry).await;
    let done = fixture.sync_exact().await;
    assert_eq!(
        (told.downloaded, told.copied, told.deleted, told.unchanged),
        (done.downloaded, done.copied, done.deleted, done.unchanged)
    );
}
