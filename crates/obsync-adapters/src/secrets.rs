//! AWS Secrets Manager.

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use secrecy::SecretString;

use crate::aws;

/// A secret that cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the secret {name:?}: {message}")]
pub struct SecretError {
    name: String,
    message: String,
}

/// The text of the secret with this name or ARN.
///
/// # Errors
/// [`SecretError`], which names the secret.
pub async fn fetch(aws: &SdkConfig, name: &str) -> Result<SecretString, SecretError> {
    let failed = |message: String| SecretError { name: name.to_owned(), message };
    let answer = Client::new(aws)
        .get_secret_value()
        .secret_id(name)
        .send()
        .await
        .map_err(|e| failed(aws::explained(e.code(), e.message(), &e)))?;
    answer.secret_string.map(SecretString::from).ok_or_else(|| failed("it has no text".to_owned()))
}
