//! Reading objects: for a caller, for their hash.

use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures_util::stream::{self, Stream, TryStreamExt};
use obsync_core::blob::{BlobError, BlobErrorKind, Digest};
use obsync_proto::{ContentHash, VaultPath};
use sha2::{Digest as _, Sha256};

use super::bucket::{Bucket, Found, etag, none_if_missing};
use super::fault::fault;

/// Times that a download is taken up again where it was cut off. The SDK's own tries end with the answer's head.
const RESUMES: u32 = 4;

/// A download under way.
struct Content {
    bucket: Arc<Bucket>,
    path: VaultPath,
    etag: String,
    body: ByteStream,
    size: u64,
    received: u64,
    resumes: u32,
}

/// An object and its content, all of one version. `None` where there is none.
pub(super) async fn open(
    bucket: &Arc<Bucket>,
    path: &VaultPath,
) -> Result<Option<(Found, impl Stream<Item = Result<Bytes, BlobError>> + Send + use<>)>, BlobError> {
    if !bucket.holds(path) {
        return Ok(None);
    }
    let request = bucket.client.get_object().bucket(&bucket.config.bucket).key(bucket.key(path));
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return none_if_missing(fault(&bucket.uri(path), "read", &error)),
    };
    let found = Found::new(answer.content_length(), answer.e_tag(), answer.last_modified(), answer.metadata());
    let content = Content {
        bucket: bucket.clone(),
        path: path.clone(),
        etag: etag(&found.stamp),
        body: answer.body,
        size: found.size,
        received: 0,
        resumes: RESUMES,
    };
    let chunks =
        stream::try_unfold(content, |mut content| async { Ok(content.next().await?.map(|chunk| (chunk, content))) });
    Ok(Some((found, chunks)))
}

/// See [`BlobStore::digest`](obsync_core::blob::BlobStore::digest).
pub(super) async fn digest(bucket: &Arc<Bucket>, path: &VaultPath, deep: bool) -> Result<Option<Digest>, BlobError> {
    if !deep {
        let Some(found) = bucket.head(path).await? else { return Ok(None) };
        if let Some(hash) = found.noted.hash {
            return Ok(Some(found.digest(hash)));
        }
    }
    let Some((found, chunks)) = open(bucket, path).await? else { return Ok(None) };
    let mut hash = Sha256::new();
    let mut chunks = std::pin::pin!(chunks);
    while let Some(chunk) = chunks.try_next().await? {
        hash.update(&chunk);
    }
    Ok(Some(found.digest(ContentHash(hash.finalize().into()))))
}

impl Found {
    fn digest(self, hash: ContentHash) -> Digest {
        let mtime = self.mtime();
        Digest { hash, size: self.size, mtime, stamp: self.stamp }
    }
}

impl Content {
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        loop {
            let error = match self.body.next().await {
                Some(Ok(chunk)) => {
                    self.received += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                None if self.received >= self.size => return Ok(None),
                None => "the answer ends early".to_owned(),
                Some(Err(error)) => error.to_string(),
            };
            // A fault after the last byte is the checksum's: no other try would end better.
            if self.resumes == 0 || self.received >= self.size {
                let uri = self.bucket.uri(&self.path);
                return Err(BlobError::new(BlobErrorKind::Unusable, format!("cannot read {uri:?}: {error}")));
            }
            self.resumes -= 1;
            self.resume().await?;
        }
    }

    /// Asks for the rest of the same version.
    async fn resume(&mut self) -> Result<(), BlobError> {
        let request = self.bucket.client.get_object().bucket(&self.bucket.config.bucket);
        let request = request.key(self.bucket.key(&self.path)).if_match(&self.etag);
        let request = request.range(format!("bytes={}-", self.received));
        let answer = request.send().await.map_err(|e| fault(&self.bucket.uri(&self.path), "read on", &e))?;
        self.body = answer.body;
        Ok(())
    }
}
