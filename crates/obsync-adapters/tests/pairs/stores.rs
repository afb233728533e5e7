//! The stores, each with what only its maker can do.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use obsync_adapters::blob::{LocalFolder, S3Bucket, S3Config};
use obsync_adapters::state::{DynamoState, SqliteState};
use obsync_core::blob::BlobStore;
use obsync_core::state::{StateError, StateStore};
use obsync_proto::VaultId;
use obsync_testkit::clock::JumpingClock;
use obsync_testkit::dynamodb::MemoryDynamo;
use obsync_testkit::s3::{MemoryS3, Object};
use obsync_testkit::scenario::{TestDestination, TestState};
use obsync_testkit::tree::Tree;
use tempfile::TempDir;

/// No run of a scenario has one that lasts so long.
const LONGER_THAN_A_LEASE: Duration = Duration::from_secs(3600);

/// Where unfinished files are.
const TEMPS: &str = ".obsync-tmp";

pub(crate) struct Folder {
    /// The mirror is in it, so that there is a place beside.
    place: TempDir,
    /// On a disk of its own.
    mounted: bool,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let place = TempDir::new().unwrap();
        fs::create_dir(place.path().join("mirror")).unwrap();
        Self { place, mounted: false }
    }

    /// One on a disk of 4 MB; `None` where none can be mounted.
    pub(crate) fn on_a_small_disk() -> Option<Self> {
        let place = TempDir::new().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "obsync-test"]).arg(place.path());
        if !mount.output().is_ok_and(|output| output.status.success()) {
            return None;
        }
        fs::create_dir(place.path().join("mirror")).unwrap();
        Some(Self { place, mounted: true })
    }

    /// One that [`close`](Self::close) works on; `None` where it would close nothing.
    pub(crate) fn that_can_be_closed() -> Option<Self> {
        let folder = Self::new();
        let closed = folder.close(true) && fs::write(folder.at("a"), "a").is_err();
        (folder.close(false) && closed).then_some(folder)
    }

    /// Denies everyone to write into it, or allows it again, and says whether that was done.
    pub(crate) fn close(&self, on: bool) -> bool {
        if fs::metadata("/proc/self").is_ok_and(|process| process.uid() != 0) {
            let mode = if on { 0o555 } else { 0o755 };
            return fs::set_permissions(self.at(""), fs::Permissions::from_mode(mode)).is_ok();
        }
        // Root is denied nothing by modes; an immutable folder denies everyone, where the file system has that.
        let mut immutable = Command::new("chattr");
        immutable.arg(if on { "+i" } else { "-i" }).arg(self.at(""));
        immutable.output().is_ok_and(|output| output.status.success())
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.place.path().join("mirror").join(path)
    }

    /// A place on the same disk that is not in the mirror.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.disk().join(name)
    }

    /// Where its disk is mounted, if it has its own.
    pub(crate) fn disk(&self) -> PathBuf {
        self.place.path().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg("-l").arg(self.disk()).output();
        }
    }
}

impl TestDestination for Folder {
    fn open(&self, vault: &VaultId) -> Arc<dyn BlobStore> {
        Arc::new(LocalFolder::open(self.at(""), vault.as_str()).unwrap())
    }

    fn tree(&self) -> Tree {
        Tree::read(&self.at("")).filtered(|path| path.split('/').next() != Some(TEMPS))
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

pub(crate) struct S3 {
    pub(crate) server: MemoryS3,
    config: SdkConfig,
    asked: AtomicU64,
}

impl S3 {
    pub(crate) async fn start() -> Self {
        let server = MemoryS3::start().await;
        server.create_bucket(BUCKET);
        let config = server.sdk_config();
        Self { server, config, asked: AtomicU64::new(0) }
    }

    /// The same for clients that wait so long for an answer.
    pub(crate) async fn with_patience(patience: Duration) -> Self {
        let s3 = Self::start().await;
        Self { config: patient(&s3.config, patience), ..s3 }
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
        Arc::new(S3Bucket::connect(&self.config, config))
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

pub(crate) struct Sqlite {
    folder: TempDir,
    pub(crate) clock: JumpingClock,
    /// How long to wait for another process that is writing.
    busy: Duration,
    /// Files that were lost so far.
    lost: AtomicU64,
}

impl Sqlite {
    pub(crate) fn new() -> Self {
        Self::with_patience(Duration::from_secs(30))
    }

    /// The same that waits so long for another process.
    pub(crate) fn with_patience(busy: Duration) -> Self {
        let folder = TempDir::new().unwrap();
        Self { folder, clock: JumpingClock::default(), busy, lost: AtomicU64::new(0) }
    }

    /// Opens it, if that can be done.
    pub(crate) async fn open_as_it_is(&self) -> Result<SqliteState, StateError> {
        SqliteState::open_with(self.path(), self.clock.clone(), self.busy).await
    }

    /// The file.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(format!("state-{}.db", self.lost.load(Ordering::Relaxed)))
    }
}

#[async_trait]
impl TestState for Sqlite {
    async fn open(&self) -> Arc<dyn StateStore> {
        Arc::new(self.open_as_it_is().await.unwrap())
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

pub(crate) struct DynamoDb {
    pub(crate) server: MemoryDynamo,
    pub(crate) clock: JumpingClock,
    config: SdkConfig,
}

impl DynamoDb {
    pub(crate) async fn start() -> Self {
        let server = MemoryDynamo::start().await;
        server.create_table(TABLE).await;
        let config = server.sdk_config().await;
        Self { server, clock: JumpingClock::default(), config }
    }

    /// The same for clients that wait so long for an answer.
    pub(crate) async fn with_patience(patience: Duration) -> Self {
        let dynamo = Self::start().await;
        Self { config: patient(&dynamo.config, patience), ..dynamo }
    }
}

#[async_trait]
impl TestState for DynamoDb {
    async fn open(&self) -> Arc<dyn StateStore> {
        let state = DynamoState::new(&self.config, TABLE).with_default(|_| true);
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

/// For a client that waits so long for the answer to one try.
fn patient(config: &SdkConfig, patience: Duration) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(patience).build();
    config.clone().into_builder().timeout_config(timeouts).build()
}
