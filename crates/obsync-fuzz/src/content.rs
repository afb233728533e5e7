//! Files, as they come over the wire: cut anywhere, damaged, or made up.
//!
//! An input is a number of cuts (one byte), the lengths of the pieces before them (a byte each), and the content.

use bytes::BytesMut;
use obsync_proto::ContentHash;
use obsync_proto::crypto::{ContentDecryptor, ContentError, IV_LEN, Verified, encrypted_size, plaintext_size};

use crate::keys::KEYS;

/// However it is cut, a content is decrypted to the same, and verified where it is whole and its own, and nowhere else.
pub fn check(input: &[u8]) {
    let Some((cuts, rest)) = input.split_first() else { return };
    let (cuts, content) = rest.split_at(rest.len().min(usize::from(*cuts)));

    // As ciphertext: made up, and so never authentic.
    let made_up = decrypt(content, &[], content.len() as u64, None);
    assert_eq!(decrypt(content, cuts, content.len() as u64, None), made_up, "cut otherwise");
    let stands_for_nothing = [0, IV_LEN].contains(&content.len());
    assert_eq!(made_up.is_ok(), stands_for_nothing);

    // As plaintext.
    let key = &KEYS[1].content;
    let iv = ContentHash::of(content).0;
    let iv = iv.first_chunk().expect("a hash is longer than an IV");
    let mut sealed = key.encrypt(iv, content);
    let len = sealed.len() as u64;
    assert_eq!(plaintext_size(len), Some(content.len() as u64));
    assert!(content.is_empty() || encrypted_size(content.len() as u64) == len);
    let hash = ContentHash::of(content);
    let (plain, verified) = decrypt(&sealed, cuts, len, Some(hash)).expect("its own content");
    assert_eq!((plain.as_slice(), verified.hash(), verified.size()), (content, hash, content.len() as u64));
    let foreign = decrypt(&sealed, cuts, len, Some(ContentHash::of(b"the content of no input")));
    assert!(matches!(foreign, Err(ContentError::Hash { .. })));

    // Damaged, cut off, and with more behind it, at a place that the input chooses.
    let at = cuts.iter().fold(0, |at: usize, byte| at.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let bit = at % (sealed.len() * 8);
    assert!(decrypt(&sealed[..bit / 8], cuts, len, None).is_err(), "cut off");
    let announced_so = decrypt(&sealed[..bit / 8], cuts, (bit / 8) as u64, None);
    assert_eq!(announced_so.is_ok(), [0, IV_LEN].contains(&(bit / 8)), "cut off, and announced so");
    sealed[bit / 8] ^= 1 << (bit % 8);
    assert_eq!(decrypt(&sealed, cuts, len, None), Err(ContentError::Tag), "bit {bit}");
    sealed[bit / 8] ^= 1 << (bit % 8);
    sealed.push(0);
    assert_eq!(decrypt(&sealed, cuts, len, None), Err(ContentError::TooLong { announced: len }));
}

fn decrypt(
    mut content: &[u8],
    cuts: &[u8],
    announced: u64,
    expected: Option<ContentHash>,
) -> Result<(Vec<u8>, Verified), ContentError> {
    let mut decryptor = ContentDecryptor::new(&KEYS[1].content, announced)?;
    let mut plain = Vec::new();
    for cut in cuts {
        let (piece, rest) = content.split_at(content.len().min(usize::from(*cut)));
        plain.extend_from_slice(&decryptor.update(BytesMut::from(piece))?);
        content = rest;
    }
    plain.extend_from_slice(&decryptor.update(BytesMut::from(content))?);
    Ok((plain, decryptor.finish(expected)?))
}
