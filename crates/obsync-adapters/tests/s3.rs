//! The destination that is a bucket: the promises of `BlobStore`, what a bucket is to hold, and what a network can do
//! to one.
#![cfg(feature = "s3")]
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::types::CompletedMultipartUpload;
use bytes::Bytes;
use futures_util::TryStreamExt;
use obsync_adapters::blob::{S3Bucket, S3Config};
use obsync_core::blob::{BlobError, BlobErrorKind, BlobMeta, BlobStore, BlobWriter, ListedKind, Stamp};
use obsync_proto::{ContentHash, VaultPath};
use obsync_testkit::conformance::{self, BlobFixture};
use obsync_testkit::keys::verified;
use obsync_testkit::s3::{MemoryS3, Operation, S3Fault};

const BUCKET: &str = "notes";
const PREFIX: &str = "backup/My vault/";
const MIB: usize = 1024 * 1024;
const MTIME: i64 = 1_700_000_000_123;
const CTIME: i64 = -1_500;

struct Place {
    s3: MemoryS3,
    store: S3Bucket,
}

impl Place {
    async fn new() -> Self {
        Self::with(S3Config::new(BUCKET, PREFIX)).await
    }

    async fn with(config: S3Config) -> Self {
        let s3 = MemoryS3::start().await;
        s3.create_bucket(BUCKET);
        let store = S3Bucket::connect(&s3.sdk_config(), config);
        Self { s3, store }
    }

    async fn write(&self, path: &str, content: &[u8]) -> Result<Stamp, BlobError> {
        let mut writer = self.started(path, content).await?;
        writer.write(Bytes::new()).await?;
        writer.commit(verified(content)).await
    }

    async fn started(&self, to: &str, content: &[u8]) -> Result<Box<dyn BlobWriter>, BlobError> {
        let mut writer = self.store.writer(&path(to), &meta(content)).await?;
        for chunk in content.chunks(2 * MIB) {
            writer.write(Bytes::copy_from_slice(chunk)).await?;
        }
        Ok(writer)
    }

    async fn read(&self, from: &str) -> Result<Vec<u8>, BlobError> {
        self.store.read(&path(from)).await?.map_ok(|chunk| chunk.to_vec()).try_concat().await
    }

    async fn delete(&self, paths: &[&str]) {
        let paths: Vec<VaultPath> = paths.iter().map(|text| path(text)).collect();
        let results = self.store.delete(&paths).await;
        assert_eq!(results.len(), paths.len());
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }

    async fn listed(&self) -> Vec<String> {
        let mut paths: Vec<String> =
            self.store.list().map_ok(|listed| listed.path.to_string()).try_collect().await.unwrap();
        paths.sort();
        paths
    }

    fn keys(&self) -> BTreeSet<String> {
        self.s3.objects(BUCKET).into_keys().collect()
    }

    fn unfinished(&self) -> usize {
        self.s3.unfinished_uploads(BUCKET).len()
    }

    async fn until_nothing_is_unfinished(&self) {
        for _ in 0..200 {
            if self.unfinished() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} uploads are left", self.unfinished());
    }
}

fn path(text: &str) -> VaultPath {
    VaultPath::parse(text).unwrap()
}

fn key(path: &str) -> String {
    format!("{PREFIX}{path}")
}

fn meta(content: &[u8]) -> BlobMeta {
    BlobMeta { hash: Some(ContentHash::of(content)), size: content.len() as u64, mtime: MTIME, ctime: CTIME }
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = len as u32 | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

fn kind<T: std::fmt::Debug>(result: Result<T, BlobError>) -> BlobErrorKind {
    result.unwrap_err().kind
}

async fn fixture(prefix: &str) -> BlobFixture {
    let place = Place::with(S3Config::new(BUCKET, prefix)).await;
    let s3 = place.s3.clone();
    BlobFixture::new(Arc::new(place.store)).with_guard(place.s3).with_leftovers(move || {
        let count = s3.unfinished_uploads(BUCKET).len();
        Box::pin(async move { count })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn bucket_is_a_blob_store() {
    conformance::blob(async || fixture("").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prefix_in_a_bucket_is_a_blob_store() {
    conformance::blob(async || fixture("a+b %2F ខ្មែរ/vault/").await).await;
}

#[tokio::test]
async fn location_names_bucket_and_prefix() {
    let place = Place::new().await;
    assert_eq!(place.store.location(), "s3://notes/backup/My vault/");
}

#[tokio::test]
async fn key_is_the_prefix_and_the_path_unchanged() {
    let place = Place::new().await;
    let names = ["ភាសាខ្មែរ/é e\u{301}.md", "a+b %41 #x?.md", "tab\tnew\nline\rcontrol\u{1}.md", "back\\slash & <x>.md"];
    for name in names {
        place.write(name, name.as_bytes()).await.unwrap();
    }
    assert_eq!(place.keys(), names.into_iter().map(key).collect());
    let mut expected = names.map(str::to_owned);
    expected.sort();
    assert_eq!(place.listed().await, expected);
    place.delete(&names).await;
    assert_eq!(place.keys(), BTreeSet::new());
}

/// S3 takes keys of up to 1,024 bytes.
#[tokio::test]
async fn key_of_1025_bytes_is_refused_by_name() {
    let place = Place::new().await;
    let longest = format!("{}é", "n".repeat(1024 - PREFIX.len() - 2));
    place.write(&longest, b"x").await.unwrap();
    assert_eq!(place.keys(), BTreeSet::from([key(&longest)]));
    let too_long = path(&format!("{longest}n"));
    let error = place.store.check(&too_long).unwrap_err();
    assert_eq!(error.kind, BlobErrorKind::Unfit);
    assert!(error.message.contains(&*too_long) && error.message.contains("1025 bytes"), "{error}");
    assert_eq!(kind(place.store.writer(&too_long, &meta(b"x")).await.map(|_| ())), BlobErrorKind::Unfit);
    let stamp = Stamp("x".into());
    assert_eq!(kind(place.store.copy(&path(&longest), &stamp, &too_long, &meta(b"x")).await), BlobErrorKind::Unfit);
    assert_eq!(kind(place.store.copy(&too_long, &stamp, &path("a.md"), &meta(b"x")).await), BlobErrorKind::NotFound);
    // What cannot be there is not there.
    assert_eq!(place.store.stat(&too_long).await.unwrap(), None);
    assert_eq!(place.store.digest(&too_long, true).await.unwrap(), None);
    assert_eq!(place.store.noted_hash(&too_long).await.unwrap(), None);
    place.delete(&[&too_long]).await;
}

/// `contract.md`, "In the bucket".
#[tokio::test]
async fn object_has_type_and_metadata_as_documented() {
    let place = Place::new().await;
    let large = noise(9 * MIB);
    let expected = |content: &[u8], mtime: &str| -> BTreeMap<String, String> {
        let hash = ContentHash::of(content).to_string();
        let all = [("mtime", mtime), ("ctime", "-1.5"), ("sha256", &hash), ("mode", "100644"), ("uid", "1000")];
        all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let documented = |mut metadata: BTreeMap<String, String>| {
        // Obsync's own mark, for which see the next test.
        assert_eq!(metadata.remove("obsync").map(|mark| mark.len()), Some(64));
        metadata
    };
    let types = [
        ("a.md", "text/markdown; charset=utf-8"),
        ("B.MD", "text/markdown; charset=utf-8"),
        ("b.canvas", "application/json"),
        ("c.png", "image/png"),
        ("d", "application/octet-stream"),
    ];
    for (name, media_type) in types {
        for content in [&b"note"[..], &large] {
            place.write(name, content).await.unwrap();
            let object = place.s3.object(BUCKET, &key(name)).unwrap();
            assert_eq!(object.content_type.as_deref(), Some(media_type), "{name}");
            assert!(object.content == content);
            assert_eq!(documented(object.metadata), expected(content, "1700000000.123"), "{name}");
        }
    }
    // A copy gets all of it anew, type included.
    let stamp = place.write("a.md", b"note").await.unwrap();
    let touched = BlobMeta { mtime: 5_000, ..meta(b"note") };
    for to in ["a.txt", "a.md"] {
        place.store.copy(&path("a.md"), &stamp, &path(to), &touched).await.unwrap();
        let object = place.s3.object(BUCKET, &key(to)).unwrap();
        assert_eq!(documented(object.metadata), expected(b"note", "5"), "{to}");
    }
    let copy = place.s3.object(BUCKET, &key("a.txt")).unwrap();
    assert_eq!(copy.content_type.as_deref(), Some("text/plain; charset=utf-8"));
}

/// Promise 9: whoever copies an object in the bucket copies all that goes with it. With the state lost, the copy must
/// not be taken for something that obsync wrote, nor an object of a vault that had the same name before.
#[tokio::test]
async fn object_of_another_key_or_vault_is_not_obsyncs() {
    let place = Place::with(S3Config { owner: "vault-1".into(), ..S3Config::new(BUCKET, PREFIX) }).await;
    place.write("a.md", b"note").await.unwrap();
    let client = place.s3.client();
    let copy = client.copy_object().bucket(BUCKET).copy_source(format!("{BUCKET}/{}", key("a.md").replace(' ', "%20")));
    copy.key(key("copy of a.md")).send().await.unwrap();
    let note = async |store: &S3Bucket, at: &str| store.noted_hash(&path(at)).await.unwrap();
    assert_eq!(note(&place.store, "a.md").await, Some(ContentHash::of(b"note")));
    assert_eq!(note(&place.store, "copy of a.md").await, None);
    let config = S3Config { owner: "vault-2".into(), ..S3Config::new(BUCKET, PREFIX) };
    assert_eq!(note(&S3Bucket::connect(&place.s3.sdk_config(), config), "a.md").await, None);
}

#[tokio::test]
async fn hash_unknown_beforehand_is_noted_if_the_file_is_small() {
    let place = Place::new().await;
    for (content, noted) in [(b"old".to_vec(), true), (noise(9 * MIB), false)] {
        let meta = BlobMeta { hash: None, ..meta(&content) };
        let mut writer = place.store.writer(&path("old.md"), &meta).await.unwrap();
        writer.write(content.clone().into()).await.unwrap();
        writer.commit(verified(&content)).await.unwrap();
        let hash = ContentHash::of(&content);
        assert_eq!(place.store.noted_hash(&path("old.md")).await.unwrap(), noted.then_some(hash));
        assert_eq!(place.store.digest(&path("old.md"), false).await.unwrap().unwrap().hash, hash);
    }
}

#[tokio::test]
async fn encryption_class_and_tags_are_as_configured() {
    let place = Place::with(S3Config {
        sse_kms_key: Some("alias/notes".to_owned()),
        storage_class: Some("STANDARD_IA".to_owned()),
        tags: Some("team=notes&kept=true".to_owned()),
        ..S3Config::new(BUCKET, PREFIX)
    })
    .await;
    let stamp = place.write("small.md", b"x").await.unwrap();
    place.write("large.md", &noise(9 * MIB)).await.unwrap();
    place.store.copy(&path("small.md"), &stamp, &path("copy.md"), &meta(b"x")).await.unwrap();
    for name in ["small.md", "large.md", "copy.md"] {
        let object = place.s3.object(BUCKET, &key(name)).unwrap();
        assert_eq!(object.kms_key.as_deref(), Some("alias/notes"), "{name}");
        assert_eq!(object.storage_class.as_deref(), Some("STANDARD_IA"), "{name}");
        assert_eq!(object.tags.as_deref(), Some("team=notes&kept=true"), "{name}");
    }
    let place = Place::new().await;
    place.write("small.md", b"x").await.unwrap();
    let object = place.s3.object(BUCKET, &key("small.md")).unwrap();
    assert_eq!((object.kms_key, object.storage_class, object.tags), (None, None, None));
}

#[tokio::test]
async fn file_of_one_part_is_one_request() {
    let place = Place::new().await;
    for len in [0, 1, 5 * MIB, 8 * MIB] {
        place.s3.clear();
        place.write("a.bin", &noise(len)).await.unwrap();
        assert_eq!(place.s3.counts(), BTreeMap::from([(Operation::PutObject, 1)]), "{len} bytes");
    }
}

#[tokio::test]
async fn larger_file_goes_in_parts_and_is_seen_only_at_commit() {
    let place = Place::new().await;
    let content = noise(20 * MIB);
    let writer = place.started("a.bin", &content).await.unwrap();
    assert_eq!(place.keys(), BTreeSet::new());
    writer.commit(verified(&content)).await.unwrap();
    assert!(place.s3.object(BUCKET, &key("a.bin")).unwrap().content == content);
    let parts =
        [(Operation::CreateMultipartUpload, 1), (Operation::UploadPart, 3), (Operation::CompleteMultipartUpload, 1)];
    assert_eq!(place.s3.counts(), BTreeMap::from(parts));
    assert_eq!(place.store.write_buffer(), 16 * MIB as u64);
}

/// Promise 2: "No byte reaches a visible name unless" it is verified.
#[tokio::test]
async fn unverified_content_is_never_seen() {
    let place = Place::new().await;
    place.write("a.bin", b"earlier").await.unwrap();
    for content in [noise(20), noise(20 * MIB)] {
        place.started("a.bin", &content).await.unwrap().abort().await;
        assert_eq!(place.unfinished(), 0);
        drop(place.started("a.bin", &content).await.unwrap());
        place.until_nothing_is_unfinished().await;
        // The proof is of something else.
        for other in [noise(content.len() - 1), vec![0; content.len()]] {
            let writer = place.started("a.bin", &content).await.unwrap();
            assert_eq!(kind(writer.commit(verified(&other)).await), BlobErrorKind::Other);
            place.until_nothing_is_unfinished().await;
        }
        // Of something else that was announced, too: the bucket notices.
        let other = vec![0; content.len()];
        let mut writer = place.store.writer(&path("a.bin"), &BlobMeta { hash: None, ..meta(&other) }).await.unwrap();
        writer.write(content.clone().into()).await.unwrap();
        if content.len() < MIB {
            assert_eq!(kind(writer.commit(verified(&other)).await), BlobErrorKind::Other);
        }
        assert_eq!(place.read("a.bin").await.unwrap(), b"earlier");
    }
}

#[tokio::test]
async fn leftovers_of_a_killed_run_are_cleaned_page_by_page() {
    let place = Place::new().await;
    place.s3.set_page(2);
    let client = place.s3.client();
    let begin = async |key: &str| client.create_multipart_upload().bucket(BUCKET).key(key).send().await.unwrap();
    for n in 0..7 {
        begin(&key(&format!("ខ្មែរ {}+.md", n % 3))).await;
    }
    begin("backup/My vault 2/a.md").await;
    place.store.clean().await.unwrap();
    assert_eq!(place.s3.unfinished_uploads(BUCKET), ["backup/My vault 2/a.md"]);
    assert!(place.s3.count(Operation::ListMultipartUploads) > 3);
    place.store.clean().await.unwrap();
}

#[tokio::test]
async fn long_listing_comes_in_pages_without_the_neighbours() {
    let place = Place::with(S3Config::new(BUCKET, "vault/")).await;
    place.s3.set_page(10);
    let names: Vec<String> = (0..35).map(|n| format!("f {}/note+{n:02} é.md", n % 3)).collect();
    for name in &names {
        place.s3.put(BUCKET, &format!("vault/{name}"), name.clone());
    }
    // Neighbours, and what is no path: what stands for folders in some tools, and what no vault can have.
    for key in ["vault", "vault2/a.md", "vau", "vault/", "vault/f 0/", "vault//x.md", "vault/../x.md"] {
        place.s3.put(BUCKET, key, "");
    }
    let mut expected = names.clone();
    expected.sort();
    assert_eq!(place.listed().await, expected);
    assert_eq!(place.s3.count(Operation::ListObjectsV2), 4);
    let kind = place.store.stat(&path(&names[0])).await.unwrap().unwrap();
    let listed: Vec<_> = place.store.list().try_collect().await.unwrap();
    assert!(listed.iter().any(|item| *item.path == *names[0] && item.kind == kind));
    assert_eq!(place.store.noted_hash(&path(&names[0])).await.unwrap(), None);
}

#[tokio::test]
async fn object_of_another_program_is_digested_by_reading() {
    let place = Place::new().await;
    place.s3.put(BUCKET, &key("a.md"), "theirs");
    let digest = place.store.digest(&path("a.md"), false).await.unwrap().unwrap();
    assert_eq!((digest.hash, digest.size), (ContentHash::of(b"theirs"), 6));
    assert!(digest.mtime > MTIME, "the time it was written");
    // It is in the way of no copy.
    let stamp = Stamp("unknown".into());
    place.store.copy(&path("a.md"), &stamp, &path("b.md"), &meta(b"theirs")).await.unwrap();
    assert_eq!(place.store.noted_hash(&path("b.md")).await.unwrap(), Some(ContentHash::of(b"theirs")));
}

/// The note that goes with an object is believed, the object itself is read only on request.
#[tokio::test]
async fn deep_digest_sees_what_a_shallow_one_believes() {
    let place = Place::new().await;
    place.write("a.md", b"mine").await.unwrap();
    let mut object = place.s3.object(BUCKET, &key("a.md")).unwrap();
    object.content = Bytes::from_static(b"rots");
    place.s3.put_object(BUCKET, &key("a.md"), object);
    place.s3.clear();
    let shallow = place.store.digest(&path("a.md"), false).await.unwrap().unwrap();
    assert_eq!(shallow.hash, ContentHash::of(b"mine"));
    assert_eq!(place.s3.counts(), BTreeMap::from([(Operation::HeadObject, 1)]));
    let deep = place.store.digest(&path("a.md"), true).await.unwrap().unwrap();
    assert_eq!(deep.hash, ContentHash::of(b"rots"));
}

/// Whatever answer is lost, the next try finds the work done.
#[tokio::test]
async fn lost_answers_do_no_harm() {
    let place = Place::new().await;
    let (small, large) = (noise(100), noise(20 * MIB));
    use Operation::*;
    for operation in [PutObject, CreateMultipartUpload, UploadPart, CompleteMultipartUpload] {
        for fault in [S3Fault::CutAfter, S3Fault::CutBefore, S3Fault::answer(500, "InternalError")] {
            place.s3.fail(operation, 0, 1, fault.clone());
            for (name, content) in [("small.md", &small), ("large.bin", &large)] {
                let stamp = place.write(name, content).await.unwrap_or_else(|e| panic!("{operation:?} {fault:?}: {e}"));
                let object = place.s3.object(BUCKET, &key(name)).unwrap();
                assert!(object.content == content, "{operation:?} {fault:?}");
                assert_eq!(object.etag, stamp.to_string());
                place.s3.remove(BUCKET, &key(name)).unwrap();
            }
            // Of an upload whose id was lost, nobody knows before the next run.
            let orphans = u64::from(operation == CreateMultipartUpload && fault == S3Fault::CutAfter);
            assert_eq!(place.unfinished() as u64, orphans, "{operation:?} {fault:?}");
            place.store.clean().await.unwrap();
        }
    }
    for name in ["a.md", "b.md", "c.md"] {
        place.write(name, b"x").await.unwrap();
    }
    let large_stamp = place.write("large.bin", &large).await.unwrap();
    for operation in [CopyObject, HeadObject, ListObjectsV2, DeleteObjects, DeleteObject] {
        place.s3.fail(operation, 0, 1, S3Fault::CutAfter);
    }
    // A copy onto itself gives an object in parts another ETag, which the second try does not know.
    let stamp = place.store.copy(&path("large.bin"), &large_stamp, &path("large.bin"), &meta(&large)).await.unwrap();
    assert_ne!(stamp, large_stamp);
    assert_eq!(
        place.store.stat(&path("large.bin")).await.unwrap(),
        Some(ListedKind::File { size: large.len() as u64, stamp })
    );
    assert_eq!(place.listed().await, ["a.md", "b.md", "c.md", "large.bin"]);
    place.delete(&["a.md", "b.md"]).await;
    place.delete(&["c.md"]).await;
    assert_eq!(place.listed().await, ["large.bin"]);
}

/// The object that is there is not taken for an upload that someone else has aborted.
#[tokio::test]
async fn upload_that_was_taken_away_is_no_success() {
    let place = Place::new().await;
    // Of three parts: at least the first has arrived when the third is handed over.
    let (old, new) = (noise(9 * MIB), noise(20 * MIB));
    place.write("a.bin", &old).await.unwrap();
    let writer = place.started("a.bin", &new).await.unwrap();
    place.store.clean().await.unwrap();
    assert_eq!(kind(writer.commit(verified(&new)).await), BlobErrorKind::Other);
    assert!(place.read("a.bin").await.unwrap() == old);
}

#[tokio::test]
async fn overload_is_waited_out() {
    let place = Place::new().await;
    for operation in [Operation::PutObject, Operation::UploadPart, Operation::CompleteMultipartUpload] {
        place.s3.fail(operation, 0, 2, S3Fault::answer(503, "SlowDown"));
    }
    place.write("small.md", b"x").await.unwrap();
    place.write("large.bin", &noise(9 * MIB)).await.unwrap();
    assert_eq!(place.s3.count(Operation::PutObject), 3);
    assert_eq!(place.s3.count(Operation::UploadPart), 4);
    assert_eq!(place.s3.count(Operation::CompleteMultipartUpload), 3);
}

#[tokio::test]
async fn overload_without_end_makes_the_bucket_unusable() {
    let place = Place::new().await;
    place.s3.fail(Operation::PutObject, 0, u64::MAX, S3Fault::answer(503, "SlowDown"));
    let error = place.write("a.md", b"x").await.unwrap_err();
    assert_eq!(error.kind, BlobErrorKind::Unusable);
    assert!(error.message.contains("SlowDown") && error.message.contains("s3://notes/backup/My vault/a.md"), "{error}");
    assert_eq!(place.s3.count(Operation::PutObject), 5);
    // The middle of an upload too: the fault is told once, then the writer is done with.
    place.s3.fail(Operation::UploadPart, 1, u64::MAX, S3Fault::answer(503, "SlowDown"));
    let content = noise(40 * MIB);
    let mut writer = place.store.writer(&path("large.bin"), &meta(&content)).await.unwrap();
    let error = async {
        for chunk in content.chunks(2 * MIB) {
            writer.write(Bytes::copy_from_slice(chunk)).await?;
        }
        Ok(())
    };
    assert_eq!(kind::<()>(error.await), BlobErrorKind::Unusable);
    writer.abort().await;
    assert_eq!(place.unfinished(), 0);
    assert_eq!(place.keys(), BTreeSet::new());
}

#[tokio::test]
async fn refusal_is_told_with_bucket_and_code_and_without_keys() {
    use Operation::*;
    let place = Place::new().await;
    let stamp = place.write("a.md", b"x").await.unwrap();
    place.write("b.md", b"x").await.unwrap();
    let all = [
        PutObject,
        CreateMultipartUpload,
        UploadPart,
        CompleteMultipartUpload,
        CopyObject,
        GetObject,
        HeadObject,
        DeleteObject,
        DeleteObjects,
        ListObjectsV2,
        ListMultipartUploads,
    ];
    for operation in all {
        place.s3.fail(operation, 0, u64::MAX, S3Fault::answer(403, "AccessDenied"));
    }
    let (a, b, store) = (path("a.md"), path("b.md"), &place.store);
    let errors = [
        place.write("a.md", b"y").await.unwrap_err(),
        place.write("a.md", &noise(20 * MIB)).await.unwrap_err(),
        store.copy(&a, &stamp, &path("c.md"), &meta(b"x")).await.unwrap_err(),
        store.read(&a).await.map(|_| ()).unwrap_err(),
        store.stat(&a).await.unwrap_err(),
        store.digest(&a, true).await.unwrap_err(),
        store.noted_hash(&a).await.unwrap_err(),
        store.delete(std::slice::from_ref(&a)).await.remove(0).unwrap_err(),
        store.delete(&[a, b]).await.remove(1).unwrap_err(),
        store.list().try_collect::<Vec<_>>().await.unwrap_err(),
        store.clean().await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind, BlobErrorKind::Unusable, "{error}");
        assert!(error.message.contains("s3://notes/"), "{error}");
        assert!(error.message.contains("AccessDenied") || error.message.contains("403"), "{error}");
    }
    assert_eq!(place.s3.count(PutObject), 3, "a refusal is not tried again");
}

#[tokio::test]
async fn bucket_that_cannot_be_used_at_all_is_unusable() {
    let s3 = MemoryS3::start().await;
    let write = async |store: S3Bucket| {
        let writer = store.writer(&path("a.md"), &meta(b"")).await.unwrap();
        writer.commit(verified(b"")).await.unwrap_err()
    };
    let error = write(S3Bucket::connect(&s3.sdk_config(), S3Config::new("missing", ""))).await;
    assert_eq!(error.kind, BlobErrorKind::Unusable);
    assert!(error.message.contains("NoSuchBucket") && error.message.contains("s3://missing/a.md"), "{error}");

    s3.create_bucket(BUCKET);
    let [(_, key), ..] = s3.environment();
    for (key, secret) in [("AKIAUNKNOWN", "sesame"), (key.as_str(), "sesame")] {
        let error = write(S3Bucket::connect(&s3.sdk_config_as(key, secret), S3Config::new(BUCKET, ""))).await;
        assert_eq!(error.kind, BlobErrorKind::Unusable, "{error}");
        assert!(!error.message.contains("sesame") && !error.message.contains(key), "{error}");
    }

    let config = s3.sdk_config();
    drop(s3);
    let error = write(S3Bucket::connect(&config, S3Config::new(BUCKET, ""))).await;
    assert_eq!(error.kind, BlobErrorKind::Unusable, "{error}");
}

#[tokio::test]
async fn one_object_that_stays_does_not_keep_the_others() {
    let place = Place::new().await;
    for name in ["a.md", "b.md", "c.md"] {
        place.write(name, b"x").await.unwrap();
    }
    place.s3.fail_deletion(&key("a.md"), "InternalError");
    place.s3.fail_deletion(&key("c.md"), "AccessDenied");
    let results = place.store.delete(&["a.md", "b.md", "c.md"].map(path)).await;
    assert!(results[..2].iter().all(Result::is_ok), "{results:?}");
    let error = results[2].clone().unwrap_err();
    assert!(error.message.contains("AccessDenied") && error.message.contains("c.md"), "{error}");
    assert_eq!(place.listed().await, ["c.md"]);
}

#[tokio::test]
async fn deletion_takes_one_request_for_a_thousand() {
    let place = Place::new().await;
    let all: Vec<VaultPath> = (0..2_500).map(|n| path(&format!("{n}.md"))).collect();
    for target in &all {
        place.s3.put(BUCKET, &key(target), "x");
    }
    assert!(place.store.delete(&all).await.iter().all(Result::is_ok));
    assert_eq!(place.s3.counts(), BTreeMap::from([(Operation::DeleteObjects, 3)]));
    assert_eq!(place.keys(), BTreeSet::new());
}

#[tokio::test]
async fn download_that_breaks_off_is_taken_up_again() {
    let place = Place::new().await;
    let content = noise(3 * MIB);
    place.write("a.bin", &content).await.unwrap();
    place.s3.fail(Operation::GetObject, 0, 2, S3Fault::CutHalfway);
    assert!(place.read("a.bin").await.unwrap() == content);
    assert_eq!(place.s3.count(Operation::GetObject), 3);
    place.s3.fail(Operation::GetObject, 0, 1, S3Fault::CutHalfway);
    let digest = place.store.digest(&path("a.bin"), true).await.unwrap().unwrap();
    assert_eq!(digest.hash, ContentHash::of(&content));
    place.s3.fail(Operation::GetObject, 0, u64::MAX, S3Fault::CutHalfway);
    assert_eq!(kind(place.read("a.bin").await), BlobErrorKind::Unusable);
}

/// An object completed by hand, as the AWS console would, is one like any other.
#[tokio::test]
async fn parts_of_others_are_read_like_any_object() {
    let place = Place::new().await;
    let client = place.s3.client();
    let upload = client.create_multipart_upload().bucket(BUCKET).key(key("a.bin")).send().await.unwrap();
    let id = upload.upload_id().unwrap();
    let part = client.upload_part().bucket(BUCKET).key(key("a.bin")).upload_id(id).part_number(1);
    let part = part.body(b"theirs".to_vec().into()).send().await.unwrap();
    let part = aws_sdk_s3::types::CompletedPart::builder()
        .part_number(1)
        .set_e_tag(part.e_tag)
        .set_checksum_crc32(part.checksum_crc32);
    let parts = CompletedMultipartUpload::builder().parts(part.build()).build();
    let complete = client.complete_multipart_upload().bucket(BUCKET).key(key("a.bin")).upload_id(id);
    complete.multipart_upload(parts).send().await.unwrap();
    assert_eq!(place.read("a.bin").await.unwrap(), b"theirs");
}
