//! Everything under the prefix.

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;
use futures_util::stream::{self, Stream, StreamExt};
use obsync_core::blob::{BlobError, Listed, ListedKind};
use obsync_proto::VaultPath;

use super::bucket::{Bucket, bytes, stamp};
use super::fault::fault;
use super::key::listed;

/// Lists page by page (1,000 objects). Where the stream is not polled, nothing is asked.
pub(super) fn list(bucket: &Bucket) -> impl Stream<Item = Result<Listed, BlobError>> + Send + '_ {
    let request = bucket.client.list_objects_v2().bucket(&bucket.config.bucket);
    let request = request.prefix(&bucket.config.key_prefix).encoding_type(EncodingType::Url);
    let pages = stream::unfold(request.into_paginator().send(), |mut pages| async move {
        let page = pages.next().await?;
        Some((page, pages))
    });
    let items = pages.map(move |page| match page {
        Ok(page) => items(bucket, &page),
        Err(error) => vec![Err(fault(&bucket.location(), "list", &error))],
    });
    items.flat_map(stream::iter)
}

fn items(bucket: &Bucket, page: &ListObjectsV2Output) -> Vec<Result<Listed, BlobError>> {
    let item = |object: &aws_sdk_s3::types::Object| {
        let key = listed(object.key()?, page.encoding_type())?;
        // No path is, among others, what stands for a folder in some tools: a key with `/` at its end.
        let path = VaultPath::parse(key.strip_prefix(&bucket.config.key_prefix)?).ok()?;
        Some(Ok(Listed { path, kind: ListedKind::File { size: bytes(object.size()), stamp: stamp(object.e_tag()) } }))
    };
    page.contents().iter().filter_map(item).collect()
}
