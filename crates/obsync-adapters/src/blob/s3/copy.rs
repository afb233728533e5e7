//! Copies within the bucket: no content comes here.

use std::sync::Arc;

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::types::{MetadataDirective, TaggingDirective};
use obsync_core::blob::{BlobError, BlobErrorKind, BlobMeta, Stamp};
use obsync_proto::VaultPath;

use super::bucket::{Bucket, dressed, etag, stamp};
use super::content;
use super::fault::fault;
use super::key::copy_source;

/// See [`BlobStore::copy`](obsync_core::blob::BlobStore::copy).
pub(super) async fn copy(
    bucket: &Arc<Bucket>,
    from: &VaultPath,
    expected: &Stamp,
    to: &VaultPath,
    meta: &BlobMeta,
) -> Result<Stamp, BlobError> {
    bucket.check(to)?;
    if !bucket.holds(from) {
        return Err(bucket.missing(from));
    }
    let error = match copy_version(bucket, from, expected, to, meta).await {
        Err(error) if error.kind == BlobErrorKind::Changed => error,
        done => return done,
    };
    // Written anew, perhaps with the same content; or the answer to an earlier try was lost, which has given an
    // object that was uploaded in parts another ETag.
    match content::digest(bucket, from, false).await? {
        Some(found) if Some(found.hash) == meta.hash => copy_version(bucket, from, &found.stamp, to, meta).await,
        _ => Err(error),
    }
}

async fn copy_version(
    bucket: &Arc<Bucket>,
    from: &VaultPath,
    version: &Stamp,
    to: &VaultPath,
    meta: &BlobMeta,
) -> Result<Stamp, BlobError> {
    let dress = bucket.dress(to, meta, meta.hash);
    let request = dressed!(bucket.client.copy_object(), dress)
        // Tags are as configured, here too; to take those of the source along would need the right to read them.
        .tagging_directive(TaggingDirective::Replace)
        .metadata_directive(MetadataDirective::Replace)
        .copy_source(copy_source(&bucket.config.bucket, &bucket.key(from)))
        .copy_source_if_match(etag(version))
        .bucket(&bucket.config.bucket)
        .key(bucket.key(to));
    let answer = request.send().await.map_err(|e| match e.code() {
        // A copy takes more rights than reading and writing: where they are missing, the file is written anew.
        Some("AccessDenied") => BlobError::new(BlobErrorKind::Changed, fault(&bucket.uri(from), "copy", &e).message),
        _ => fault(&bucket.uri(from), "copy", &e),
    })?;
    Ok(stamp(answer.copy_object_result().and_then(|copied| copied.e_tag())))
}
