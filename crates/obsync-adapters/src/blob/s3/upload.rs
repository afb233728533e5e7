//! An upload in parts, in a task of its own.
//!
//! The writer hands over one part after the other, and at last the word to complete. If the writer goes before that,
//! its end of the channel goes with it, and the task takes the upload back: so a writer that is dropped, at whatever
//! instant, leaves nothing behind. Only a process that ends does, and the next run cleans that up.

use std::sync::Arc;

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use obsync_core::blob::{BlobError, BlobErrorKind, BlobMeta, Stamp};
use obsync_proto::VaultPath;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::bucket::{Bucket, dressed, stamp};
use super::fault::fault;

/// The writer's end.
pub(super) struct Upload {
    steps: Sender<Step>,
    /// For one step at a time: another part is taken only when the one before has arrived.
    idle: Arc<Semaphore>,
    /// `None` once it has said how it ended.
    task: Option<JoinHandle<Result<Option<Stamp>, BlobError>>>,
}

/// What is written, and where.
pub(super) struct Target {
    pub(super) bucket: Arc<Bucket>,
    pub(super) path: VaultPath,
    pub(super) meta: BlobMeta,
}

struct Step {
    /// `None` to complete.
    part: Option<Bytes>,
    _busy: Option<OwnedSemaphorePermit>,
}

impl Upload {
    pub(super) fn start(target: Target) -> Self {
        let (steps, received) = mpsc::channel(1);
        Self {
            steps,
            idle: Arc::new(Semaphore::new(1)),
            task: Some(tokio::spawn(target.upload(received).in_current_span())),
        }
    }

    /// Hands a part over, and returns while it is on its way.
    pub(super) async fn send(&mut self, part: Bytes) -> Result<(), BlobError> {
        if self.step(Some(part)).await { Ok(()) } else { Err(self.end().await.err().unwrap_or_else(cut_off)) }
    }

    /// Makes the object visible.
    pub(super) async fn complete(mut self) -> Result<Stamp, BlobError> {
        self.step(None).await;
        // `steps` lives until here: if the caller goes, so does the upload.
        self.end().await?.ok_or_else(cut_off)
    }

    /// Takes the upload back, and returns when that is done.
    pub(super) async fn abort(self) {
        drop(self.steps);
        if let Some(task) = self.task {
            let _ = task.await;
        }
    }

    /// Whether the task has taken the step.
    async fn step(&self, part: Option<Bytes>) -> bool {
        let busy = self.idle.clone().acquire_owned().await.ok();
        self.steps.send(Step { part, _busy: busy }).await.is_ok()
    }

    /// How the task has ended.
    async fn end(&mut self) -> Result<Option<Stamp>, BlobError> {
        match self.task.take() {
            Some(task) => task.await.unwrap_or_else(|_| Err(cut_off())),
            None => Err(cut_off()),
        }
    }
}

fn cut_off() -> BlobError {
    BlobError::new(BlobErrorKind::Other, "the upload was cut off")
}

impl Target {
    /// `None` if the writer went before the end.
    async fn upload(self, mut steps: Receiver<Step>) -> Result<Option<Stamp>, BlobError> {
        // Not to be cut off: nobody would know the id of what is begun then.
        let id = self.create().await?;
        let done = self.follow(&id, &mut steps).await;
        if !matches!(done, Ok(Some(_))) {
            self.abort(&id).await;
        }
        done
    }

    async fn follow(&self, id: &str, steps: &mut Receiver<Step>) -> Result<Option<Stamp>, BlobError> {
        let mut parts = Vec::new();
        let mut written = 0;
        while let Some(step) = steps.recv().await {
            let work = async {
                let Some(part) = step.part else {
                    return self.complete(id, std::mem::take(&mut parts), written).await.map(Some);
                };
                written += part.len() as u64;
                parts.push(self.send(id, parts.len() + 1, part).await?);
                Ok(None)
            };
            let done = tokio::select! {
                biased;
                // No step comes while one is under way, so this is the writer's end.
                _ = steps.recv() => return Ok(None),
                done = work => done?,
            };
            if done.is_some() {
                return Ok(done);
            }
        }
        Ok(None)
    }

    async fn create(&self) -> Result<String, BlobError> {
        let dress = self.bucket.dress(&self.path, &self.meta, self.meta.hash);
        let request = dressed!(self.bucket.client.create_multipart_upload(), dress)
            .bucket(&self.bucket.config.bucket)
            .key(self.bucket.key(&self.path))
            .checksum_algorithm(ChecksumAlgorithm::Crc32);
        let answer = request.send().await.map_err(|e| fault(&self.uri(), "begin to write", &e))?;
        let no_id = || BlobError::new(BlobErrorKind::Unusable, format!("cannot write {:?}: no upload id", self.uri()));
        answer.upload_id.ok_or_else(no_id)
    }

    /// The SDK sends the part's CRC-32, the service compares.
    async fn send(&self, id: &str, number: usize, part: Bytes) -> Result<CompletedPart, BlobError> {
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        let request = self.bucket.client.upload_part().bucket(&self.bucket.config.bucket);
        let request = request.key(self.bucket.key(&self.path)).upload_id(id).part_number(number);
        let request = request.checksum_algorithm(ChecksumAlgorithm::Crc32).body(ByteStream::from(part));
        let answer = request.send().await.map_err(|e| fault(&self.uri(), "write a part of", &e))?;
        let part = CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag);
        Ok(part.set_checksum_crc32(answer.checksum_crc32).build())
    }

    async fn complete(&self, id: &str, parts: Vec<CompletedPart>, size: u64) -> Result<Stamp, BlobError> {
        let request = self.bucket.client.complete_multipart_upload().bucket(&self.bucket.config.bucket);
        let request = request.key(self.bucket.key(&self.path)).upload_id(id);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let error = match request.multipart_upload(parts).send().await {
            Ok(answer) => return Ok(stamp(answer.e_tag())),
            Err(error) => error,
        };
        // No code: no answer, or one that says nothing. The upload may be complete all the same.
        let written = match error.code() {
            None | Some("NoSuchUpload") => self.written(size).await.ok().flatten(),
            Some(_) => None,
        };
        written.ok_or_else(|| fault(&self.uri(), "complete", &error))
    }

    /// The object, if it is this upload's: the answer to an earlier try was lost then, or the next one found the
    /// upload done with.
    async fn written(&self, size: u64) -> Result<Option<Stamp>, BlobError> {
        let found = self.bucket.head(&self.path).await?;
        let ours = found.filter(|found| {
            let times = (Some(self.meta.mtime), Some(self.meta.ctime));
            let is_ours = self.meta.hash.is_some() && found.noted.hash == self.meta.hash;
            is_ours && found.size == size && (found.noted.mtime, found.noted.ctime) == times
        });
        Ok(ours.map(|found| found.stamp))
    }

    async fn abort(&self, id: &str) {
        let request = self.bucket.client.abort_multipart_upload().bucket(&self.bucket.config.bucket);
        // What stays behind now, the next run takes away.
        if let Err(error) = request.key(self.bucket.key(&self.path)).upload_id(id).send().await {
            let error = fault(&self.uri(), "take back the parts of", &error);
            tracing::debug!(%error, "an upload is left unfinished");
        }
    }

    fn uri(&self) -> String {
        self.bucket.uri(&self.path)
    }
}
