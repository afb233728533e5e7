//! File content: `IV(12) ‖ AES-256-GCM ciphertext ‖ tag(16)` in every encryption version.

use std::fmt;

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::gcm::{GcmKey, GcmStream, IV, MAX_MESSAGE, TAG, tags_equal};
use crate::ids::ContentHash;

/// Bytes of a content's IV. A new one, at random, for each content.
pub const IV_LEN: usize = IV;

/// Bytes that encryption adds to a content that is not empty.
const OVERHEAD: u64 = (IV + TAG) as u64;

/// The key of a vault's files.
#[derive(Clone)]
pub struct ContentKey(GcmKey);

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentKey(..)")
    }
}

impl ContentKey {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(GcmKey::new(key))
    }

    /// Encrypts a file's content. `iv` must never serve twice with one key.
    pub fn encrypt(&self, iv: &[u8; IV_LEN], plaintext: &[u8]) -> Vec<u8> {
        self.0.seal(iv, plaintext)
    }
}

/// Bytes of plaintext in `size` bytes of ciphertext, or `None` where no content has that size.
pub fn plaintext_size(size: u64) -> Option<u64> {
    match size {
        0 => Some(0),
        _ if size == IV as u64 => Some(0),
        OVERHEAD.. if size - OVERHEAD <= MAX_MESSAGE => Some(size - OVERHEAD),
        _ => None,
    }
}

/// Bytes of ciphertext of `size` bytes of plaintext, as the official client writes it: none for an empty file.
pub fn encrypted_size(size: u64) -> u64 {
    if size == 0 { 0 } else { size + OVERHEAD }
}

/// Why a content is not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// No content has this many bytes of ciphertext.
    #[error("{0} bytes cannot be an encrypted file")]
    ImpossibleSize(u64),
    /// More came than was announced.
    #[error("more than the announced {announced} bytes arrived")]
    TooLong {
        /// Bytes of ciphertext announced.
        announced: u64,
    },
    /// Less came than was announced.
    #[error("{received} of {announced} bytes arrived")]
    TooShort {
        /// Bytes of ciphertext announced.
        announced: u64,
        /// Bytes of ciphertext that came.
        received: u64,
    },
    /// The GCM tag does not hold: damaged in transit or at the service, or encrypted with another key.
    #[error("the content is damaged: its authentication tag does not hold")]
    Tag,
    /// Authentic content, but not the one that the record names.
    #[error("the content's SHA-256 is {actual}, the record says {expected}")]
    Hash {
        /// The record's.
        expected: ContentHash,
        /// The content's.
        actual: ContentHash,
    },
}

/// The proof that a whole content went through a [`ContentDecryptor`], that its tag held and that its hash is the
/// record's. Only [`ContentDecryptor::finish`] makes one; whoever publishes a file asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    hash: ContentHash,
    size: u64,
}

impl Verified {
    /// SHA-256 of the plaintext.
    pub fn hash(&self) -> ContentHash {
        self.hash
    }

    /// Bytes of plaintext.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// Decrypts one content as its pieces come, however they are cut.
///
/// What [`update`](Self::update) returns is **not yet to be trusted**: keep it out of sight until
/// [`finish`](Self::finish) has returned [`Verified`].
pub struct ContentDecryptor {
    key: ContentKey,
    announced: u64,
    received: u64,
    iv: [u8; IV],
    stream: Option<GcmStream>,
    tag: [u8; TAG],
    hash: Sha256,
}

impl ContentDecryptor {
    /// Expects `announced` bytes of ciphertext.
    ///
    /// # Errors
    /// [`ContentError::ImpossibleSize`].
    pub fn new(key: &ContentKey, announced: u64) -> Result<Self, ContentError> {
        plaintext_size(announced).ok_or(ContentError::ImpossibleSize(announced))?;
        Ok(Self {
            key: key.clone(),
            announced,
            received: 0,
            iv: [0; IV],
            stream: None,
            tag: [0; TAG],
            hash: Sha256::new(),
        })
    }

    /// Takes the next piece and returns the plaintext in it, in the same memory.
    ///
    /// # Errors
    /// [`ContentError::TooLong`] once more than the announced bytes have come.
    pub fn update(&mut self, mut piece: BytesMut) -> Result<Bytes, ContentError> {
        let end = self.received + piece.len() as u64;
        if end > self.announced {
            return Err(ContentError::TooLong { announced: self.announced });
        }
        self.take_iv(&mut piece);
        let body_end = self.announced.saturating_sub(TAG as u64).max(IV as u64);
        let body_len = body_end.saturating_sub(self.received).min(piece.len() as u64) as usize;
        let mut body = piece.split_to(body_len);
        self.received += body_len as u64;
        if let Some(stream) = &mut self.stream {
            stream.decrypt(&mut body);
            self.hash.update(&body);
        }
        let tag_start = self.received.saturating_sub(body_end) as usize;
        self.tag[tag_start..tag_start + piece.len()].copy_from_slice(&piece);
        self.received = end;
        Ok(body.freeze())
    }

    fn take_iv(&mut self, piece: &mut BytesMut) {
        let have = (self.received as usize).min(IV);
        let n = piece.len().min(IV - have);
        self.iv[have..have + n].copy_from_slice(&piece.split_to(n));
        self.received += n as u64;
        if self.stream.is_none() && have + n == IV {
            self.stream = Some(self.key.0.stream(&self.iv));
        }
    }

    /// Checks that everything came, that the tag holds, and that the plaintext has the hash that the record names
    /// (`None` for the few old records that name none).
    ///
    /// # Errors
    /// [`ContentError`] where one of the three fails: nothing that came is to be used then.
    pub fn finish(self, expected: Option<ContentHash>) -> Result<Verified, ContentError> {
        if self.received != self.announced {
            return Err(ContentError::TooShort { announced: self.announced, received: self.received });
        }
        // Zero bytes, and a bare IV, stand for an empty file and carry no tag (protocol.md §2).
        if self.announced > IV as u64 && !self.stream.is_some_and(|s| tags_equal(&s.tag(), &self.tag)) {
            return Err(ContentError::Tag);
        }
        let actual = ContentHash(self.hash.finalize().into());
        match expected {
            Some(expected) if expected != actual => Err(ContentError::Hash { expected, actual }),
            _ => Ok(Verified { hash: actual, size: self.announced.saturating_sub(OVERHEAD) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ContentKey {
        ContentKey::new(&[7; 32])
    }

    fn decrypt(
        ciphertext: &[u8],
        cut: usize,
        expected: Option<ContentHash>,
    ) -> Result<(Vec<u8>, Verified), ContentError> {
        let mut decryptor = ContentDecryptor::new(&key(), ciphertext.len() as u64)?;
        let mut plaintext = Vec::new();
        for piece in ciphertext.chunks(cut.max(1)) {
            plaintext.extend_from_slice(&decryptor.update(BytesMut::from(piece))?);
        }
        Ok((plaintext, decryptor.finish(expected)?))
    }

    #[test]
    fn content_cut_anywhere_decrypts_the_same() {
        for len in [0, 1, 12, 15, 16, 17, 31, 33, 200] {
            let plaintext: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let ciphertext = key().encrypt(&[9; 12], &plaintext);
            for cut in 1..ciphertext.len() + 2 {
                let (out, verified) = decrypt(&ciphertext, cut, Some(ContentHash::of(&plaintext))).unwrap();
                assert_eq!((out, verified.size()), (plaintext.clone(), len as u64), "{len} bytes cut at {cut}");
            }
        }
    }

    #[test]
    fn no_bytes_and_a_bare_iv_stand_for_an_empty_file() {
        for ciphertext in [&[][..], &[1; 12]] {
            let (out, verified) = decrypt(ciphertext, 5, Some(ContentHash::of_nothing())).unwrap();
            assert_eq!((out.len(), verified.size()), (0, 0));
        }
        for size in [1, 11, 13, 27, (1 << 36) + 28] {
            assert_eq!(ContentDecryptor::new(&key(), size).err(), Some(ContentError::ImpossibleSize(size)));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let ciphertext = key().encrypt(&[9; 12], b"some note");
        for bit in 0..ciphertext.len() * 8 {
            let mut damaged = ciphertext.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decrypt(&damaged, 7, None).unwrap_err(), ContentError::Tag, "bit {bit}");
        }
    }

    #[test]
    fn short_long_and_foreign_content_is_refused() {
        let ciphertext = key().encrypt(&[9; 12], b"some note");
        let announced = ciphertext.len() as u64;
        let mut short = ContentDecryptor::new(&key(), announced).unwrap();
        short.update(BytesMut::from(&ciphertext[..30])).unwrap();
        assert_eq!(short.finish(None).unwrap_err(), ContentError::TooShort { announced, received: 30 });
        let mut long = ContentDecryptor::new(&key(), announced).unwrap();
        long.update(BytesMut::from(&ciphertext[..])).unwrap();
        assert_eq!(long.update(BytesMut::from(&[0][..])).unwrap_err(), ContentError::TooLong { announced });
        let other = decrypt(&ciphertext, 99, Some(ContentHash::of(b"other"))).unwrap_err();
        assert!(matches!(other, ContentError::Hash { .. }));
    }
}
