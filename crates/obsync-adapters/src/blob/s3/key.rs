//! Keys in URLs and in XML.

use std::borrow::Cow;

use aws_sdk_s3::types::EncodingType;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// All but what RFC 3986 calls unreserved, and `/`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The header that names the source of a copy: the service decodes it, the SDK does not encode it.
pub(super) fn copy_source(bucket: &str, key: &str) -> String {
    format!("{bucket}/{}", utf8_percent_encode(key, ENCODED))
}

/// A key out of a listing that was asked for with `encoding-type=url`. The encoding is that of a form (a space is
/// `+`), and a service that knows no encodings says that it used none. `None` for what is no text.
pub(super) fn listed<'a>(key: &'a str, encoding: Option<&EncodingType>) -> Option<Cow<'a, str>> {
    if encoding != Some(&EncodingType::Url) {
        return Some(key.into());
    }
    let spaced = key.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(|key| key.into_owned().into())
}

/// Whether a key survives in an XML document, escaped or not: control characters do not, and readers and writers of
/// XML 1.0 differ about line ends.
pub(super) fn fits_xml(key: &str) -> bool {
    !key.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{fffe}' | '\u{ffff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_source_has_every_sign_encoded() {
        assert_eq!(copy_source("b", "v/a b+c%é?#.md"), "b/v/a%20b%2Bc%25%C3%A9%3F%23.md");
    }

    #[test]
    fn listed_keys_are_decoded_as_forms_are() {
        let url = Some(&EncodingType::Url);
        assert_eq!(listed("a+b%2Bc%25%C3%A9/%01.md", url).unwrap(), "a b+c%é/\u{1}.md");
        assert_eq!(listed("a+b%20", None).unwrap(), "a+b%20");
        assert_eq!(listed("%FF", url), None);
    }
}
