//! The encryption of a vault (`protocol.md` §2): keys, strings and content.
//!
//! ```text
//! password, salt ──scrypt──► MasterKey ──┬─► keyhash        stands for the key towards the service
//!                                        ├─► StringCipher   paths and content hashes
//!                                        └─► ContentKey     files
//! ```

mod content;
mod gcm;
mod keys;
mod strings;

pub use content::{ContentDecryptor, ContentError, ContentKey, IV_LEN, Verified, encrypted_size, plaintext_size};
pub use keys::{EncryptionVersion, KeyError, MasterKey, VaultKeys};
pub use strings::{StringCipher, StringError};
