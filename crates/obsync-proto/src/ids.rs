//! Small types that keep numbers and strings of different meaning apart.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The number of one record in a vault's history. Later records have higher numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uid(pub u64);

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far a vault's history was read: every record with a [`Uid`] up to and including it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub u64);

impl Cursor {
    /// Before the first record: asks for the whole vault.
    pub const START: Cursor = Cursor(0);
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A vault's identifier, as the service gives it: 1 to 128 ASCII letters, digits, `-` and `_`, so that it can name a
/// folder or an item of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VaultId(String);

/// A text that is no vault identifier.
#[derive(Debug, thiserror::Error)]
#[error("not a vault id: expected 1 to 128 ASCII letters, digits, `-` or `_`")]
pub struct InvalidVaultId;

impl VaultId {
    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for VaultId {
    type Error = InvalidVaultId;

    fn try_from(id: String) -> Result<Self, InvalidVaultId> {
        let fits = (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if fits { Ok(Self(id)) } else { Err(InvalidVaultId) }
    }
}

impl FromStr for VaultId {
    type Err = InvalidVaultId;

    fn from_str(id: &str) -> Result<Self, InvalidVaultId> {
        Self::try_from(id.to_owned())
    }
}

impl From<VaultId> for String {
    fn from(id: VaultId) -> String {
        id.0
    }
}

impl fmt::Display for VaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The SHA-256 (FIPS 180-4) of a file's plaintext. Written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash(pub [u8; 32]);

/// A text that is no content hash.
#[derive(Debug, thiserror::Error)]
#[error("not a content hash: expected 64 hex digits")]
pub struct InvalidContentHash;

impl ContentHash {
    /// The hash of no bytes at all.
    pub fn of_nothing() -> Self {
        Self::of(&[])
    }

    /// The hash of `content`.
    pub fn of(content: &[u8]) -> Self {
        use sha2::{Digest, Sha256};
        Self(Sha256::digest(content).into())
    }
}

impl FromStr for ContentHash {
    type Err = InvalidContentHash;

    fn from_str(hex: &str) -> Result<Self, InvalidContentHash> {
        let mut hash = [0; 32];
        if hex.len() != 64 {
            return Err(InvalidContentHash);
        }
        faster_hex::hex_decode(hex.as_bytes(), &mut hash).map_err(|_| InvalidContentHash)?;
        Ok(Self(hash))
    }
}

impl TryFrom<String> for ContentHash {
    type Error = InvalidContentHash;

    fn try_from(hex: String) -> Result<Self, InvalidContentHash> {
        hex.parse()
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> String {
        faster_hex::hex_string(&hash.0)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(*self))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_hash_reads_what_it_writes() {
        let hash = ContentHash::of(b"abc");
        assert_eq!(hash.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(hash.to_string().parse::<ContentHash>().unwrap(), hash);
        assert!("ba78".parse::<ContentHash>().is_err());
        assert!("zz".repeat(32).parse::<ContentHash>().is_err());
        assert!("é".repeat(32).parse::<ContentHash>().is_err());
    }

    #[test]
    fn vault_ids_lead_nowhere() {
        assert!("08ae5f160c12e3b4".parse::<VaultId>().is_ok());
        for bad in ["", "a b", "a#b", "ü", "..", "a/b", "{vault}", &"x".repeat(129)] {
            assert!(bad.parse::<VaultId>().is_err(), "{bad:?}");
        }
    }
}
