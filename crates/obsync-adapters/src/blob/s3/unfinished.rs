//! Uploads in parts that a killed run left unfinished. They are in no listing, and cost until they are aborted.

use aws_sdk_s3::types::EncodingType;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use obsync_core::blob::{BlobError, BlobErrorKind};

use super::bucket::Bucket;
use super::fault::fault;
use super::key::listed;

/// Requests at a time.
const AT_ONCE: usize = 8;

struct Unfinished {
    key: String,
    id: String,
}

/// Where a page of the listing starts.
#[derive(Default)]
struct Marker {
    key: Option<String>,
    id: Option<String>,
}

/// Aborts whatever is unfinished under the prefix.
pub(super) async fn clean(bucket: &Bucket) -> Result<(), BlobError> {
    let mut next = Some(Marker::default());
    while let Some(marker) = next {
        let (uploads, following) = page(bucket, marker).await?;
        stream::iter(uploads)
            .map(|upload| async move { abort(bucket, &upload).await })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        next = following;
    }
    Ok(())
}

async fn page(bucket: &Bucket, marker: Marker) -> Result<(Vec<Unfinished>, Option<Marker>), BlobError> {
    let request = bucket
        .client
        .list_multipart_uploads()
        .bucket(&bucket.config.bucket)
        .prefix(&bucket.config.key_prefix)
        .encoding_type(EncodingType::Url)
        .set_key_marker(marker.key)
        .set_upload_id_marker(marker.id);
    let answer = request.send().await.map_err(|e| fault(&bucket.location(), "list what is unfinished under", &e))?;
    let decoded = |key: Option<&str>| listed(key?, answer.encoding_type()).map(std::borrow::Cow::into_owned);
    let uploads = answer
        .uploads()
        .iter()
        .filter_map(|upload| Some(Unfinished { key: decoded(upload.key())?, id: upload.upload_id()?.to_owned() }));
    let ours = uploads.filter(|upload| upload.key.starts_with(&bucket.config.key_prefix)).collect();
    let next = Marker { key: decoded(answer.next_key_marker()), id: answer.next_upload_id_marker.clone() };
    let more = answer.is_truncated() == Some(true) && next.key.is_some();
    Ok((ours, more.then_some(next)))
}

async fn abort(bucket: &Bucket, upload: &Unfinished) -> Result<(), BlobError> {
    let request = bucket.client.abort_multipart_upload().bucket(&bucket.config.bucket);
    let Err(error) = request.key(&upload.key).upload_id(&upload.id).send().await else { return Ok(()) };
    let uri = format!("s3://{}/{}", bucket.config.bucket, upload.key);
    let error = fault(&uri, "take back the parts of", &error);
    // What is of this one object (it is gone by now) is no obstacle.
    if error.kind == BlobErrorKind::Unusable { Err(error) } else { Ok(()) }
}
