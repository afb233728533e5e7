//! The account's token in the state table, so that a function that starts anew need not sign in.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::AttributeValue;
use secrecy::ExposeSecret;

use super::token::{StoredToken, TokenStore, TokenStoreError};
use crate::aws;

/// The item's key. No vault's id has a `#` in it.
const KEY: &str = "obsync#token";

/// Keeps one token in a DynamoDB table whose partition key is `vault_id`.
#[derive(Debug, Clone)]
pub struct TableTokens {
    client: Client,
    table: String,
}

impl TableTokens {
    /// Asks nothing yet.
    pub fn new(aws: &SdkConfig, table: impl Into<String>) -> Self {
        Self { client: Client::new(aws), table: table.into() }
    }

    fn failed<E: ProvideErrorMetadata + std::error::Error + 'static>(&self, error: &SdkError<E>) -> TokenStoreError {
        TokenStoreError {
            place: format!("in the table {:?}", self.table),
            message: aws::explained(error.code(), error.message(), error),
        }
    }
}

#[async_trait]
impl TokenStore for TableTokens {
    async fn load(&self) -> Result<Option<StoredToken>, TokenStoreError> {
        let key = AttributeValue::S(KEY.to_owned());
        let answer = self.client.get_item().table_name(&self.table).key("vault_id", key);
        let answer = answer.consistent_read(true).send().await;
        let Some(item) = answer.map_err(|e| self.failed(&e))?.item else { return Ok(None) };
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
        Ok(text("token").map(|token| StoredToken { email: text("email"), token: token.into() }))
    }

    async fn save(&self, token: &StoredToken) -> Result<(), TokenStoreError> {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let mut put = self.client.put_item().table_name(&self.table).item("vault_id", text(KEY));
        put = put.item("token", text(token.token.expose_secret()));
        if let Some(email) = &token.email {
            put = put.item("email", text(email));
        }
        put.send().await.map(drop).map_err(|e| self.failed(&e))
    }

    async fn clear(&self) -> Result<(), TokenStoreError> {
        let key = AttributeValue::S(KEY.to_owned());
        let deleted = self.client.delete_item().table_name(&self.table).key("vault_id", key).send().await;
        deleted.map(drop).map_err(|e| self.failed(&e))
    }
}
