//! What runs cost.

use std::time::Duration;

use obsync_core::mirror::Options;
use obsync_testkit::generate::Shape;

use crate::fixture::Fixture;

/// Promise 7 (proportional), step by step: with nothing changed, the lease is taken and given back, and no entry read.
#[tokio::test]
async fn a_second_run_takes_the_lease_and_gives_it_back() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::small(8));
    fixture.sync_exact().await;
    fixture.blobs.reset_counts();
    fixture.state.reset_counts();
    fixture.sync_exact().await;
    assert_eq!(fixture.blobs.counts().requests() + fixture.blobs.counts().cleans, 0);
    let counts = fixture.state.counts();
    assert_eq!((counts.locks, counts.lookups, counts.scans, counts.commits, counts.finishes), (1, 0, 0, 0, 1));
}

#[tokio::test]
async fn a_dry_run_takes_no_lease() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::small(4));
    fixture.sync_with(&Options { dry_run: true, ..fixture.options.clone() }).await;
    assert_eq!(fixture.state.counts().locks, 0);
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
