//! What a fault of S3 means to the engine.

use std::error::Error;
use std::fmt::Write;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use obsync_core::blob::{BlobError, BlobErrorKind};

use crate::aws;

/// A fault while `doing` something ("read", "list") with `uri`. URIs are quoted as Rust quotes them, so that no name
/// can play tricks on a terminal. The SDK has tried again by now where that could help.
pub(super) fn fault<E>(uri: &str, doing: &str, error: &SdkError<E>) -> BlobError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let (kind, what) = match error {
        SdkError::ServiceError(answer) => {
            let (code, status) = (answer.err().code(), answer.raw().status().as_u16());
            (kind_of(code, status), answered(code, answer.err().message(), status))
        }
        // No answer, or none that means anything; no credentials; nobody to sign for.
        other => (BlobErrorKind::Unusable, aws::chain(other)),
    };
    BlobError::new(kind, format!("cannot {doing} {uri:?}: {what}"))
}

/// The same for one of several things that were asked for at once.
pub(super) fn fault_within(uri: &str, doing: &str, code: Option<&str>, message: Option<&str>) -> BlobError {
    // Such an error has no status of its own.
    let kind = if passes(code) { BlobErrorKind::Unusable } else { kind_of(code, 200) };
    BlobError::new(kind, format!("cannot {doing} {uri:?}: {}", answered(code, message, 200)))
}

/// Whether another try may succeed.
pub(super) fn passes(code: Option<&str>) -> bool {
    matches!(code, Some("InternalError" | "ServiceUnavailable" | "SlowDown"))
}

fn answered(code: Option<&str>, message: Option<&str>, status: u16) -> String {
    let mut text = code.map_or_else(|| format!("HTTP status {status}"), str::to_owned);
    if let Some(message) = message {
        // Never to a `String` does this fail.
        let _ = write!(text, ": {message}");
    }
    text
}

/// The codes are those of <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>. The answer to a HEAD
/// has none.
fn kind_of(code: Option<&str>, status: u16) -> BlobErrorKind {
    match code {
        Some("NoSuchKey" | "NotFound") => BlobErrorKind::NotFound,
        Some("PreconditionFailed") => BlobErrorKind::Changed,
        Some("KeyTooLongError" | "EntityTooLarge") => BlobErrorKind::Unfit,
        // Of one object, though their status is that of things that concern all.
        Some("NoSuchUpload" | "InvalidObjectState") => BlobErrorKind::Other,
        Some(
            "AccessDenied"
            | "AllAccessDisabled"
            | "AuthorizationHeaderMalformed"
            | "ExpiredToken"
            | "IllegalLocationConstraintException"
            | "InvalidAccessKeyId"
            | "InvalidBucketName"
            | "InvalidStorageClass"
            | "InvalidTag"
            | "InvalidToken"
            | "NoSuchBucket"
            | "PermanentRedirect"
            | "RequestTimeout"
            | "RequestTimeTooSkewed"
            | "SignatureDoesNotMatch"
            | "TokenRefreshRequired",
        ) => BlobErrorKind::Unusable,
        Some(code) if code.starts_with("KMS.") => BlobErrorKind::Unusable,
        _ => match status {
            404 => BlobErrorKind::NotFound,
            412 => BlobErrorKind::Changed,
            301 | 307 | 401 | 403 | 429 | 500.. => BlobErrorKind::Unusable,
            400 if code.is_none() => BlobErrorKind::Unusable,
            _ => BlobErrorKind::Other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_is_of_the_code_before_the_status() {
        let cases = [
            (Some("NoSuchKey"), 404, BlobErrorKind::NotFound),
            (Some("NoSuchBucket"), 404, BlobErrorKind::Unusable),
            (Some("NoSuchUpload"), 404, BlobErrorKind::Other),
            (Some("AccessDenied"), 403, BlobErrorKind::Unusable),
            (Some("InvalidObjectState"), 403, BlobErrorKind::Other),
            (Some("KMS.DisabledException"), 400, BlobErrorKind::Unusable),
            (Some("BadDigest"), 400, BlobErrorKind::Other),
            (Some("SlowDown"), 503, BlobErrorKind::Unusable),
            (Some("SomethingNew"), 400, BlobErrorKind::Other),
            (None, 404, BlobErrorKind::NotFound),
            (None, 412, BlobErrorKind::Changed),
            (None, 403, BlobErrorKind::Unusable),
            (None, 400, BlobErrorKind::Unusable),
        ];
        for (code, status, kind) in cases {
            assert_eq!(kind_of(code, status), kind, "{code:?} {status}");
        }
    }
}
