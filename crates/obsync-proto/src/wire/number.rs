//! Numbers as JavaScript sends them: a whole number, a fraction (`mtimeMs` can be one), or `null` for none.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

struct Whole;

impl Visitor<'_> for Whole {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<i64, E> {
        i64::try_from(n).map_err(|_| E::custom("number out of range"))
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<i64, E> {
        Ok(n)
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<i64, E> {
        // 2^53: beyond it a JavaScript number is not exact, and nothing that the service counts comes near.
        if n.abs() <= 9_007_199_254_740_992.0 { Ok(n.round() as i64) } else { Err(E::custom("number out of range")) }
    }

    fn visit_unit<E: Error>(self) -> Result<i64, E> {
        Ok(0)
    }
}

/// Milliseconds since 1970; `null` is 0.
pub(super) fn signed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    deserializer.deserialize_any(Whole)
}

/// Bytes of a file. A negative number is one that no file has, so that the one file is refused and not the listing; and
/// one that is read again where the record is kept.
pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(u64::try_from(signed(deserializer)?).unwrap_or(i64::MAX.cast_unsigned()))
}

/// A count that cannot be negative; `null` is 0.
pub(super) fn unsigned<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let n = signed(deserializer)?;
    u64::try_from(n).map_err(|_| D::Error::custom("number is negative"))
}

/// Any value; `null` is the type's own nothing.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
