//! From a password to a vault's keys.

use std::fmt;

use hkdf::Hkdf;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::content::ContentKey;
use super::strings::StringCipher;

/// How a vault is encrypted. There is no version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EncryptionVersion {
    /// Strings under AES-GCM.
    V0,
    /// Strings under AES-SIV.
    V2,
    /// As version 2, as far as a client that reads can see.
    V3,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A version that this program does not know.
    #[error("encryption version {0} is not known to this version of obsync (it knows 0, 2 and 3)")]
    UnknownVersion(u8),
}

impl TryFrom<u8> for EncryptionVersion {
    type Error = KeyError;

    fn try_from(version: u8) -> Result<Self, KeyError> {
        match version {
            0 => Ok(Self::V0),
            2 => Ok(Self::V2),
            3 => Ok(Self::V3),
            other => Err(KeyError::UnknownVersion(other)),
        }
    }
}

impl From<EncryptionVersion> for u8 {
    fn from(version: EncryptionVersion) -> u8 {
        match version {
            EncryptionVersion::V0 => 0,
            EncryptionVersion::V2 => 2,
            EncryptionVersion::V3 => 3,
        }
    }
}

/// `scrypt(NFKC(password), NFKC(salt), N=32768, r=8, p=1, 32 bytes)` (RFC 7914).
pub struct MasterKey(SecretBox<[u8; 32]>);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

impl MasterKey {
    /// Takes about 0.1 s and 32 MiB: do it once per vault and process.
    pub fn derive(password: &SecretString, salt: &str) -> Self {
        let password = nfkc(password);
        let salt: String = salt.nfkc().collect();
        let params = scrypt::Params::new(15, 8, 1).expect("constants within scrypt's limits");
        let mut key = Box::new([0; 32]);
        scrypt::scrypt(password.as_bytes(), salt.as_bytes(), &params, key.as_mut_slice())
            .expect("32 bytes is a length that scrypt gives");
        Self(SecretBox::new(key))
    }

    /// `HKDF-SHA256(key, salt, info, 32)` (RFC 5869).
    fn expand(&self, salt: &str, info: &str) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(salt.as_bytes()), self.0.expose_secret())
            .expand(info.as_bytes(), out.as_mut_slice())
            .expect("32 bytes is a length that HKDF gives");
        out
    }
}

/// In memory that is large enough from the start: NFKC makes at most 11 bytes of one (of U+FDFA). Memory that
/// grows leaves copies behind, which nobody clears.
fn nfkc(password: &SecretString) -> Zeroizing<String> {
    let password = password.expose_secret();
    let mut normal = Zeroizing::new(String::with_capacity(11 * password.len()));
    normal.extend(password.nfkc());
    normal
}

/// Everything that a vault's password opens.
#[derive(Debug, Clone)]
pub struct VaultKeys {
    /// The version that the keys are for.
    pub version: EncryptionVersion,
    /// Stands for the key towards the service: 64 lower-case hex digits.
    pub keyhash: SecretString,
    /// Opens paths and content hashes.
    pub strings: StringCipher,
    /// Opens files.
    pub content: ContentKey,
}

impl VaultKeys {
    /// The keys of a vault with this salt and version.
    pub fn new(master: &MasterKey, salt: &str, version: EncryptionVersion) -> Self {
        let (keyhash, strings, content) = match version {
            EncryptionVersion::V0 => {
                let key = master.0.expose_secret();
                (Sha256::digest(key).into(), StringCipher::new(version, key, key), ContentKey::new(key))
            }
            EncryptionVersion::V2 | EncryptionVersion::V3 => {
                let enc = master.expand(salt, "ObsidianAesSivEnc");
                let mac = master.expand(salt, "ObsidianAesSivMac");
                (
                    *master.expand(salt, "ObsidianKeyHash"),
                    StringCipher::new(version, &enc, &mac),
                    ContentKey::new(&master.expand("", "ObsidianAesGcm")),
                )
            }
        };
        let keyhash = faster_hex::hex_string(Zeroizing::<[u8; 32]>::new(keyhash).as_slice());
        Self { version, keyhash: keyhash.into(), strings, content }
    }

    /// Knows these keys again, and tells nothing else of them: the version, and 16 hex digits of the SHA-256 of what
    /// already stands for the key.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.keyhash.expose_secret());
        format!("{}:{}", u8::from(self.version), faster_hex::hex_string(&digest[..8]))
    }

    /// Derives the keys from a password in one step: [`MasterKey::derive`], then [`VaultKeys::new`].
    pub fn from_password(password: &SecretString, salt: &str, version: EncryptionVersion) -> Self {
        Self::new(&MasterKey::derive(password, salt), salt, version)
    }
}
