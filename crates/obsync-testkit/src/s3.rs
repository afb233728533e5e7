//! An S3 server in this process: real HTTP, XML and signatures over objects in memory, with counters, faults, and
//! open to tampering.
//!
//! ```no_run
//! use obsync_testkit::s3::{MemoryS3, Operation, S3Fault};
//!
//! # async fn test() {
//! let s3 = MemoryS3::start().await;
//! s3.create_bucket("notes");
//! s3.fail(Operation::PutObject, 0, 2, S3Fault::answer(503, "SlowDown"));
//! s3.client().put_object().bucket("notes").key("a.md").send().await.unwrap();
//! assert_eq!(s3.count(Operation::PutObject), 3);
//! assert!(s3.objects("notes").contains_key("a.md"));
//! # }
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::Client;
use bytes::Bytes;
use obsync_adapters::aws::http_client;
use obsync_adapters::tls::Roots;
use obsync_emulator::Schedule;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::lock;

mod backend;
mod checksum;
mod fault;
mod object;
mod server;

pub use fault::{Operation, S3Fault};
pub use object::Object;

use backend::Backend;
use fault::Faults;
use object::Bucket;

/// The one account.
const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// The server. Clones are the same one; it ends with the last of them.
#[derive(Clone)]
pub struct MemoryS3 {
    shared: Arc<Shared>,
    address: SocketAddr,
    _server: Arc<Server>,
}

/// What requests and tests work on.
struct Shared {
    state: Mutex<State>,
    faults: Mutex<Faults>,
}

struct State {
    buckets: BTreeMap<String, Bucket>,
    /// The most objects or uploads on one page of a listing.
    page: usize,
    /// For upload ids, and for ETags that are not made of the content alone.
    serial: u64,
    /// What `DeleteObjects` says once of a key instead of deleting it.
    undeletable: BTreeMap<String, String>,
    /// The objects that listings show, if they are not those of now.
    listed: Option<BTreeMap<String, BTreeMap<String, Object>>>,
}

/// Ends with its connections when it is dropped.
struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }
}

impl MemoryS3 {
    /// Starts a server without buckets on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        let state =
            State { buckets: BTreeMap::new(), page: 1000, serial: 0, undeletable: BTreeMap::new(), listed: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), faults: Mutex::default() });
        let mut service = S3ServiceBuilder::new(Backend::new(shared.clone()));
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(server::serve(listener, service.build(), shared.clone()));
        Self { shared, address, _server: Arc::new(Server(server)) }
    }

    /// The base of its URLs.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What tells a program to use it: variables and their values.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT_URL_S3", self.endpoint()),
        ]
    }

    /// What a client needs to reach it. A request is tried 5 times, with next to no pause.
    pub fn sdk_config(&self) -> SdkConfig {
        self.sdk_config_as(ACCESS_KEY, SECRET_KEY)
    }

    /// The same for whoever has these keys.
    pub fn sdk_config_as(&self, access_key: &str, secret_key: &str) -> SdkConfig {
        let credentials = Credentials::new(access_key, secret_key, None, None, "testkit");
        let pause = Duration::from_millis(5);
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http_client(Roots::Mozilla))
            .region(Region::new("us-east-1"))
            .endpoint_url(self.endpoint())
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(
                RetryConfig::standard().with_max_attempts(5).with_initial_backoff(pause).with_max_backoff(pause * 4),
            )
            .build()
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        let config = aws_sdk_s3::config::Builder::from(&self.sdk_config()).force_path_style(true);
        Client::from_conf(config.build())
    }

    /// Adds an empty bucket.
    pub fn create_bucket(&self, bucket: &str) {
        self.shared.state().buckets.entry(bucket.to_owned()).or_default();
    }

    /// All objects, by key. Their content is shared, not copied.
    pub fn objects(&self, bucket: &str) -> BTreeMap<String, Object> {
        self.shared.state().buckets.get(bucket).map(|bucket| bucket.objects.clone()).unwrap_or_default()
    }

    /// One object.
    pub fn object(&self, bucket: &str, key: &str) -> Option<Object> {
        self.shared.state().buckets.get(bucket)?.objects.get(key).cloned()
    }

    /// The keys of the multipart uploads that are neither completed nor aborted.
    pub fn unfinished_uploads(&self, bucket: &str) -> Vec<String> {
        let state = self.shared.state();
        state
            .buckets
            .get(bucket)
            .map(|bucket| bucket.uploads.keys().map(|(key, _)| key.clone()).collect())
            .unwrap_or_default()
    }

    /// Writes an object behind everybody's back, without any metadata.
    pub fn put(&self, bucket: &str, key: &str, content: impl Into<Bytes>) {
        self.put_object(bucket, key, Object::new(content.into()));
    }

    /// Writes an object behind everybody's back.
    pub fn put_object(&self, bucket: &str, key: &str, object: Object) {
        let mut state = self.shared.state();
        state.buckets.entry(bucket.to_owned()).or_default().objects.insert(key.to_owned(), object);
    }

    /// Removes an object behind everybody's back.
    pub fn remove(&self, bucket: &str, key: &str) -> Option<Object> {
        self.shared.state().buckets.get_mut(bucket)?.objects.remove(key)
    }

    /// Lists this many at most with one request; 1,000 unless said otherwise.
    pub fn set_page(&self, page: usize) {
        self.shared.state().page = page;
    }

    /// Waits this long before every answer.
    pub fn set_latency(&self, latency: Duration) {
        self.shared.faults().latency = latency;
    }

    /// Lets `skip` requests of this kind through, then meets the next `count` with this fault.
    pub fn fail(&self, operation: Operation, skip: u64, count: u64, fault: S3Fault) {
        self.strike(Some(operation), Schedule::default().after(skip).times(count), fault);
    }

    /// Meets requests with a fault by a schedule: those of one kind, or all.
    pub fn strike(&self, operation: Option<Operation>, schedule: Schedule, fault: S3Fault) {
        self.shared.faults().add(operation, schedule, fault);
    }

    /// How often a fault struck since the last time that all were taken back.
    pub fn struck(&self) -> u64 {
        self.shared.faults().struck
    }

    /// From now on listings show what is there now, whatever is written, until [`clear`](Self::clear).
    pub fn stop_listings(&self) {
        let mut state = self.shared.state();
        state.listed =
            Some(state.buckets.iter().map(|(name, bucket)| (name.clone(), bucket.objects.clone())).collect());
    }

    /// The next time that many objects are deleted with one request, this one stays, with this error.
    pub fn fail_deletion(&self, key: &str, code: &str) {
        self.shared.state().undeletable.insert(key.to_owned(), code.to_owned());
    }

    /// Takes all faults and the latency back, and forgets the requests so far.
    pub fn clear(&self) {
        *self.shared.faults() = Faults::default();
        let mut state = self.shared.state();
        state.undeletable.clear();
        state.listed = None;
    }

    /// Requests so far, tries that failed included.
    pub fn counts(&self) -> BTreeMap<Operation, u64> {
        self.shared.faults().counts()
    }

    /// Requests of one kind so far.
    pub fn count(&self, operation: Operation) -> u64 {
        self.counts().get(&operation).copied().unwrap_or_default()
    }

    /// Requests so far, in order, with the path and the query of their URLs.
    pub fn requests(&self) -> Vec<(Operation, String)> {
        self.shared.faults().requests.clone()
    }
}
