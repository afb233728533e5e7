//! The bucket, its keys, and what an object is dressed in.

use std::collections::HashMap;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use obsync_core::blob::{BlobError, BlobErrorKind, BlobMeta, Stamp};
use obsync_proto::{ContentHash, VaultPath};

use super::S3Config;
use super::fault::fault;
use super::media_type::media_type;
use super::metadata::{self, Noted, Owner};

/// The most bytes of a key.
const MAX_KEY: usize = 1024;

#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) client: Client,
    pub(super) config: S3Config,
}

/// What goes with an object's content.
pub(super) struct Dress {
    pub(super) media_type: &'static str,
    pub(super) metadata: HashMap<String, String>,
    pub(super) encryption: Option<ServerSideEncryption>,
    pub(super) kms_key: Option<String>,
    pub(super) storage_class: Option<StorageClass>,
    pub(super) tags: Option<String>,
}

/// Puts a [`Dress`] on a request, of whatever operation.
macro_rules! dressed {
    ($request:expr, $dress:expr) => {{
        let dress = $dress;
        $request
            .content_type(dress.media_type)
            .set_metadata(Some(dress.metadata))
            .set_server_side_encryption(dress.encryption)
            .set_ssekms_key_id(dress.kms_key)
            .set_storage_class(dress.storage_class)
            .set_tagging(dress.tags)
    }};
}
pub(super) use dressed;

/// What is known of an object without its content.
pub(super) struct Found {
    pub(super) size: u64,
    pub(super) stamp: Stamp,
    /// When it was written here, ms since 1970.
    pub(super) modified: i64,
    pub(super) noted: Noted,
}

impl Bucket {
    pub(super) fn new(client: Client, config: S3Config) -> Self {
        Self { client, config }
    }

    pub(super) fn location(&self) -> String {
        format!("s3://{}/{}", self.config.bucket, self.config.key_prefix)
    }

    pub(super) fn key(&self, path: &VaultPath) -> String {
        format!("{}{path}", self.config.key_prefix)
    }

    /// For people.
    pub(super) fn uri(&self, path: &VaultPath) -> String {
        format!("{}{path}", self.location())
    }

    pub(super) fn holds(&self, path: &VaultPath) -> bool {
        self.config.key_prefix.len() + path.len() <= MAX_KEY
    }

    pub(super) fn check(&self, path: &VaultPath) -> Result<(), BlobError> {
        if self.holds(path) {
            return Ok(());
        }
        let (uri, len) = (self.uri(path), self.config.key_prefix.len() + path.len());
        Err(BlobError::new(BlobErrorKind::Unfit, format!("{uri:?}: a key of {len} bytes, S3 takes {MAX_KEY}")))
    }

    pub(super) fn missing(&self, path: &VaultPath) -> BlobError {
        BlobError::new(BlobErrorKind::NotFound, format!("there is no {:?}", self.uri(path)))
    }

    /// What tells an object that was written here from one that was copied here, with all that goes with it.
    pub(super) fn owner(&self, path: &VaultPath) -> Owner {
        Owner::of(&self.config.owner, &self.key(path))
    }

    /// `hash` is that of the content, as far as it is known.
    pub(super) fn dress(&self, path: &VaultPath, meta: &BlobMeta, hash: Option<ContentHash>) -> Dress {
        let owner = Some(self.owner(path));
        let noted = Noted { hash, mtime: Some(meta.mtime), ctime: Some(meta.ctime), owner };
        Dress {
            media_type: media_type(path),
            metadata: metadata::write(&noted),
            encryption: self.config.sse_kms_key.as_ref().map(|_| ServerSideEncryption::AwsKms),
            kms_key: self.config.sse_kms_key.clone(),
            storage_class: self.config.storage_class.as_deref().map(StorageClass::from),
            tags: self.config.tags.clone(),
        }
    }

    /// `None` where there is no such object.
    pub(super) async fn head(&self, path: &VaultPath) -> Result<Option<Found>, BlobError> {
        if !self.holds(path) {
            return Ok(None);
        }
        let request = self.client.head_object().bucket(&self.config.bucket).key(self.key(path));
        match request.send().await {
            Ok(head) => {
                Ok(Some(Found::new(head.content_length(), head.e_tag(), head.last_modified(), head.metadata())))
            }
            Err(error) => none_if_missing(fault(&self.uri(path), "look at", &error)),
        }
    }
}

impl Found {
    pub(super) fn new(
        size: Option<i64>,
        etag: Option<&str>,
        modified: Option<&DateTime>,
        metadata: Option<&HashMap<String, String>>,
    ) -> Self {
        Self {
            size: bytes(size),
            stamp: stamp(etag),
            modified: modified.and_then(|time| time.to_millis().ok()).unwrap_or_default(),
            noted: metadata.map(metadata::read).unwrap_or_default(),
        }
    }

    pub(super) fn mtime(&self) -> i64 {
        self.noted.mtime.unwrap_or(self.modified)
    }
}

pub(super) fn none_if_missing<T>(error: BlobError) -> Result<Option<T>, BlobError> {
    if error.kind == BlobErrorKind::NotFound { Ok(None) } else { Err(error) }
}

/// A size as the SDK has it.
pub(super) fn bytes(size: Option<i64>) -> u64 {
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default()
}

/// The ETag, without the quotes that not every service puts around it everywhere.
pub(super) fn stamp(etag: Option<&str>) -> Stamp {
    Stamp(etag.unwrap_or_default().trim_matches('"').into())
}

/// The other way round.
pub(super) fn etag(stamp: &Stamp) -> String {
    format!("\"{stamp}\"")
}
