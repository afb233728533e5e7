//! The keys of a made-up vault: scrypt takes too long to be run for each input.

use std::sync::LazyLock;

use obsync_proto::crypto::{EncryptionVersion, MasterKey, VaultKeys};

/// Under both ways in which strings are encrypted.
pub(crate) static KEYS: LazyLock<[VaultKeys; 2]> = LazyLock::new(|| {
    let master = MasterKey::derive(&"correct horse".to_owned().into(), "salt");
    [EncryptionVersion::V0, EncryptionVersion::V3].map(|version| VaultKeys::new(&master, "salt", version))
});
