//! A file on its way in.

use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use obsync_core::blob::{BlobError, BlobErrorKind, BlobMeta, BlobWriter, Stamp};
use obsync_proto::VaultPath;
use obsync_proto::crypto::Verified;

use super::fault::fault;
use super::folder::Folder;
use super::publish::Publisher;
use super::temp::Temp;
use super::{WRITE_BUFFER, blocking};

/// See [`BlobStore::writer`](obsync_core::blob::BlobStore::writer).
pub(super) struct LocalWriter {
    publisher: Arc<Publisher>,
    path: VaultPath,
    meta: BlobMeta,
    written: u64,
    content: Content,
}

/// Where the content so far is.
#[derive(Debug)]
pub(super) enum Content {
    /// Small until now: the disk is touched once, at the end. Copied, because a small chunk can be a view of a large
    /// buffer.
    Held(Vec<u8>),
    File(Temp),
    /// Nowhere: an earlier write failed or was cut off.
    Lost,
}

impl LocalWriter {
    pub(super) fn new(publisher: Arc<Publisher>, path: VaultPath, meta: BlobMeta) -> Self {
        Self { publisher, path, meta, written: 0, content: Content::Held(Vec::new()) }
    }

    fn take(&mut self) -> Content {
        std::mem::replace(&mut self.content, Content::Lost)
    }
}

impl Content {
    /// The file with all of it.
    pub(super) fn into_file(self, folder: &Folder, path: &VaultPath) -> Result<Temp, BlobError> {
        match self {
            Self::Held(held) => {
                folder.check_target(path)?;
                append(folder.temp()?, &held, path)
            }
            Self::File(temp) => Ok(temp),
            Self::Lost => Err(BlobError::new(BlobErrorKind::Other, format!("{path:?}: an earlier write failed"))),
        }
    }
}

fn append(mut temp: Temp, bytes: &[u8], path: &VaultPath) -> Result<Temp, BlobError> {
    temp.file.write_all(bytes).map_err(|e| fault(path, "write", &e))?;
    Ok(temp)
}

#[async_trait]
impl BlobWriter for LocalWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), BlobError> {
        self.written += chunk.len() as u64;
        if let Content::Held(held) = &mut self.content
            && held.len() + chunk.len() <= WRITE_BUFFER
        {
            held.extend_from_slice(&chunk);
            return Ok(());
        }
        let (content, folder, path) = (self.take(), self.publisher.folder().clone(), self.path.clone());
        let temp = blocking(move || append(content.into_file(&folder, &path)?, &chunk, &path)).await?;
        self.content = Content::File(temp);
        Ok(())
    }

    async fn commit(mut self: Box<Self>, proof: Verified) -> Result<Stamp, BlobError> {
        if self.written != proof.size() {
            let message = format!("{:?}: {} bytes written, {} verified", self.path, self.written, proof.size());
            return Err(BlobError::new(BlobErrorKind::Other, message));
        }
        let content = self.take();
        let Self { publisher, path, meta, .. } = *self;
        publisher.publish(path, content, proof.hash(), meta.mtime).await
    }

    async fn abort(mut self: Box<Self>) {
        let content = self.take();
        // Removing a large file takes a while.
        let _ = blocking(move || {
            drop(content);
            Ok(())
        })
        .await;
    }
}
