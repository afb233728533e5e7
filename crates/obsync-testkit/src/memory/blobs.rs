//! [`MemoryBlobs`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use obsync_core::blob::{BlobError, BlobErrorKind, BlobMeta, BlobStore, BlobWriter, Digest, Listed, ListedKind, Stamp};
use obsync_proto::crypto::Verified;
use obsync_proto::{ContentHash, VaultPath};

use crate::lock;
use crate::tree::Tree;

/// Bytes of one chunk when reading.
const CHUNK: usize = 64 * 1024;

/// A destination in memory, of one of two kinds: a [`folder`](Self::folder), where folders are kept and a file
/// cannot be a folder, or a [`bucket`](Self::bucket), where there are only files and any two paths go together.
///
/// It panics where the engine breaks the contract of [`BlobWriter::commit`]: a proof of other bytes than were written.
#[derive(Debug, Clone)]
pub struct MemoryBlobs {
    name: Arc<str>,
    folders: bool,
    shared: Arc<Mutex<Shared>>,
}

/// How often a destination was asked for what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlobCounts {
    /// Writers opened.
    pub writers: u64,
    /// Files made visible by a writer.
    pub commits: u64,
    /// Bytes in them.
    pub bytes_written: u64,
    /// Writers aborted or dropped.
    pub aborts: u64,
    /// Calls of `copy`.
    pub copies: u64,
    /// Calls of `delete`.
    pub deletes: u64,
    /// Paths in them.
    pub deleted: u64,
    /// Calls of `create_folder`.
    pub folders_created: u64,
    /// Calls of `remove_folder`.
    pub folders_removed: u64,
    /// Calls of `stat` and `noted_hash`.
    pub stats: u64,
    /// Calls of `read`.
    pub reads: u64,
    /// Calls of `digest`.
    pub digests: u64,
    /// Those of them that were `deep`.
    pub deep_digests: u64,
    /// Calls of `list`.
    pub lists: u64,
    /// Calls of `sync`.
    pub syncs: u64,
    /// Calls of `clean`.
    pub cleans: u64,
}

impl BlobCounts {
    /// All calls that a remote store would be asked for; `sync` and `clean` are not among them.
    pub fn requests(&self) -> u64 {
        self.writers
            + self.copies
            + self.deletes
            + self.folders_created
            + self.folders_removed
            + self.stats
            + self.reads
            + self.digests
            + self.lists
    }
}

/// A file as it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its content.
    pub content: Bytes,
    /// It was written through the seam, and not put there behind its back.
    pub own: bool,
    /// Modification time, ms since 1970.
    pub mtime: i64,
    /// Creation time, ms since 1970.
    pub ctime: i64,
    /// Grows with everything that is written.
    pub version: u64,
}

#[derive(Debug)]
struct File {
    content: Bytes,
    /// The hash noted when it was written.
    recorded: ContentHash,
    /// Written through the seam, not put there behind its back.
    own: bool,
    mtime: i64,
    ctime: i64,
    version: u64,
}

#[derive(Debug, Default)]
struct Shared {
    files: BTreeMap<VaultPath, File>,
    folders: BTreeSet<VaultPath>,
    /// What writers hold, by their number.
    unfinished: BTreeMap<u64, Vec<u8>>,
    /// The last number given to a version or a writer.
    last: u64,
    counts: BlobCounts,
}

impl MemoryBlobs {
    /// Like a folder on disk: keeps folders, takes names of up to 255 bytes.
    pub fn folder() -> Self {
        Self::new("memory:folder", true)
    }

    /// Like a bucket: no folders, takes paths of up to 1,024 bytes.
    pub fn bucket() -> Self {
        Self::new("memory:bucket", false)
    }

    fn new(name: &str, folders: bool) -> Self {
        Self { name: name.into(), folders, shared: Arc::default() }
    }

    /// With another [`location`](BlobStore::location).
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Every file.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.lock().files.iter().map(|(path, file)| (path.to_string(), file.content.to_vec())).collect()
    }

    /// Every file, with what is known of it.
    pub fn stored(&self) -> BTreeMap<String, StoredFile> {
        let shared = self.lock();
        let stored = |file: &File| {
            let (content, own) = (file.content.clone(), file.own);
            StoredFile { content, own, mtime: file.mtime, ctime: file.ctime, version: file.version }
        };
        shared.files.iter().map(|(path, file)| (path.to_string(), stored(file))).collect()
    }

    /// Every folder.
    pub fn folders(&self) -> BTreeSet<String> {
        self.lock().folders.iter().map(ToString::to_string).collect()
    }

    /// Every file and folder.
    pub fn tree(&self) -> Tree {
        Tree { files: self.files(), folders: self.folders() }
    }

    /// Modification time and creation time of a file, ms since 1970.
    pub fn times(&self, path: &str) -> Option<(i64, i64)> {
        self.lock().files.get(path).map(|file| (file.mtime, file.ctime))
    }

    /// Writers that were neither committed nor aborted nor dropped.
    pub fn unfinished(&self) -> usize {
        self.lock().unfinished.len()
    }

    /// What was asked for since the start or the last [`reset_counts`](Self::reset_counts).
    pub fn counts(&self) -> BlobCounts {
        self.lock().counts
    }

    /// Counts from 0 again.
    pub fn reset_counts(&self) {
        self.lock().counts = BlobCounts::default();
    }

    /// Puts a file there behind obsync's back.
    pub fn put(&self, path: &str, content: &[u8]) {
        let path = VaultPath::parse(path).unwrap();
        let mut shared = self.lock();
        self.make_way(&mut shared, &path).unwrap();
        let version = shared.next();
        let content = Bytes::copy_from_slice(content);
        let recorded = ContentHash::of(&content);
        shared.files.insert(path, File { content, recorded, own: false, mtime: 0, ctime: 0, version });
    }

    /// Removes a file or an empty folder behind obsync's back; whether there was one.
    pub fn remove(&self, path: &str) -> bool {
        let mut shared = self.lock();
        shared.files.remove(path).is_some() || shared.folders.remove(path)
    }

    /// Removes everything behind obsync's back.
    pub fn remove_all(&self) {
        let mut shared = self.lock();
        shared.files.clear();
        shared.folders.clear();
    }

    /// Flips a bit of a file so that stamp, size and recorded hash stay: only a deep digest notices.
    pub fn rot(&self, path: &str) {
        let mut shared = self.lock();
        let file = shared.files.get_mut(path).unwrap_or_else(|| panic!("no file {path:?}"));
        let mut content = file.content.to_vec();
        *content.first_mut().expect("a file that is not empty") ^= 1;
        file.content = content.into();
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }

    /// Makes the folders on the way to a file, unless something is in the way.
    fn make_way(&self, shared: &mut Shared, path: &VaultPath) -> Result<(), BlobError> {
        if !self.folders {
            return Ok(());
        }
        if shared.folders.contains(path) {
            return Err(BlobError::new(BlobErrorKind::Unfit, format!("{path}: a folder is in the way")));
        }
        shared.make_folders(path.ancestors())
    }
}

impl Shared {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn make_folders(&mut self, folders: impl Iterator<Item = VaultPath>) -> Result<(), BlobError> {
        let folders: Vec<_> = folders.collect();
        if let Some(file) = folders.iter().find(|folder| self.files.contains_key(*folder)) {
            return Err(BlobError::new(BlobErrorKind::Unfit, format!("{file}: a file is in the way")));
        }
        self.folders.extend(folders);
        Ok(())
    }
}

impl File {
    fn stamp(&self) -> Stamp {
        Stamp(format!("v{}", self.version).into())
    }

    fn listed(&self) -> ListedKind {
        ListedKind::File { size: self.content.len() as u64, stamp: self.stamp() }
    }
}

fn not_found(path: &VaultPath) -> BlobError {
    BlobError::new(BlobErrorKind::NotFound, format!("{path}: no such file"))
}

#[async_trait]
impl BlobStore for MemoryBlobs {
    fn location(&self) -> String {
        self.name.to_string()
    }

    fn check(&self, path: &VaultPath) -> Result<(), BlobError> {
        let too_long = if self.folders { path.segments().any(|name| name.len() > 255) } else { path.len() > 1024 };
        if too_long {
            return Err(BlobError::new(BlobErrorKind::Unfit, "the name is too long"));
        }
        Ok(())
    }

    fn keeps_folders(&self) -> bool {
        self.folders
    }

    fn write_buffer(&self) -> u64 {
        CHUNK as u64
    }

    async fn writer(&self, path: &VaultPath, meta: &BlobMeta) -> Result<Box<dyn BlobWriter>, BlobError> {
        self.check(path)?;
        let mut shared = self.lock();
        shared.counts.writers += 1;
        let number = shared.next();
        shared.unfinished.insert(number, Vec::new());
        Ok(Box::new(Writer { store: self.clone(), path: path.clone(), meta: *meta, number }))
    }

    async fn copy(&self, from: &VaultPath, stamp: &Stamp, to: &VaultPath, meta: &BlobMeta) -> Result<Stamp, BlobError> {
        self.check(to)?;
        let mut shared = self.lock();
        shared.counts.copies += 1;
        let source = shared.files.get(from).ok_or_else(|| not_found(from))?;
        let recorded = ContentHash::of(&source.content);
        if source.stamp() != *stamp && meta.hash != Some(recorded) {
            return Err(BlobError::new(BlobErrorKind::Changed, format!("{from}: not the version expected")));
        }
        let content = source.content.clone();
        self.make_way(&mut shared, to)?;
        let file = File { content, recorded, own: true, mtime: meta.mtime, ctime: meta.ctime, version: shared.next() };
        let stamp = file.stamp();
        shared.files.insert(to.clone(), file);
        Ok(stamp)
    }

    async fn delete(&self, paths: &[VaultPath]) -> Vec<Result<(), BlobError>> {
        let mut shared = self.lock();
        shared.counts.deletes += 1;
        shared.counts.deleted += paths.len() as u64;
        for path in paths {
            shared.files.remove(path);
        }
        vec![Ok(()); paths.len()]
    }

    async fn create_folder(&self, path: &VaultPath) -> Result<(), BlobError> {
        self.check(path)?;
        let mut shared = self.lock();
        shared.counts.folders_created += 1;
        if !self.folders {
            return Ok(());
        }
        shared.make_folders(std::iter::once(path.clone()).chain(path.ancestors()))
    }

    async fn remove_folder(&self, path: &VaultPath) -> Result<(), BlobError> {
        let mut shared = self.lock();
        shared.counts.folders_removed += 1;
        let inside = |other: &VaultPath| other.ancestors().any(|folder| folder == *path);
        if !shared.files.keys().any(inside) && !shared.folders.iter().any(inside) {
            shared.folders.remove(path);
        }
        Ok(())
    }

    async fn stat(&self, path: &VaultPath) -> Result<Option<ListedKind>, BlobError> {
        let mut shared = self.lock();
        shared.counts.stats += 1;
        let folder = || shared.folders.contains(path).then_some(ListedKind::Folder);
        Ok(shared.files.get(path).map(File::listed).or_else(folder))
    }

    async fn read(&self, path: &VaultPath) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let mut shared = self.lock();
        shared.counts.reads += 1;
        let mut content = shared.files.get(path).ok_or_else(|| not_found(path))?.content.clone();
        let next = move || (!content.is_empty()).then(|| Ok(content.split_to(CHUNK.min(content.len()))));
        Ok(stream::iter(std::iter::from_fn(next)).boxed())
    }

    async fn digest(&self, path: &VaultPath, deep: bool) -> Result<Option<Digest>, BlobError> {
        let mut shared = self.lock();
        shared.counts.digests += 1;
        shared.counts.deep_digests += u64::from(deep);
        Ok(shared.files.get(path).map(|file| Digest {
            hash: if deep { ContentHash::of(&file.content) } else { file.recorded },
            size: file.content.len() as u64,
            mtime: file.mtime,
            stamp: file.stamp(),
        }))
    }

    async fn noted_hash(&self, path: &VaultPath) -> Result<Option<ContentHash>, BlobError> {
        let mut shared = self.lock();
        shared.counts.stats += 1;
        Ok(shared.files.get(path).filter(|file| file.own).map(|file| file.recorded))
    }

    fn list(&self) -> BoxStream<'_, Result<Listed, BlobError>> {
        let mut shared = self.lock();
        shared.counts.lists += 1;
        let folders = shared.folders.iter().map(|path| Listed { path: path.clone(), kind: ListedKind::Folder });
        let files = shared.files.iter().map(|(path, file)| Listed { path: path.clone(), kind: file.listed() });
        let all: Vec<_> = folders.chain(files).map(Ok).collect();
        stream::iter(all).boxed()
    }

    async fn sync(&self) -> Result<(), BlobError> {
        self.lock().counts.syncs += 1;
        Ok(())
    }

    async fn clean(&self) -> Result<(), BlobError> {
        let mut shared = self.lock();
        shared.counts.cleans += 1;
        shared.unfinished.clear();
        Ok(())
    }
}

struct Writer {
    store: MemoryBlobs,
    path: VaultPath,
    meta: BlobMeta,
    number: u64,
}

fn cleaned_away() -> BlobError {
    BlobError::new(BlobErrorKind::Other, "the unfinished file was cleaned away")
}

#[async_trait]
impl BlobWriter for Writer {
    async fn write(&mut self, chunk: Bytes) -> Result<(), BlobError> {
        let mut shared = self.store.lock();
        shared.unfinished.get_mut(&self.number).ok_or_else(cleaned_away)?.extend_from_slice(&chunk);
        Ok(())
    }

    async fn commit(self: Box<Self>, proof: Verified) -> Result<Stamp, BlobError> {
        let mut shared = self.store.lock();
        let content: Bytes = shared.unfinished.remove(&self.number).ok_or_else(cleaned_away)?.into();
        let recorded = proof.hash();
        assert_eq!(recorded, ContentHash::of(&content), "{}: the proof is of other bytes than were written", self.path);
        if let Some(promised) = self.meta.hash {
            assert_eq!((promised, self.meta.size), (recorded, proof.size()), "{}: not what was announced", self.path);
        }
        self.store.make_way(&mut shared, &self.path)?;
        shared.counts.commits += 1;
        shared.counts.bytes_written += content.len() as u64;
        let version = shared.next();
        let file = File { content, recorded, own: true, mtime: self.meta.mtime, ctime: self.meta.ctime, version };
        let stamp = file.stamp();
        shared.files.insert(self.path.clone(), file);
        Ok(stamp)
    }

    async fn abort(self: Box<Self>) {}
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut shared = self.store.lock();
        if shared.unfinished.remove(&self.number).is_some() {
            shared.counts.aborts += 1;
        }
    }
}
