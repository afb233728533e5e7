//! Checksums, as S3 compares them.

use std::fmt::Write;

use aws_smithy_types::base64;
use s3s::crypto::{Checksum, Crc32, Md5, Sha256};
use s3s::{S3Result, s3_error};

/// In hex.
pub(super) fn md5(content: &[u8]) -> String {
    Md5::checksum(content).as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// Of the parts' MD5s.
pub(super) fn md5_of_parts<'a>(etags: impl Iterator<Item = &'a str>) -> String {
    let mut all = Vec::new();
    let mut count = 0;
    for etag in etags {
        all.extend((0..etag.len()).step_by(2).map(|at| u8::from_str_radix(&etag[at..at + 2], 16).unwrap()));
        count += 1;
    }
    format!("{}-{count}", md5(&all))
}

/// Compares content with the sums that came with it, in Base64.
pub(super) fn check(content: &[u8], crc32: Option<&str>, sha256: Option<&str>) -> S3Result<()> {
    let differs = |expected: Option<&str>, sum: &[u8]| expected.is_some_and(|e| e != base64::encode(sum));
    if differs(crc32, Crc32::checksum(content).as_ref()) || differs(sha256, Sha256::checksum(content).as_ref()) {
        return Err(s3_error!(BadDigest));
    }
    Ok(())
}
