//! Requests that fail, and the count of all.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Method, Request};
use obsync_emulator::Schedule;

/// What a request asks for.
#[allow(missing_docs, reason = "S3's own names")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    ListBuckets,
    CreateBucket,
    HeadBucket,
    ListObjectsV2,
    ListMultipartUploads,
    PutObject,
    CopyObject,
    GetObject,
    HeadObject,
    DeleteObject,
    DeleteObjects,
    CreateMultipartUpload,
    UploadPart,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    Unknown,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum S3Fault {
    /// It has no effect, and is answered with this error.
    Answer {
        /// The HTTP status.
        status: u16,
        /// S3's code.
        code: String,
    },
    /// It has no effect, and its connection is cut.
    CutBefore,
    /// It has its effect, and its connection is cut: the answer is lost.
    CutAfter,
    /// An object is read: half of it comes, then the connection is cut.
    CutHalfway,
    /// It has no effect, and no answer; the connection stays.
    Silence,
}

impl S3Fault {
    /// The answer with this status and S3's `code`.
    pub fn answer(status: u16, code: &str) -> Self {
        Self::Answer { status, code: code.to_owned() }
    }
}

impl Operation {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let path = request.uri().path().trim_start_matches('/');
        let query = request.uri().query().unwrap_or_default();
        let asks = |name: &str| query.split('&').any(|part| part.split('=').next() == Some(name));
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        match (request.method(), bucket.is_empty(), key.is_empty()) {
            (&Method::GET, true, _) => Self::ListBuckets,
            (&Method::GET, _, true) if asks("uploads") => Self::ListMultipartUploads,
            (&Method::GET, _, true) => Self::ListObjectsV2,
            (&Method::PUT, _, true) => Self::CreateBucket,
            (&Method::HEAD, _, true) => Self::HeadBucket,
            (&Method::POST, _, true) if asks("delete") => Self::DeleteObjects,
            (&Method::PUT, _, false) if asks("partNumber") => Self::UploadPart,
            (&Method::PUT, _, false) if request.headers().contains_key("x-amz-copy-source") => Self::CopyObject,
            (&Method::PUT, _, false) => Self::PutObject,
            (&Method::GET, _, false) => Self::GetObject,
            (&Method::HEAD, _, false) => Self::HeadObject,
            (&Method::DELETE, _, false) if asks("uploadId") => Self::AbortMultipartUpload,
            (&Method::DELETE, _, false) => Self::DeleteObject,
            (&Method::POST, _, false) if asks("uploads") => Self::CreateMultipartUpload,
            (&Method::POST, _, false) if asks("uploadId") => Self::CompleteMultipartUpload,
            _ => Self::Unknown,
        }
    }
}

#[derive(Default)]
pub(super) struct Faults {
    pub(super) latency: Duration,
    pub(super) requests: Vec<(Operation, String)>,
    /// In both directions, over all connections.
    pub(super) bytes: u64,
    planned: Vec<Planned>,
    pub(super) struck: u64,
}

struct Planned {
    /// `None`: any.
    operation: Option<Operation>,
    schedule: Schedule,
    fault: S3Fault,
}

impl Faults {
    pub(super) fn add(&mut self, operation: Option<Operation>, schedule: Schedule, fault: S3Fault) {
        self.planned.push(Planned { operation, schedule, fault });
    }

    /// Notes a request down and says what becomes of it.
    pub(super) fn meet(&mut self, operation: Operation, url: &str) -> Option<S3Fault> {
        self.requests.push((operation, url.to_owned()));
        let is_meant = |planned: &&mut Planned| planned.operation.is_none_or(|meant| meant == operation);
        let mut meant = self.planned.iter_mut().filter(is_meant);
        let planned = meant.find_map(|planned| planned.schedule.wants().then_some(planned))?;
        planned.schedule.take();
        self.struck += 1;
        Some(planned.fault.clone())
    }

    pub(super) fn counts(&self) -> BTreeMap<Operation, u64> {
        let mut counts = BTreeMap::new();
        for (operation, _) in &self.requests {
            *counts.entry(*operation).or_default() += 1;
        }
        counts
    }
}
