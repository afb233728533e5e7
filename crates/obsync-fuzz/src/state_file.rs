//! State in SQLite, out of a file that is damaged or that someone has written into.
//!
//! An input is changes of a good file, one after the other: where (three bytes, the least significant first), how many
//! bytes (one), and those bytes. A file that is new to SQLite would be refused at its first bytes.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::TryStreamExt;
use obsync_adapters::state::SqliteState;
use obsync_core::blob::Stamp;
use obsync_core::clock::SystemClock;
use obsync_core::state::{Commit, Entry, FileEntry, Head, MirrorId, StateError, StateStore};
use obsync_proto::{ContentHash, Cursor, Uid, VaultPath};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Longer than any check.
const LEASE: Duration = Duration::from_secs(3_600);

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"));

static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("state.db");
    RUNTIME.block_on(async {
        let state = open(&path).await.expect("a new file");
        let (lease, _) = state.lock(&mirror(), "holder", LEASE).await.expect("a free mirror");
        let head = Head { cursor: Cursor(7), vault_name: "Notes".to_owned(), ..Head::default() };
        let commit = Commit { entries: (0..200).map(|n| (nth(n), Some(entry(n)))).collect(), head };
        state.finish(lease, commit).await.expect("held");
    });
    fs::read(&path).expect("closed, and so in one file")
});

/// However a file is damaged, it is read, refused or moved out of the way, and what is read of it are paths in order; a
/// state that takes a lease keeps what is written under it.
pub fn check(input: &[u8]) {
    // In memory, where there is such a folder: nothing here is about what a disk loses.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.expect("a folder");
    let path = folder.path().join("state.db");
    fs::write(&path, changed(input)).expect("room for a file");
    RUNTIME.block_on(async {
        // What one opening moves out of the way is not in the way of the next.
        let (first, second) = (use_it(&path).await, use_it(&path).await);
        let moved =
            |done: &Result<(), StateError>| done.as_ref().is_err_and(|error| error.to_string().contains("moved to"));
        assert!(!(moved(&first) && moved(&second)), "{first:?} {second:?}");
    });
}

async fn use_it(path: &Path) -> Result<(), StateError> {
    let state = open(path).await?;
    state.mirrors().await?;
    state.head(&mirror()).await?;
    state.entries(&mirror(), &[nth(0), nth(199), nth(1_000)]).await?;
    let paths: Vec<VaultPath> = state.scan(&mirror()).map_ok(|(path, _)| path).try_collect().await?;
    assert!(paths.is_sorted_by(|a, b| a < b));
    let (lease, _) = state.lock(&mirror(), "next", LEASE).await?;
    let head = Head { cursor: Cursor(8), ..Head::default() };
    let commit = Commit { entries: vec![(nth(1_000), Some(entry(1_000)))], head: head.clone() };
    state.finish(lease, commit).await?;
    assert_eq!(state.head(&mirror()).await?, Some(head));
    Ok(())
}

async fn open(path: &Path) -> Result<SqliteState, StateError> {
    SqliteState::open_with(path, SystemClock, Duration::ZERO).await
}

fn changed(mut input: &[u8]) -> Vec<u8> {
    let mut file = GOOD.clone();
    while let Some(([low, middle, high, count], rest)) = input.split_first_chunk() {
        let place = u32::from_le_bytes([*low, *middle, *high, 0]) as usize % file.len();
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*count)));
        file[place..].iter_mut().zip(bytes).for_each(|(old, new)| *old = *new);
        input = rest;
    }
    file
}

fn mirror() -> MirrorId {
    MirrorId { vault: "vault".parse().expect("an id"), destination: "/some/where".to_owned() }
}

fn nth(n: u64) -> VaultPath {
    VaultPath::parse(format!("folder {}/note {n}.md", n % 7)).expect("a path")
}

fn entry(n: u64) -> Entry {
    let stamp = Stamp(format!("{n}").into());
    Entry::File(FileEntry { uid: Uid(n), hash: ContentHash::of(&[]), size: n, mtime: 1, ctime: -1, stamp })
}
