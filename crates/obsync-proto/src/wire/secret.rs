//! Writing a [`SecretString`] into a message. Only for fields that the service must be sent.

use secrecy::{ExposeSecret, SecretString};
use serde::Serializer;

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
