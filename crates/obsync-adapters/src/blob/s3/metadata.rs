//! User metadata of an object, in the form that rclone reads and writes. ASCII only: S3 signs and returns other
//! characters differently from how they were sent.

use std::collections::HashMap;

use obsync_proto::ContentHash;

const MTIME: &str = "mtime";
const CTIME: &str = "ctime";
const SHA256: &str = "sha256";
const OWNER: &str = "obsync";

/// A plain file that its owner may write (octal, as `stat` has it), and the first user of most systems: a vault knows
/// neither, and rclone asks for both.
const FIXED: [(&str, &str); 2] = [("mode", "100644"), ("uid", "1000")];

/// What an object tells of itself.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Noted {
    /// SHA-256 of the content.
    pub(super) hash: Option<ContentHash>,
    /// ms since 1970.
    pub(super) mtime: Option<i64>,
    /// ms since 1970.
    pub(super) ctime: Option<i64>,
    /// For whom it was written under which key.
    pub(super) owner: Option<Owner>,
}

/// A vault and a key, as a digest of both: neither need be ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner(String);

impl Owner {
    pub(super) fn of(vault: &str, key: &str) -> Self {
        Self(ContentHash::of(format!("{vault}\0{key}").as_bytes()).to_string())
    }
}

pub(super) fn write(noted: &Noted) -> HashMap<String, String> {
    let fixed = FIXED.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let hash = noted.hash.map(|hash| (SHA256.to_owned(), hash.to_string()));
    let times = [(MTIME, noted.mtime), (CTIME, noted.ctime)];
    let times = times.into_iter().filter_map(|(name, time)| Some((name.to_owned(), seconds(time?))));
    let owner = noted.owner.as_ref().map(|owner| (OWNER.to_owned(), owner.0.clone()));
    fixed.into_iter().chain(hash).chain(times).chain(owner).collect()
}

pub(super) fn read(metadata: &HashMap<String, String>) -> Noted {
    let time = |name| metadata.get(name).and_then(|text: &String| milliseconds(text));
    let hash = metadata.get(SHA256).and_then(|hash| hash.parse().ok());
    let owner = metadata.get(OWNER).cloned().map(Owner);
    Noted { hash, mtime: time(MTIME), ctime: time(CTIME), owner }
}

/// Seconds with as much of a fraction as there is: `1700000000.123`, `-0.5`, `3`.
fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let (whole, rest) = (ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000);
    let text = format!("{sign}{whole}.{rest:03}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The reverse; what is finer than a millisecond is cut off.
fn milliseconds(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: i64 = fraction.chars().chain("000".chars()).take(3).collect::<String>().parse().ok()?;
    let ms = whole.parse::<i64>().ok()?.checked_mul(1000)?.checked_add(thousandths)?;
    Some(if negative { -ms } else { ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_with_a_fraction() {
        let cases = [
            (1_700_000_000_123, "1700000000.123"),
            (1_700_000_000_120, "1700000000.12"),
            (1_700_000_000_000, "1700000000"),
            (0, "0"),
            (5, "0.005"),
            (-500, "-0.5"),
            (-1_500, "-1.5"),
        ];
        for (ms, text) in cases {
            assert_eq!(seconds(ms), text);
            assert_eq!(milliseconds(text), Some(ms), "{text}");
        }
        assert_eq!(milliseconds("1700000000.123456789"), Some(1_700_000_000_123));
        for text in ["", "-", "abc", "1.2.3", "1e9", "+5", "99999999999999999999"] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
        for ms in [i64::MIN + 1, i64::MAX] {
            assert_eq!(milliseconds(&seconds(ms)), Some(ms));
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let owner = Some(Owner::of("vault", "a/é.md"));
        let all = Noted { hash: Some(ContentHash::of(b"x")), mtime: Some(-1), ctime: Some(1_700_000_000_123), owner };
        assert_eq!(read(&write(&all)), all);
        assert_eq!(read(&write(&Noted::default())), Noted::default());
        assert!(write(&all).iter().all(|(name, value)| name.is_ascii() && value.is_ascii()));
    }
}
