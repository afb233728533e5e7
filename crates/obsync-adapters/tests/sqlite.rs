//! State in a SQLite file: the promises of `StateStore`, and what only a file can suffer.
#![cfg(all(unix, feature = "sqlite"))]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt};
use obsync_adapters::state::SqliteState;
use obsync_core::blob::Stamp;
use obsync_core::clock::{Clock, SystemClock};
use obsync_core::state::{Commit, Entry, FileEntry, Head, MirrorId, StateError, StateStore};
use obsync_proto::{ContentHash, Cursor, Uid, VaultPath};
use obsync_testkit::conformance::{self, StateFixture};
use rusqlite::Connection;
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(3_600);

fn mirror() -> MirrorId {
    MirrorId { vault: "vault".parse().unwrap(), destination: "/some/where".to_owned() }
}

fn head(cursor: u64) -> Head {
    Head { cursor: Cursor(cursor), vault_name: "Notes".to_owned(), ..Head::default() }
}

fn nth(n: u64) -> VaultPath {
    VaultPath::parse(format!("folder {}/កំណត់ត្រា {n}.md", n % 100)).unwrap()
}

fn file(n: u64) -> Entry {
    let stamp = Stamp(format!("{n}-1700000000.123456789-1700000000.123456789").into());
    let mtime = 1_700_000_000_000 - n as i64;
    Entry::File(FileEntry { uid: Uid(n), hash: ContentHash::of(&n.to_be_bytes()), size: n, mtime, ctime: -1, stamp })
}

fn commit(range: std::ops::Range<u64>, cursor: u64) -> Commit {
    Commit { entries: range.map(|n| (nth(n), Some(file(n)))).collect(), head: head(cursor) }
}

async fn open(path: &Path) -> SqliteState {
    SqliteState::open(path).await.unwrap()
}

/// Opened, with something in it, and closed again.
async fn written(path: &Path) {
    let store = open(path).await;
    let (lease, _) = store.lock(&mirror(), "before", LONG).await.unwrap();
    store.finish(lease, commit(0..2_000, 1)).await.unwrap();
}

fn message(error: &StateError) -> String {
    assert!(matches!(error, StateError::Unusable { .. }), "{error}");
    error.to_string()
}

/// A clock that is set by hand.
#[derive(Debug, Clone)]
struct Hand(Arc<AtomicI64>);

impl Hand {
    fn at(ms: i64) -> Self {
        Self(Arc::new(AtomicI64::new(ms)))
    }

    fn set(&self, ms: i64) {
        self.0.store(ms, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn unix_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn file_is_a_state_store() {
    conformance::state(async || {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("state.db");
        let store = open(&path).await;
        StateFixture::new(Arc::new(store)).with_guard(dir).opened_again_by(move || {
            let path = path.clone();
            Box::pin(async move { Arc::new(open(&path).await) as Arc<dyn StateStore> })
        })
    })
    .await;
}

#[tokio::test]
async fn file_and_all_beside_it_are_the_owners_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("home/deep/state.db");
    let store = open(&path).await;
    let (_lease, _) = store.lock(&mirror(), "run", LONG).await.unwrap();
    let folder = path.parent().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder), 0o700);
    let files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(files.len() >= 4, "database, WAL, index and locks: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn file_that_others_could_read_is_closed_to_them() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.db");
    written(&path).await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let _store = open(&path).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

fn set_aside(dir: &TempDir) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path());
    let is_aside = |p: &PathBuf| p.file_name().unwrap().to_str().unwrap().starts_with("state.db.damaged-");
    files.filter(is_aside).collect()
}

#[tokio::test]
async fn damaged_file_is_moved_aside_and_a_new_one_begun() {
    for damage in ["garbage", "short garbage", "cut off", "header"] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("state.db");
        written(&path).await;
        let mut bytes = fs::read(&path).unwrap();
        match damage {
            "garbage" => bytes.fill(b'x'),
            "short garbage" => bytes = b"oops".to_vec(),
            "cut off" => bytes.truncate(bytes.len() / 2),
            _ => bytes[..100].fill(0),
        }
        fs::write(&path, &bytes).unwrap();
        let store = open(&path).await;
        assert_eq!(store.head(&mirror()).await.unwrap(), None, "{damage}");
        let aside = set_aside(&dir);
        assert_eq!(aside.len(), 1, "{damage}: {aside:?}");
        assert_eq!(fs::read(&aside[0]).unwrap(), bytes, "{damage}");
        let (lease, _) = store.lock(&mirror(), "run", LONG).await.unwrap();
        store.finish(lease, commit(0..10, 2)).await.unwrap();
        drop(store);
        assert_eq!(open(&path).await.head(&mirror()).await.unwrap(), Some(head(2)), "{damage}");
        assert_eq!(set_aside(&dir).len(), 1, "{damage}");
    }
}

#[tokio::test]
async fn damage_that_shows_later_fails_one_run_and_not_the_next() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.db");
    written(&path).await;
    let mut bytes = fs::read(&path).unwrap();
    let page = 4096;
    assert!(bytes.len() > page * 20);
    for start in (page * 4..bytes.len()).step_by(page) {
        bytes[start..start + 64].fill(0xAA);
    }
    fs::write(&path, &bytes).unwrap();
    let mut failed = false;
    for _ in 0..2 {
        let Ok(store) = SqliteState::open(&path).await else {
            failed = true;
            continue;
        };
        match store.scan(&mirror()).try_collect::<Vec<_>>().await {
            Ok(entries) => assert_eq!(entries, []),
            Err(error) => {
                assert!(message(&error).contains("moved to"), "{error}");
                failed = true;
            }
        }
    }
    assert!(failed || !set_aside(&dir).is_empty());
    assert_eq!(open(&path).await.scan(&mirror()).count().await, 0);
    assert_eq!(set_aside(&dir).len(), 1);
}

#[tokio::test]
async fn file_of_a_later_version_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.db");
    written(&path).await;
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let error = SqliteState::open(&path).await.unwrap_err();
    assert!(message(&error).contains("later version of obsync"), "{error}");
    assert!(set_aside(&dir).is_empty());
}

#[tokio::test]
async fn database_of_another_program_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    let error = SqliteState::open(&path).await.unwrap_err();
    assert!(message(&error).contains("another program"), "{error}");
    assert!(set_aside(&dir).is_empty());
}

#[tokio::test]
async fn place_that_cannot_be_written_is_unusable() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    for path in ["file/state.db", ""] {
        let error = SqliteState::open(dir.path().join(path)).await.unwrap_err();
        assert!(message(&error).contains("sqlite:"), "{error}");
    }
}

#[tokio::test]
async fn file_locked_by_another_program_is_waited_for_and_then_unusable() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.db");
    let wait = Duration::from_millis(400);
    let store = SqliteState::open_with(&path, SystemClock, wait).await.unwrap();
    let (lease, _) = store.lock(&mirror(), "run", LONG).await.unwrap();
    store.commit(&lease, commit(0..10, 1)).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let start = Instant::now();
    let error = store.commit(&lease, commit(10..20, 2)).await.unwrap_err();
    assert!(message(&error).contains("locked by another program"), "{error}");
    assert!(start.elapsed() >= wait && start.elapsed() < Duration::from_secs(10));
    assert_eq!(store.head(&mirror()).await.unwrap(), Some(head(1)), "readers do not wait");
    other.execute_batch("ROLLBACK").unwrap();
    store.commit(&lease, commit(10..20, 2)).await.unwrap();
    assert_eq!(store.scan(&mirror()).count().await, 20);
}

#[tokio::test]
async fn hundred_thousand_entries_are_written_read_and_scanned() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("state.db")).await;
    let (lease, _) = store.lock(&mirror(), "run", LONG).await.unwrap();
    let all = 100_000;
    let start = Instant::now();
    for from in (0..all).step_by(10_000) {
        store.commit(&lease, commit(from..from + 10_000, from)).await.unwrap();
    }
    println!("{all} entries written in {:?}", start.elapsed());
    let start = Instant::now();
    let mut scanned = 0;
    let mut scan = store.scan(&lease.mirror);
    while let Some((path, entry)) = scan.try_next().await.unwrap() {
        let Entry::File(found) = &entry else { panic!("{path:?}") };
        assert_eq!((path, &entry), (nth(found.uid.0), &file(found.uid.0)));
        scanned += 1;
    }
    println!("{scanned} scanned in {:?}", start.elapsed());
    assert_eq!(scanned, all);
    let start = Instant::now();
    let wanted: Vec<VaultPath> = (0..all * 2).step_by(4).map(nth).collect();
    assert_eq!(store.entries(&lease.mirror, &wanted).await.unwrap().len() as u64, all / 4);
    println!("{} looked up in {:?}", wanted.len(), start.elapsed());
    let start = Instant::now();
    store.reset(&lease).await.unwrap();
    println!("forgotten in {:?}", start.elapsed());
}

/// Run by hand: `cargo test -p obsync-adapters --test sqlite -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn measure_a_million_entries() {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("state.db");
    let store = open(&path).await;
    let (lease, _) = store.lock(&mirror(), "run", LONG).await.unwrap();
    let start = Instant::now();
    for from in (0..1_000_000).step_by(5_000) {
        store.commit(&lease, commit(from..from + 5_000, from)).await.unwrap();
    }
    println!("written in {:?}, {} MB", start.elapsed(), fs::metadata(&path).unwrap().len() / 1_000_000);
    let start = Instant::now();
    println!("{} scanned in {:?}", store.scan(&lease.mirror).count().await, start.elapsed());
    let start = Instant::now();
    store.commit(&lease, commit(500_000..500_010, 1)).await.unwrap();
    println!("10 changed in {:?}", start.elapsed());
    let start = Instant::now();
    drop(store);
    open(&path).await;
    println!("opened in {:?}", start.elapsed());
}

#[tokio::test]
async fn lease_that_ran_out_is_taken_from_a_stalled_run() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.db");
    let clock = Hand::at(1_000);
    let opened = async || SqliteState::open_with(&path, clock.clone(), Duration::from_secs(5)).await.unwrap();
    let (stalled, next, third) = (opened().await, opened().await, opened().await);
    let ttl = Duration::from_secs(60);
    let (old, _) = stalled.lock(&mirror(), "stalled", ttl).await.unwrap();
    clock.set(60_999);
    let held = next.lock(&mirror(), "next", ttl).await.unwrap_err();
    assert!(matches!(held, StateError::Held { holder } if holder == "stalled"));
    clock.set(61_001);
    let (new, _) = next.lock(&mirror(), "next", ttl).await.unwrap();
    assert!(new.token > old.token);
    // The stalled run finds out, or dies: either way the new one's lease stands.
    assert!(matches!(stalled.commit(&old, commit(0..1, 666)).await, Err(StateError::Lost)));
    drop(stalled);
    let held = third.lock(&mirror(), "third", ttl).await.unwrap_err();
    assert!(matches!(held, StateError::Held { holder } if holder == "next"));
    next.commit(&new, commit(0..1, 1)).await.unwrap();
    // Renewed, it is guarded again, and its death is noticed at once.
    next.renew(&new).await.unwrap();
    drop(next);
    let (last, found) = third.lock(&mirror(), "third", ttl).await.unwrap();
    assert_eq!(found, Some(head(1)));
    assert!(last.token > new.token);
}

/// Regression: the file beside the database stayed locked, and the run after the next one could not get it.
#[tokio::test]
async fn lease_of_a_dropped_run_runs_out_and_leaves_nothing_behind() {
    let dir = TempDir::new().unwrap();
    let clock = Hand::at(1_000);
    let path = dir.path().join("state.db");
    let store = SqliteState::open_with(&path, clock.clone(), Duration::from_secs(5)).await.unwrap();
    let ttl = Duration::from_secs(60);
    store.lock(&mirror(), "dropped", ttl).await.unwrap();
    assert!(matches!(store.lock(&mirror(), "next", ttl).await, Err(StateError::Held { .. })));
    clock.set(61_001);
    for n in 0..2 {
        let (lease, _) = store.lock(&mirror(), "next", ttl).await.unwrap();
        store.finish(lease, commit(0..1, n)).await.unwrap();
    }
    let (lease, _) = open(&path).await.lock(&mirror(), "another process", ttl).await.unwrap();
    store.unlock(lease).await.unwrap();
}

/// SQLite looks up where a page begins and believes the order from there on: pages of a table that is not in order could
/// come round again for ever.
#[tokio::test]
async fn entries_out_of_order_are_damage_and_not_an_endless_scan() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.db");
    let store = open(&path).await;
    let (lease, _) = store.lock(&mirror(), "before", LONG).await.unwrap();
    store.finish(lease, commit(0..5_000, 1)).await.unwrap();
    drop(store);
    let mut paths: Vec<_> = (0..5_000).map(nth).collect();
    paths.sort_unstable();
    // The last of the first page becomes the first of all.
    let last = paths[2_047].as_bytes();
    let mut file = fs::read(&path).unwrap();
    let places: Vec<usize> = file.windows(last.len()).enumerate().filter(|(_, w)| *w == last).map(|(n, _)| n).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|place| file[place] = b'!');
    fs::write(&path, &file).unwrap();
    let store = open(&path).await;
    let mirror = mirror();
    let scanned = store.scan(&mirror).try_fold(0, |n: u64, _| async move { Ok(n + 1) });
    let error = tokio::time::timeout(Duration::from_secs(20), scanned).await.expect("it ends").unwrap_err();
    assert!(message(&error).contains("moved to"), "{error}");
    assert_eq!(open(&path).await.head(&mirror).await.unwrap(), None, "the next run begins anew");
}

#[tokio::test]
async fn lease_of_a_store_that_is_gone_is_taken_at_once() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.db");
    let store = open(&path).await;
    let (lease, _) = store.lock(&mirror(), "gone", LONG).await.unwrap();
    drop(store);
    let store = open(&path).await;
    let (next, _) = store.lock(&mirror(), "next", LONG).await.unwrap();
    assert!(next.token > lease.token);
    assert!(matches!(store.commit(&lease, commit(0..1, 1)).await, Err(StateError::Lost)));
}

#[tokio::test]
async fn lease_of_a_killed_process_is_taken_at_once_and_of_a_living_one_not() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_holds_the_lease", "--ignored", "--nocapture"])
        .env("OBSYNC_TEST_STATE", &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("the child holds it")));
    let store = open(&path).await;
    let held = store.lock(&mirror(), "parent", LONG).await.unwrap_err();
    assert!(matches!(held, StateError::Held { holder } if holder == "child"));
    // SIGKILL, in the middle of its commits.
    child.kill().unwrap();
    child.wait().unwrap();
    let (lease, found) = store.lock(&mirror(), "parent", LONG).await.unwrap();
    let cursor = found.unwrap().cursor.0;
    let entries: Vec<_> = store.scan(&lease.mirror).try_collect().await.unwrap();
    assert_eq!(entries.len() as u64, cursor, "each commit is whole or not there");
    store.finish(lease, commit(0..1, cursor)).await.unwrap();
}

#[tokio::test]
#[ignore = "the child of lease_of_a_killed_process_is_taken_at_once_and_of_a_living_one_not"]
async fn child_that_holds_the_lease() {
    let Some(path) = std::env::var_os("OBSYNC_TEST_STATE") else { return };
    let store = open(Path::new(&path)).await;
    let (lease, _) = store.lock(&mirror(), "child", LONG).await.unwrap();
    for n in 0.. {
        store.commit(&lease, commit(n * 100..(n + 1) * 100, (n + 1) * 100)).await.unwrap();
        if n == 0 {
            println!("the child holds it");
        }
    }
}

#[tokio::test]
async fn lease_outlives_the_loss_of_the_file_beside_it() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.db");
    let running = open(&path).await;
    let (lease, _) = running.lock(&mirror(), "running", LONG).await.unwrap();
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = fs::remove_file(dir.path().join(name));
    }
    let store = open(&path).await;
    assert!(matches!(store.lock(&mirror(), "next", LONG).await, Err(StateError::Held { .. })));
    drop(running);
    let (next, found) = store.lock(&mirror(), "next", LONG).await.unwrap();
    assert_eq!(found, None);
    assert!(next.token > lease.token, "tokens grow though the file was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_that_want_the_lease_gets_it() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("state.db");
    open(&path).await;
    for _ in 0..2 {
        let wanting = (0..8).map(|n| {
            let path = path.clone();
            tokio::spawn(async move {
                let store = open(&path).await;
                let got = store.lock(&mirror(), &format!("run {n}"), LONG).await.map(|(lease, _)| lease);
                tokio::time::sleep(Duration::from_secs(1)).await;
                if let Ok(lease) = &got {
                    store.unlock(lease.clone()).await.unwrap();
                }
                got
            })
        });
        let got = futures_util::future::join_all(wanting).await;
        assert_eq!(got.into_iter().filter(|got| got.as_ref().unwrap().is_ok()).count(), 1);
    }
}
