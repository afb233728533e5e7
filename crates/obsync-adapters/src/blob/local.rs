//! A destination that is a folder on this machine.
//!
//! Everything below the folder is reached through a handle on it, one name at a time, and no symbolic link is
//! followed: what stands in the folder, by whomever, cannot lead a write out of it.
//!
//! ```text
//! DEST/.obsync-tmp/<random>     written, given its time, fsynced
//!        └── rename ──► DEST/<path>                       and at `sync`: fsync of the folders that changed
//! ```

use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use obsync_core::blob::{BlobError, BlobErrorKind, BlobMeta, BlobStore, BlobWriter, Digest, Listed, ListedKind, Stamp};
use obsync_proto::{ContentHash, VaultPath};

mod content;
mod fault;
mod folder;
mod name;
mod note;
mod publish;
mod queue;
mod temp;
mod walk;
mod writer;

use folder::Folder;
use publish::Publisher;
use writer::LocalWriter;

/// Bytes of a file that are held back before the file is begun: most notes are smaller, and are then written in one
/// go.
const WRITE_BUFFER: usize = 256 * 1024;

/// A folder as a destination. Clones are the same one.
#[derive(Debug, Clone)]
pub struct LocalFolder {
    publisher: Arc<Publisher>,
}

impl LocalFolder {
    /// Opens the folder `path` for the files of the vault `vault`. One that is not there is made when something is written into it. Blocks for as long as
    /// that takes.
    ///
    /// # Errors
    /// [`BlobErrorKind::Unusable`].
    pub fn open(path: impl AsRef<Path>, vault: &str) -> Result<Self, BlobError> {
        Ok(Self { publisher: Arc::new(Publisher::new(Folder::open(path.as_ref(), vault)?)) })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Folder>) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let folder = self.publisher.folder().clone();
        blocking(move || work(&folder)).await
    }
}

/// Runs `work` where it may wait for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(BlobError::new(BlobErrorKind::Unusable, "the program is ending")),
        },
    }
}

#[async_trait]
impl BlobStore for LocalFolder {
    fn location(&self) -> String {
        self.publisher.folder().location().to_owned()
    }

    fn check(&self, path: &VaultPath) -> Result<(), BlobError> {
        name::check(path)
    }

    fn keeps_folders(&self) -> bool {
        true
    }

    fn write_buffer(&self) -> u64 {
        WRITE_BUFFER as u64
    }

    async fn writer(&self, path: &VaultPath, meta: &BlobMeta) -> Result<Box<dyn BlobWriter>, BlobError> {
        name::check(path)?;
        Ok(Box::new(LocalWriter::new(self.publisher.clone(), path.clone(), *meta)))
    }

    async fn copy(&self, from: &VaultPath, stamp: &Stamp, to: &VaultPath, meta: &BlobMeta) -> Result<Stamp, BlobError> {
        let (from, stamp, to, meta) = (from.clone(), stamp.clone(), to.clone(), *meta);
        self.blocking(move |folder| content::copy(folder, &from, &stamp, &to, &meta)).await
    }

    async fn delete(&self, paths: &[VaultPath]) -> Vec<Result<(), BlobError>> {
        let (paths, count) = (paths.to_vec(), paths.len());
        self.blocking(move |folder| Ok(paths.iter().map(|path| folder.remove_file(path)).collect()))
            .await
            .unwrap_or_else(|error| vec![Err(error); count])
    }

    async fn create_folder(&self, path: &VaultPath) -> Result<(), BlobError> {
        let path = path.clone();
        self.blocking(move |folder| folder.create_folder(&path)).await
    }

    async fn remove_folder(&self, path: &VaultPath) -> Result<(), BlobError> {
        let path = path.clone();
        self.blocking(move |folder| folder.remove_folder(&path)).await
    }

    async fn stat(&self, path: &VaultPath) -> Result<Option<ListedKind>, BlobError> {
        let path = path.clone();
        self.blocking(move |folder| folder.stat(&path)).await
    }

    async fn read(&self, path: &VaultPath) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let (opened, path) = (path.clone(), path.clone());
        let file =
            self.blocking(move |folder| folder.open_file(&opened)?.ok_or_else(|| fault::not_found(&opened))).await?;
        let chunks = futures_util::stream::try_unfold(file, move |file| {
            let path = path.clone();
            blocking(move || content::read_chunk(file, &path))
        });
        Ok(chunks.boxed())
    }

    async fn digest(&self, path: &VaultPath, _deep: bool) -> Result<Option<Digest>, BlobError> {
        // A file's times can be set by anyone; only its bytes prove anything.
        let path = path.clone();
        self.blocking(move |folder| content::digest(folder, &path)).await
    }

    async fn noted_hash(&self, path: &VaultPath) -> Result<Option<ContentHash>, BlobError> {
        let path = path.clone();
        self.blocking(move |folder| content::noted_hash(folder, &path)).await
    }

    fn list(&self) -> BoxStream<'_, Result<Listed, BlobError>> {
        walk::list(self.publisher.folder().clone())
    }

    async fn sync(&self) -> Result<(), BlobError> {
        self.blocking(|folder| folder.sync()).await
    }

    async fn clean(&self) -> Result<(), BlobError> {
        self.blocking(|folder| folder.clean()).await
    }
}

/// Reads until `buffer` is full or the file ends.
fn fill(file: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
