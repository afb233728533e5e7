//! Objects and unfinished uploads.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;

use super::checksum;

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its content.
    pub content: Bytes,
    /// User metadata, without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// Its ETag, without quotes.
    pub etag: String,
    /// When it was written.
    pub modified: SystemTime,
    /// The storage class that was asked for.
    pub storage_class: Option<String>,
    /// The KMS key that was asked for.
    pub kms_key: Option<String>,
    /// The tags, as a URL's query.
    pub tags: Option<String>,
}

impl Object {
    /// An object with nothing but content.
    pub fn new(content: Bytes) -> Self {
        Dress::default().on(content, 0)
    }
}

#[derive(Default)]
pub(super) struct Bucket {
    pub(super) objects: BTreeMap<String, Object>,
    /// By key and id, as they are listed.
    pub(super) uploads: BTreeMap<(String, String), Upload>,
}

pub(super) struct Upload {
    pub(super) dress: Dress,
    /// Whether each part has to come with its CRC-32.
    pub(super) checked: bool,
    pub(super) parts: BTreeMap<i32, Part>,
}

#[derive(Clone)]
pub(super) struct Part {
    pub(super) content: Bytes,
    pub(super) etag: String,
    pub(super) crc32: Option<String>,
}

/// What goes with an object's content.
#[derive(Default, Clone)]
pub(super) struct Dress {
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) content_type: Option<String>,
    pub(super) storage_class: Option<String>,
    pub(super) kms_key: Option<String>,
    pub(super) tags: Option<String>,
}

impl Dress {
    /// `serial` is in the ETag of an encrypted object, which is then not the MD5 of its content.
    pub(super) fn on(self, content: Bytes, serial: u64) -> Object {
        let etag = match &self.kms_key {
            Some(_) => checksum::md5(&serial.to_be_bytes()),
            None => checksum::md5(&content),
        };
        Object {
            content,
            metadata: self.metadata,
            content_type: self.content_type,
            etag,
            modified: SystemTime::now(),
            storage_class: self.storage_class,
            kms_key: self.kms_key,
            tags: self.tags,
        }
    }

    pub(super) fn of(object: &Object) -> Self {
        Self {
            metadata: object.metadata.clone(),
            content_type: object.content_type.clone(),
            storage_class: object.storage_class.clone(),
            kms_key: object.kms_key.clone(),
            tags: object.tags.clone(),
        }
    }
}
