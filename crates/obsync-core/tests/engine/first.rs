//! First runs, runs with nothing to do, and runs that were stopped.

use std::time::Duration;

use obsync_core::mirror::Options;
use obsync_core::stop::Stop;
use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::generate::Shape;
use obsync_testkit::memory::MemoryBlobs;
use tokio::time::Instant;

use crate::fixture::Fixture;

/// Promise 1 (exact), in every encryption version and on both kinds of store.
#[tokio::test]
async fn a_vault_arrives_byte_for_byte() {
    for version in [EncryptionVersion::V0, EncryptionVersion::V2, EncryptionVersion::V3] {
        for blobs in [MemoryBlobs::folder(), MemoryBlobs::bucket()] {
            let mut fixture = Fixture::with(version, blobs).await;
            fixture.vault.fill(&Shape::small(7));
            let report = fixture.sync_exact().await;
            assert_eq!(report.downloaded, fixture.blobs.files().len() as u64);
            for (path, mtime) in fixture.vault.mtimes() {
                assert_eq!(fixture.blobs.times(&path).unwrap().0, mtime, "{path}");
            }
        }
    }
}

/// Files on both sides of every edge: of a piece, of what is streamed.
#[tokio::test]
async fn files_of_every_edge_size_arrive() {
    let mut fixture = Fixture::new().await;
    const MIB: usize = 1 << 20;
    let sizes =
        [0, 1, 12, 15, 16, 17, 2 * MIB - 29, 2 * MIB - 28, 2 * MIB - 27, 2 * MIB, 4 * MIB, 4 * MIB + 1, 11 * MIB];
    for (n, size) in sizes.into_iter().enumerate() {
        fixture.vault.put(&format!("{size}.bin"), vec![n as u8; size], 1);
    }
    fixture.sync_exact().await;
}

/// Promise 7 (proportional): nothing changed, no blob request, no pull.
#[tokio::test]
async fn a_second_run_does_nothing() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::small(8));
    let files = fixture.sync_exact().await.downloaded;
    fixture.pulls();
    fixture.blobs.reset_counts();
    fixture.state.reset_counts();
    let report = fixture.sync_exact().await;
    assert_eq!((report.downloaded, report.unchanged, fixture.pulls()), (0, files, 0));
    assert_eq!(fixture.blobs.counts().requests() + fixture.blobs.counts().cleans, 0);
    let counts = fixture.state.counts();
    assert_eq!((counts.locks, counts.lookups, counts.scans, counts.commits, counts.finishes), (1, 0, 0, 0, 1));
}

#[tokio::test]
async fn an_empty_vault_is_mirrored() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.sync_exact().await.downloaded, 0);
    fixture.sync_exact().await;
}

/// What listings may look like: every record twice, earlier versions, deleted records.
#[tokio::test]
async fn listings_with_earlier_doubled_and_deleted_records_mean_the_same() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::small(9));
    fixture.emulator.configure(|config| {
        (config.listing.earlier, config.listing.deleted, config.listing.twice) = (true, true, true);
    });
    fixture.sync_exact().await;
}

/// Promise 4 (resumable): what a stopped run has written is not fetched again.
#[tokio::test]
async fn a_run_out_of_time_is_gone_on_with() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::notes(3, 120));
    fixture.emulator.configure(|config| config.latency = Duration::from_millis(5));
    let mut runs = 0;
    loop {
        let stop = Stop { deadline: Some(Instant::now() + Duration::from_millis(100)), ..Stop::default() };
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

#[tokio::test]
async fn a_run_stopped_before_it_listed_changes_nothing() {
    let mut fixture = Fixture::new().await;
    fixture.vault.put("a.md", "a", 1);
    let stop = Stop::default();
    stop.request.cancel();
    let report = fixture.mirror().sync(&fixture.options, &stop).await;
    assert!(report.incomplete && report.error.is_none(), "{report:?}");
    assert_eq!(fixture.blobs.files().len(), 0);
    fixture.sync_exact().await;
}

#[tokio::test]
async fn a_dry_run_tells_and_changes_nothing() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::small(4));
    let dry = Options { dry_run: true, ..fixture.options.clone() };
    let told = fixture.sync_with(&dry).await;
    assert_eq!((fixture.blobs.files().len(), fixture.pulls()), (0, 0));
    assert_eq!(fixture.state.head_of(&fixture.mirror().id()), None);
    assert_eq!(fixture.state.counts().locks, 0, "a dry run needs no lease");
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

/// Care for the service: never more connections than files to fetch, nor than asked for.
#[tokio::test]
async fn connections_are_opened_as_needed() {
    for (files, jobs, most) in [(0, 4, 1), (2, 4, 2), (60, 3, 3)] {
        let mut fixture = Fixture::new().await;
        fixture.vault.fill(&Shape { folders: 0, ..Shape::notes(5, files) });
        fixture.emulator.configure(|config| config.latency = Duration::from_millis(2));
        fixture.options.jobs = jobs;
        fixture.sync_exact().await;
        let opened = fixture.emulator.counters().get().most_connections;
        assert!(opened <= most && (files < 60 || opened == most), "{files} files: {opened}");
    }
}
