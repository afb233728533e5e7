//! Faults strike where they were planned, and a killed process has no further effect.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use obsync_core::blob::{BlobError, BlobErrorKind, BlobMeta, BlobStore};
use obsync_core::state::{Commit, Entry, Head, MirrorId, StateError, StateStore};
use obsync_proto::{ContentHash, VaultPath};
use obsync_testkit::fault::{Fault, FaultPlan, FaultyBlobs, FaultyState, Moment};
use obsync_testkit::keys::verified;
use obsync_testkit::memory::{MemoryBlobs, MemoryState};

fn path(text: &str) -> VaultPath {
    VaultPath::parse(text).unwrap()
}

/// Three effects: open, write, commit.
async fn write(store: &dyn BlobStore, name: &str, content: &'static [u8]) -> Result<(), BlobError> {
    let meta = BlobMeta { hash: Some(ContentHash::of(content)), size: content.len() as u64, mtime: 1, ctime: 1 };
    let mut writer = store.writer(&path(name), &meta).await?;
    writer.write(Bytes::from_static(content)).await?;
    writer.commit(verified(content)).await.map(drop)
}

fn faulty(memory: &MemoryBlobs) -> (FaultyBlobs, FaultPlan) {
    let plan = FaultPlan::new();
    (FaultyBlobs::new(Arc::new(memory.clone()), plan.clone()), plan)
}

#[tokio::test]
async fn failed_effect_took_place_only_where_it_should() {
    for (moment, there) in [(Moment::Before, false), (Moment::Half, false), (Moment::After, true)] {
        let memory = MemoryBlobs::folder();
        let (store, plan) = faulty(&memory);
        plan.at(2, Fault::fail_as(BlobErrorKind::Unusable, moment));
        assert_eq!(write(&store, "a.md", b"a").await.unwrap_err().kind, BlobErrorKind::Unusable);
        assert_eq!((memory.files().contains_key("a.md"), memory.unfinished()), (there, 0));
        write(&store, "b.md", b"b").await.unwrap();
        assert_eq!(plan.effects(), 6);
    }
}

#[tokio::test]
async fn killed_process_leaves_its_unfinished_file_and_does_nothing_more() {
    for n in 0..3 {
        for moment in [Moment::Before, Moment::Half, Moment::After] {
            let memory = MemoryBlobs::folder();
            memory.put("old.md", b"old");
            let (store, plan) = faulty(&memory);
            plan.at(n, Fault::die(moment));
            write(&store, "a.md", b"a").await.unwrap_err();
            assert!(plan.is_dead());
            plan.died().await;
            write(&store, "b.md", b"b").await.unwrap_err();
            store.delete(&[path("old.md")]).await.remove(0).unwrap_err();
            store.clean().await.unwrap_err();
            assert!(store.list().try_collect::<Vec<_>>().await.is_err());
            assert!(memory.files().contains_key("old.md"));
            let finished = n == 2 && moment == Moment::After;
            assert_eq!(memory.files().contains_key("a.md"), finished);
            let opened = n > 0 || moment == Moment::After;
            assert_eq!(memory.unfinished(), usize::from(opened && !finished), "effect {n} {moment:?}");
        }
    }
}

#[tokio::test]
async fn condition_strikes_every_call_that_it_names() {
    let memory = MemoryBlobs::bucket();
    let (store, plan) = faulty(&memory);
    plan.when(|call| call.name == "blob.commit" && call.path.as_deref() == Some("bad.md"), Fault::fail(Moment::Before));
    plan.when(|call| call.name == "blob.list", Fault::fail(Moment::Half));
    for _ in 0..2 {
        write(&store, "good.md", b"x").await.unwrap();
        write(&store, "fine.md", b"x").await.unwrap();
        write(&store, "bad.md", b"x").await.unwrap_err();
    }
    let listed: Vec<_> = store.list().map(|item| item.is_ok()).collect().await;
    assert_eq!(listed, [true, false]);
    plan.clear();
    write(&store, "bad.md", b"x").await.unwrap();
    assert_eq!(plan.calls().last().unwrap().to_string(), "blob.commit bad.md");
}

#[tokio::test]
async fn half_a_delete_and_half_a_commit() {
    let memory = MemoryBlobs::bucket();
    let (store, plan) = faulty(&memory);
    let names = ["a", "b", "c", "d"].map(path);
    for name in &names {
        memory.put(name, b"x");
    }
    plan.at(0, Fault::fail(Moment::Half));
    assert!(store.delete(&names).await.iter().all(Result::is_err));
    assert_eq!(memory.files().len(), 2);

    let memory = MemoryState::new();
    let plan = FaultPlan::new();
    let store = FaultyState::new(Arc::new(memory.clone()), plan.clone());
    let mirror = MirrorId { vault: "v".parse().unwrap(), destination: "d".to_owned() };
    let (lease, _) = store.lock(&mirror, "run", Duration::from_secs(60)).await.unwrap();
    let head = |files| Head { files, ..Head::default() };
    store.commit(&lease, Commit { entries: Vec::new(), head: head(1) }).await.unwrap();
    plan.at(2, Fault::die(Moment::Half));
    let entries = names.iter().map(|name| (name.clone(), Some(Entry::Folder))).collect();
    let cut = store.finish(lease, Commit { entries, head: head(2) }).await;
    assert!(matches!(cut, Err(StateError::Unusable { .. })));
    assert_eq!((memory.entries_of(&mirror).len(), memory.head_of(&mirror)), (2, Some(head(1))));
    assert_eq!(memory.holder_of(&mirror).as_deref(), Some("run"));
    memory.expire_leases();
    assert_eq!(memory.holder_of(&mirror), None);
}

#[tokio::test(start_paused = true)]
async fn every_call_takes_the_delay() {
    let (store, plan) = faulty(&MemoryBlobs::folder());
    plan.delay(Duration::from_secs(2));
    let start = tokio::time::Instant::now();
    write(&store, "a.md", b"a").await.unwrap();
    store.list().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(8));
}
