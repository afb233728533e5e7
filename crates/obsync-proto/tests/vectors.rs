//! Every figure of `vectors/crypto.json`, which was computed with the official client.

#![allow(clippy::unwrap_used)]

use bytes::BytesMut;
use obsync_proto::ContentHash;
use obsync_proto::crypto::{ContentDecryptor, EncryptionVersion, MasterKey, StringError, VaultKeys};
use secrecy::ExposeSecret;
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    kdf: Vec<Kdf>,
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Kdf {
    password: String,
    salt: String,
    key_hex: String,
}

#[derive(Deserialize)]
struct Version {
    encryption_version: u8,
    key_hex: String,
    salt: String,
    keyhash: String,
    strings: Vec<Text>,
    content: Vec<Content>,
}

#[derive(Deserialize)]
struct Text {
    plain: String,
    encoded_hex: String,
    note: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    plain_utf8: String,
    ciphertext_hex: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors/crypto.json")).unwrap()
}

/// The file names a key; version 0's key hash is its SHA-256, which makes a key visible from outside.
fn keyhash_of_key(key_hex: &str) -> String {
    ContentHash::of(&faster_hex::hex_decode_vec(key_hex.as_bytes()).unwrap()).to_string()
}

fn keys(version: &Version) -> VaultKeys {
    let kdf = vectors().kdf.into_iter().find(|k| k.key_hex == version.key_hex && k.salt == version.salt).unwrap();
    VaultKeys::from_password(&kdf.password.into(), &version.salt, version.encryption_version.try_into().unwrap())
}

#[test]
fn passwords_become_keys() {
    let vectors = vectors();
    assert_eq!(vectors.kdf.len(), 5);
    for kdf in vectors.kdf {
        let master = MasterKey::derive(&kdf.password.into(), &kdf.salt);
        let keys = VaultKeys::new(&master, &kdf.salt, EncryptionVersion::V0);
        assert_eq!(keys.keyhash.expose_secret(), keyhash_of_key(&kdf.key_hex));
    }
}

#[test]
fn keyhashes_are_those_of_the_official_client() {
    let versions = vectors().versions;
    assert_eq!(versions.iter().map(|v| v.encryption_version).collect::<Vec<_>>(), [0, 2, 3]);
    for version in versions {
        assert_eq!(keys(&version).keyhash.expose_secret(), version.keyhash);
    }
}

#[test]
fn strings_encode_and_decode_as_in_the_official_client() {
    let mut wrapping = 0;
    for version in vectors().versions {
        let keys = keys(&version);
        for text in &version.strings {
            assert_eq!(keys.strings.encode(&text.plain), text.encoded_hex, "version {}", version.encryption_version);
            assert_eq!(keys.strings.decode(&text.encoded_hex).unwrap(), text.plain);
            wrapping += usize::from(text.note.is_some());
        }
    }
    assert_eq!(wrapping, 6, "the strings whose 16-bit counter wraps");
}

#[test]
fn content_decrypts_as_in_the_official_client() {
    for version in vectors().versions {
        let keys = keys(&version);
        for content in &version.content {
            let ciphertext = faster_hex::hex_decode_vec(content.ciphertext_hex.as_bytes()).unwrap();
            let mut decryptor = ContentDecryptor::new(&keys.content, ciphertext.len() as u64).unwrap();
            let plaintext = decryptor.update(BytesMut::from(&ciphertext[..])).unwrap();
            let verified = decryptor.finish(Some(ContentHash::of(content.plain_utf8.as_bytes()))).unwrap();
            assert_eq!(plaintext, content.plain_utf8.as_bytes());
            assert_eq!(verified.size(), content.plain_utf8.len() as u64);
            let iv = ciphertext.first_chunk::<12>().unwrap();
            assert_eq!(keys.content.encrypt(iv, content.plain_utf8.as_bytes()), ciphertext);
        }
    }
}

#[test]
fn damaged_and_foreign_strings_are_refused() {
    for version in vectors().versions {
        let strings = keys(&version).strings;
        let encoded = strings.encode("Notes/Home.md");
        for i in 0..encoded.len() {
            let mut damaged = encoded.clone().into_bytes();
            damaged[i] = if damaged[i] == b'0' { b'1' } else { b'0' };
            let damaged = String::from_utf8(damaged).unwrap();
            assert_eq!(strings.decode(&damaged), Err(StringError::Tag), "digit {i}");
        }
        for malformed in ["", "0", "zz", "00", "abc", &"g".repeat(80), "é"] {
            assert_eq!(strings.decode(malformed), Err(StringError::Malformed), "{malformed}");
        }
    }
}
