//! What becomes of runs when something goes wrong: each ends in bounded time, writes no wrong byte, and says clearly what
//! it could not do; and the next one that nothing disturbs leaves the mirror exact. What was struck how often, and what
//! came of it, is laid down in `docs/reliability.md`.
//!
//! Each fault meets the runs of one mirror, which find changes of every kind: at random the first run and a complete one;
//! in a burst, another complete one; and without end, one that follows the changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use obsync_core::mirror::{Options, Report};
use obsync_core::plan::{MaxDelete, Rules};
use obsync_core::state::{StateError, StateStore};
use obsync_core::stop::Stop;
use obsync_emulator::Schedule;
use obsync_proto::ContentHash;
use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::fault::{FaultPlan, FaultyBlobs};
use obsync_testkit::generate::Shape;
use obsync_testkit::reliability::{Outcome, Section};
use obsync_testkit::scenario::{Fixture, Pair};

use crate::stores::{DynamoDb, Folder, S3, Sqlite};

mod dynamodb;
mod folder;
mod machine;
mod s3;
mod service;
mod sqlite;

/// The longest that a run may take, whatever happens: it has next to nothing to do, and no fault makes it wait long.
const BOUND: Duration = Duration::from_secs(120);

/// How long runs wait for an answer under a fault that is silence.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long all others do: the machine may do much else.
const MUCH_PATIENCE: Duration = Duration::from_secs(20);

/// Longer than any lease.
const HOUR: Duration = Duration::from_secs(3600);

/// Lets a fault strike from now on, by a schedule, until it is told to end.
type Begin = Box<dyn Fn(&World, Schedule) -> End>;

/// Takes a fault back, and says how often it struck. A fault that goes on by itself ends when this is dropped, too.
type End = Box<dyn FnOnce() -> u64>;

/// A fault.
struct Row {
    fault: &'static str,
    /// What a report says of it: each of its errors has one of these.
    says: &'static [&'static str],
    /// How many runs get over it at least: where each try fails anew, none need to.
    exact: u32,
    /// How long runs under it wait for an answer.
    patience: Duration,
    /// Among the changes is a file that is uploaded in parts.
    large: bool,
    /// The state may be lost, and with it which folders were obsync's.
    forgets: bool,
    /// Where a folder is made that the fault can strike; `None` where it cannot be on this machine.
    folder: fn() -> Option<Folder>,
    begin: Begin,
}

impl Row {
    fn new(
        fault: &'static str,
        says: &'static [&'static str],
        begin: impl Fn(&World, Schedule) -> End + 'static,
    ) -> Self {
        Self {
            fault,
            says,
            exact: 1,
            patience: MUCH_PATIENCE,
            large: false,
            forgets: false,
            folder: || Some(Folder::new()),
            begin: Box::new(begin),
        }
    }
}

/// A pair of stores.
#[derive(Debug, Clone, Copy)]
enum Stores {
    FolderSqlite,
    FolderDynamoDb,
    S3Sqlite,
    S3DynamoDb,
}

use Stores::{FolderDynamoDb, FolderSqlite, S3DynamoDb, S3Sqlite};

impl Stores {
    fn name(self) -> &'static str {
        match self {
            FolderSqlite => "folder, SQLite",
            FolderDynamoDb => "folder, DynamoDB",
            S3Sqlite => "S3, SQLite",
            S3DynamoDb => "S3, DynamoDB",
        }
    }
}

/// Lets each fault strike each pair of stores, and lays down what came of it.
async fn publish(title: &'static str, columns: &[Stores], rows: Vec<Row>) {
    let names: Vec<_> = columns.iter().map(|stores| stores.name()).collect();
    let mut section = Section::new(title, names);
    for row in rows {
        // They wait more than they work.
        let outcomes = join_all(columns.iter().map(|&stores| World::met_by(&row, stores))).await;
        if outcomes.iter().all(Option::is_none) {
            section.skip(row.fault);
        } else {
            section.add(row.fault, &outcomes, &row.says.join(", "));
        }
    }
    section.publish();
}

/// A vault and its mirror, with what only the stores' makers can do.
struct World {
    fixture: Fixture,
    folder: Option<Arc<Folder>>,
    s3: Option<Arc<S3>>,
    sqlite: Option<Arc<Sqlite>>,
    dynamodb: Option<Arc<DynamoDb>>,
    /// Of the destination as runs have it.
    plan: FaultPlan,
    /// What each file ever was.
    versions: BTreeMap<String, BTreeSet<ContentHash>>,
    changes: u64,
}

impl World {
    /// `None` where the fault cannot be made on this machine.
    async fn new(stores: Stores, row: &Row) -> Option<Self> {
        let (folder, s3) = match stores {
            FolderSqlite | FolderDynamoDb => (Some(Arc::new((row.folder)()?)), None),
            S3Sqlite | S3DynamoDb => (None, Some(Arc::new(S3::with_patience(row.patience).await))),
        };
        let (sqlite, dynamodb) = match stores {
            FolderSqlite | S3Sqlite => (Some(Arc::new(Sqlite::with_patience(row.patience))), None),
            FolderDynamoDb | S3DynamoDb => (None, Some(Arc::new(DynamoDb::with_patience(row.patience).await))),
        };
        let pair = Pair {
            destination: match (&folder, &s3) {
                (Some(folder), _) => folder.clone(),
                (None, s3) => s3.clone()?,
            },
            state: match (&sqlite, &dynamodb) {
                (Some(sqlite), _) => sqlite.clone(),
                (None, dynamodb) => dynamodb.clone()?,
            },
        };
        let mut fixture = Fixture::new(pair, EncryptionVersion::V3).await;
        fixture.vault.fill(&Shape { folders: 2, ..Shape::notes(7, 10) });
        fixture.options.rules = Rules { max_delete: MaxDelete::Count(1000), ..Rules::default() };
        fixture.options.jobs = 2;
        // So that there is something to meet the fault more than once.
        fixture.options.commit_every = Duration::from_millis(10);
        let mut world = Self {
            fixture,
            folder,
            s3,
            sqlite,
            dynamodb,
            plan: FaultPlan::new(),
            versions: BTreeMap::new(),
            changes: 0,
        };
        world.change(row);
        Some(world)
    }

    async fn met_by(row: &Row, stores: Stores) -> Option<Outcome> {
        Some(Self::new(stores, row).await?.suffer(row).await)
    }

    /// Lets the fault strike in each way.
    async fn suffer(mut self, row: &Row) -> Outcome {
        let mut outcome = Outcome::default();
        let (at_random, burst) = (Schedule::default().at_random(3, 1), Schedule::default().times(7));
        let lasting = Schedule::default().always();
        // Runs under each: whether they compare everything.
        let runs: [&[bool]; 3] = [&[false, true], &[true], &[false]];
        for (schedule, runs) in [at_random, burst, lasting].into_iter().zip(runs) {
            let end = (row.begin)(&self, schedule);
            for complete in runs {
                self.change(row);
                match self.run_under(row, *complete).await {
                    true => outcome.exact += 1,
                    false => outcome.told += 1,
                }
                // A run that could not give its lease back leaves it to time.
                self.fixture.pair.state.expire_leases().await;
            }
            outcome.struck += end();
            self.run_undisturbed(row).await;
        }
        assert!(outcome.struck > 0, "{}: nothing was struck", row.fault);
        assert!(outcome.exact >= row.exact, "{}: {outcome:?}", row.fault);
        outcome
    }

    /// An afternoon's changes.
    fn change(&mut self, row: &Row) {
        self.changes += 1;
        let vault = &mut self.fixture.vault;
        vault.random_changes(self.changes, 6);
        vault.put("always edited.md", format!("for the time number {}", self.changes), 1);
        // Several are deleted each time.
        for kind in ["a", "b", "c"] {
            let old = format!("{kind} {}.md", self.changes - 1);
            if vault.tree().files.contains_key(&old) {
                vault.delete(&old);
            }
            vault.put(&format!("{kind} {}.md", self.changes), kind, 1);
        }
        if row.large {
            let content: Vec<u8> = (0..6 << 20).map(|n: u32| (n >> 8) as u8 ^ self.changes as u8).collect();
            vault.put("large.bin", content, 1);
        }
        for (path, content) in vault.tree().files {
            self.versions.entry(path).or_default().insert(ContentHash::of(&content));
        }
    }

    /// Runs as a process of its own under the fault, and says whether it brought the mirror up to date. One that did
    /// not says why.
    async fn run_under(&self, row: &Row, complete: bool) -> bool {
        let report = match self.open_state().await {
            Ok(state) => tokio::time::timeout(BOUND, self.run(row.patience, state, complete)).await.expect(row.fault),
            Err(error) => Report { error: Some(error.into()), ..Report::default() },
        };
        self.assert_no_wrong_byte(row);
        if report.is_success() {
            self.assert_exact(row);
            return true;
        }
        let failed = report.failed.iter().map(|failure| failure.error.clone());
        let errors: Vec<String> = report.error.iter().map(ToString::to_string).chain(failed).collect();
        assert!(!errors.is_empty(), "{}: nothing is said of it: {report:?}", row.fault);
        for error in errors {
            let is_clear = row.says.iter().any(|says| error.contains(says));
            assert!(is_clear, "{}: no report of it: {error:?}", row.fault);
        }
        false
    }

    async fn run(&self, patience: Duration, state: Arc<dyn StateStore>, complete: bool) -> Report {
        let blobs = FaultyBlobs::new(self.fixture.pair.destination.open(self.fixture.vault.id()), self.plan.clone());
        let mirror = self.fixture.mirror_waiting(patience, Arc::new(blobs), state);
        let options = Options { complete, ..self.fixture.options.clone() };
        mirror.sync(&options, &Stop::default()).await
    }

    async fn open_state(&self) -> Result<Arc<dyn StateStore>, StateError> {
        match &self.sqlite {
            Some(sqlite) => Ok(Arc::new(sqlite.open_as_it_is().await?)),
            None => Ok(self.fixture.pair.state.open().await),
        }
    }

    /// The next run.
    async fn run_undisturbed(&mut self, row: &Row) {
        self.fixture.reopen().await;
        let fixture = &self.fixture;
        let mirror = fixture.mirror_waiting(MUCH_PATIENCE, fixture.blobs.clone(), fixture.state.clone());
        let report = mirror.sync(&fixture.options, &Stop::default()).await;
        assert!(report.is_success(), "after {}: {report:?}", row.fault);
        self.assert_exact(row);
        assert_eq!(fixture.pair.destination.unfinished(), 0, "after {}", row.fault);
    }

    fn assert_exact(&self, row: &Row) {
        let (vault, mirror) = (self.fixture.vault.tree(), self.fixture.tree());
        let vault = if self.fixture.blobs.keeps_folders() { vault } else { vault.files_only() };
        let mut differences = vault.differences(&mirror);
        differences.retain(|difference| !(row.forgets && difference.starts_with("unexpected folder")));
        assert_eq!(differences, Vec::<String>::new(), "{}", row.fault);
    }

    fn assert_no_wrong_byte(&self, row: &Row) {
        for (path, content) in self.fixture.files() {
            let is_version = self.versions.get(&path).is_some_and(|all| all.contains(&ContentHash::of(&content)));
            assert!(is_version, "{}: {path} is no version of it", row.fault);
        }
    }
}

/// Something that is the case by turns, until this is dropped: also by an assertion that fails.
struct Turns {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<u64>>,
}

impl Turns {
    fn end(&mut self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().map_or(0, |thread| thread.join().unwrap())
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.end();
    }
}

/// Lets something be the case in moments that a schedule chooses, one every few milliseconds, from this one on.
/// `switch` switches it on or off, and says whether it could.
fn by_turns(mut schedule: Schedule, mut switch: impl FnMut(bool) -> bool + Send + 'static) -> End {
    let over = Arc::new(AtomicBool::new(false));
    let (began, beginning) = mpsc::channel();
    let thread = {
        let over = over.clone();
        thread::spawn(move || {
            let (mut is_on, mut struck) = (false, 0);
            while !over.load(Ordering::Relaxed) {
                let wants = schedule.wants();
                if wants {
                    schedule.take();
                }
                if wants != is_on && switch(wants) {
                    is_on = wants;
                    struck += u64::from(is_on);
                }
                let _ = began.send(());
                thread::sleep(Duration::from_millis(3));
            }
            // A disk that is busy may need another moment.
            for _ in 0..1000 {
                if !is_on || switch(false) {
                    break;
                }
                thread::sleep(Duration::from_millis(3));
            }
            struck
        })
    };
    beginning.recv().unwrap();
    let mut turns = Turns { over, thread: Some(thread) };
    Box::new(move || turns.end())
}
