//! States on their way from one store to another.

use std::sync::Arc;

use obsync_core::mirror::Options;
use obsync_core::state::{Commit, Entry, Head, MirrorId, StateStore};
use obsync_core::transfer::{Import, ImportError, Part, export};
use obsync_proto::{Cursor, VaultPath};
use obsync_testkit::memory::MemoryState;

/// More than are committed at once.
const ENTRIES: usize = 45_000;

fn id() -> MirrorId {
    MirrorId { vault: "vault".parse().unwrap(), destination: "/there".into() }
}

async fn filled() -> Arc<MemoryState> {
    let state = Arc::new(MemoryState::new());
    let (lease, _) = state.lock(&id(), "test", Options::default().lease_ttl).await.unwrap();
    let path = |n: usize| VaultPath::parse(format!("folder/{n}").as_str()).unwrap();
    let entries = (0..ENTRIES).map(|n| (path(n), Some(Entry::Folder))).collect();
    let head = Head { cursor: Cursor(7), files: 3, ..Head::default() };
    state.finish(lease, Commit { entries, head }).await.unwrap();
    state
}

async fn parts(store: &Arc<MemoryState>) -> Vec<Part> {
    let store: Arc<dyn StateStore> = store.clone();
    let mut parts = Vec::new();
    export(&store, &id(), &Options::default(), async |part| -> Result<(), ImportError> {
        parts.push(part);
        Ok(())
    })
    .await
    .unwrap();
    parts
}

#[tokio::test]
async fn a_state_of_many_commits_arrives_whole_and_in_place_of_an_older_one() {
    let (from, to) = (filled().await, Arc::new(MemoryState::new()));
    for _ in 0..2 {
        let mut import = Import::new(to.clone(), Options::default());
        for part in parts(&from).await {
            import.take(part).await.unwrap();
        }
        assert_eq!(import.end().unwrap(), 1);
        assert_eq!(to.head_of(&id()), from.head_of(&id()));
        assert_eq!(to.entries_of(&id()), from.entries_of(&id()));
        assert_eq!(to.holder_of(&id()), None);
    }
}

/// A part of a state must not be taken for the whole: the next run would delete or miss files.
#[tokio::test]
async fn an_import_that_ends_early_leaves_nothing_that_is_believed() {
    let (from, to) = (filled().await, Arc::new(MemoryState::new()));
    let all = parts(&from).await;
    for cut in [1, 100, ENTRIES / 2, ENTRIES + 1] {
        let mut import = Import::new(to.clone(), Options::default());
        for part in &all[..cut] {
            import.take(part.clone()).await.unwrap();
        }
        assert!(matches!(import.end(), Err(ImportError::Malformed(_))), "{cut}");
        to.expire_leases();
        assert!(to.head_of(&id()).is_none_or(|head| head.unfinished), "{cut}");
    }
}
