//! Everything in the folder.

use std::io::ErrorKind;
use std::sync::Arc;

use cap_std::fs::DirEntry;
use futures_util::stream::{self, BoxStream, StreamExt};
use obsync_core::blob::{BlobError, BlobErrorKind, Listed, ListedKind};
use obsync_proto::VaultPath;
use tokio::sync::mpsc::{self, Sender};

use super::fault::fault;
use super::folder::{Folder, stamp};
use super::name;

/// How many at a time go from the thread that reads the disk to the stream.
const BATCH: usize = 256;

type Batch = Vec<Result<Listed, BlobError>>;

/// Lists folder by folder. What waits in memory is the names of folders that were seen and not yet read, and a few
/// batches; where the stream is not polled, the disk is not read.
pub(super) fn list(folder: Arc<Folder>) -> BoxStream<'static, Result<Listed, BlobError>> {
    let start = stream::once(async move {
        let (sender, receiver) = mpsc::channel(2);
        drop(tokio::task::spawn_blocking(move || Walk { folder: &folder, batch: Batch::new(), sender }.run()));
        stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) })
    });
    start.flatten().flat_map(stream::iter).boxed()
}

/// The stream is no longer wanted, or has ended with an error.
struct Over;

struct Walk<'a> {
    folder: &'a Folder,
    batch: Batch,
    sender: Sender<Batch>,
}

impl Walk<'_> {
    fn run(mut self) {
        let mut waiting = vec![String::new()];
        while let Some(path) = waiting.pop() {
            if self.read(&path, &mut waiting).is_err() {
                return;
            }
        }
        let _ = self.send();
    }

    fn read(&mut self, path: &str, waiting: &mut Vec<String>) -> Result<(), Over> {
        let entries = match self.folder.walk(path, false) {
            Ok(Some(way)) => way.entries(),
            // Removed since it was seen.
            Ok(None) => return Ok(()),
            Err(error) => return self.fail_unless_foreign(path, error),
        };
        let entries = match entries {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return self.fail_unless_foreign(path, fault(path, "list the folder", &e)),
        };
        for entry in entries {
            match entry {
                Ok(entry) => self.take(path, &entry, waiting)?,
                Err(e) => return self.fail(fault(path, "list the folder", &e)),
            }
        }
        Ok(())
    }

    fn take(&mut self, folder: &str, entry: &DirEntry, waiting: &mut Vec<String>) -> Result<(), Over> {
        let Some(path) = path_of(folder, entry) else { return Ok(()) };
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return self.fail(fault(&path, "look at", &e)),
        };
        let kind = if metadata.is_dir() {
            waiting.push(path.to_string());
            ListedKind::Folder
        } else if metadata.is_file() {
            ListedKind::File { size: metadata.len(), stamp: stamp(&metadata) }
        } else {
            return Ok(());
        };
        self.batch.push(Ok(Listed { path, kind }));
        if self.batch.len() < BATCH { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<(), Over> {
        self.sender.blocking_send(std::mem::take(&mut self.batch)).map_err(|_| Over)
    }

    /// A folder that this user may not read (`lost+found`, say) is not obsync's own. Were it after all, what the vault has
    /// in it would fail by name.
    fn fail_unless_foreign(&mut self, path: &str, error: BlobError) -> Result<(), Over> {
        if path.is_empty() || error.kind != BlobErrorKind::Denied {
            return self.fail(error);
        }
        tracing::warn!(%error, "left out of the listing");
        Ok(())
    }

    /// A folder that cannot be read is no empty folder: the listing ends with the error.
    fn fail(&mut self, error: BlobError) -> Result<(), Over> {
        self.batch.push(Err(error));
        self.send()?;
        Err(Over)
    }
}

/// The entry's path, if a vault can have it.
fn path_of(folder: &str, entry: &DirEntry) -> Option<VaultPath> {
    let name = entry.file_name().into_string().ok()?;
    if folder.is_empty() && name::is_reserved(&name) {
        return None;
    }
    let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
    VaultPath::parse(path).ok()
}
