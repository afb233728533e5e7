//! Runs that end in the middle, without a word, with their lease left behind.

use std::time::Duration;

use bytes::Bytes;
use obsync_core::blob::BlobMeta;
use obsync_core::mirror::{Mirror, Options, Report, RunError};
use obsync_core::state::StateError;
use obsync_core::stop::Stop;
use obsync_emulator::{Fault, FaultRule, Place};
use obsync_proto::VaultPath;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Fixture, Pairs};
use crate::generate::Shape;

/// Longer than any of this takes.
const LONG: Duration = Duration::from_secs(30);

/// Shorter than what is left of the large file.
const SOON: Duration = Duration::from_secs(2);

/// Notes in the vault, beside a large file.
const NOTES: usize = 60;

/// A file that takes 4 seconds to fetch, and less than two until it is uploaded in parts.
const LARGE: &str = "large.bin";

/// Promises 4 and 5: every task of the run ends where it is, and something is left half written.
pub async fn a_run_whose_process_died_is_gone_on_with(pairs: &Pairs) {
    let fixture = in_the_middle(pairs).await;
    let (mirror, options) = (fixture.mirror_of_another_process().await, fixture.options.clone());
    let death = CancellationToken::new();
    let process = die_at(death.clone(), mirror, options);
    until_the_middle(&fixture).await;
    leave_half_written(&fixture).await;
    death.cancel();
    process.await.unwrap();
    assert!(fixture.pair.destination.unfinished() > 0);
    is_gone_on_with(&fixture).await;
}

/// The same for a run that its own process no longer wants: what it was doing ends with it.
pub async fn a_run_that_was_dropped_is_gone_on_with(pairs: &Pairs) {
    let fixture = in_the_middle(pairs).await;
    tokio::select! {
        biased;
        () = until_the_middle(&fixture) => {}
        report = fixture.sync() => panic!("it came to its end: {report:?}"),
    }
    let since = Instant::now();
    while fixture.pair.destination.unfinished() > 0 || fixture.emulator.counters().get().connections > 0 {
        assert!(since.elapsed() < SOON, "it goes on, although nobody waits for it");
        sleep(Duration::from_millis(10)).await;
    }
    is_gone_on_with(&fixture).await;
}

/// A vault whose first run takes long enough to be met in the middle, and records what it does at once.
async fn in_the_middle(pairs: &Pairs) -> Fixture {
    let mut fixture = pairs.fixture().await;
    fixture.vault.fill(&Shape::notes(31, NOTES));
    let large = fixture.vault.put(LARGE, vec![1; 24 << 20], 1);
    fixture.emulator.faults().add(FaultRule::new(Place::PullOf(large), Fault::Trickle(6 << 20)));
    fixture.emulator.configure(|config| config.latency = Duration::from_millis(5));
    fixture.options.commit_every = Duration::from_millis(20);
    fixture.options.lease_ttl = Duration::from_secs(2);
    fixture.options.jobs = 2;
    fixture
}

/// Until some is recorded, and the large file is under way.
async fn until_the_middle(fixture: &Fixture) {
    let since = Instant::now();
    let large = fixture.vault.uid(LARGE);
    let is_under_way = || {
        let is_pulled = fixture.emulator.counters().get().pulls_by_uid.contains_key(&large);
        is_pulled && fixture.pair.destination.unfinished() > 0
    };
    while !is_under_way() || fixture.recorded().await.len() < NOTES / 4 {
        assert!(since.elapsed() < LONG, "there was no middle");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Runs in a runtime of its own, which ends at `death` with everything in it.
fn die_at(death: CancellationToken, mirror: Mirror, options: Options) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let run = async { mirror.sync(&options, &Stop::default()).await };
            let report = death.run_until_cancelled(run).await;
            assert!(report.is_none(), "it came to its end: {report:?}");
        });
    })
}

/// A write that nothing will end, as a killed process leaves it: dropped, it would take itself back.
async fn leave_half_written(fixture: &Fixture) {
    let content = Bytes::from(vec![2; 9 << 20]);
    let meta = BlobMeta { hash: None, size: 10 << 20, mtime: 1, ctime: 1 };
    let path = VaultPath::parse("half written.bin").unwrap();
    let mut writer = fixture.blobs.writer(&path, &meta).await.unwrap();
    writer.write(content).await.unwrap();
    std::mem::forget(writer);
}

/// The next run comes to the end, and fetches nothing that was recorded; nothing is left for the one after it.
async fn is_gone_on_with(fixture: &Fixture) {
    let recorded = fixture.recorded().await;
    assert!((NOTES / 4..=NOTES).contains(&recorded.len()), "{}", recorded.len());
    assert!(fixture.head().await.unwrap().unfinished);
    fixture.emulator.faults().clear();
    fixture.emulator.counters().reset();
    let report = sync_once_free(fixture).await;
    assert!(report.is_success(), "{report:?}");
    fixture.assert_exact();
    let pulled = fixture.emulator.counters().get().pulls_by_uid;
    for path in recorded.keys() {
        assert!(!pulled.contains_key(&fixture.vault.uid(path)), "{path} was fetched again");
    }
    fixture.pulls();
    assert_eq!((fixture.sync_exact().await.downloaded, fixture.pulls()), (0, 0));
}

/// Runs as soon as the lease of the interrupted run lets it.
async fn sync_once_free(fixture: &Fixture) -> Report {
    let since = Instant::now();
    loop {
        let report = fixture.sync().await;
        if !matches!(report.error, Some(RunError::State(StateError::Held { .. }))) || since.elapsed() > LONG {
            return report;
        }
        sleep(Duration::from_millis(50)).await;
    }
}
