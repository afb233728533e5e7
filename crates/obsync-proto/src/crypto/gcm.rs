//! AES-256-GCM (NIST SP 800-38D) with a 96-bit IV and no associated data, as a stream.
//!
//! The stock `aes-gcm` crate takes a whole message at a time; a file of 200 MB has to go through in pieces.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;

/// Bytes of an IV.
pub(super) const IV: usize = 12;
/// Bytes of a tag.
pub(super) const TAG: usize = 16;
/// The most bytes of one message: SP 800-38D §5.2.1.1, 2^39 - 256 bits.
pub(super) const MAX_MESSAGE: u64 = (1 << 36) - 32;

type Ctr32Core = ctr::CtrCore<Aes256, ctr::flavors::Ctr32BE>;

/// An AES-256-GCM key, expanded once. Zeroised when dropped.
#[derive(Clone)]
pub(super) struct GcmKey {
    aes: Aes256,
    ghash: GHash,
}

impl GcmKey {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let aes = Aes256::new(key.into());
        // H = AES(key, 0^128)
        let mut h = ghash::Key::default();
        aes.encrypt_block(&mut h);
        let ghash = GHash::new(&h);
        zeroize::Zeroize::zeroize(h.as_mut_slice());
        Self { aes, ghash }
    }

    pub(super) fn stream(&self, iv: &[u8; IV]) -> GcmStream {
        // J0 = IV ‖ 0^31 ‖ 1 masks the tag; the message starts at the counter after it.
        let mut j0 = [0; 16];
        j0[..IV].copy_from_slice(iv);
        j0[15] = 1;
        let mut mask = j0.into();
        self.aes.encrypt_block(&mut mask);
        j0[15] = 2;
        let core = Ctr32Core::inner_iv_init(self.aes.clone(), &j0.into());
        GcmStream {
            keystream: StreamCipherCoreWrapper::from_core(core),
            ghash: self.ghash.clone(),
            mask: mask.into(),
            partial: [0; 16],
            partial_len: 0,
            len: 0,
        }
    }

    /// Encrypts a whole message: `IV ‖ ciphertext ‖ tag`.
    pub(super) fn seal(&self, iv: &[u8; IV], plaintext: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(IV + plaintext.len() + TAG);
        message.extend_from_slice(iv);
        message.extend_from_slice(plaintext);
        let mut stream = self.stream(iv);
        stream.encrypt(&mut message[IV..]);
        message.extend_from_slice(&stream.tag());
        message
    }

    /// Decrypts a whole message `IV ‖ ciphertext ‖ tag`, or `None` where it is too short or the tag does not hold.
    pub(super) fn open(&self, message: &[u8]) -> Option<Vec<u8>> {
        let (iv, rest) = message.split_first_chunk::<IV>()?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG>()?;
        let mut plaintext = ciphertext.to_vec();
        let mut stream = self.stream(iv);
        stream.decrypt(&mut plaintext);
        tags_equal(&stream.tag(), tag).then_some(plaintext)
    }
}

/// Compares in a time that does not depend on where the two differ.
pub(super) fn tags_equal(a: &[u8; TAG], b: &[u8; TAG]) -> bool {
    subtle::ConstantTimeEq::ct_eq(&a[..], &b[..]).into()
}

/// One message on its way through, in chunks of any size.
pub(super) struct GcmStream {
    keystream: StreamCipherCoreWrapper<Ctr32Core>,
    ghash: GHash,
    mask: [u8; 16],
    /// Ciphertext that does not yet fill a block of GHASH.
    partial: [u8; 16],
    partial_len: usize,
    len: u64,
}

impl GcmStream {
    /// Turns ciphertext into plaintext, in place.
    pub(super) fn decrypt(&mut self, chunk: &mut [u8]) {
        self.authenticate(chunk);
        self.keystream.apply_keystream(chunk);
    }

    /// Turns plaintext into ciphertext, in place.
    pub(super) fn encrypt(&mut self, chunk: &mut [u8]) {
        self.keystream.apply_keystream(chunk);
        self.authenticate(chunk);
    }

    /// Adds ciphertext to the hash that the tag is made of.
    fn authenticate(&mut self, mut chunk: &[u8]) {
        self.len += chunk.len() as u64;
        if self.partial_len > 0 {
            let n = chunk.len().min(16 - self.partial_len);
            self.partial[self.partial_len..self.partial_len + n].copy_from_slice(&chunk[..n]);
            self.partial_len += n;
            chunk = &chunk[n..];
            if self.partial_len < 16 {
                return;
            }
            self.ghash.update(&[self.partial.into()]);
        }
        let whole = chunk.len() - chunk.len() % 16;
        self.ghash.update_padded(&chunk[..whole]);
        self.partial_len = chunk.len() - whole;
        self.partial[..self.partial_len].copy_from_slice(&chunk[whole..]);
    }

    /// The tag of all that went through.
    pub(super) fn tag(mut self) -> [u8; TAG] {
        self.ghash.update_padded(&self.partial[..self.partial_len]);
        let mut lengths = [0; 16];
        lengths[8..].copy_from_slice(&(self.len * 8).to_be_bytes());
        self.ghash.update(&[lengths.into()]);
        let mut tag: [u8; TAG] = self.ghash.finalize().into();
        tag.iter_mut().zip(self.mask).for_each(|(t, m)| *t ^= m);
        tag
    }
}
