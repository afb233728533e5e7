//! Keys, derived once per process: one scrypt takes 0.1 s, and tests use the same few passwords all the time.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use bytes::BytesMut;
use obsync_proto::ContentHash;
use obsync_proto::crypto::{ContentDecryptor, EncryptionVersion, IV_LEN, VaultKeys, Verified};

use crate::lock;

type Cache = HashMap<(String, String, EncryptionVersion), VaultKeys>;

static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);

/// The keys of a vault with this password, salt and version.
pub fn vault_keys(password: &str, salt: &str, version: EncryptionVersion) -> VaultKeys {
    let derive = || VaultKeys::from_password(&password.to_owned().into(), salt, version);
    lock(&CACHE).entry((password.to_owned(), salt.to_owned(), version)).or_insert_with(derive).clone()
}

/// The proof that [`BlobWriter::commit`](obsync_core::blob::BlobWriter::commit) asks for, got in the only way there
/// is: `content` is encrypted, decrypted and found unharmed.
pub fn verified(content: &[u8]) -> Verified {
    let key = vault_keys("testkit", "testkit", EncryptionVersion::V3).content;
    let ciphertext = if content.is_empty() { Vec::new() } else { key.encrypt(&[0; IV_LEN], content) };
    let mut decryptor = ContentDecryptor::new(&key, ciphertext.len() as u64).unwrap();
    decryptor.update(BytesMut::from(&ciphertext[..])).unwrap();
    decryptor.finish(Some(ContentHash::of(content))).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proof_names_the_content() {
        for content in [&b""[..], b"x", b"a note"] {
            let proof = verified(content);
            assert_eq!((proof.hash(), proof.size()), (ContentHash::of(content), content.len() as u64));
        }
    }
}
