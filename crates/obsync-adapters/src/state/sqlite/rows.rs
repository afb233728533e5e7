//! What is asked of the tables, and how it stands in them.
//!
//! Unsigned numbers are kept as the signed ones of the same bits: SQLite has no others.

use std::collections::HashMap;

use obsync_core::blob::Stamp;
use obsync_core::state::{Commit, Entry, FileEntry, Lease, MirrorId};
use obsync_proto::{ContentHash, Uid, VaultId, VaultPath};
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, ffi, params};

use super::Fault;

type Sql<T> = rusqlite::Result<T>;

/// A mirror's row, for whoever wants its lease.
pub(super) struct Row {
    pub(super) id: i64,
    /// `None`: nobody has the lease.
    pub(super) holder: Option<String>,
    /// ms since 1970.
    pub(super) until: i64,
    pub(super) guarded: bool,
    pub(super) head: Option<String>,
    token: i64,
}

impl Row {
    /// Whether who has the mirror's file locked, while there is no lease, is about to let go of it: the last holder had
    /// it, or this database knows of no holder. Else it is a run that stalled before the last one, for however long.
    pub(super) fn is_let_go_of(&self) -> bool {
        self.holder.is_none() && (self.guarded || self.token == 0)
    }

    /// Whether somebody has the lease, and it has not run out.
    pub(super) fn runs(&self, now: i64) -> bool {
        self.holder.is_some() && self.until > now
    }
}

/// The mirror's row, made where there is none.
pub(super) fn row_for_lease(connection: &Connection, mirror: &MirrorId) -> Sql<Row> {
    let key = params![mirror.vault.as_str(), mirror.destination];
    connection
        .prepare_cached("INSERT INTO mirrors (vault, destination) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(key)?;
    let sql = "SELECT id, lease_holder, lease_until, lease_guarded, head, lease_token
               FROM mirrors WHERE vault = ?1 AND destination = ?2";
    connection.prepare_cached(sql)?.query_row(key, |row| {
        Ok(Row {
            id: row.get(0)?,
            holder: row.get(1)?,
            until: row.get(2)?,
            guarded: row.get(3)?,
            head: row.get(4)?,
            token: row.get(5)?,
        })
    })
}

/// Higher than every token before it, and, being no lower than the time in ms, also than those of a file that was
/// lost.
pub(super) fn next_token(row: &Row, now: i64) -> u64 {
    row.token.saturating_add(1).max(now).cast_unsigned()
}

pub(super) fn take(
    connection: &Connection,
    mirror: i64,
    token: u64,
    holder: &str,
    until: i64,
    guarded: bool,
) -> Sql<()> {
    let sql = "UPDATE mirrors SET lease_token = ?2, lease_holder = ?3, lease_until = ?4, lease_guarded = ?5
               WHERE id = ?1";
    connection.execute(sql, params![mirror, token.cast_signed(), holder, until, guarded])?;
    Ok(())
}

/// The mirror's number, if the lease is still this one.
pub(super) fn held(connection: &Connection, lease: &Lease) -> Sql<Option<i64>> {
    let sql = "SELECT id FROM mirrors
               WHERE vault = ?1 AND destination = ?2 AND lease_token = ?3 AND lease_holder IS NOT NULL";
    let key = params![lease.mirror.vault.as_str(), lease.mirror.destination, lease.token.cast_signed()];
    connection.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()
}

pub(super) fn renew(connection: &Connection, mirror: i64, until: i64, guarded: bool) -> Sql<()> {
    let sql = "UPDATE mirrors SET lease_until = ?2, lease_guarded = lease_guarded OR ?3 WHERE id = ?1";
    connection.execute(sql, params![mirror, until, guarded])?;
    Ok(())
}

/// Whether it was guarded stays: see [`Row::is_let_go_of`].
pub(super) fn free(connection: &Connection, mirror: i64) -> Sql<()> {
    let sql = "UPDATE mirrors SET lease_holder = NULL, lease_until = 0 WHERE id = ?1";
    connection.execute(sql, [mirror])?;
    Ok(())
}

pub(super) fn forget(connection: &Connection, mirror: i64) -> Sql<()> {
    connection.execute("DELETE FROM entries WHERE mirror = ?1", [mirror])?;
    connection.execute("UPDATE mirrors SET head = NULL WHERE id = ?1", [mirror])?;
    Ok(())
}

pub(super) fn head(connection: &Connection, mirror: &MirrorId) -> Sql<Option<String>> {
    let sql = "SELECT head FROM mirrors WHERE vault = ?1 AND destination = ?2";
    let key = params![mirror.vault.as_str(), mirror.destination];
    Ok(connection.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()?.flatten())
}

pub(super) fn heads(connection: &Connection) -> Result<Vec<(MirrorId, String)>, Fault> {
    let sql = "SELECT vault, destination, head FROM mirrors WHERE head IS NOT NULL ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut heads = Vec::new();
    while let Some(row) = rows.next()? {
        let vault = VaultId::try_from(row.get::<_, String>(0)?).map_err(|e| Fault::Foreign(e.to_string()))?;
        heads.push((MirrorId { vault, destination: row.get(1)? }, row.get(2)?));
    }
    Ok(heads)
}

const COLUMNS: &str = "uid, hash, size, mtime, ctime, stamp";

const PUT_FILE: &str = "INSERT OR REPLACE INTO entries (mirror, path, uid, hash, size, mtime, ctime, stamp)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

/// The entries of these paths, as far as there are any.
pub(super) fn entries(
    connection: &Connection,
    mirror: &MirrorId,
    paths: Vec<VaultPath>,
) -> Result<HashMap<VaultPath, Entry>, Fault> {
    let Some(mirror) = id_of(connection, mirror)? else { return Ok(HashMap::new()) };
    let sql = format!("SELECT {COLUMNS} FROM entries WHERE mirror = ?1 AND path = ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = HashMap::with_capacity(paths.len());
    for path in paths {
        let entry = statement.query_row(params![mirror, path.as_str()], |row| entry(row, 0)).optional()?;
        found.extend(entry.map(|entry| (path, entry)));
    }
    Ok(found)
}

/// Up to `count` entries with a path after `after`, in order.
pub(super) fn page(
    connection: &Connection,
    mirror: &MirrorId,
    after: &str,
    count: usize,
) -> Result<Vec<(VaultPath, Entry)>, Fault> {
    let Some(mirror) = id_of(connection, mirror)? else { return Ok(Vec::new()) };
    let sql = format!("SELECT path, {COLUMNS} FROM entries WHERE mirror = ?1 AND path > ?2 ORDER BY path LIMIT ?3");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![mirror, after, i64::try_from(count).unwrap_or(i64::MAX)])?;
    let mut page = Vec::with_capacity(count);
    while let Some(row) = rows.next()? {
        let path = VaultPath::parse(row.get::<_, String>(0)?)
            .map_err(|e| Fault::Foreign(format!("an entry that obsync did not write: {e}")))?;
        // In a damaged table they may not be in order, and then the pages may never end.
        if page.last().map_or(after, |(last, _): &(VaultPath, Entry)| last.as_str()) >= path.as_str() {
            return Err(Fault::Sqlite(out_of_order()));
        }
        page.push((path, entry(row, 1)?));
    }
    Ok(page)
}

/// Damage that SQLite does not look for.
fn out_of_order() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some("entries are out of order".to_owned()))
}

fn id_of(connection: &Connection, mirror: &MirrorId) -> Sql<Option<i64>> {
    let sql = "SELECT id FROM mirrors WHERE vault = ?1 AND destination = ?2";
    let key = params![mirror.vault.as_str(), mirror.destination];
    connection.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()
}

/// [`COLUMNS`] from column `at` on; a folder has none of them.
fn entry(row: &SqlRow<'_>, at: usize) -> Sql<Entry> {
    let Some(uid) = row.get::<_, Option<i64>>(at)? else { return Ok(Entry::Folder) };
    Ok(Entry::File(FileEntry {
        uid: Uid(uid.cast_unsigned()),
        hash: ContentHash(row.get(at + 1)?),
        size: row.get::<_, i64>(at + 2)?.cast_unsigned(),
        mtime: row.get(at + 3)?,
        ctime: row.get(at + 4)?,
        stamp: Stamp(row.get(at + 5)?),
    }))
}

pub(super) fn commit(connection: &Connection, mirror: i64, commit: &Commit) -> Result<(), Fault> {
    for (path, entry) in &commit.entries {
        match entry {
            Some(entry) => put(connection, mirror, path, entry)?,
            None => {
                connection
                    .prepare_cached("DELETE FROM entries WHERE mirror = ?1 AND path = ?2")?
                    .execute(params![mirror, path.as_str()])?;
            }
        }
    }
    let head = serde_json::to_string(&commit.head).map_err(|e| Fault::Foreign(e.to_string()))?;
    connection.prepare_cached("UPDATE mirrors SET head = ?2 WHERE id = ?1")?.execute(params![mirror, head])?;
    Ok(())
}

fn put(connection: &Connection, mirror: i64, path: &VaultPath, entry: &Entry) -> Sql<()> {
    match entry {
        Entry::Folder => connection
            .prepare_cached("INSERT OR REPLACE INTO entries (mirror, path) VALUES (?1, ?2)")?
            .execute(params![mirror, path.as_str()])?,
        Entry::File(file) => connection.prepare_cached(PUT_FILE)?.execute(params![
            mirror,
            path.as_str(),
            file.uid.0.cast_signed(),
            file.hash.0,
            file.size.cast_signed(),
            file.mtime,
            file.ctime,
            &*file.stamp.0,
        ])?,
    };
    Ok(())
}
