//! [`FaultyBlobs`].

use std::future::ready;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use obsync_core::blob::{BlobError, BlobMeta, BlobStore, BlobWriter, Digest, Listed, ListedKind, Stamp};
use obsync_proto::crypto::Verified;
use obsync_proto::{ContentHash, VaultPath};

use super::{FaultPlan, Moment};

/// A destination whose calls follow a [`FaultPlan`].
pub struct FaultyBlobs {
    inner: Arc<dyn BlobStore>,
    plan: FaultPlan,
}

impl FaultyBlobs {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn BlobStore>, plan: FaultPlan) -> Self {
        Self { inner, plan }
    }
}

#[async_trait]
impl BlobStore for FaultyBlobs {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn check(&self, path: &VaultPath) -> Result<(), BlobError> {
        self.inner.check(path)
    }

    fn keeps_folders(&self) -> bool {
        self.inner.keeps_folders()
    }

    fn write_buffer(&self) -> u64 {
        self.inner.write_buffer()
    }

    async fn writer(&self, path: &VaultPath, meta: &BlobMeta) -> Result<Box<dyn BlobWriter>, BlobError> {
        let open = async {
            let inner = self.inner.writer(path, meta).await?;
            Ok::<_, BlobError>(FaultyWriter { inner: Some(inner), plan: self.plan.clone(), path: path.clone() })
        };
        Ok(Box::new(self.plan.effect("blob.writer", Some(path), ready(()), open).await?))
    }

    async fn copy(&self, from: &VaultPath, stamp: &Stamp, to: &VaultPath, meta: &BlobMeta) -> Result<Stamp, BlobError> {
        self.plan.effect("blob.copy", Some(to), ready(()), self.inner.copy(from, stamp, to, meta)).await
    }

    async fn delete(&self, paths: &[VaultPath]) -> Vec<Result<(), BlobError>> {
        let half = async { drop(self.inner.delete(&paths[..paths.len() / 2]).await) };
        let whole = async { Ok::<_, BlobError>(self.inner.delete(paths).await) };
        let path = if let [only] = paths { Some(only.as_str()) } else { None };
        match self.plan.effect("blob.delete", path, half, whole).await {
            Ok(results) => results,
            Err(error) => vec![Err(error); paths.len()],
        }
    }

    async fn create_folder(&self, path: &VaultPath) -> Result<(), BlobError> {
        self.plan.effect("blob.create_folder", Some(path), ready(()), self.inner.create_folder(path)).await
    }

    async fn remove_folder(&self, path: &VaultPath) -> Result<(), BlobError> {
        self.plan.effect("blob.remove_folder", Some(path), ready(()), self.inner.remove_folder(path)).await
    }

    async fn stat(&self, path: &VaultPath) -> Result<Option<ListedKind>, BlobError> {
        self.plan.question("blob.stat", Some(path), self.inner.stat(path)).await
    }

    async fn read(&self, path: &VaultPath) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        self.plan.question("blob.read", Some(path), self.inner.read(path)).await
    }

    async fn digest(&self, path: &VaultPath, deep: bool) -> Result<Option<Digest>, BlobError> {
        self.plan.question("blob.digest", Some(path), self.inner.digest(path, deep)).await
    }

    async fn noted_hash(&self, path: &VaultPath) -> Result<Option<ContentHash>, BlobError> {
        self.plan.question("blob.noted_hash", Some(path), self.inner.noted_hash(path)).await
    }

    fn list(&self) -> BoxStream<'_, Result<Listed, BlobError>> {
        self.plan.listing("blob.list", || self.inner.list())
    }

    async fn sync(&self) -> Result<(), BlobError> {
        self.plan.effect("blob.sync", None, ready(()), self.inner.sync()).await
    }

    async fn clean(&self) -> Result<(), BlobError> {
        self.plan.effect("blob.clean", None, ready(()), self.inner.clean()).await
    }
}

impl FaultPlan {
    /// Lets a stream come as far as its fault allows.
    pub(super) fn listing<'a, T: Send + 'a, E: From<super::Struck> + Send + 'a>(
        &'a self,
        name: &'static str,
        open: impl FnOnce() -> BoxStream<'a, Result<T, E>> + Send + 'a,
    ) -> BoxStream<'a, Result<T, E>> {
        let met = async move {
            let fault = match self.meet(name, None, false).await {
                Ok(None) => return open(),
                Ok(Some(fault)) => fault,
                Err(dead) => return stream::once(ready(Err(dead.into()))).boxed(),
            };
            let come = match fault.moment {
                Moment::Before => 0,
                Moment::Half => 1,
                Moment::After => usize::MAX,
            };
            let end = stream::once(async move { Err(self.strike(fault).into()) });
            open().take(come).chain(end).boxed()
        };
        stream::once(met).flatten().boxed()
    }
}

struct FaultyWriter {
    inner: Option<Box<dyn BlobWriter>>,
    plan: FaultPlan,
    path: VaultPath,
}

impl FaultyWriter {
    fn inner(&mut self) -> &mut dyn BlobWriter {
        &mut **self.inner.as_mut().expect("a writer ends once")
    }

    fn take(&mut self) -> Box<dyn BlobWriter> {
        self.inner.take().expect("a writer ends once")
    }
}

#[async_trait]
impl BlobWriter for FaultyWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), BlobError> {
        let met = self.plan.meet("blob.write", Some(&self.path), true).await?;
        let Some(fault) = met else { return self.inner().write(chunk).await };
        match fault.moment {
            Moment::Before => {}
            Moment::Half => drop(self.inner().write(chunk.slice(..chunk.len() / 2)).await),
            Moment::After => self.inner().write(chunk).await?,
        }
        Err(self.plan.strike(fault).into())
    }

    async fn commit(mut self: Box<Self>, proof: Verified) -> Result<Stamp, BlobError> {
        let (plan, path) = (self.plan.clone(), self.path.clone());
        let whole = async { self.take().commit(proof).await };
        plan.effect("blob.commit", Some(&path), ready(()), whole).await
    }

    async fn abort(mut self: Box<Self>) {
        let (plan, path) = (self.plan.clone(), self.path.clone());
        let whole = async {
            self.take().abort().await;
            Ok::<_, BlobError>(())
        };
        // It has no way to tell.
        let _ = plan.effect("blob.abort", Some(&path), ready(()), whole).await;
    }
}

impl Drop for FaultyWriter {
    /// A killed process drops nothing.
    fn drop(&mut self) {
        if self.plan.is_dead() {
            std::mem::forget(self.inner.take());
        }
    }
}
