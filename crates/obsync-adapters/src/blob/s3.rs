//! A destination that is a bucket: at Amazon S3, or at another service that speaks its language.
//!
//! An object's key is the prefix and the path as it is in the vault. What the state may lose is kept with the object
//! as user metadata: its times and the SHA-256 of its content.
//!
//! ```text
//! up to one part    held in memory ── commit ──► PutObject, with the SHA-256 that was verified
//! above             CreateMultipartUpload ─ UploadPart… ── commit ──► CompleteMultipartUpload
//!                                             └── abort, drop, error ──► AbortMultipartUpload
//! ```
//!
//! Both ways the object is not there before `commit`, and whole after it. Requests that fail for a reason that may
//! pass are tried again by the SDK; what is done here about it is only what the SDK cannot know.

use std::sync::Arc;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::ResponseChecksumValidation;
use aws_types::service_config::ServiceConfigKey;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use obsync_core::blob::{BlobError, BlobMeta, BlobStore, BlobWriter, Digest, Listed, ListedKind, Stamp};
use obsync_proto::{ContentHash, VaultPath};

mod bucket;
mod content;
mod copy;
mod delete;
mod fault;
mod key;
mod list;
mod media_type;
mod metadata;
mod unfinished;
mod upload;
mod writer;

use bucket::Bucket;
use writer::S3Writer;

/// Bytes of one part, unless configured otherwise. S3 takes 10,000 parts of 5 MiB or more.
pub const PART_SIZE: usize = 8 * 1024 * 1024;

/// The fewest bytes that S3 takes as a part that is not the last.
const MIN_PART_SIZE: usize = 5 * 1024 * 1024;

/// Which bucket, and how objects are kept there.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// The bucket's name.
    pub bucket: String,
    /// What every key starts with, literally: with its `/` at the end, if there is to be one.
    pub key_prefix: String,
    /// Whose objects these are: a vault's id. Objects of another owner are foreign ones.
    pub owner: String,
    /// The KMS key (id, alias or ARN) that objects are encrypted with; `None` for the bucket's own way.
    pub sse_kms_key: Option<String>,
    /// The storage class, as S3 names it (`STANDARD_IA`); `None` for `STANDARD`.
    pub storage_class: Option<String>,
    /// The tags that each object gets, as a URL's query (`team=notes&kept=true`).
    pub tags: Option<String>,
    /// Bytes of one part. A file of up to this size is written with one request. Less than 5 MiB is taken as 5 MiB.
    pub part_size: usize,
}

impl S3Config {
    /// Objects under `key_prefix` in `bucket`, kept as the bucket does by itself.
    pub fn new(bucket: impl Into<String>, key_prefix: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            key_prefix: key_prefix.into(),
            owner: String::new(),
            sse_kms_key: None,
            storage_class: None,
            tags: None,
            part_size: PART_SIZE,
        }
    }
}

/// A bucket, or what is under a prefix in it, as a destination. Clones are the same one.
#[derive(Debug, Clone)]
pub struct S3Bucket {
    bucket: Arc<Bucket>,
}

impl S3Bucket {
    /// A destination that `client` reaches. Asks nothing of the service yet.
    pub fn new(client: Client, mut config: S3Config) -> Self {
        config.part_size = config.part_size.max(MIN_PART_SIZE);
        Self { bucket: Arc::new(Bucket::new(client, config)) }
    }

    /// The same with a client of its own. Where an endpoint is configured (`AWS_ENDPOINT_URL`,
    /// `AWS_ENDPOINT_URL_S3`, the profile), the bucket stands in the URL's path: such services have no host name for
    /// each bucket.
    pub fn connect(sdk: &SdkConfig, config: S3Config) -> Self {
        let client = aws_sdk_s3::config::Builder::from(sdk)
            .force_path_style(has_endpoint(sdk))
            // What is read is held against its SHA-256. Some services name a checksum that is not that of the object.
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        Self::new(Client::from_conf(client.build()), config)
    }
}

/// Whether an endpoint is set for all services or for this one.
fn has_endpoint(sdk: &SdkConfig) -> bool {
    let key = ServiceConfigKey::builder().service_id("S3").env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    let configured = || sdk.service_config()?.load_config(key.ok()?);
    sdk.endpoint_url().is_some() || configured().is_some()
}

#[async_trait]
impl BlobStore for S3Bucket {
    fn location(&self) -> String {
        self.bucket.location()
    }

    fn check(&self, path: &VaultPath) -> Result<(), BlobError> {
        self.bucket.check(path)
    }

    fn keeps_folders(&self) -> bool {
        false
    }

    /// One part fills while another is on its way.
    fn write_buffer(&self) -> u64 {
        2 * self.bucket.config.part_size as u64
    }

    async fn writer(&self, path: &VaultPath, meta: &BlobMeta) -> Result<Box<dyn BlobWriter>, BlobError> {
        self.bucket.check(path)?;
        Ok(Box::new(S3Writer::new(self.bucket.clone(), path.clone(), *meta)))
    }

    async fn copy(&self, from: &VaultPath, stamp: &Stamp, to: &VaultPath, meta: &BlobMeta) -> Result<Stamp, BlobError> {
        copy::copy(&self.bucket, from, stamp, to, meta).await
    }

    async fn delete(&self, paths: &[VaultPath]) -> Vec<Result<(), BlobError>> {
        delete::delete(&self.bucket, paths).await
    }

    async fn create_folder(&self, _: &VaultPath) -> Result<(), BlobError> {
        Ok(())
    }

    async fn remove_folder(&self, _: &VaultPath) -> Result<(), BlobError> {
        Ok(())
    }

    async fn stat(&self, path: &VaultPath) -> Result<Option<ListedKind>, BlobError> {
        let found = self.bucket.head(path).await?;
        Ok(found.map(|found| ListedKind::File { size: found.size, stamp: found.stamp }))
    }

    async fn read(&self, path: &VaultPath) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        match content::open(&self.bucket, path).await? {
            Some((_, content)) => Ok(content.boxed()),
            None => Err(self.bucket.missing(path)),
        }
    }

    /// The shallow answer is what was noted when the object was written.
    async fn digest(&self, path: &VaultPath, deep: bool) -> Result<Option<Digest>, BlobError> {
        content::digest(&self.bucket, path, deep).await
    }

    async fn noted_hash(&self, path: &VaultPath) -> Result<Option<ContentHash>, BlobError> {
        let found = self.bucket.head(path).await?;
        let ours = found.filter(|found| found.noted.owner.as_ref() == Some(&self.bucket.owner(path)));
        Ok(ours.and_then(|found| found.noted.hash))
    }

    fn list(&self) -> BoxStream<'_, Result<Listed, BlobError>> {
        list::list(&self.bucket).boxed()
    }

    /// S3 answers only when it has the object for good.
    async fn sync(&self) -> Result<(), BlobError> {
        Ok(())
    }

    async fn clean(&self) -> Result<(), BlobError> {
        unfinished::clean(&self.bucket).await
    }
}
