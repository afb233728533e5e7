//! Writing an object: with one request if it fits into a part, in parts if not.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_types::base64;
use bytes::{Bytes, BytesMut};
use obsync_core::blob::{BlobError, BlobErrorKind, BlobMeta, BlobWriter, Stamp};
use obsync_proto::VaultPath;
use obsync_proto::crypto::Verified;

use super::bucket::{Bucket, dressed, stamp};
use super::fault::fault;
use super::upload::{Target, Upload};

/// Holds up to one part. Another one may be on its way.
pub(super) struct S3Writer {
    bucket: Arc<Bucket>,
    path: VaultPath,
    meta: BlobMeta,
    held: BytesMut,
    written: u64,
    upload: Option<Upload>,
}

impl S3Writer {
    pub(super) fn new(bucket: Arc<Bucket>, path: VaultPath, meta: BlobMeta) -> Self {
        let announced = usize::try_from(meta.size).unwrap_or(usize::MAX);
        let held = BytesMut::with_capacity(announced.min(bucket.config.part_size));
        Self { bucket, path, meta, held, written: 0, upload: None }
    }

    /// Hands the part that is held to the upload, as soon as the one before has arrived.
    async fn send_part(&mut self) -> Result<(), BlobError> {
        let part = std::mem::take(&mut self.held).freeze();
        let target = Target { bucket: self.bucket.clone(), path: self.path.clone(), meta: self.meta };
        self.upload.get_or_insert_with(|| Upload::start(target)).send(part).await
    }

    /// What was written has to be what was verified, and what was announced: the metadata of an upload in parts are
    /// sent before its content.
    fn check(&self, proof: &Verified) -> Result<(), BlobError> {
        let uri = self.bucket.uri(&self.path);
        let message = match self.meta.hash {
            _ if self.written != proof.size() => {
                format!("{uri:?}: {} bytes written, {} verified", self.written, proof.size())
            }
            Some(hash) if hash != proof.hash() => format!("{uri:?}: {hash} announced, {} verified", proof.hash()),
            _ => return Ok(()),
        };
        Err(BlobError::new(BlobErrorKind::Other, message))
    }

    /// The service compares what it gets with the SHA-256 that was verified.
    async fn put(&mut self, proof: &Verified) -> Result<Stamp, BlobError> {
        let client = &self.bucket.client;
        let dress = self.bucket.dress(&self.path, &self.meta, Some(proof.hash()));
        let request = dressed!(client.put_object(), dress)
            .bucket(&self.bucket.config.bucket)
            .key(self.bucket.key(&self.path))
            .checksum_sha256(base64::encode(proof.hash().0))
            .body(ByteStream::from(std::mem::take(&mut self.held).freeze()));
        let answer = request.send().await.map_err(|e| fault(&self.bucket.uri(&self.path), "write", &e))?;
        Ok(stamp(answer.e_tag()))
    }
}

#[async_trait]
impl BlobWriter for S3Writer {
    async fn write(&mut self, mut chunk: Bytes) -> Result<(), BlobError> {
        let part_size = self.bucket.config.part_size;
        self.written += chunk.len() as u64;
        while !chunk.is_empty() {
            if self.held.len() == part_size {
                self.send_part().await?;
                self.held.reserve(part_size);
            }
            let room = part_size - self.held.len();
            self.held.extend_from_slice(&chunk.split_to(room.min(chunk.len())));
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>, proof: Verified) -> Result<Stamp, BlobError> {
        self.check(&proof)?;
        if self.upload.is_none() {
            return self.put(&proof).await;
        }
        self.send_part().await?;
        match self.upload.take() {
            Some(upload) => upload.complete().await,
            None => Err(BlobError::new(BlobErrorKind::Other, format!("{:?}: no upload", self.bucket.uri(&self.path)))),
        }
    }

    async fn abort(mut self: Box<Self>) {
        if let Some(upload) = self.upload.take() {
            upload.abort().await;
        }
    }
}
