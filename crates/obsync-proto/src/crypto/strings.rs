//! Strings (paths and content hashes), written as lower-case hex.
//!
//! - version 0: AES-256-GCM whose IV is the first 12 bytes of the plaintext's SHA-256.
//! - versions 2 and 3: AES-SIV (RFC 5297) without associated data, but with a CTR counter of 16 bits.

use std::fmt;
use std::sync::Arc;

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use cmac::{Cmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::gcm::{GcmKey, IV, tags_equal};
use super::keys::EncryptionVersion;

type Block = [u8; 16];

/// Encodes and decodes a vault's strings. Deterministic: equal strings have equal codes.
#[derive(Clone)]
pub struct StringCipher(Arc<Scheme>);

#[expect(clippy::large_enum_variant, reason = "one per vault, behind an Arc")]
enum Scheme {
    Gcm(GcmKey),
    Siv(Siv),
}

/// Why a string does not decode. The string itself is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StringError {
    /// Not hex digits, or too few of them.
    #[error("not an encoded string")]
    Malformed,
    /// The authentication tag does not hold: damaged, or encoded with another key.
    #[error("the name does not decrypt with this vault's key")]
    Tag,
    /// Decrypts to bytes that are no text.
    #[error("the name is not UTF-8")]
    Utf8,
}

impl fmt::Debug for StringCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StringCipher(..)")
    }
}

impl StringCipher {
    /// `mac` serves versions 2 and 3 only.
    pub(super) fn new(version: EncryptionVersion, enc: &[u8; 32], mac: &[u8; 32]) -> Self {
        Self(Arc::new(match version {
            EncryptionVersion::V0 => Scheme::Gcm(GcmKey::new(enc)),
            EncryptionVersion::V2 | EncryptionVersion::V3 => Scheme::Siv(Siv::new(enc, mac)),
        }))
    }

    /// Writes `plaintext` as the service has it.
    pub fn encode(&self, plaintext: &str) -> String {
        let sealed = match &*self.0 {
            Scheme::Gcm(key) => {
                let mut iv = [0; IV];
                iv.copy_from_slice(&Sha256::digest(plaintext.as_bytes())[..IV]);
                key.seal(&iv, plaintext.as_bytes())
            }
            Scheme::Siv(siv) => siv.seal(plaintext.as_bytes()),
        };
        faster_hex::hex_string(&sealed)
    }

    /// Reads what [`encode`](Self::encode) or the official client wrote.
    ///
    /// # Errors
    /// [`StringError`].
    pub fn decode(&self, encoded: &str) -> Result<String, StringError> {
        let sealed = faster_hex::hex_decode_vec(encoded.as_bytes()).map_err(|_| StringError::Malformed)?;
        let opened = match &*self.0 {
            Scheme::Gcm(key) if sealed.len() >= IV => key.open(&sealed).ok_or(StringError::Tag)?,
            Scheme::Siv(siv) if sealed.len() >= 16 => siv.open(sealed).ok_or(StringError::Tag)?,
            _ => return Err(StringError::Malformed),
        };
        String::from_utf8(opened).map_err(|_| StringError::Utf8)
    }
}

/// `V ‖ CTR(ENC, V′, plaintext)` with `V = S2V(MAC, plaintext)`.
struct Siv {
    enc: Aes256,
    /// CMAC with nothing fed yet.
    mac: Cmac<Aes256>,
    /// `CMAC(MAC, 0^16)`, the start of S2V (RFC 5297 §2.4).
    zero: Zeroizing<Block>,
}

impl Siv {
    fn new(enc: &[u8; 32], mac: &[u8; 32]) -> Self {
        let mac = <Cmac<Aes256> as KeyInit>::new(mac.into());
        let zero = Zeroizing::new(cmac(&mac, &[&[0; 16]]));
        Self { enc: Aes256::new(enc.into()), mac, zero }
    }

    /// S2V over the plaintext alone (RFC 5297 §2.4: no associated data).
    fn s2v(&self, plaintext: &[u8]) -> Block {
        if let Some((head, tail)) = plaintext.split_last_chunk::<16>() {
            // xorend: the last 16 bytes meet D.
            cmac(&self.mac, &[head, &xor(*tail, *self.zero)])
        } else {
            let mut padded = [0; 16];
            padded[..plaintext.len()].copy_from_slice(plaintext);
            padded[plaintext.len()] = 0x80;
            cmac(&self.mac, &[&xor(dbl(*self.zero), padded)])
        }
    }

    fn seal(&self, plaintext: &[u8]) -> Vec<u8> {
        let v = self.s2v(plaintext);
        let mut sealed = Vec::with_capacity(16 + plaintext.len());
        sealed.extend_from_slice(&v);
        sealed.extend_from_slice(plaintext);
        self.apply_keystream(v, &mut sealed[16..]);
        sealed
    }

    fn open(&self, mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let v = *sealed.first_chunk::<16>()?;
        sealed.drain(..16);
        self.apply_keystream(v, &mut sealed);
        tags_equal(&self.s2v(&sealed), &v).then_some(sealed)
    }

    /// CTR mode from `V′`: V with the top bit of bytes 8 and 12 cleared. Only the last 16 bits of the block count,
    /// and they wrap to 0 without a carry: this is what the official client computes, and what no stock library does.
    fn apply_keystream(&self, v: Block, data: &mut [u8]) {
        /// Blocks encrypted at once: enough to fill the pipelines of AES instructions.
        const BATCH: usize = 8;
        let mut start = v;
        start[8] &= 0x7f;
        start[12] &= 0x7f;
        let mut counter = u16::from_be_bytes([start[14], start[15]]);
        for chunk in data.chunks_mut(16 * BATCH) {
            let mut keystream = [aes::Block::from(start); BATCH];
            let blocks = &mut keystream[..chunk.len().div_ceil(16)];
            for block in &mut *blocks {
                block[14..].copy_from_slice(&counter.to_be_bytes());
                counter = counter.wrapping_add(1);
            }
            self.enc.encrypt_blocks(blocks);
            for (part, block) in chunk.chunks_mut(16).zip(blocks) {
                part.iter_mut().zip(&*block).for_each(|(d, k)| *d ^= k);
            }
        }
    }
}

fn cmac(mac: &Cmac<Aes256>, parts: &[&[u8]]) -> Block {
    let mut mac = mac.clone();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn xor(a: Block, b: Block) -> Block {
    (u128::from_ne_bytes(a) ^ u128::from_ne_bytes(b)).to_ne_bytes()
}

/// Doubling in GF(2^128) (RFC 5297 §2.3).
fn dbl(block: Block) -> Block {
    let n = u128::from_be_bytes(block);
    ((n << 1) ^ ((n >> 127) * 0x87)).to_be_bytes()
}
