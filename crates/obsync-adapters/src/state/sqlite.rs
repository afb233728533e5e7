//! State in a SQLite file of this machine.
//!
//! A lease is a row with a token and an end, and, beside the database, a file that is locked for as long as the
//! holder lives: the system lets go of the lock when a process dies, however it dies, so that the next run need not
//! wait for the end. `sqlite/guard.rs` has the table of how the two work together.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use obsync_core::clock::{Clock, SystemClock};
use obsync_core::state::{Commit, Entry, Head, Lease, MirrorId, StateError, StateStore};
use obsync_proto::VaultPath;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};

mod guard;
mod layout;
mod rows;

use guard::{Guard, Verdict};

/// How long to wait for another process that is writing to the file.
const BUSY: Duration = Duration::from_secs(30);

/// Entries that [`StateStore::scan`] has in memory at a time.
const PAGE: usize = 2048;

/// How often, and how far apart, to look again at a mirror whose last holder is just letting go.
const LETTING_GO: (u32, Duration) = (20, Duration::from_millis(50));

/// State in a SQLite file. Clones are the same one.
#[derive(Debug, Clone)]
pub struct SqliteState {
    shared: Arc<Shared>,
    clock: Arc<dyn DebugClock>,
}

/// A [`Clock`] that can stand in a type with `Debug`.
trait DebugClock: Clock + std::fmt::Debug {}

impl<C: Clock + std::fmt::Debug> DebugClock for C {}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    connection: Mutex<Connection>,
    /// The locked files of the leases that this process holds, by mirror and token.
    guards: Mutex<HashMap<(MirrorId, u64), File>>,
    moved_aside: AtomicBool,
}

impl SqliteState {
    /// Opens the file `path`; it and its folder are made where they are not there. A file that is damaged is moved
    /// aside, and a new one begun.
    ///
    /// # Errors
    /// [`StateError::Unusable`]; also for a file of a later version of obsync, and for another program's.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StateError> {
        Self::open_with(path, SystemClock, BUSY).await
    }

    /// [`open`](Self::open), with the clock that leases end by, and how long to wait for another process.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_with(
        path: impl AsRef<Path>,
        clock: impl Clock + std::fmt::Debug + 'static,
        busy: Duration,
    ) -> Result<Self, StateError> {
        let path = path.as_ref().to_owned();
        let opened = path.clone();
        let connection = blocking(&path, move || layout::open(&opened, busy)).await?;
        let shared = Shared {
            path,
            connection: Mutex::new(connection),
            guards: Mutex::default(),
            moved_aside: AtomicBool::new(false),
        };
        Ok(Self { shared: Arc::new(shared), clock: Arc::new(clock) })
    }

    /// Does `work` where it may wait for the disk.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StateError> {
        let shared = self.shared.clone();
        blocking(&self.shared.path, move || work(&shared).map_err(|fault| shared.error(fault))).await
    }

    /// Does `work` in one transaction that also proves that the lease is held, and lets go of it where it is not.
    async fn under_lease<T: Send + 'static>(
        &self,
        lease: &Lease,
        work: impl FnOnce(&Connection, i64) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StateError> {
        let held = lease.clone();
        let done = self
            .run(move |shared| {
                shared.write(|connection| {
                    let mirror = rows::held(connection, &held)?.ok_or(Fault::Lost)?;
                    work(connection, mirror)
                })
            })
            .await;
        if matches!(done, Err(StateError::Lost)) {
            self.shared.let_go(lease);
        }
        done
    }
}

/// Why something was not done.
enum Fault {
    Lost,
    Sqlite(rusqlite::Error),
    /// Something that obsync does not write.
    Foreign(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Shared {
    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A transaction that a panic cut off was rolled back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    fn guards(&self) -> MutexGuard<'_, HashMap<(MirrorId, u64), File>> {
        self.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn let_go(&self, lease: &Lease) {
        self.guards().remove(&(lease.mirror.clone(), lease.token));
    }

    fn error(&self, fault: Fault) -> StateError {
        let message = match fault {
            Fault::Lost => return StateError::Lost,
            Fault::Sqlite(error) if layout::is_damage(&error) => self.move_aside(&error),
            Fault::Sqlite(error) => sqlite_message(&error),
            Fault::Foreign(message) => message,
        };
        unusable(&self.path, message)
    }

    /// Makes room for a new file at the next start: this one would fail every run from here on.
    fn move_aside(&self, error: &rusqlite::Error) -> String {
        if self.moved_aside.swap(true, Ordering::Relaxed) {
            return format!("the file is damaged ({error})");
        }
        match layout::move_aside(&self.path) {
            Ok(aside) => format!("the file is damaged ({error}) and was moved to {}", aside.display()),
            Err(e) => format!("the file is damaged ({error}), and cannot be moved aside: {e}"),
        }
    }

    /// One try to take the lease.
    fn lock(&self, mirror: &MirrorId, holder: &str, ttl: Duration, now: i64) -> Result<Locked, Fault> {
        self.write(|connection| {
            let row = rows::row_for_lease(connection, mirror)?;
            if !row.runs(now) {
                // What this store itself still has is of a run that was dropped, or has stalled. Nobody else could get
                // it for as long as the process lives.
                self.guards().retain(|(held, _), _| held != mirror);
            }
            let guard = Guard::of(&self.path, mirror);
            match guard.judge(&row, now) {
                Verdict::Take => {
                    let token = rows::next_token(&row, now);
                    rows::take(connection, row.id, token, holder, end(now, ttl), guard.is_taken())?;
                    let lease = Lease { mirror: mirror.clone(), token, ttl };
                    Ok(Locked::Taken(lease, guard.into_file(), row.head))
                }
                Verdict::Held => Ok(Locked::Held(row.holder.unwrap_or_default())),
                Verdict::LettingGo => Ok(Locked::LettingGo),
            }
        })
    }
}

/// What came of a try to take a lease.
enum Locked {
    Taken(Lease, Option<File>, Option<String>),
    Held(String),
    LettingGo,
}

fn end(now: i64, ttl: Duration) -> i64 {
    now.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX))
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(unusable(path, "the program is ending")),
        },
    }
}

fn unusable(path: &Path, message: impl Into<String>) -> StateError {
    StateError::Unusable { location: format!("sqlite:{}", path.display()), message: message.into() }
}

fn sqlite_message(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "locked by another program".to_owned(),
        _ => error.to_string(),
    }
}

fn parse_head(text: Option<String>, mirror: &MirrorId) -> Option<Head> {
    let head = serde_json::from_str(&text?);
    // State is a cache: without a head the next run compares everything.
    head.inspect_err(|_| tracing::warn!(%mirror, "the state of this mirror is damaged and is not used")).ok()
}

#[async_trait]
impl StateStore for SqliteState {
    async fn head(&self, mirror: &MirrorId) -> Result<Option<Head>, StateError> {
        let wanted = mirror.clone();
        let text = self.run(move |shared| Ok(rows::head(&shared.connection(), &wanted)?)).await?;
        Ok(parse_head(text, mirror))
    }

    async fn entries(&self, mirror: &MirrorId, paths: &[VaultPath]) -> Result<HashMap<VaultPath, Entry>, StateError> {
        let mut entries = HashMap::new();
        // In chunks, so that a long list does not keep a commit waiting.
        for chunk in paths.chunks(PAGE) {
            let (mirror, chunk) = (mirror.clone(), chunk.to_vec());
            let found = self.run(move |shared| rows::entries(&shared.connection(), &mirror, chunk)).await?;
            entries.extend(found);
        }
        Ok(entries)
    }

    fn scan<'a>(&'a self, mirror: &'a MirrorId) -> BoxStream<'a, Result<(VaultPath, Entry), StateError>> {
        let pages = stream::try_unfold(Some(String::new()), move |after| async move {
            let Some(after) = after else { return Ok(None) };
            let wanted = mirror.clone();
            let page = self.run(move |shared| rows::page(&shared.connection(), &wanted, &after, PAGE)).await?;
            let next = (page.len() == PAGE).then(|| page.last().map(|(path, _)| path.to_string())).flatten();
            Ok::<_, StateError>(Some((stream::iter(page.into_iter().map(Ok)), next)))
        });
        pages.try_flatten().boxed()
    }

    async fn lock(&self, mirror: &MirrorId, holder: &str, ttl: Duration) -> Result<(Lease, Option<Head>), StateError> {
        let (tries, pause) = LETTING_GO;
        for _ in 0..tries {
            let (wanted, holder, now) = (mirror.clone(), holder.to_owned(), self.clock.unix_ms());
            match self.run(move |shared| shared.lock(&wanted, &holder, ttl, now)).await? {
                Locked::Taken(lease, file, head) => {
                    // Here, and not where it was locked: a caller who gave up meanwhile holds nothing.
                    if let Some(file) = file {
                        self.shared.guards().insert((lease.mirror.clone(), lease.token), file);
                    }
                    return Ok((lease, parse_head(head, mirror)));
                }
                Locked::Held(holder) => return Err(StateError::Held { holder }),
                Locked::LettingGo => tokio::time::sleep(pause).await,
            }
        }
        Err(StateError::Held { holder: "a run that this state file does not know of".to_owned() })
    }

    async fn renew(&self, lease: &Lease) -> Result<(), StateError> {
        let until = end(self.clock.unix_ms(), lease.ttl);
        // Taken over from a run that had stalled, it is without the locked file until that run has ended.
        let key = (lease.mirror.clone(), lease.token);
        let mut file = None;
        if !self.shared.guards().contains_key(&key) {
            let mirror = lease.mirror.clone();
            file = self.run(move |shared| Ok(Guard::of(&shared.path, &mirror).into_file())).await?;
        }
        let guarded = file.is_some();
        self.under_lease(lease, move |connection, mirror| Ok(rows::renew(connection, mirror, until, guarded)?)).await?;
        if let Some(file) = file {
            self.shared.guards().insert(key, file);
        }
        Ok(())
    }

    async fn commit(&self, lease: &Lease, commit: Commit) -> Result<(), StateError> {
        self.under_lease(lease, move |connection, mirror| rows::commit(connection, mirror, &commit)).await
    }

    async fn finish(&self, lease: Lease, commit: Commit) -> Result<(), StateError> {
        let work = move |connection: &Connection, mirror: i64| {
            rows::commit(connection, mirror, &commit)?;
            Ok(rows::free(connection, mirror)?)
        };
        self.under_lease(&lease, work).await?;
        self.shared.let_go(&lease);
        Ok(())
    }

    async fn unlock(&self, lease: Lease) -> Result<(), StateError> {
        let freed = self.under_lease(&lease, |connection, mirror| Ok(rows::free(connection, mirror)?)).await;
        self.shared.let_go(&lease);
        match freed {
            Err(StateError::Lost) => Ok(()),
            other => other,
        }
    }

    async fn reset(&self, lease: &Lease) -> Result<(), StateError> {
        self.under_lease(lease, |connection, mirror| Ok(rows::forget(connection, mirror)?)).await
    }

    async fn mirrors(&self) -> Result<Vec<(MirrorId, Head)>, StateError> {
        let heads = self.run(|shared| rows::heads(&shared.connection())).await?;
        let parsed = heads.into_iter().filter_map(|(mirror, text)| {
            let head = parse_head(Some(text), &mirror)?;
            Some((mirror, head))
        });
        Ok(parsed.collect())
    }
}
