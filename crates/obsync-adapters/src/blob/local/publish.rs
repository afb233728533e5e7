//! Finished files on their way to their names, several at a time.
//!
//! Putting one small file on the disk for good costs a wait for the disk; so does putting a hundred there with one
//! call. Files that are finished while others wait for the disk form the next group, so that nothing waits for company.

use std::fs::File;
use std::sync::Arc;

use obsync_core::blob::{BlobError, BlobErrorKind, Stamp};
use obsync_proto::{ContentHash, VaultPath};
use tokio::sync::oneshot;

use super::folder::Folder;
use super::queue::{Queue, Worker};
use super::temp::Temp;
use super::writer::Content;

/// Files in a group, at most. Each is open until it has its name.
const MOST_FILES: usize = 256;

/// Files from which on one call for the whole file system is taken to be less than one call for each.
const SYNC_TOGETHER: usize = 4;

/// A folder, and the files that wait to be seen in it.
#[derive(Debug)]
pub(super) struct Publisher {
    folder: Arc<Folder>,
    queue: Arc<Queue<Finished>>,
}

/// A file with all of its content.
#[derive(Debug)]
struct Finished {
    path: VaultPath,
    content: Content,
    hash: ContentHash,
    /// ms since 1970.
    mtime: i64,
    published: oneshot::Sender<Result<Stamp, BlobError>>,
}

impl Publisher {
    pub(super) fn new(folder: Folder) -> Self {
        Self { folder: Arc::new(folder), queue: Queue::new() }
    }

    pub(super) fn folder(&self) -> &Arc<Folder> {
        &self.folder
    }

    /// Makes a finished file visible as `path`. One that nobody waits for any more before its turn comes is dropped.
    pub(super) async fn publish(
        &self,
        path: VaultPath,
        content: Content,
        hash: ContentHash,
        mtime: i64,
    ) -> Result<Stamp, BlobError> {
        let (published, answer) = oneshot::channel();
        if let Some(worker) = self.queue.add(Finished { path, content, hash, mtime, published }) {
            let folder = self.folder.clone();
            drop(tokio::task::spawn_blocking(move || work(worker, &folder)));
        }
        answer.await.unwrap_or_else(|_| Err(BlobError::new(BlobErrorKind::Unusable, "the program is ending")))
    }
}

/// Publishes one group after the other until nothing waits.
fn work(mut worker: Worker<Finished>, folder: &Folder) {
    while let Some(files) = worker.next(MOST_FILES) {
        publish(folder, files);
    }
}

fn publish(folder: &Folder, files: Vec<Finished>) {
    let mut written = Vec::with_capacity(files.len());
    for Finished { path, content, hash, mtime, published } in files {
        // Written to as it came, it may have met a fault that somebody else's `syncfs` was told of.
        let is_fresh = matches!(content, Content::Held(_));
        if published.is_closed() {
            continue;
        }
        let prepared = content.into_file(folder, &path).and_then(|temp| {
            folder.prepare(&temp, &path, hash, mtime)?;
            Ok(temp)
        });
        match prepared {
            Ok(temp) => written.push(Written { temp, is_fresh, path, published }),
            // Nobody waits for it any more.
            Err(error) => drop(published.send(Err(error))),
        }
    }
    let fresh: Vec<&File> = written.iter().filter(|file| file.is_fresh).map(|file| &file.temp.file).collect();
    let together = fresh.len() >= SYNC_TOGETHER && sync_file_system(fresh[0]);
    for Written { temp, is_fresh, path, published } in written {
        if !published.is_closed() {
            drop(published.send(folder.reveal(temp, &path, together && is_fresh)));
        }
    }
}

/// A file that lacks nothing but its name.
struct Written {
    temp: Temp,
    /// Written as a whole just now.
    is_fresh: bool,
    path: VaultPath,
    published: oneshot::Sender<Result<Stamp, BlobError>>,
}

/// Fsyncs all of the file system that `file` is on; `false` if that is not to be relied on here, or failed: then each
/// file says for itself what is wrong.
#[cfg(target_os = "linux")]
fn sync_file_system(file: &File) -> bool {
    reports_faults(file) && rustix::fs::syncfs(file).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(_: &File) -> bool {
    false
}

/// Whether `syncfs` says here that something could not be written (data from Linux 5.8 on, all else from 5.17 on), for
/// file systems that stand on a disk by themselves (`linux/magic.h` has their numbers). One over a network or over
/// another one may not hand the call on.
#[cfg(target_os = "linux")]
fn reports_faults(file: &File) -> bool {
    const EXT4: u64 = 0xEF53;
    const XFS: u64 = 0x5846_5342;
    const BTRFS: u64 = 0x9123_683E;
    const F2FS: u64 = 0xF2F5_2010;
    const TMPFS: u64 = 0x0102_1994;
    static KERNEL: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        let name = rustix::system::uname();
        let release = name.release().to_string_lossy();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 17)
    });
    *KERNEL && rustix::fs::fstatfs(file).is_ok_and(|fs| matches!(fs.f_type as u64, EXT4 | XFS | BTRFS | F2FS | TMPFS))
}
