//! Following a vault for days, in virtual time.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use obsync_core::clock::SystemClock;
use obsync_core::mirror::{Mirror, Options, Report, RunError};
use obsync_core::progress::Unobserved;
use obsync_core::remote::{Connection, Remote, RemoteError, RemoteErrorKind};
use obsync_core::stop::Stop;
use obsync_core::watch::{Follower, Pace, Standing, Why, follow};
use obsync_proto::Cursor;
use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::keys::vault_keys;
use obsync_testkit::memory::{MemoryBlobs, MemoryState, MemoryVault, PushedFile};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const MINUTE: Duration = Duration::from_secs(60);

/// A vault, its mirror, and what the follower said.
#[derive(Clone)]
struct World {
    vault: MemoryVault,
    blobs: MemoryBlobs,
    state: MemoryState,
    runs: Arc<AtomicU64>,
    in_step: Arc<AtomicBool>,
    token_ended: Arc<AtomicBool>,
}

impl World {
    fn new() -> Self {
        Self {
            vault: MemoryVault::new(vault_keys("password", "salt", EncryptionVersion::V3)),
            blobs: MemoryBlobs::folder(),
            state: MemoryState::new(),
            runs: Arc::default(),
            in_step: Arc::default(),
            token_ended: Arc::default(),
        }
    }

    fn put(&self, path: &str, content: &str) {
        self.vault.push_file(path, PushedFile { content: content.as_bytes(), mtime: 1, ctime: 1 }, None);
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.blobs.files()
    }

    fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    fn is_in_step(&self) -> bool {
        self.in_step.load(Ordering::Relaxed)
    }

    fn start(&self) -> Followed {
        let (mut world, stop) = (self.clone(), Stop::default());
        let given = stop.clone();
        let task = tokio::spawn(async move { follow(&mut world, &given, Pace::default()).await.unwrap() });
        Followed { stop, task }
    }
}

/// A vault that is being followed.
struct Followed {
    stop: Stop,
    task: JoinHandle<()>,
}

impl Followed {
    async fn end(self) {
        self.stop.request.cancel();
        self.task.await.unwrap();
    }
}

#[async_trait]
impl Follower for World {
    type Error = RunError;

    async fn sync(&mut self, _: Why) -> Result<Option<Report>, RunError> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.token_ended.store(false, Ordering::Relaxed);
        let mirror = Mirror {
            vault: "vault".parse().unwrap(),
            vault_name: "V".to_owned(),
            keys: self.vault.keys(),
            remote: Arc::new(self.vault.clone()),
            blobs: Arc::new(self.blobs.clone()),
            state: Arc::new(self.state.clone()),
            clock: Arc::new(SystemClock),
            observer: Arc::new(Unobserved),
        };
        Ok(Some(mirror.sync(&Options::default(), &Stop::default()).await))
    }

    async fn remote(&mut self) -> Result<Option<Arc<dyn Remote>>, RunError> {
        Ok(Some(Arc::new(Guarded(self.clone()))))
    }

    fn stands(&mut self, standing: Standing) {
        self.in_step.store(standing == Standing::InStep, Ordering::Relaxed);
    }
}

/// Refuses a token that has ended.
struct Guarded(World);

#[async_trait]
impl Remote for Guarded {
    async fn open(&self, cursor: Cursor) -> Result<Box<dyn Connection>, RemoteError> {
        if self.0.token_ended.load(Ordering::Relaxed) {
            return Err(RemoteError::new(RemoteErrorKind::Authentication, "the token has ended"));
        }
        self.0.vault.open(cursor).await
    }
}

/// Resident bytes of this process.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[cfg(not(target_os = "linux"))]
fn resident() -> u64 {
    0
}

/// A day with a change every minute, a cut every few minutes, and an hour without network: every change arrives, within
/// seconds where there is a network, and neither tasks nor memory grow.
#[tokio::test(start_paused = true)]
async fn a_day_with_cuts_is_followed_change_by_change() {
    let mut rng = fastrand::Rng::with_seed(1);
    let world = World::new();
    let followed = world.start();
    let mut expected = BTreeMap::new();
    let mut early = None;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for minute in 0..24 * 60 {
        let path = format!("note {}.md", rng.u8(..50));
        if expected.contains_key(&path) && rng.u8(..4) == 0 {
            world.vault.push_deleted(&path, false, None);
            expected.remove(&path);
        } else {
            let content = format!("minute {minute}");
            world.put(&path, &content);
            expected.insert(path, content.into_bytes());
        }
        let offline = (600..660).contains(&minute);
        world.vault.set_out_of_reach(offline);
        if offline || rng.u8(..4) == 0 {
            sleep(Duration::from_millis(rng.u64(..3000))).await;
            world.vault.cut_connections();
        }
        sleep(MINUTE / 2).await;
        // After an hour without network the doorbell tries every 5 minutes.
        if !(600..666).contains(&minute) {
            assert_eq!(world.files(), expected, "minute {minute}");
            assert!(world.is_in_step(), "minute {minute}");
        } else if offline && minute > 600 {
            assert!(!world.is_in_step(), "minute {minute}");
        }
        sleep(MINUTE / 2).await;
        if minute == 120 {
            early = Some((tasks(), resident()));
        }
    }
    let (early_tasks, early_bytes) = early.unwrap();
    assert!(tasks() <= early_tasks, "{} tasks, {early_tasks} after two hours", tasks());
    // What grows is the vault's own history, in the test: some 1,300 records of half a KB.
    let grown = resident().saturating_sub(early_bytes);
    assert!(grown < 4 << 20, "{grown} bytes more than after two hours");
    followed.end().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_changed_is_no_run_for_hours() {
    let world = World::new();
    world.put("a.md", "a");
    let followed = world.start();
    sleep(MINUTE * 60 * 5).await;
    assert_eq!((world.runs(), world.is_in_step()), (1, true));
    world.vault.cut_connections();
    sleep(MINUTE).await;
    assert_eq!((world.runs(), world.is_in_step()), (1, true), "a cut is no change");
    followed.end().await;
}

#[tokio::test(start_paused = true)]
async fn changes_that_come_together_are_one_run_and_a_stream_of_them_waits_for_no_end() {
    let world = World::new();
    let followed = world.start();
    sleep(MINUTE).await;
    for n in 0..20 {
        world.put(&format!("{n}.md"), "x");
        sleep(Duration::from_millis(10)).await;
    }
    sleep(MINUTE).await;
    assert_eq!((world.runs(), world.files().len()), (2, 20));
    let begun = Instant::now();
    while world.runs() == 2 {
        world.put("typing.md", &format!("{:?}", begun.elapsed()));
        sleep(Duration::from_millis(500)).await;
        assert!(begun.elapsed() < Duration::from_secs(12), "no run while somebody types");
    }
    followed.end().await;
}

/// A file that cannot be fetched is tried again more and more rarely; what changes beside it comes at once.
#[tokio::test(start_paused = true)]
async fn a_run_in_part_is_repeated_with_patience_and_does_not_hold_up_changes() {
    let world = World::new();
    let uid = world.vault.push_file("lost.md", PushedFile { content: b"x", mtime: 1, ctime: 1 }, None);
    world.vault.lose(uid);
    let followed = world.start();
    sleep(MINUTE * 60).await;
    let runs = world.runs();
    assert!((12..40).contains(&runs), "{runs} runs in an hour");
    assert!(!world.is_in_step());
    world.put("new.md", "new");
    sleep(Duration::from_secs(5)).await;
    assert!(world.files().contains_key("new.md"));
    followed.end().await;
}

/// A service that stays out of reach may have moved: a run looks, though nothing has rung.
#[tokio::test(start_paused = true)]
async fn a_vault_that_is_out_of_reach_for_long_is_looked_for_anew() {
    let world = World::new();
    let followed = world.start();
    sleep(MINUTE).await;
    assert_eq!(world.runs(), 1);
    world.vault.set_out_of_reach(true);
    world.vault.cut_connections();
    sleep(MINUTE * 5).await;
    assert!((2..20).contains(&world.runs()), "{} runs", world.runs());
    followed.end().await;
}

/// A token that ends makes the doorbell deaf: a run gets a new one, and a new doorbell listens with it.
#[tokio::test(start_paused = true)]
async fn a_token_that_ends_is_no_end() {
    let world = World::new();
    let followed = world.start();
    for n in 0..3 {
        sleep(MINUTE).await;
        world.token_ended.store(true, Ordering::Relaxed);
        world.vault.cut_connections();
        sleep(MINUTE).await;
        assert!(world.is_in_step(), "after the {n}th end");
        world.put(&format!("{n}.md"), "new");
        sleep(Duration::from_secs(5)).await;
        assert_eq!(world.files().len(), n + 1);
    }
    followed.end().await;
}
