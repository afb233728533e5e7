//! The file: opening it, its tables, and what becomes of a damaged one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use obsync_core::state::StateError;
use rusqlite::{Connection, ErrorCode};

use super::guard::{self, suffixed};
use super::{sqlite_message, unusable};

/// `obsy`: marks the file as ours (SQLite's `application_id`).
const APPLICATION: i32 = i32::from_be_bytes(*b"obsy");

/// The layout that this version writes (SQLite's `user_version`).
const LAYOUT: i32 = 1;

/// `lease_*` outlive a reset: the token must go on growing. An entry is read by its path or all are read in the
/// order of their paths, so that is what the table is sorted by.
const TABLES: &str = "
    CREATE TABLE mirrors (
        id INTEGER PRIMARY KEY,
        vault TEXT NOT NULL,
        destination TEXT NOT NULL,
        head TEXT,
        lease_token INTEGER NOT NULL DEFAULT 0,
        lease_until INTEGER NOT NULL DEFAULT 0,
        lease_holder TEXT,
        lease_guarded INTEGER NOT NULL DEFAULT 0,
        UNIQUE (vault, destination)
    ) STRICT;
    CREATE TABLE entries (
        mirror INTEGER NOT NULL,
        path TEXT NOT NULL,
        uid INTEGER,
        hash BLOB CHECK (length(hash) = 32),
        size INTEGER,
        mtime INTEGER,
        ctime INTEGER,
        stamp TEXT,
        PRIMARY KEY (mirror, path)
    ) STRICT, WITHOUT ROWID;
";

/// Why the file cannot be used as it is.
enum Unfit {
    /// Another one can take its place.
    Damaged(String),
    Other(String),
}

impl From<rusqlite::Error> for Unfit {
    fn from(error: rusqlite::Error) -> Self {
        if is_damage(&error) { Self::Damaged(error.to_string()) } else { Self::Other(sqlite_message(&error)) }
    }
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Opens the file, with a new one in place of a damaged one.
pub(super) fn open(path: &Path, busy: Duration) -> Result<Connection, StateError> {
    let opened = create_folder(path).map_err(Unfit::from).and_then(|()| {
        // Two processes that find it damaged would else move each other's new file aside.
        let turn = guard::open(&suffixed(path, ".lock"))?;
        turn.lock()?;
        match connect(path, busy) {
            Err(Unfit::Damaged(reason)) => {
                let aside = move_aside(path)?;
                tracing::warn!(
                    path = %path.display(), moved_to = %aside.display(), reason,
                    "the state file is damaged; a new one is begun, and the next runs compare everything"
                );
                connect(path, busy)
            }
            other => other,
        }
    });
    opened.map_err(|unfit| match unfit {
        Unfit::Damaged(message) | Unfit::Other(message) => unusable(path, message),
    })
}

fn create_folder(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn connect(path: &Path, busy: Duration) -> Result<Connection, Unfit> {
    // Made by us, for its owner alone, before SQLite makes it for everyone; its companions take after it.
    drop(guard::open(path)?);
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(busy)?;
    // A commit counts once it is on the disk: in WAL, NORMAL can lose the last ones to a loss of power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -8 * 1024)?;
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, layout) = (number("application_id")?, number("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, layout) {
        (0, 0) if tables == 0 => create(&mut connection)?,
        (APPLICATION, LAYOUT) => {}
        (APPLICATION, later) => {
            let message = format!("written by a later version of obsync (layout {later}; this one knows {LAYOUT})");
            return Err(Unfit::Other(message));
        }
        _ => return Err(Unfit::Other("the file is another program's database".to_owned())),
    }
    // Readers do not wait for a writer. Where the file system cannot do that, SQLite keeps its older way.
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    probe(&connection)?;
    keep_private(path)?;
    Ok(connection)
}

fn create(connection: &mut Connection) -> Result<(), Unfit> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", LAYOUT)?;
    Ok(transaction.commit()?)
}

/// Reads a little of each table. Damage further in is found when it is read.
fn probe(connection: &Connection) -> Result<(), Unfit> {
    let probes =
        ["SELECT count(*), max(lease_token) FROM mirrors", "SELECT count(*), 0 FROM (SELECT 1 FROM entries LIMIT 1)"];
    for sql in probes {
        match connection.query_row(sql, [], |_| Ok(())) {
            // Marked as ours, and without our tables.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => {
                return Err(Unfit::Damaged(error.to_string()));
            }
            other => other?,
        }
    }
    Ok(())
}

#[cfg(unix)]
fn keep_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = fs::metadata(path)?.permissions();
    if permissions.mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn keep_private(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Gives the file and its companions another name: someone may want to look at them.
pub(super) fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let aside = suffixed(path, &format!(".damaged-{now}"));
    fs::rename(path, &aside)?;
    for companion in ["-wal", "-shm"] {
        match fs::rename(suffixed(path, companion), suffixed(&aside, companion)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(aside)
}
