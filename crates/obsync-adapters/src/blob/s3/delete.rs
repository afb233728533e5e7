//! Deleting, up to 1,000 objects with one request.

use std::collections::HashMap;

use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use futures_util::stream::{self, StreamExt};
use obsync_core::blob::{BlobError, BlobErrorKind};
use obsync_proto::VaultPath;

use super::bucket::Bucket;
use super::fault::{fault, fault_within, passes};
use super::key::fits_xml;

/// The most keys in one request.
const BATCH: usize = 1000;

/// Requests at a time.
const AT_ONCE: usize = 8;

/// What became of an object: `None` if it has to be deleted by itself.
type Outcome = Option<Result<(), BlobError>>;

/// See [`BlobStore::delete`](obsync_core::blob::BlobStore::delete).
pub(super) async fn delete(bucket: &Bucket, paths: &[VaultPath]) -> Vec<Result<(), BlobError>> {
    let mut outcomes: Vec<Outcome> = vec![None; paths.len()];
    let mut batch = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        if !bucket.holds(path) {
            // Nothing can be there.
            outcomes[index] = Some(Ok(()));
        } else if fits_xml(&bucket.key(path)) {
            batch.push(index);
        }
    }
    for indices in batch.chunks(BATCH).filter(|indices| indices.len() > 1) {
        let targets: Vec<&VaultPath> = indices.iter().map(|&index| &paths[index]).collect();
        for (&index, outcome) in indices.iter().zip(delete_batch(bucket, &targets).await) {
            outcomes[index] = outcome;
        }
    }
    let rest = stream::iter(outcomes.into_iter().zip(paths.to_vec()));
    let rest = rest.map(|(outcome, path)| async move {
        match outcome {
            Some(outcome) => outcome,
            None => delete_one(bucket, &path).await,
        }
    });
    rest.buffered(AT_ONCE).collect().await
}

async fn delete_batch(bucket: &Bucket, paths: &[&VaultPath]) -> Vec<Outcome> {
    match request_batch(bucket, paths).await {
        Ok(failed) => paths.iter().map(|path| failed.get(&bucket.key(path)).cloned().unwrap_or(Some(Ok(())))).collect(),
        Err(error) => vec![Some(Err(error)); paths.len()],
    }
}

/// What was not deleted, by key.
async fn request_batch(bucket: &Bucket, paths: &[&VaultPath]) -> Result<HashMap<String, Outcome>, BlobError> {
    let invalid = |e| BlobError::new(BlobErrorKind::Other, format!("cannot delete from {:?}: {e}", bucket.location()));
    let mut batch = Delete::builder().quiet(true);
    for path in paths {
        batch = batch.objects(ObjectIdentifier::builder().key(bucket.key(path)).build().map_err(invalid)?);
    }
    let request = bucket.client.delete_objects().bucket(&bucket.config.bucket);
    let request = request.delete(batch.build().map_err(invalid)?);
    let answer = request.send().await.map_err(|e| fault(&bucket.location(), "delete from", &e))?;
    let failed = answer.errors().iter().filter_map(|error| {
        let key = error.key()?;
        let uri = format!("s3://{}/{key}", bucket.config.bucket);
        let outcome = match error.code() {
            Some("NoSuchKey") => Some(Ok(())),
            // The SDK tries a request again, not a part of one: by itself, this one will be.
            code if passes(code) => None,
            code => Some(Err(fault_within(&uri, "delete", code, error.message()))),
        };
        Some((key.to_owned(), outcome))
    });
    Ok(failed.collect())
}

async fn delete_one(bucket: &Bucket, path: &VaultPath) -> Result<(), BlobError> {
    let request = bucket.client.delete_object().bucket(&bucket.config.bucket).key(bucket.key(path));
    match request.send().await.map_err(|e| fault(&bucket.uri(path), "delete", &e)) {
        Err(error) if error.kind != BlobErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
