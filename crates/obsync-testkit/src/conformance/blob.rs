//! What every destination promises: the docs of [`BlobStore`], case by case.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt};
use obsync_core::blob::{BlobError, BlobErrorKind, BlobMeta, BlobStore, BlobWriter, ListedKind, Stamp};
use obsync_proto::{ContentHash, VaultPath};

use super::{BlobFixture, names, run_cases};
use crate::generate::noise;
use crate::keys::verified;

const MIB: usize = 1024 * 1024;
const MTIME: i64 = 1_700_000_000_123;
const CTIME: i64 = 1_600_000_000_456;

/// Runs every case, each on a destination of its own.
///
/// # Panics
/// With the names of the cases that failed.
pub async fn all(make: impl AsyncFn() -> BlobFixture) {
    run_cases!(
        make,
        place_has_one_name,
        nothing_is_visible_before_commit,
        abort_leaves_nothing,
        abort_keeps_the_old_file,
        dropped_writer_leaves_nothing,
        killed_writer_is_cleaned_away,
        replacement_is_whole,
        empty_file_is_a_file,
        sizes_around_part_limits_are_kept,
        content_without_a_known_hash_is_kept,
        hard_names_are_kept_apart,
        extreme_names_are_kept_or_refused,
        stat_list_and_digest_agree,
        deep_digest_agrees_with_the_shallow_one,
        missing_file_is_reported_as_missing,
        note_is_of_what_was_written,
        stamp_changes_with_the_content,
        stamp_stays_without_a_change,
        copy_has_the_same_content,
        copy_replaces_its_target,
        copy_of_a_rewritten_equal_file_is_made,
        copy_of_a_changed_file_is_refused,
        copy_of_a_missing_file_is_refused,
        copy_onto_itself_changes_only_metadata,
        large_copy_is_whole,
        delete_of_missing_files_succeeds,
        delete_takes_many_files_at_once,
        folders_are_kept_or_ignored,
        folder_that_is_not_empty_stays,
        remove_folder_leaves_files_alone,
        file_and_folder_of_one_name,
        writers_to_different_paths_do_not_meet,
        last_of_two_writers_wins_whole,
        readers_see_the_old_file_or_the_new_one,
        sync_and_clean_keep_every_file,
    );
}

/// The location names the place, so it is the same each time and not empty.
pub async fn place_has_one_name(fixture: &BlobFixture) {
    let store = &*fixture.store;
    assert!(!store.location().is_empty());
    assert_eq!(store.location(), store.location());
    assert_eq!(listing(store).await, BTreeMap::new(), "a fixture starts empty");
}

/// "Nothing is visible under `path` before `commit`."
pub async fn nothing_is_visible_before_commit(fixture: &BlobFixture) {
    let store = &*fixture.store;
    for content in [b"small".to_vec(), noise(13 * MIB, 1)] {
        let target = path("folder/new.md");
        let writer = started(store, &target, &content).await;
        assert_eq!(files(store).await, BTreeSet::new());
        assert_eq!(store.stat(&target).await.unwrap(), None);
        assert_eq!(store.digest(&target, false).await.unwrap(), None);
        assert_eq!(read(store, &target).await, None);
        writer.commit(verified(&content)).await.unwrap();
        assert_eq!(read(store, &target).await, Some(content));
        delete(store, &target).await;
    }
}

/// "Dropped or aborted, it leaves nothing behind", not even a folder.
pub async fn abort_leaves_nothing(fixture: &BlobFixture) {
    let store = &*fixture.store;
    for content in [Vec::new(), b"small".to_vec(), noise(13 * MIB, 2)] {
        started(store, &path("a/b/new.md"), &content).await.abort().await;
        assert_eq!(listing(store).await, BTreeMap::new());
        assert_no_leftovers(fixture).await;
    }
}

/// "Leaves the earlier file as it was."
pub async fn abort_keeps_the_old_file(fixture: &BlobFixture) {
    let store = &*fixture.store;
    let target = path("note.md");
    let stamp = write(store, &target, b"old").await;
    started(store, &target, b"new content").await.abort().await;
    drop(started(store, &target, b"other content").await);
    assert_eq!(read(store, &target).await.unwrap(), b"old");
    assert_eq!(store.stat(&target).await.unwrap(), Some(ListedKind::File { size: 3, stamp }));
}

/// "Dropped or aborted, it leaves nothing behind": at once to see, soon in the store's own keeping.
pub async fn dropped_writer_leaves_nothing(fixture: &BlobFixture) {
    let store = &*fixture.store;
    for content in [Vec::new(), b"small".to_vec(), noise(13 * MIB, 3)] {
        drop(started(store, &path("a/b/new.md"), &content).await);
        assert_eq!(files(store).await, BTreeSet::new());
    }
    assert_no_leftovers(fixture).await;
}

/// `clean` "removes what a killed run left unfinished", and `list` leaves it out before.
pub async fn killed_writer_is_cleaned_away(fixture: &BlobFixture) {
    let store = &*fixture.store;
    let kept = path("kept.md");
    write(store, &kept, b"kept").await;
    for (name, content) in [("small.md", b"small".to_vec()), ("sub/large.bin", noise(13 * MIB, 4))] {
        std::mem::forget(started(store, &path(name), &content).await);
    }
    assert_eq!(files(store).await, set(["kept.md"]));
    store.clean().await.unwrap();
    assert_no_leftovers(fixture).await;
    assert_eq!(files(store).await, set(["kept.md"]));
    assert_eq!(read(store, &kept).await.unwrap(), b"kept");
    // What was cleaned away is no obstacle.
    write(store, &path("sub/large.bin"), b"again").await;
    assert_eq!(read(store, &path("sub/large.bin")).await.unwrap(), b"again");
}

/// A shorter file in place of a longer one, and the reverse: nothing of the earlier one is left.
pub async fn replacement_is_whole(fixture: &BlobFixture) {
    let store = &*fixture.store;
    let target = path("folder/note.md");
    for len in [10, 3 * MIB, 7, 0, 13 * MIB, 1] {
        let content = noise(len, len as u64);
        write(store, &target, &content).await;
        assert!(read(store, &target).await.unwrap() == content, "{len} bytes");
        assert_eq!(files(store).await, set(["folder/note.md"]));
    }
}

/// A file of no bytes is there like any other, written in no chunk or in an empty one.
pub async fn empty_file_is_a_file(fixture: &BlobFixture) {
    let store = &*fixture.store;
    for (name, chunks) in [("none.md", 0), ("one.md", 1)] {
        let target = path(name);
        let mut writer = store.writer(&target, &meta(b"")).await.unwrap();
        for _ in 0..chunks {
            writer.write(Bytes::new()).await.unwrap();
        }
        let stamp = writer.commit(verified(b"")).await.unwrap();
        assert_eq!(read(store, &target).await.unwrap(), b"");
        assert_eq!(store.stat(&target).await.unwrap(), Some(ListedKind::File { size: 0, stamp }));
        let digest = store.digest(&target, false).await.unwrap().unwrap();
        assert_eq!((digest.hash, digest.size), (ContentHash::of_nothing(), 0));
    }
    assert_eq!(files(store).await, set(["none.md", "one.md"]));
}

/// Sizes at and beside the edges of pieces (2 MiB) and of upload parts, in chunks of many sizes.
pub async fn sizes_around_part_limits_are_kept(fixture: &BlobFixture) {
    let store = &*fixture.store;
    let edges = [2 * MIB, 5 * MIB, 8 * MIB, 12 * MIB];
    let sizes = edges.into_iter().flat_map(|edge| [edge - 1, edge, edge + 1]).chain([1, 15, 16, 17, 24 * MIB + 5]);
    for (size, chunk) in sizes.zip([2 * MIB, 2 * MIB - 28, 64 * 1024, 5 * MIB + 3].into_iter().cycle()) {
        let content = noise(size, size as u64);
        let target = path("sized.bin");
        let mut writer = store.writer(&target, &meta(&content)).await.unwrap();
        for part in content.chunks(chunk) {
            writer.write(Bytes::copy_from_slice(part)).await.unwrap();
        }
        let stamp = writer.commit(verified(&content)).await.unwrap();
        assert!(read(store, &target).await.unwrap() == content, "{size} bytes in chunks of {chunk}");
        assert_eq!(store.stat(&target).await.unwrap(), Some(ListedKind::File { size: size as u64, stamp }));
        let digest = store.digest(&target, false).await.unwrap().unwrap();
        assert_eq!(digest.hash, ContentHash::of(&content), "{size} bytes in chunks of {chunk}");
    }
}

/// `BlobMeta::hash` is `None` for old records; the digest knows the hash all the same.
pub async fn content_without_a_known_hash_is_kept(fixture: &BlobFixture) {
    let store = &*fixture.store;
    for content in [b"old note".to_vec(), noise(13 * MIB, 5)] {
        let target = path("old.md");
        let meta = BlobMeta { hash: None, ..meta(&content) };
        let stamp = write_with(store, &target, &content, &meta).await.unwrap();
        assert!(read(store, &target).await.unwrap() == content);
        let digest = store.digest(&target, false).await.unwrap().unwrap();
        assert_eq!((digest.hash, digest.size), (ContentHash::of(&content), content.len() as u64));
        assert_eq!((digest.mtime, digest.stamp), (MTIME, stamp));
    }
}

/// Paths in many scripts and with every sign that a URL, an XML or a shell would mangle, exactly as the vault has them.
pub async fn hard_names_are_kept_apart(fixture: &BlobFixture) {
    let store = &*fixture.store;
    for name in names::HARD {
        let target = path(name);
        store.check(&target).unwrap_or_else(|e| panic!("{name:?} is refused: {e}"));
        write(store, &target, name.as_bytes()).await;
    }
    assert_eq!(files(store).await, set(names::HARD.iter().copied()));
    let copied = path("copies/of ភាសា %2F+#é.md");
    for name in names::HARD {
        let source = path(name);
        assert_eq!(read(store, &source).await.unwrap(), name.as_bytes(), "{name:?}");
        let Some(ListedKind::File { stamp, .. }) = store.stat(&source).await.unwrap() else { panic!("{name:?}") };
        assert_eq!(digest_of(store, &source).await, Some(ContentHash::of(name.as_bytes())), "{name:?}");
        store.copy(&source, &stamp, &copied, &meta(name.as_bytes())).await.unwrap();
        assert_eq!(read(store, &copied).await.unwrap(), name.as_bytes(), "a copy of {name:?}");
    }
    let all: Vec<VaultPath> = names::HARD.iter().map(|name| path(name)).collect();
    assert!(store.delete(&all).await.iter().all(Result::is_ok));
    assert_eq!(files(store).await, set([copied.as_str()]));
}

/// `check` says beforehand whether a path can be held ([`BlobErrorKind::Unfit`] if not); what it lets through is kept.
pub async fn extreme_names_are_kept_or_refused(fixture: &BlobFixture) {
    let store = &*fixture.store;
    let mut expected = BTreeSet::new();
    for name in names::extreme() {
        let target = path(&name);
        match store.check(&target) {
            Err(error) => assert_eq!(error.kind, BlobErrorKind::Unfit, "{name:?}"),
            Ok(()) => {
                write(store, &target, name.as_bytes()).await;
                assert_eq!(read(store, &target).await.unwrap(), name.as_bytes(), "{name:?}");
                expected.insert(name);
            }
        }
    }
    assert_eq!(files(store).await, expected);
}

/// One file, one size, one stamp, whoever is asked; and the times of the metadata.
pub async fn stat_list_and_digest_agree(fixture: &BlobFixture) {
    let store = &*fixture.store;
    let mut expected = BTreeMap::new();
    for (name, len) in [("a.md", 3), ("f/b.md", 0), ("f/g/c.bin", 6 * MIB), ("f.md", 70_000)] {
        let content = noise(len, 6);
        let stamp = write(store, &path(name), &content).await;
        expected.insert(name.to_owned(), ListedKind::File { size: len as u64, stamp });
    }
    let mut listed = listing(store).await;
    listed.retain(|_, kind| *kind != ListedKind::Folder);
    assert_eq!(listed, expected);
    for (name, kind) in expected {
        let target = path(&name);
        assert_eq!(store.stat(&target).await.unwrap().as_ref(), Some(&kind), "{name}");
        let digest = store.digest(&target, false).await.unwrap().unwrap();
        assert_eq!(ListedKind::File { size: digest.size, stamp: digest.stamp }, kind, "{name}");
        assert_eq!(digest.mtime, MTIME, "{name}");
    }
}

/// Both ways to prove a file come to the same result while nobody tampers.
pub async fn deep_digest_agrees_with_the_shallow_one(fixture: &BlobFixture) {
    let store = &*fixture.store;
    for content in [Vec::new(), b"note".to_vec(), noise(13 * MIB, 7)] {
        let target = path("note.md");
        write(store, &target, &content).await;
        let deep = store.digest(&target, true).await.unwrap().unwrap();
        assert_eq!(deep.hash, ContentHash::of(&content));
        assert_eq!(store.digest(&target, false).await.unwrap().unwrap(), deep);
    }
}

/// `stat` and `digest` say `None`, `read` says [`BlobErrorKind::NotFound`]; for a folder there is no digest either.
pub async fn missing_file_is_reported_as_missing(fixture: &BlobFixture) {
    let store = &*fixture.store;
    write(store, &path("folder/there.md"), b"x").await;
    for name in ["missing.md", "no/such/folder/x.md", "folder/missing.md"] {
        let target = path(name);
        assert_eq!(store.stat(&target).await.unwrap(), None, "{name}");
        for deep in [false, true] {
            assert_eq!(store.digest(&target, deep).await.unwrap(), None, "{name}");
        }
        assert_eq!(read(store, &target).await, None, "{name}");
    }
    let expected = store.keeps_folders().then_some(ListedKind::Folder);
    assert_eq!(store.stat(&path("folder")).await.unwrap(), expected);
    assert_eq!(store.digest(&path("folder"), true).await.unwrap(), None);
}

/// `noted_hash` may know nothing of a file, but nothing wrong: it goes with the last write or copy to this very path.
pub async fn note_is_of_what_was_written(fixture: &BlobFixture) {
    let store = &*fixture.store;
    let (note, copy) = (path("f/note.md"), path("g/copy.md"));
    assert_eq!(store.noted_hash(&note).await.unwrap(), None);
    let noted = async |target: &VaultPath, content: &[u8]| {
        let hash = store.noted_hash(target).await.unwrap();
        assert!(hash.is_none_or(|hash| hash == ContentHash::of(content)), "{target}");
        hash.is_some()
    };
    write(store, &note, b"one").await;
    let keeps_notes = noted(&note, b"one").await;
    let stamp = write(store, &note, b"two").await;
    assert_eq!(noted(&note, b"two").await, keeps_notes);
    write(store, &copy, b"earlier").await;
    let copied = store.copy(&note, &stamp, &copy, &meta(b"two")).await.unwrap();
    assert_eq!(noted(&copy, b"two").await, keeps_notes);
    store.copy(&copy, &copied, &copy, &BlobMeta { mtime: MTIME + 1_000, ..meta(b"two") }).await.unwrap();
    assert_eq!(noted(&copy, b"two").await, keeps_notes);
    let large = noise(13 * MIB, 18);
    write(store, &note, &large).await;
    noted(&note, &large).await;
    delete(store, &note).await;
    assert_eq!(store.noted_hash(&note).await.unwrap(), None);
    assert_eq!(store.noted_hash(&path("f")).await.unwrap(), None);
}

/// "Another stamp, and the content may be another": even with the same size and the same modification time.
pub async fn stamp_changes_with_the_content(fixture: &BlobFixture) {
    let store = &*fixture.store;
    let target = path("note.md");
    let first = write(store, &target, b"one").await;
    // File systems tell times apart by a few ms.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let second = write(store, &target, b"two").await;
    assert_ne!(first, second);
    assert_eq!(stamp_of(store, &target).await, second);
}

/// Looking, listing and copying from it are no changes.
pub async fn stamp_stays_without_a_change(fixture: &BlobFixture) {
    let store = &*fixture.store;
    let target = path("note.md");
    let stamp = write(store, &target, b"one").await;
    read(store, &target).await;
    store.digest(&target, true).await.unwrap();
    store.copy(&target, &stamp, &path("copy.md"), &meta(b"one")).await.unwrap();
    write(store, &path("other.md"), b"other").await;
    store.sync().await.unwrap();
    assert_eq!(stamp_of(store, &target).await, stamp);
}

/// `copy` makes `to` a file with the content of `from` and the metadata given; `from` stays; folders on the way are
/// made as needed.
pub async fn copy_has_the_same_content(fixture: &BlobFixture) {
    let store = &*fixture.store;
    for (number, content) in [Vec::new(), b"note".to_vec(), noise(3 * MIB, 8)].into_iter().enumerate() {
        let (from, to) = (path("from.md"), path(&format!("new {number}/sub/to.md")));
        let stamp = write(store, &from, &content).await;
        let renamed = BlobMeta { mtime: MTIME + 5_000, ..meta(&content) };
        let copied = store.copy(&from, &stamp, &to, &renamed).await.unwrap();
        assert!(read(store, &to).await.unwrap() == content);
        assert!(read(store, &from).await.unwrap() == content);
        let digest = store.digest(&to, false).await.unwrap().unwrap();
        assert_eq!((digest.hash, digest.mtime, digest.stamp), (ContentHash::of(&content), MTIME + 5_000, copied));
        assert_eq!(store.digest(&from, false).await.unwrap().unwrap().mtime, MTIME);
    }
}

/// A copy takes the place of a file that is there, whole.
pub async fn copy_replaces_its_target(fixture: &BlobFixture) {
    let store = &*fixture.store;
    let (from, to) = (path("from.md"), path("to.md"));
    let stamp = write(store, &from, b"short").await;
    write(store, &to, b"something longer").await;
    store.copy(&from, &stamp, &to, &meta(b"short")).await.unwrap();
    assert_eq!(read(store, &to).await.unwrap(), b"short");
    assert_eq!(files(store).await, set(["from.md", "to.md"]));
    // The two are independent.
    write(store, &from, b"changed").await;
    assert_eq!(read(store, &to).await.unwrap(), b"short");
}

/// "Provided that `from` still has the version `stamp` or the content `meta.hash`": here the latter.
pub async fn copy_of_a_rewritten_equal_file_is_made(fixture: &BlobFixture) {
    let store = &*fixture.store;
    let (from, to) = (path("from.md"), path("to.md"));
    let stamp = write(store, &from, b"other").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    write(store, &from, b"same").await;
    store.copy(&from, &stamp, &to, &meta(b"same")).await.unwrap();
    assert_eq!(read(store, &to).await.unwrap(), b"same");
}

/// [`BlobErrorKind::Changed`] where `from` is not what was expected; "`to` is as it was then".
pub async fn copy_of_a_changed_file_is_refused(fixture: &BlobFixture) {
    let store = &*fixture.store;
    let from = path("from.md");
    let stamp = write(store, &from, b"expected").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    write(store, &from, b"tampered").await;
    write(store, &path("old.md"), b"old").await;
    for name in ["new/to.md", "old.md"] {
        for hash in [Some(ContentHash::of(b"expected")), None] {
            let meta = BlobMeta { hash, ..meta(b"expected") };
            let error = store.copy(&from, &stamp, &path(name), &meta).await.unwrap_err();
            assert_eq!(error.kind, BlobErrorKind::Changed, "to {name}: {error}");
        }
    }
    let error = store.copy(&from, &stamp, &from, &meta(b"expected")).await.unwrap_err();
    assert_eq!(error.kind, BlobErrorKind::Changed, "onto itself: {error}");
    assert_eq!(files(store).await, set(["from.md", "old.md"]));
    assert_eq!(read(store, &path("old.md")).await.unwrap(), b"old");
    assert_eq!(read(store, &from).await.unwrap(), b"tampered");
    assert_no_leftovers(fixture).await;
}

/// [`BlobErrorKind::NotFound`] where `from` is not there; "`to` is as it was then".
pub async fn copy_of_a_missing_file_is_refused(fixture: &BlobFixture) {
    let store = &*fixture.store;
    let from = path("sub/from.md");
    let stamp = write(store, &from, b"x").await;
    delete(store, &from).await;
    write(store, &path("old.md"), b"old").await;
    for to in [path("new.md"), path("old.md"), from.clone()] {
        let error = store.copy(&from, &stamp, &to, &meta(b"x")).await.unwrap_err();
        assert_eq!(error.kind, BlobErrorKind::NotFound, "to {to}: {error}");
    }
    assert_eq!(files(store).await, set(["old.md"]));
    assert_eq!(read(store, &path("old.md")).await.unwrap(), b"old");
}

/// "With `from == to` only the metadata change."
pub async fn copy_onto_itself_changes_only_metadata(fixture: &BlobFixture) {
    let store = &*fixture.store;
    for content in [b"note".to_vec(), noise(3 * MIB, 9)] {
        let target = path("note.md");
        let stamp = write(store, &target, &content).await;
        let touched = BlobMeta { mtime: MTIME + 60_001, ..meta(&content) };
        let new = store.copy(&target, &stamp, &target, &touched).await.unwrap();
        assert!(read(store, &target).await.unwrap() == content);
        let digest = store.digest(&target, false).await.unwrap().unwrap();
        assert_eq!((digest.hash, digest.mtime), (ContentHash::of(&content), MTIME + 60_001));
        assert_eq!(digest.stamp, new);
        assert_eq!(files(store).await, set(["note.md"]));
    }
}

/// A file that was written in parts copies like any other.
pub async fn large_copy_is_whole(fixture: &BlobFixture) {
    let store = &*fixture.store;
    let content = noise(25 * MIB + 1, 10);
    let (from, to) = (path("from.bin"), path("to.bin"));
    let stamp = write(store, &from, &content).await;
    let copied = store.copy(&from, &stamp, &to, &meta(&content)).await.unwrap();
    assert!(read(store, &to).await.unwrap() == content);
    let digest = store.digest(&to, false).await.unwrap().unwrap();
    assert_eq!((digest.hash, digest.stamp), (ContentHash::of(&content), copied));
}

/// "A file that is not there is deleted already", and one result comes for each path.
pub async fn delete_of_missing_files_succeeds(fixture: &BlobFixture) {
    let store = &*fixture.store;
    write(store, &path("a.md"), b"a").await;
    write(store, &path("kept.md"), b"k").await;
    let results = store.delete(&[path("missing.md"), path("a.md"), path("no/such/folder.md"), path("a.md/x")]).await;
    assert_eq!(results.len(), 4);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert!(store.delete(&[]).await.is_empty());
    assert_eq!(files(store).await, set(["kept.md"]));
}

/// More paths than a service takes in one request (1,000), some of them not there.
pub async fn delete_takes_many_files_at_once(fixture: &BlobFixture) {
    let store = &*fixture.store;
    let all: Vec<VaultPath> = (0..2_100).map(|n| path(&format!("f{}/note {n}.md", n % 7))).collect();
    let there: Vec<&VaultPath> = all.iter().step_by(50).collect();
    join_all(there.iter().map(|target| write(store, target, b"x"))).await;
    write(store, &path("f0/kept.md"), b"k").await;
    assert_eq!(files(store).await.len(), there.len() + 1);
    let results = store.delete(&all).await;
    assert_eq!(results.len(), all.len());
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(files(store).await, set(["f0/kept.md"]));
}

/// Where folders are kept, an empty one is listed, with those above it. Elsewhere there is nothing to do.
pub async fn folders_are_kept_or_ignored(fixture: &BlobFixture) {
    let store = &*fixture.store;
    for _ in 0..2 {
        store.create_folder(&path("a/ខ្មែរ/c")).await.unwrap();
    }
    let folders = |names: &[&str]| -> BTreeMap<String, ListedKind> {
        names.iter().filter(|_| store.keeps_folders()).map(|&name| (name.to_owned(), ListedKind::Folder)).collect()
    };
    assert_eq!(listing(store).await, folders(&["a", "a/ខ្មែរ", "a/ខ្មែរ/c"]));
    assert_eq!(store.stat(&path("a/ខ្មែរ")).await.unwrap(), store.keeps_folders().then_some(ListedKind::Folder));
    store.remove_folder(&path("a/ខ្មែរ/c")).await.unwrap();
    store.remove_folder(&path("missing")).await.unwrap();
    store.remove_folder(&path("missing/too")).await.unwrap();
    assert_eq!(listing(store).await, folders(&["a", "a/ខ្មែរ"]), "the folders above stay");
    write(store, &path("a/x.md"), b"x").await;
    delete(store, &path("a/x.md")).await;
    assert_eq!(listing(store).await, folders(&["a", "a/ខ្មែរ"]), "a deleted file's folder stays");
}

/// `remove_folder` "leaves it, without an error, if it is not" empty, be it of files or of folders.
pub async fn folder_that_is_not_empty_stays(fixture: &BlobFixture) {
    let store = &*fixture.store;
    write(store, &path("a/note.md"), b"x").await;
    store.create_folder(&path("b/empty")).await.unwrap();
    let before = listing(store).await;
    store.remove_folder(&path("a")).await.unwrap();
    store.remove_folder(&path("b")).await.unwrap();
    assert_eq!(listing(store).await, before);
}

/// A file is no folder, so `remove_folder` does not take it away.
pub async fn remove_folder_leaves_files_alone(fixture: &BlobFixture) {
    let store = &*fixture.store;
    write(store, &path("file"), b"x").await;
    write(store, &path("empty"), b"").await;
    for name in ["file", "empty"] {
        // "Without an error, if it is not there."
        store.remove_folder(&path(name)).await.unwrap();
    }
    assert_eq!(files(store).await, set(["empty", "file"]));
}

/// Where folders are kept, a file cannot be written in place of a folder or below a file, and nothing is lost in
/// trying; the way is free once the obstacle is gone. Elsewhere both go together.
pub async fn file_and_folder_of_one_name(fixture: &BlobFixture) {
    let store = &*fixture.store;
    let (file, below) = (path("name"), path("name/below.md"));
    write(store, &file, b"file").await;
    if !store.keeps_folders() {
        write(store, &below, b"below").await;
        assert_eq!(files(store).await, set(["name", "name/below.md"]));
        assert_eq!(read(store, &file).await.unwrap(), b"file");
        delete(store, &file).await;
        assert_eq!(files(store).await, set(["name/below.md"]));
        return;
    }
    assert!(write_with(store, &below, b"below", &meta(b"below")).await.is_err());
    assert!(store.create_folder(&path("name")).await.is_err());
    assert_eq!(read(store, &file).await.unwrap(), b"file");
    assert_eq!(store.stat(&below).await.unwrap(), None);
    delete(store, &file).await;
    write(store, &below, b"below").await;
    assert!(write_with(store, &file, b"file", &meta(b"file")).await.is_err());
    assert_eq!(files(store).await, set(["name/below.md"]));
    delete(store, &below).await;
    store.remove_folder(&file).await.unwrap();
    write(store, &file, b"file again").await;
    assert_eq!(read(store, &file).await.unwrap(), b"file again");
}

/// "Every method may be called from several tasks at once, for different paths."
pub async fn writers_to_different_paths_do_not_meet(fixture: &BlobFixture) {
    let store = &fixture.store;
    let tasks = (0..24_usize).map(|n| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let content = noise(if n % 8 == 0 { 6 * MIB } else { n * 1000 }, n as u64);
            let target = path(&format!("shared/deep {}/folder/{n}.bin", n % 3));
            let stamp = write(&*store, &target, &content).await;
            if n % 2 == 0 {
                let copy = path(&format!("copies/{n}.bin"));
                store.copy(&target, &stamp, &copy, &meta(&content)).await.unwrap();
            }
            (target, content)
        })
    });
    for task in join_all(tasks).await {
        let (target, content) = task.unwrap();
        assert!(read(&**store, &target).await.unwrap() == content, "{target}");
    }
    assert_eq!(files(&**store).await.len(), 24 + 12);
}

/// Two writers of one path, their chunks interleaved: the one that commits last is there, whole.
pub async fn last_of_two_writers_wins_whole(fixture: &BlobFixture) {
    let store = &*fixture.store;
    let target = path("note.md");
    for (one, two) in [(noise(13 * MIB, 11), noise(6 * MIB, 12)), (noise(10, 13), noise(13 * MIB, 14))] {
        let mut first = store.writer(&target, &meta(&one)).await.unwrap();
        let mut second = store.writer(&target, &meta(&two)).await.unwrap();
        let (mut ones, mut twos) = (one.chunks(MIB), two.chunks(MIB));
        loop {
            let (a, b) = (ones.next(), twos.next());
            if a.is_none() && b.is_none() {
                break;
            }
            first.write(Bytes::copy_from_slice(a.unwrap_or_default())).await.unwrap();
            second.write(Bytes::copy_from_slice(b.unwrap_or_default())).await.unwrap();
        }
        first.commit(verified(&one)).await.unwrap();
        assert!(read(store, &target).await.unwrap() == one);
        let stamp = second.commit(verified(&two)).await.unwrap();
        assert!(read(store, &target).await.unwrap() == two);
        assert_eq!(stamp_of(store, &target).await, stamp);
    }
    assert_no_leftovers(fixture).await;
}

/// Promise 3: "A reader of DEST sees the old file or the new file, never part of one."
pub async fn readers_see_the_old_file_or_the_new_one(fixture: &BlobFixture) {
    let store = &fixture.store;
    let target = path("note.md");
    let versions = [noise(300_000, 15), noise(200_000, 16), noise(6 * MIB, 17)];
    write(&**store, &target, &versions[0]).await;
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (store, target, versions, done) = (Arc::clone(store), target.clone(), versions.clone(), done.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let seen = read(&*store, &target).await.expect("the file is always there");
                    assert!(versions.contains(&seen), "part of a file, {} bytes", seen.len());
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for round in 1..13 {
        write(&**store, &target, &versions[round % 3]).await;
        tokio::task::yield_now().await;
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
}

/// Neither `sync` nor `clean` touches what is finished.
pub async fn sync_and_clean_keep_every_file(fixture: &BlobFixture) {
    let store = &*fixture.store;
    store.sync().await.unwrap();
    store.clean().await.unwrap();
    let stamp = write(store, &path("f/note.md"), b"x").await;
    store.copy(&path("f/note.md"), &stamp, &path("g/copy.md"), &meta(b"x")).await.unwrap();
    store.create_folder(&path("empty")).await.unwrap();
    let before = listing(store).await;
    for _ in 0..2 {
        store.sync().await.unwrap();
        store.clean().await.unwrap();
    }
    assert_eq!(listing(store).await, before);
}

fn path(text: &str) -> VaultPath {
    VaultPath::parse(text).unwrap()
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

fn meta(content: &[u8]) -> BlobMeta {
    BlobMeta { hash: Some(ContentHash::of(content)), size: content.len() as u64, mtime: MTIME, ctime: CTIME }
}

/// A writer that has got all of `content`.
async fn started(store: &dyn BlobStore, target: &VaultPath, content: &[u8]) -> Box<dyn BlobWriter> {
    try_start(store, target, content, &meta(content)).await.unwrap_or_else(|e| panic!("{target:?}: {e}"))
}

async fn try_start(
    store: &dyn BlobStore,
    target: &VaultPath,
    content: &[u8],
    meta: &BlobMeta,
) -> Result<Box<dyn BlobWriter>, BlobError> {
    let mut writer = store.writer(target, meta).await?;
    for chunk in content.chunks(2 * MIB) {
        writer.write(Bytes::copy_from_slice(chunk)).await?;
    }
    Ok(writer)
}

async fn write_with(
    store: &dyn BlobStore,
    target: &VaultPath,
    content: &[u8],
    meta: &BlobMeta,
) -> Result<Stamp, BlobError> {
    try_start(store, target, content, meta).await?.commit(verified(content)).await
}

async fn write(store: &dyn BlobStore, target: &VaultPath, content: &[u8]) -> Stamp {
    write_with(store, target, content, &meta(content)).await.unwrap_or_else(|e| panic!("{target:?}: {e}"))
}

/// `None` where there is no such file.
async fn read(store: &dyn BlobStore, target: &VaultPath) -> Option<Vec<u8>> {
    let content = async { store.read(target).await?.map_ok(|chunk| chunk.to_vec()).try_concat().await };
    match content.await {
        Ok(content) => Some(content),
        Err(error) if error.kind == BlobErrorKind::NotFound => None,
        Err(error) => panic!("{target:?}: {error}"),
    }
}

async fn delete(store: &dyn BlobStore, target: &VaultPath) {
    for result in store.delete(std::slice::from_ref(target)).await {
        result.unwrap();
    }
}

async fn listing(store: &dyn BlobStore) -> BTreeMap<String, ListedKind> {
    let listed: Vec<_> = store.list().map(Result::unwrap).collect().await;
    let all: BTreeMap<_, _> = listed.iter().map(|item| (item.path.to_string(), item.kind.clone())).collect();
    assert_eq!(all.len(), listed.len(), "a path was listed twice");
    all
}

/// The paths of all files.
async fn files(store: &dyn BlobStore) -> BTreeSet<String> {
    listing(store).await.into_iter().filter(|(_, kind)| *kind != ListedKind::Folder).map(|(path, _)| path).collect()
}

async fn stamp_of(store: &dyn BlobStore, target: &VaultPath) -> Stamp {
    match store.stat(target).await.unwrap() {
        Some(ListedKind::File { stamp, .. }) => stamp,
        other => panic!("{target:?}: {other:?}"),
    }
}

async fn digest_of(store: &dyn BlobStore, target: &VaultPath) -> Option<ContentHash> {
    store.digest(target, true).await.unwrap().map(|digest| digest.hash)
}

/// Waits a little for a store that tidies up behind the scenes.
async fn assert_no_leftovers(fixture: &BlobFixture) {
    let Some(count) = &fixture.leftovers else { return };
    for _ in 0..100 {
        if count().await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} unfinished writes are left", count().await);
}
