//! What runs of the engine do (`obsync_testkit::scenario`), on every pair of a destination and a state store as people
//! have them.
#![cfg(all(unix, feature = "dynamodb", feature = "local", feature = "s3", feature = "sqlite"))]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use obsync_adapters::blob::{LocalFolder, S3Bucket, S3Config};
use obsync_adapters::state::{DynamoState, SqliteState};
use obsync_core::blob::BlobStore;
use obsync_core::state::StateStore;
use obsync_proto::VaultId;
use obsync_testkit::clock::JumpingClock;
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

/// No run of a scenario has one that lasts so long.
const LONGER_THAN_A_LEASE: Duration = Duration::from_secs(3600);

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
        // The smallest parts that there are.
        let config = S3Config { owner: vault.as_str().to_owned(), part_size: 0, ..S3Config::new(BUCKET, PREFIX) };
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
    clock: JumpingClock,
    /// Files that were lost so far.
    lost: AtomicU64,
}

impl Sqlite {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), clock: JumpingClock::default(), lost: AtomicU64::new(0) }
    }
}

#[async_trait]
impl TestState for Sqlite {
    async fn open(&self) -> Arc<dyn StateStore> {
        let name = format!("state-{}.db", self.lost.load(Ordering::Relaxed));
        let busy = Duration::from_secs(30);
        Arc::new(SqliteState::open_with(self.folder.path().join(name), self.clock.clone(), busy).await.unwrap())
    }

    /// The next to open it finds another file.
    async fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    async fn expire_leases(&self) {
        self.clock.forward(LONGER_THAN_A_LEASE);
    }

    fn take_requests(&self) -> Option<u64> {
        None
    }
}

const TABLE: &str = "state";

struct DynamoDb {
    server: MemoryDynamo,
    clock: JumpingClock,
}

impl DynamoDb {
    async fn start() -> Self {
        let server = MemoryDynamo::start().await;
        server.create_table(TABLE).await;
        Self { server, clock: JumpingClock::default() }
    }
}

#[async_trait]
impl TestState for DynamoDb {
    async fn open(&self) -> Arc<dyn StateStore> {
        let state = DynamoState::new(&self.server.sdk_config().await, TABLE).with_default(|_| true);
        Arc::new(state.with_clock(self.clock.clone()))
    }

    async fn lose(&self) {
        for key in self.server.items(TABLE).await.into_keys() {
            self.server.delete(TABLE, &key).await;
        }
    }

    async fn expire_leases(&self) {
        self.clock.forward(LONGER_THAN_A_LEASE);
    }

    fn take_requests(&self) -> Option<u64> {
        Some(self.server.take_traffic().count())
    }
}
