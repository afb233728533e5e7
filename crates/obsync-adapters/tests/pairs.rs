//! What runs of the engine do (`obsync_testkit::scenario`), on every pair of a destination and a state store as people
//! have them.
#![cfg(all(unix, feature = "dynamodb", feature = "local", feature = "s3", feature = "sqlite"))]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use obsync_adapters::blob::{LocalFolder, S3Bucket, S3Config};
use obsync_adapters::state::{DynamoState, SqliteState};
use obsync_core::blob::BlobStore;
use obsync_core::state::StateStore;
use obsync_proto::VaultId;
use obsync_testkit::dynamodb::MemoryDynamo;
use obsync_testkit::s3::{MemoryS3, Object};
use obsync_testkit::scenario::{Pair, Pairs, TestDestination, TestState};
use obsync_testkit::tree::Tree;
use tempfile::TempDir;

mod folder_and_sqlite {
    use super::*;

    obsync_testkit::scenarios!(Pairs::new(async || Pair::new(Folder::new(), Sqlite::new())));
}

mod folder_and_dynamodb {
    use super::*;

    obsync_testkit::scenarios!(Pairs::new(async || Pair::new(Folder::new(), DynamoDb::start().await)));
}

mod s3_and_sqlite {
    use super::*;

    obsync_testkit::scenarios!(Pairs::new(async || Pair::new(S3::start().await, Sqlite::new())));
}

mod s3_and_dynamodb {
    use super::*;

    obsync_testkit::scenarios!(Pairs::new(async || Pair::new(S3::start().await, DynamoDb::start().await)));
}

/// Where unfinished files are.
const TEMPS: &str = ".obsync-tmp";

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }
}

impl TestDestination for Folder {
    fn open(&self, vault: &VaultId) -> Arc<dyn BlobStore> {
        Arc::new(LocalFolder::open(self.0.path(), vault.as_str()).unwrap())
    }

    fn tree(&self) -> Tree {
        Tree::read(self.0.path()).filtered(|path| path.split('/').next() != Some(TEMPS))
    }

    fn mtime(&self, path: &str) -> Option<i64> {
        let modified = fs::metadata(self.at(path)).ok()?.modified().unwrap();
        Some(modified.duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap())
    }

    fn unfinished(&self) -> usize {
        fs::read_dir(self.at(TEMPS)).map_or(0, Iterator::count)
    }

    fn put(&self, path: &str, content: &[u8]) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), content).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.at(path)).unwrap();
    }

    fn take_requests(&self) -> Option<u64> {
        None
    }
}

const BUCKET: &str = "notes";

/// Where the objects of the vault are.
const PREFIX: &str = "a+b %2F ខ្មែរ/Notes/";

struct S3 {
    server: MemoryS3,
    asked: AtomicU64,
}

impl S3 {
    async fn start() -> Self {
        let server = MemoryS3::start().await;
        server.create_bucket(BUCKET);
        Self { server, asked: AtomicU64::new(0) }
    }

    fn object(&self, path: &str) -> Option<Object> {
        self.server.object(BUCKET, &key(path))
    }
}

fn key(path: &str) -> String {
    format!("{PREFIX}{path}")
}

impl TestDestination for S3 {
    fn open(&self, vault: &VaultId) -> Arc<dyn BlobStore> {
        let config = S3Config { owner: vault.as_str().to_owned(), ..S3Config::new(BUCKET, PREFIX) };
        Arc::new(S3Bucket::connect(&self.server.sdk_config(), config))
    }

    fn tree(&self) -> Tree {
        let objects = self.server.objects(BUCKET).into_iter();
        let file = |(key, object): (String, Object)| (key.strip_prefix(PREFIX).unwrap().to_owned(), object);
        let files = objects.map(file).map(|(path, object)| (path, object.content.to_vec())).collect();
        Tree { files, ..Tree::default() }
    }

    /// As rclone reads it.
    fn mtime(&self, path: &str) -> Option<i64> {
        let seconds: f64 = self.object(path)?.metadata.get("mtime")?.parse().unwrap();
        Some((seconds * 1000.0).round() as i64)
    }

    fn unfinished(&self) -> usize {
        self.server.unfinished_uploads(BUCKET).len()
    }

    fn put(&self, path: &str, content: &[u8]) {
        self.server.put(BUCKET, &key(path), content.to_vec());
    }

    fn remove(&self, path: &str) {
        self.server.remove(BUCKET, &key(path)).unwrap();
    }

    fn take_requests(&self) -> Option<u64> {
        let asked = self.server.counts().values().sum();
        Some(asked - self.asked.swap(asked, Ordering::Relaxed))
    }
}

struct Sqlite {
    folder: TempDir,
    /// Files that were lost so far.
    lost: AtomicU64,
}

impl Sqlite {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), lost: AtomicU64::new(0) }
    }
}

#[async_trait]
impl TestState for Sqlite {
    async fn open(&self) -> Arc<dyn StateStore> {
        let name = format!("state-{}.db", self.lost.load(Ordering::Relaxed));
        Arc::new(SqliteState::open(self.folder.path().join(name)).await.unwrap())
    }

    /// The next to open it finds another file.
    async fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    fn take_requests(&self) -> Option<u64> {
        None
    }
}

const TABLE: &str = "state";

struct DynamoDb(MemoryDynamo);

impl DynamoDb {
    async fn start() -> Self {
        let server = MemoryDynamo::start().await;
        server.create_table(TABLE).await;
        Self(server)
    }
}

#[async_trait]
impl TestState for DynamoDb {
    async fn open(&self) -> Arc<dyn StateStore> {
        Arc::new(DynamoState::new(&self.0.sdk_config().await, TABLE).with_default(|_| true))
    }

    async fn lose(&self) {
        for key in self.0.items(TABLE).await.into_keys() {
            self.0.delete(TABLE, &key).await;
        }
    }

    fn take_requests(&self) -> Option<u64> {
        Some(self.0.take_traffic().count())
    }
}
