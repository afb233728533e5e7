//! The destination that is a folder: the promises of `BlobStore`, and what only a folder can do to one.
#![cfg(all(unix, feature = "local"))]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use obsync_adapters::blob::LocalFolder;
use obsync_core::blob::{BlobError, BlobErrorKind, BlobMeta, BlobStore, BlobWriter, ListedKind, Stamp};
use obsync_proto::{ContentHash, VaultPath};
use obsync_testkit::conformance::{self, BlobFixture};
use obsync_testkit::keys::verified;
use tempfile::TempDir;

const TEMPS: &str = ".obsync-tmp";

struct Place {
    dir: TempDir,
    store: LocalFolder,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("dest")).unwrap();
        let store = LocalFolder::open(dir.path().join("dest"), "vault").unwrap();
        Self { dir, store }
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join("dest").join(path)
    }

    /// A folder beside the destination, with a file that nobody may touch.
    fn outside(&self) -> std::path::PathBuf {
        let outside = self.dir.path().join("outside");
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("x.md"), "private").unwrap();
        outside
    }

    async fn write(&self, path: &str, content: &[u8]) -> Result<Stamp, BlobError> {
        write(&self.store, path, content, 1_700_000_000_123).await
    }

    async fn listed(&self) -> Vec<String> {
        let mut paths: Vec<String> =
            self.store.list().map_ok(|listed| listed.path.to_string()).try_collect().await.unwrap();
        paths.sort();
        paths
    }
}

fn path(text: &str) -> VaultPath {
    VaultPath::parse(text).unwrap()
}

fn meta(content: &[u8], mtime: i64) -> BlobMeta {
    BlobMeta { hash: Some(ContentHash::of(content)), size: content.len() as u64, mtime, ctime: mtime }
}

async fn write(store: &LocalFolder, to: &str, content: &[u8], mtime: i64) -> Result<Stamp, BlobError> {
    let mut writer = store.writer(&path(to), &meta(content, mtime)).await?;
    for chunk in content.chunks(100_000) {
        writer.write(Bytes::copy_from_slice(chunk)).await?;
    }
    writer.commit(verified(content)).await
}

async fn started(store: &LocalFolder, to: &str, content: &[u8]) -> Box<dyn BlobWriter> {
    let mut writer = store.writer(&path(to), &meta(content, 0)).await.unwrap();
    for chunk in content.chunks(100_000) {
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    writer
}

fn kind<T: std::fmt::Debug>(result: Result<T, BlobError>) -> BlobErrorKind {
    result.unwrap_err().kind
}

fn temps(place: &Place) -> usize {
    fs::read_dir(place.at(TEMPS)).map_or(0, Iterator::count)
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_is_a_blob_store() {
    conformance::blob(async || {
        let dir = TempDir::new().unwrap();
        let store = LocalFolder::open(dir.path().join("dest"), "vault").unwrap();
        let temps = dir.path().join("dest").join(TEMPS);
        let count = move || fs::read_dir(&temps).map_or(0, Iterator::count);
        BlobFixture::new(Arc::new(store)).with_guard(dir).with_leftovers(move || {
            let count = count();
            Box::pin(async move { count })
        })
    })
    .await;
}

#[tokio::test]
async fn location_is_the_canonical_path_however_it_is_written() {
    let place = Place::new();
    symlink(place.at(""), place.dir.path().join("link")).unwrap();
    let expected = fs::canonicalize(place.at("")).unwrap();
    for way in ["link", "dest/../dest", "dest/"] {
        let store = LocalFolder::open(place.dir.path().join(way), "vault").unwrap();
        assert_eq!(store.location(), expected.to_str().unwrap(), "{way}");
    }
}

#[tokio::test]
async fn folder_that_is_not_there_is_made_by_the_first_write_and_not_before() {
    let dir = TempDir::new().unwrap();
    let deep = dir.path().join("not/there/yet");
    let store = LocalFolder::open(&deep, "vault").unwrap();
    assert_eq!(store.list().try_collect::<Vec<_>>().await.unwrap(), []);
    assert_eq!(store.stat(&path("a.md")).await.unwrap(), None);
    store.clean().await.unwrap();
    store.sync().await.unwrap();
    store.delete(&[path("a.md")]).await.remove(0).unwrap();
    assert!(!dir.path().join("not").exists());
    write(&store, "a.md", b"x", 5).await.unwrap();
    assert_eq!(fs::canonicalize(&deep).unwrap().to_str().unwrap(), store.location());
    assert_eq!(fs::read(deep.join("a.md")).unwrap(), b"x");
}

#[tokio::test]
async fn place_that_is_no_folder_is_unusable() {
    let place = Place::new();
    fs::write(place.at("file"), "x").unwrap();
    for way in ["file", "file/below"] {
        assert_eq!(LocalFolder::open(place.at(way), "vault").unwrap_err().kind, BlobErrorKind::Unusable);
    }
}

#[tokio::test]
async fn planted_link_on_the_way_is_refused_by_name_and_leads_nowhere() {
    for depth in ["a", "a/b", "a/b/c"] {
        let place = Place::new();
        let outside = place.outside();
        place.write("other.md", b"note").await.unwrap();
        fs::create_dir_all(place.at(depth).parent().unwrap()).unwrap();
        symlink(&outside, place.at(depth)).unwrap();
        let target = format!("{depth}/x.md");
        let errors = [
            place.write(&target, b"note").await.unwrap_err(),
            place.write(&target, &[7; 2_000_000]).await.unwrap_err(),
            place.store.create_folder(&path(&format!("{depth}/new"))).await.unwrap_err(),
            place.store.create_folder(&path(depth)).await.unwrap_err(),
            place.store.remove_folder(&path(&format!("{depth}/x"))).await.unwrap_err(),
            place.store.delete(&[path(&target)]).await.remove(0).unwrap_err(),
            place.store.stat(&path(&target)).await.unwrap_err(),
            place.store.digest(&path(&target), true).await.unwrap_err(),
            place.store.read(&path(&target)).await.err().unwrap(),
            copy(&place, "other.md", &target).await.unwrap_err(),
            copy(&place, &target, "new.md").await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind, BlobErrorKind::Unfit, "{error}");
            assert!(
                error.message.contains(&format!("{depth:?}")) && error.message.contains("symbolic link"),
                "{error}"
            );
        }
        assert!(!place.listed().await.iter().any(|p| p.starts_with(depth)), "{depth}");
        assert_eq!(fs::read(outside.join("x.md")).unwrap(), b"private");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(temps(&place), 0);
    }
}

async fn copy(place: &Place, from: &str, to: &str) -> Result<Stamp, BlobError> {
    place.store.copy(&path(from), &Stamp("?".into()), &path(to), &meta(b"note", 5)).await
}

#[tokio::test]
async fn planted_link_in_a_files_place_is_neither_written_through_nor_deleted() {
    let place = Place::new();
    let outside = place.outside();
    place.write("other.md", b"note").await.unwrap();
    for (name, target) in [("x.md", outside.join("x.md")), ("d", outside.clone()), ("gone", outside.join("none"))] {
        symlink(&target, place.at(name)).unwrap();
        assert_eq!(kind(place.write(name, b"note").await), BlobErrorKind::Unfit, "{name}");
        assert_eq!(kind(copy(&place, "other.md", name).await), BlobErrorKind::Unfit, "{name}");
        assert_eq!(kind(place.store.delete(&[path(name)]).await.remove(0)), BlobErrorKind::Unfit, "{name}");
        assert_eq!(kind(place.store.stat(&path(name)).await), BlobErrorKind::Unfit, "{name}");
        assert_eq!(kind(place.store.digest(&path(name), true).await), BlobErrorKind::Unfit, "{name}");
        assert!(fs::symlink_metadata(place.at(name)).unwrap().is_symlink(), "{name}");
    }
    assert_eq!(place.listed().await, ["other.md"]);
    assert_eq!(fs::read(outside.join("x.md")).unwrap(), b"private");
    assert!(!outside.join("none").exists());
}

#[tokio::test]
async fn planted_link_as_the_folder_for_temporary_files_is_not_used() {
    let place = Place::new();
    let outside = place.outside();
    symlink(&outside, place.at(TEMPS)).unwrap();
    assert_eq!(kind(place.write("a.md", b"note").await), BlobErrorKind::Unusable);
    place.store.clean().await.unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "clean removes the link, not what it leads to");
    place.write("a.md", b"note").await.unwrap();
}

#[tokio::test]
async fn link_in_a_cleaned_folder_is_removed_and_not_followed() {
    let place = Place::new();
    let outside = place.outside();
    fs::create_dir_all(place.at(TEMPS).join("deep")).unwrap();
    symlink(&outside, place.at(TEMPS).join("deep/link")).unwrap();
    place.store.clean().await.unwrap();
    assert!(!place.at(TEMPS).exists());
    assert_eq!(fs::read(outside.join("x.md")).unwrap(), b"private");
}

#[tokio::test]
async fn foreign_things_in_the_way_are_named() {
    let place = Place::new();
    fs::create_dir(place.at("folder")).unwrap();
    fs::write(place.at("file"), "x").unwrap();
    assert!(Command::new("mkfifo").arg(place.at("pipe")).status().unwrap().success());
    for (target, there) in [("folder", "is a folder"), ("file/x.md", "is a file"), ("pipe", "neither")] {
        let error = place.write(target, b"note").await.unwrap_err();
        assert_eq!(error.kind, BlobErrorKind::Unfit, "{error}");
        assert!(error.message.contains(there), "{error}");
    }
    assert_eq!(kind(place.store.create_folder(&path("file")).await), BlobErrorKind::Unfit);
    // Reading from a pipe that nobody writes to would never end.
    assert_eq!(kind(place.store.digest(&path("pipe"), true).await), BlobErrorKind::Unfit);
    assert_eq!(place.listed().await, ["file", "folder"]);
    assert_eq!(temps(&place), 0);
}

#[tokio::test]
async fn folder_for_temporary_files_is_no_ones_path() {
    let place = Place::new();
    started(&place.store, "big.bin", &[1; 1_000_000]).await.abort().await;
    for reserved in [".obsync-tmp", ".obsync-tmp/x", ".OBSYNC-TMP/x"] {
        assert_eq!(kind(place.store.check(&path(reserved))), BlobErrorKind::Unfit);
        assert_eq!(kind(place.write(reserved, b"x").await), BlobErrorKind::Unfit);
    }
    place.write("sub/.obsync-tmp/x", b"x").await.unwrap();
    fs::write(place.at(TEMPS).join("leftover"), "x").unwrap();
    assert_eq!(place.listed().await, ["sub", "sub/.obsync-tmp", "sub/.obsync-tmp/x"]);
}

#[tokio::test]
async fn names_of_every_script_are_kept_byte_for_byte() {
    let place = Place::new();
    let names = ["ភាសាខ្មែរ/កំណត់ត្រា.md", "العربية/ملاحظة.md", "🎉👩‍👩‍👧/🇰🇭.md", "e\u{301}.md", "\u{e9}.md", "a\nb\t\"\\'*?.md"];
    for name in names {
        place.write(name, name.as_bytes()).await.unwrap();
        assert_eq!(fs::read(place.at(name)).unwrap(), name.as_bytes());
    }
    let listed = place.listed().await;
    assert!(names.iter().all(|name| listed.iter().any(|l| l == name)), "{listed:?}");
}

#[tokio::test]
async fn name_that_is_no_text_is_left_out_of_the_list() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    fs::write(place.at("").join(std::ffi::OsStr::from_bytes(b"\xff.md")), "x").unwrap();
    place.write("a.md", b"x").await.unwrap();
    assert_eq!(place.listed().await, ["a.md"]);
}

#[tokio::test]
async fn name_of_300_bytes_is_unfit_before_anything_is_written() {
    let place = Place::new();
    let long = "x".repeat(300);
    for name in [long.clone(), format!("{long}/a.md"), format!("a/{long}"), "ក".repeat(100)] {
        assert_eq!(kind(place.store.check(&path(&name))), BlobErrorKind::Unfit);
        assert_eq!(kind(place.write(&name, b"x").await), BlobErrorKind::Unfit);
        assert_eq!(kind(place.store.create_folder(&path(&name)).await), BlobErrorKind::Unfit);
    }
    assert_eq!(place.listed().await, [""; 0]);
}

#[tokio::test]
async fn path_of_a_thousand_folders_is_kept_listed_and_removed() {
    let place = Place::new();
    let deep = format!("{}x.md", "d/".repeat(1_000));
    place.write(&deep, b"x").await.unwrap();
    assert_eq!(place.listed().await.len(), 1_001);
    place.store.sync().await.unwrap();
    place.store.delete(&[path(&deep)]).await.remove(0).unwrap();
    for depth in (1..=1_000).rev() {
        let folder = "d/".repeat(depth);
        place.store.remove_folder(&path(folder.trim_end_matches('/'))).await.unwrap();
    }
    assert_eq!(place.listed().await, [""; 0]);
}

#[tokio::test]
async fn times_before_1970_and_fractions_of_a_second_are_kept() {
    let place = Place::new();
    for mtime in [-1, -1_000, -86_400_500, -1_234_567_890_123, 0, 1, 999, 1_700_000_000_123] {
        write(&place.store, "a.md", b"x", mtime).await.unwrap();
        assert_eq!(place.store.digest(&path("a.md"), true).await.unwrap().unwrap().mtime, mtime);
        let seen = fs::metadata(place.at("a.md")).unwrap();
        assert_eq!((seen.mtime(), seen.mtime_nsec()), (mtime.div_euclid(1000), mtime.rem_euclid(1000) * 1_000_000));
    }
    for extreme in [i64::MIN, i64::MAX] {
        write(&place.store, "a.md", b"x", extreme).await.unwrap();
    }
}

#[tokio::test]
async fn files_get_the_mode_that_others_get() {
    let place = Place::new();
    place.write("a/b.md", b"x").await.unwrap();
    fs::write(place.at("plain"), "x").unwrap();
    let mode = |name| fs::metadata(place.at(name)).unwrap().permissions().mode();
    assert_eq!(mode("a/b.md"), mode("plain"));
}

#[tokio::test]
async fn unfinished_file_is_gone_once_aborted_dropped_or_cleaned() {
    let place = Place::new();
    let big = vec![7; 1_000_000];
    let writer = started(&place.store, "a/big.bin", &big).await;
    assert_eq!(temps(&place), 1);
    writer.abort().await;
    assert_eq!(temps(&place), 0);
    drop(started(&place.store, "a/big.bin", &big).await);
    assert_eq!(temps(&place), 0);
    // As a killed process leaves it.
    std::mem::forget(started(&place.store, "a/big.bin", &big).await);
    assert_eq!(temps(&place), 1);
    place.store.clean().await.unwrap();
    assert!(!place.at(TEMPS).exists());
    assert!(!place.at("a").exists());
}

#[tokio::test]
async fn writer_goes_on_after_another_run_cleaned() {
    let place = Place::new();
    place.write("a.md", b"one").await.unwrap();
    LocalFolder::open(place.at(""), "vault").unwrap().clean().await.unwrap();
    place.write("a.md", b"two").await.unwrap();
    assert_eq!(fs::read(place.at("a.md")).unwrap(), b"two");
}

#[tokio::test]
async fn nothing_of_ours_stays_beside_the_files() {
    let place = Place::new();
    place.write("a.md", b"x").await.unwrap();
    place.store.sync().await.unwrap();
    let Place { dir, store } = place;
    drop(store);
    let names: Vec<_> = fs::read_dir(dir.path().join("dest")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["a.md"]);
}

/// Files that are finished at one moment go to the disk in groups: what is wrong with one is its own.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_files_finished_together_each_has_its_own_fate() {
    let place = Place::new();
    let names: Vec<String> = (0..300).map(|n| format!("{}/{n}.md", n % 7)).collect();
    for name in names.iter().step_by(10) {
        fs::create_dir_all(place.at(name)).unwrap();
    }
    let results = futures_util::future::join_all(names.iter().map(|name| place.write(name, name.as_bytes()))).await;
    for (n, (name, result)) in names.iter().zip(results).enumerate() {
        if n % 10 == 0 {
            assert_eq!(kind(result), BlobErrorKind::Unfit, "{name}");
            continue;
        }
        assert_eq!(fs::read_to_string(place.at(name)).unwrap(), *name);
        let Some(ListedKind::File { stamp, .. }) = place.store.stat(&path(name)).await.unwrap() else {
            panic!("{name}")
        };
        assert_eq!(stamp, result.unwrap(), "{name}");
    }
    assert_eq!(temps(&place), 0);
}

#[tokio::test]
async fn content_other_than_proven_is_not_published() {
    let place = Place::new();
    let writer = started(&place.store, "a.md", b"longer than proven").await;
    assert!(writer.commit(verified(b"short")).await.is_err());
    assert!(!place.at("a.md").exists());
    assert_eq!(temps(&place), 0);
}

#[tokio::test]
async fn copy_of_a_tampered_file_is_refused_even_with_size_and_time_restored() {
    let place = Place::new();
    let stamp = place.write("a.md", b"note").await.unwrap();
    place.write("b.md", b"before").await.unwrap();
    let before = fs::metadata(place.at("a.md")).unwrap().modified().unwrap();
    let mut file = fs::OpenOptions::new().write(true).open(place.at("a.md")).unwrap();
    file.write_all(b"evil").unwrap();
    file.set_modified(before).unwrap();
    for hash in [Some(ContentHash::of(b"note")), None] {
        let meta = BlobMeta { hash, ..meta(b"note", 5) };
        for to in ["b.md", "a.md"] {
            let copied = place.store.copy(&path("a.md"), &stamp, &path(to), &meta).await;
            assert_eq!(kind(copied), BlobErrorKind::Changed, "{hash:?} {to}");
        }
    }
    assert_eq!(fs::read(place.at("b.md")).unwrap(), b"before");
    assert_eq!(temps(&place), 0);
}

#[tokio::test]
async fn full_disk_is_unusable_and_the_old_file_stays() {
    let mount = TempDir::new().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m,nr_inodes=100", "obsync-test"])
        .arg(mount.path())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        eprintln!("SKIPPED full_disk_is_unusable_and_the_old_file_stays: a small tmpfs cannot be mounted here");
        return;
    }
    let _unmount = Unmount(mount.path());
    let store = LocalFolder::open(mount.path().join("dest"), "vault").unwrap();
    write(&store, "old.bin", b"old", 5).await.unwrap();
    for size in [2_000_000, 1_100_000] {
        assert_eq!(kind(write(&store, "old.bin", &vec![7; size], 5).await), BlobErrorKind::Unusable, "{size}");
    }
    assert_eq!(fs::read(mount.path().join("dest/old.bin")).unwrap(), b"old");
    assert_eq!(fs::read_dir(mount.path().join("dest").join(TEMPS)).unwrap().count(), 0);
    let mut last = Ok(Stamp("".into()));
    for n in 0..200 {
        last = write(&store, &format!("{n}/note.md"), b"x", 5).await;
        if last.is_err() {
            break;
        }
    }
    assert_eq!(kind(last), BlobErrorKind::Unusable, "no inodes left");
}

#[tokio::test]
async fn read_only_disk_is_unusable() {
    let mount = TempDir::new().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "obsync-test"])
        .arg(mount.path())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        eprintln!("SKIPPED read_only_disk_is_unusable: a small tmpfs cannot be mounted here");
        return;
    }
    let _unmount = Unmount(mount.path());
    let store = LocalFolder::open(mount.path().join("dest"), "vault").unwrap();
    write(&store, "a.md", b"x", 5).await.unwrap();
    assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(mount.path()).status().unwrap().success());
    assert_eq!(kind(write(&store, "a.md", b"y", 5).await), BlobErrorKind::Unusable);
    assert_eq!(kind(store.delete(&[path("a.md")]).await.remove(0)), BlobErrorKind::Unusable);
    assert_eq!(kind(store.create_folder(&path("f")).await), BlobErrorKind::Unusable);
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(self.0).status();
    }
}

#[tokio::test]
async fn destination_that_denies_access_is_unusable() {
    if is_root() {
        // Root is denied nothing by modes; an immutable folder denies everyone, where the file system has that.
        let place = Place::new();
        let set = |flag| Command::new("chattr").arg(flag).arg(place.at("")).status().is_ok_and(|s| s.success());
        if !set("+i") {
            eprintln!("SKIPPED destination_that_denies_access_is_unusable: root, and no immutable folders here");
            return;
        }
        let written = place.write("a.md", b"x").await;
        let made = place.store.create_folder(&path("f")).await;
        assert!(set("-i"));
        assert_eq!((kind(written), kind(made)), (BlobErrorKind::Unusable, BlobErrorKind::Unusable));
        return;
    }
    let place = Place::new();
    fs::set_permissions(place.at(""), fs::Permissions::from_mode(0o555)).unwrap();
    assert_eq!(kind(place.write("a.md", b"x").await), BlobErrorKind::Unusable);
}

#[tokio::test]
async fn destination_that_was_removed_is_unusable() {
    let place = Place::new();
    place.write("a.md", b"x").await.unwrap();
    fs::remove_dir_all(place.at("")).unwrap();
    assert_eq!(kind(place.write("b.md", b"x").await), BlobErrorKind::Unusable);
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_that_another_task_removes_is_made_again() {
    let place = Place::new();
    let remover = {
        let store = place.store.clone();
        tokio::spawn(async move {
            loop {
                store.remove_folder(&path("f/g")).await.unwrap();
                store.remove_folder(&path("f")).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    };
    for n in 0..100 {
        place.write("f/g/a.md", n.to_string().as_bytes()).await.unwrap();
        place.store.delete(&[path("f/g/a.md")]).await.remove(0).unwrap();
    }
    remover.abort();
}

#[tokio::test]
async fn file_that_is_not_text_of_ours_is_listed_with_its_stamp() {
    let place = Place::new();
    fs::write(place.at("foreign.bin"), "abc").unwrap();
    let Some(ListedKind::File { size, stamp }) = place.store.stat(&path("foreign.bin")).await.unwrap() else {
        panic!()
    };
    assert_eq!(size, 3);
    let digest = place.store.digest(&path("foreign.bin"), false).await.unwrap().unwrap();
    assert_eq!((digest.hash, digest.stamp), (ContentHash::of(b"abc"), stamp));
}

#[tokio::test]
async fn list_that_is_not_read_to_its_end_stops() {
    let place = Place::new();
    for n in 0..2_000 {
        fs::write(place.at(&format!("{n}.md")), "x").unwrap();
    }
    let mut list = place.store.list();
    assert!(list.try_next().await.unwrap().is_some());
    drop(list);
    assert_eq!(place.listed().await.len(), 2_000);
}

/// Run by hand: `cargo test --release -p obsync-adapters --test local -- --ignored --nocapture measure`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measure_small_files() {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = LocalFolder::open(dir.path().join("dest"), "vault").unwrap();
    let (files, content) = (5_000, vec![b'x'; 3_000]);
    let proof = verified(&content);
    for tasks in [1, 4, 16, 64] {
        let start = Instant::now();
        let workers = (0..tasks).map(|worker| {
            let (store, content) = (store.clone(), Bytes::from(content.clone()));
            tokio::spawn(async move {
                for n in (worker..files).step_by(tasks) {
                    let to = path(&format!("{tasks}/{}/note {n}.md", n % 50));
                    let mut writer = store.writer(&to, &meta(&content, 5)).await.unwrap();
                    writer.write(content.clone()).await.unwrap();
                    writer.commit(proof).await.unwrap();
                }
            })
        });
        futures_util::future::join_all(workers).await;
        store.sync().await.unwrap();
        let time = start.elapsed();
        println!("{tasks} at a time: {files} files of 3 kB in {time:?}, {:.0}/s", files as f64 / time.as_secs_f64());
    }
    let start = Instant::now();
    let listed: Vec<_> = store.list().try_collect().await.unwrap();
    println!("{} listed in {:?}", listed.len(), start.elapsed());
    let big = Bytes::from(vec![7; 2 << 20]);
    let start = Instant::now();
    let mut writer = store.writer(&path("big.bin"), &meta(b"", 5)).await.unwrap();
    for _ in 0..256 {
        writer.write(big.clone()).await.unwrap();
    }
    writer.abort().await;
    println!("512 MiB in pieces in {:?}", start.elapsed());
    tokio::time::sleep(Duration::ZERO).await;
}
