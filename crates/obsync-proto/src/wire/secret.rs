//! Writing a [`SecretString`] into a message. Only for fields that the service must be sent.

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

/// More bytes than a message with a secret in it has: memory that grows leaves copies behind, which nobody clears.
const ROOM: usize = 4096;

/// Writes a message as JSON, in memory that is cleared when the last clone of it goes.
///
/// # Errors
/// Of serde, for what is no plain data.
pub fn to_json(message: &impl Serialize) -> serde_json::Result<Bytes> {
    let mut json = Zeroizing::new(Vec::with_capacity(ROOM));
    serde_json::to_writer(&mut *json, message)?;
    Ok(Bytes::from_owner(json))
}

pub(super) fn serialize<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

pub(super) mod optional {
    use super::{ExposeSecret, SecretString, Serializer};

    pub(in crate::wire) fn serialize<S: Serializer>(
        secret: &Option<SecretString>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => serializer.serialize_some(secret.expose_secret()),
            None => serializer.serialize_none(),
        }
    }
}
