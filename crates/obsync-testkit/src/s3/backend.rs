//! The operations of S3 that obsync uses, as S3 documents them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use super::object::{Bucket as Kept, Dress, Object as KeptObject, Part as KeptPart, Upload};
use super::server::Halfway;
use super::{Shared, State, checksum};

/// The fewest bytes of a part that is not the last.
const MIN_PART: usize = 5 * 1024 * 1024;

/// The most keys in one `DeleteObjects`.
const MAX_DELETE: usize = 1000;

/// What `encoding-type=url` leaves as it is; a space becomes `+`.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*').remove(b'/').remove(b' ');

pub(super) struct Backend {
    shared: Arc<Shared>,
}

impl Backend {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl State {
    fn bucket(&mut self, bucket: &str) -> S3Result<&mut Kept> {
        self.buckets.get_mut(bucket).ok_or_else(|| s3_error!(NoSuchBucket))
    }

    fn object(&mut self, bucket: &str, key: &str) -> S3Result<&KeptObject> {
        self.bucket(bucket)?.objects.get(key).ok_or_else(|| s3_error!(NoSuchKey))
    }

    fn upload(&mut self, bucket: &str, key: &str, id: &str) -> S3Result<&mut Upload> {
        let at = (key.to_owned(), id.to_owned());
        self.bucket(bucket)?.uploads.get_mut(&at).ok_or_else(|| s3_error!(NoSuchUpload))
    }

    fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Puts an object there, and tells its ETag.
    fn keep(&mut self, bucket: &str, key: String, dress: Dress, content: Bytes) -> S3Result<ETag> {
        let object = dress.on(content, self.next());
        let etag = ETag::Strong(object.etag.clone());
        self.bucket(bucket)?.objects.insert(key, object);
        Ok(etag)
    }
}

/// The body of an upload, whole.
async fn content(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(body) = body else { return Ok(Bytes::new()) };
    let chunks: Vec<Bytes> = body.try_collect().await.map_err(|_| s3_error!(IncompleteBody))?;
    Ok(match <[Bytes; 1]>::try_from(chunks) {
        Ok([chunk]) => chunk,
        Err(chunks) => chunks.concat().into(),
    })
}

fn sorted(metadata: Option<Metadata>) -> BTreeMap<String, String> {
    metadata.unwrap_or_default().into_iter().collect()
}

/// What goes with the content, out of the input of whatever operation.
macro_rules! dress {
    ($input:expr) => {
        Dress {
            metadata: sorted($input.metadata),
            content_type: $input.content_type,
            storage_class: $input.storage_class.map(|class| class.as_str().to_owned()),
            kms_key: $input.ssekms_key_id,
            tags: $input.tagging,
        }
    };
}

fn encoded(key: &str, encoding: Option<&EncodingType>) -> String {
    match encoding {
        Some(_) => utf8_percent_encode(key, ENCODED).to_string().replace(' ', "+"),
        None => key.to_owned(),
    }
}

fn limit(state: &State, asked: Option<i32>) -> usize {
    asked.and_then(|asked| usize::try_from(asked).ok()).unwrap_or(1000).min(state.page)
}

/// XML 1.0 cannot hold it.
fn is_no_xml(key: &str) -> bool {
    key.chars().any(|c| (c < ' ' && !"\t\n\r".contains(c)) || matches!(c, '\u{fffe}' | '\u{ffff}'))
}

fn is(condition: Option<&ETagCondition>, object: &KeptObject) -> bool {
    match condition {
        Some(ETagCondition::ETag(etag)) => etag.value() == object.etag,
        Some(ETagCondition::Any) | None => true,
    }
}

#[async_trait::async_trait]
impl S3 for Backend {
    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        self.shared.state().buckets.entry(req.input.bucket).or_default();
        Ok(S3Response::new(CreateBucketOutput::default()))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.shared.state().bucket(&req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let state = self.shared.state();
        let buckets = state.buckets.keys().map(|name| Bucket { name: Some(name.clone()), ..Bucket::default() });
        Ok(S3Response::new(ListBucketsOutput { buckets: Some(buckets.collect()), ..ListBucketsOutput::default() }))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let mut input = req.input;
        let content = content(input.body.take()).await?;
        checksum::check(&content, input.checksum_crc32.as_deref(), input.checksum_sha256.as_deref())?;
        let (bucket, key) = (input.bucket, input.key);
        let e_tag = Some(self.shared.state().keep(&bucket, key, dress!(input), content)?);
        Ok(S3Response::new(PutObjectOutput { e_tag, ..PutObjectOutput::default() }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        let object = self.shared.state().object(&input.bucket, &input.key)?.clone();
        if !is(input.if_match.as_ref(), &object) {
            return Err(s3_error!(PreconditionFailed));
        }
        let all = object.content.len() as u64;
        let range = input.range.map(|range| range.check(all)).transpose()?;
        let body = match &range {
            Some(range) => object.content.slice(range.start as usize..range.end as usize),
            None => object.content.clone(),
        };
        let content_length = i64::try_from(body.len()).ok();
        let body = match req.extensions.get::<Halfway>() {
            Some(Halfway) => {
                // The head and the first half go out before the cut.
                let cut = stream::once(async {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    Err(io::Error::from(io::ErrorKind::ConnectionReset))
                });
                StreamingBlob::wrap(stream::iter([Ok(body.slice(..body.len() / 2))]).chain(cut))
            }
            None => s3s::Body::from(body).into(),
        };
        Ok(S3Response::new(GetObjectOutput {
            body: Some(body),
            content_length,
            content_range: range.map(|range| format!("bytes {}-{}/{all}", range.start, range.end.saturating_sub(1))),
            content_type: object.content_type,
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(object.modified.into()),
            metadata: Some(object.metadata.into_iter().collect()),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let object = self.shared.state().object(&req.input.bucket, &req.input.key)?.clone();
        Ok(S3Response::new(HeadObjectOutput {
            content_length: i64::try_from(object.content.len()).ok(),
            content_type: object.content_type,
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(object.modified.into()),
            metadata: Some(object.metadata.into_iter().collect()),
            ..HeadObjectOutput::default()
        }))
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.shared.state().bucket(&req.input.bucket)?.objects.remove(&req.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(&self, req: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let Delete { objects, quiet } = req.input.delete;
        if objects.len() > MAX_DELETE || objects.iter().any(|object| is_no_xml(&object.key)) {
            return Err(s3_error!(MalformedXML));
        }
        let mut state = self.shared.state();
        state.bucket(&req.input.bucket)?;
        let mut output = DeleteObjectsOutput::default();
        for ObjectIdentifier { key, .. } in objects {
            if let Some(code) = state.undeletable.remove(&key) {
                let error = Error { code: Some(code), key: Some(key), ..Error::default() };
                output.errors.get_or_insert_default().push(error);
                continue;
            }
            state.bucket(&req.input.bucket)?.objects.remove(&key);
            if quiet != Some(true) {
                let deleted = DeletedObject { key: Some(key), ..DeletedObject::default() };
                output.deleted.get_or_insert_default().push(deleted);
            }
        }
        Ok(S3Response::new(output))
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = req.input;
        let CopySource::Bucket { bucket: from_bucket, key: from_key, .. } = &input.copy_source else {
            return Err(s3_error!(NotImplemented));
        };
        let mut state = self.shared.state();
        let source = state.object(from_bucket, from_key)?.clone();
        if !is(input.copy_source_if_match.as_ref(), &source) {
            return Err(s3_error!(PreconditionFailed));
        }
        let replaces = |directive: Option<&str>| directive == Some("REPLACE");
        let replaces_metadata = replaces(input.metadata_directive.as_ref().map(MetadataDirective::as_str));
        let replaces_tags = replaces(input.tagging_directive.as_ref().map(TaggingDirective::as_str));
        if **from_bucket == *input.bucket && **from_key == *input.key && !replaces_metadata {
            return Err(s3_error!(InvalidRequest, "an object is copied onto itself only with something changed"));
        }
        let (bucket, key, old) = (input.bucket, input.key, Dress::of(&source));
        // Encryption and storage class are never those of the source.
        let mut dress = dress!(input);
        if !replaces_metadata {
            (dress.metadata, dress.content_type) = (old.metadata, old.content_type);
        }
        if !replaces_tags {
            dress.tags = old.tags;
        }
        let e_tag = Some(state.keep(&bucket, key, dress, source.content)?);
        let result = CopyObjectResult { e_tag, ..CopyObjectResult::default() };
        Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(result), ..CopyObjectOutput::default() }))
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let mut state = self.shared.state();
        let limit = limit(&state, input.max_keys);
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = input.continuation_token.clone().or(input.start_after.clone());
        let listed = state.listed.as_ref().and_then(|listed| listed.get(&input.bucket)).cloned();
        let objects = listed.as_ref().unwrap_or(&state.bucket(&input.bucket)?.objects);
        let mut rest = objects
            .iter()
            .filter(|(key, _)| key.starts_with(&prefix) && after.as_ref().is_none_or(|after| *key > after));
        let page: Vec<(&String, &KeptObject)> = rest.by_ref().take(limit).collect();
        let is_truncated = rest.next().is_some();
        let last = page.last().map(|(key, _)| (*key).clone());
        let contents = page.into_iter().map(|(key, object)| Object {
            key: Some(encoded(key, input.encoding_type.as_ref())),
            size: i64::try_from(object.content.len()).ok(),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(object.modified.into()),
            ..Object::default()
        });
        let contents: Vec<Object> = contents.collect();
        Ok(S3Response::new(ListObjectsV2Output {
            key_count: i32::try_from(contents.len()).ok(),
            contents: Some(contents),
            name: Some(input.bucket),
            prefix: Some(encoded(&prefix, input.encoding_type.as_ref())),
            encoding_type: input.encoding_type,
            continuation_token: input.continuation_token,
            is_truncated: Some(is_truncated),
            next_continuation_token: last.filter(|_| is_truncated),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = req.input;
        let mut state = self.shared.state();
        let id = format!("upload-{:08}", state.next());
        let (bucket, key) = (input.bucket, input.key);
        let checked = input.checksum_algorithm.is_some();
        let upload = Upload { dress: dress!(input), checked, parts: BTreeMap::new() };
        state.bucket(&bucket)?.uploads.insert((key.clone(), id.clone()), upload);
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let mut input = req.input;
        let content = content(input.body.take()).await?;
        checksum::check(&content, input.checksum_crc32.as_deref(), input.checksum_sha256.as_deref())?;
        let mut state = self.shared.state();
        let upload = state.upload(&input.bucket, &input.key, &input.upload_id)?;
        if upload.checked && input.checksum_crc32.is_none() {
            return Err(s3_error!(InvalidRequest, "the part comes without its CRC-32"));
        }
        let etag = checksum::md5(&content);
        let e_tag = Some(ETag::Strong(etag.clone()));
        let part = KeptPart { content, etag, crc32: input.checksum_crc32.clone() };
        upload.parts.insert(input.part_number, part);
        let checksum_crc32 = input.checksum_crc32;
        Ok(S3Response::new(UploadPartOutput { e_tag, checksum_crc32, ..UploadPartOutput::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = req.input;
        let mut state = self.shared.state();
        let upload = state.upload(&input.bucket, &input.key, &input.upload_id)?;
        let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let mut parts = Vec::new();
        for (index, part) in named.iter().enumerate() {
            let found = part.part_number.and_then(|number| upload.parts.get(&number));
            let found = found.ok_or_else(|| s3_error!(InvalidPart))?;
            if part.e_tag.as_ref().map(ETag::value) != Some(&found.etag) {
                return Err(s3_error!(InvalidPart));
            }
            if upload.checked && part.checksum_crc32 != found.crc32 {
                return Err(s3_error!(InvalidRequest, "the complete request must include the checksum of each part"));
            }
            if index + 1 < named.len() && found.content.len() < MIN_PART {
                return Err(s3_error!(EntityTooSmall));
            }
            parts.push(found.clone());
        }
        if parts.is_empty() || !named.is_sorted_by_key(|part| part.part_number) {
            return Err(s3_error!(InvalidPartOrder));
        }
        let content: Bytes = parts.iter().map(|part| &part.content[..]).collect::<Vec<_>>().concat().into();
        let dress = upload.dress.clone();
        state.bucket(&input.bucket)?.uploads.remove(&(input.key.clone(), input.upload_id));
        let mut object = dress.on(content, state.next());
        if object.kms_key.is_none() {
            object.etag = checksum::md5_of_parts(parts.iter().map(|part| part.etag.as_str()));
        }
        let e_tag = Some(ETag::Strong(object.etag.clone()));
        state.bucket(&input.bucket)?.objects.insert(input.key.clone(), object);
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag,
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let AbortMultipartUploadInput { bucket, key, upload_id, .. } = req.input;
        let removed = self.shared.state().bucket(&bucket)?.uploads.remove(&(key, upload_id));
        removed.map(|_| S3Response::new(AbortMultipartUploadOutput::default())).ok_or_else(|| s3_error!(NoSuchUpload))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = req.input;
        let mut state = self.shared.state();
        let limit = limit(&state, input.max_uploads);
        let prefix = input.prefix.clone().unwrap_or_default();
        let marker = (input.key_marker.unwrap_or_default(), input.upload_id_marker.unwrap_or_default());
        let uploads = &state.bucket(&input.bucket)?.uploads;
        let mut rest = uploads.keys().filter(|at| at.0.starts_with(&prefix) && **at > marker);
        let page: Vec<&(String, String)> = rest.by_ref().take(limit).collect();
        let is_truncated = rest.next().is_some();
        let encoding = input.encoding_type.as_ref();
        let last = page.last().filter(|_| is_truncated);
        let uploads = page.iter().map(|(key, id)| MultipartUpload {
            key: Some(encoded(key, encoding)),
            upload_id: Some(id.clone()),
            ..MultipartUpload::default()
        });
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket.clone()),
            uploads: Some(uploads.collect()),
            is_truncated: Some(is_truncated),
            next_key_marker: last.map(|(key, _)| encoded(key, encoding)),
            next_upload_id_marker: last.map(|(_, id)| id.clone()),
            encoding_type: input.encoding_type.clone(),
            ..ListMultipartUploadsOutput::default()
        }))
    }
}
