//! Requests to the table: tried again where that helps, and nothing left unprocessed.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, KeysAndAttributes, Put, ReturnValue, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, Update,
};
use obsync_core::retry::RetryPolicy;

use super::item::{self, Item, KEY};
use crate::aws;

/// For what the SDK does not try again by itself: transactions that got into each other's way, and what a batch left
/// undone.
const RETRY: RetryPolicy =
    RetryPolicy { tries: 12, first_pause: Duration::from_millis(40), longest_pause: Duration::from_secs(5) };

/// Keys in one `BatchGetItem`. (AWS: 100.)
pub(super) const READS_AT_ONCE: usize = 100;

/// Items in one transaction. (AWS: 100.)
pub(super) const WRITES_AT_ONCE: usize = 100;

/// The table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) client: Client,
    pub(super) name: String,
}

/// Why a request was not carried out.
#[derive(Debug)]
pub(super) enum Fault {
    /// A condition did not hold: that on the item with this number, which was this.
    Refused(usize, Item),
    Unusable(String),
}

/// A change of one item under a condition.
#[derive(Debug, Clone, Default)]
pub(super) struct Change {
    pub(super) key: String,
    pub(super) set: Vec<(&'static str, AttributeValue)>,
    pub(super) remove: Vec<&'static str>,
    /// May speak of `:name` for each of `values`.
    pub(super) condition: &'static str,
    pub(super) values: Vec<(&'static str, AttributeValue)>,
}

impl Change {
    /// Every name goes through a placeholder: `state`, `ttl` and more are reserved.
    fn expression(&self) -> String {
        let mut expression = String::new();
        let set: Vec<_> = self.set.iter().map(|(name, _)| format!("#{name} = :{name}")).collect();
        if !set.is_empty() {
            expression = format!("SET {}", set.join(", "));
        }
        if !self.remove.is_empty() {
            let remove: Vec<_> = self.remove.iter().map(|name| format!("#{name}")).collect();
            expression = format!("{expression} REMOVE {}", remove.join(", "));
        }
        expression
    }

    fn names(&self) -> HashMap<String, String> {
        let written = self.set.iter().map(|(name, _)| *name).chain(self.remove.iter().copied());
        let named = self.condition.split(|c: char| !(c.is_ascii_alphanumeric() || "#_".contains(c)));
        let named = named.filter_map(|word| word.strip_prefix('#'));
        written.chain(named).map(|name| (format!("#{name}"), name.to_owned())).collect()
    }

    fn all_values(&self) -> HashMap<String, AttributeValue> {
        self.set.iter().chain(&self.values).map(|(name, value)| (format!(":{name}"), value.clone())).collect()
    }

    pub(super) fn in_transaction(&self, table: &Table) -> Result<TransactWriteItem, Fault> {
        let update = Update::builder()
            .table_name(&table.name)
            .set_key(Some(item::key(&self.key)))
            .update_expression(self.expression())
            .condition_expression(self.condition)
            .set_expression_attribute_names(Some(self.names()))
            .set_expression_attribute_values(Some(self.all_values()).filter(|values| !values.is_empty()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build();
        Ok(TransactWriteItem::builder().update(update.map_err(incomplete)?).build())
    }

    fn alone(&self, table: &Table) -> UpdateItemFluentBuilder {
        table
            .client
            .update_item()
            .table_name(&table.name)
            .set_key(Some(item::key(&self.key)))
            .update_expression(self.expression())
            .condition_expression(self.condition)
            .set_expression_attribute_names(Some(self.names()))
            .set_expression_attribute_values(Some(self.all_values()).filter(|values| !values.is_empty()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

fn incomplete(error: impl Error) -> Fault {
    Fault::Unusable(error.to_string())
}

impl Table {
    /// One item, as the last write left it.
    pub(super) async fn get(&self, key: &str) -> Result<Option<Item>, Fault> {
        let request = self.client.get_item().table_name(&self.name).set_key(Some(item::key(key))).consistent_read(true);
        let mut failures = 0;
        loop {
            match request.clone().send().await {
                Ok(got) => return Ok(got.item),
                Err(error) => pause_after(&mut failures, &error).await?,
            }
        }
    }

    /// Those of the items that there are, by key.
    pub(super) async fn get_many(&self, keys: &[String]) -> Result<HashMap<String, Item>, Fault> {
        let mut found = HashMap::with_capacity(keys.len());
        for chunk in keys.chunks(READS_AT_ONCE) {
            let mut wanted: Vec<Item> = chunk.iter().map(|key| item::key(key)).collect();
            let mut failures = 0;
            while !wanted.is_empty() {
                let request = KeysAndAttributes::builder().set_keys(Some(wanted.clone())).consistent_read(true).build();
                let request = request.map_err(incomplete)?;
                match self.client.batch_get_item().request_items(&self.name, request).send().await {
                    Ok(got) => {
                        let items = got.responses.unwrap_or_default().into_values().flatten();
                        let before = found.len();
                        found.extend(items.filter_map(|item| Some((item::text(&item, KEY)?.to_owned(), item))));
                        let left = got.unprocessed_keys.unwrap_or_default();
                        wanted = left.into_values().flat_map(|left| left.keys).collect();
                        if !wanted.is_empty() {
                            failures = if found.len() > before { 0 } else { failures };
                            pause(&mut failures, "the table is throttled").await?;
                        }
                    }
                    Err(error) => pause_after(&mut failures, &error).await?,
                }
            }
        }
        Ok(found)
    }

    /// Changes one item, and gives it as it is then.
    pub(super) async fn update(&self, change: &Change) -> Result<Item, Fault> {
        let request = change.alone(self).return_values(ReturnValue::AllNew);
        self.send_update(request).await
    }

    /// Changes one item.
    pub(super) async fn update_quietly(&self, change: &Change) -> Result<(), Fault> {
        self.send_update(change.alone(self)).await.map(drop)
    }

    async fn send_update(&self, request: UpdateItemFluentBuilder) -> Result<Item, Fault> {
        let mut failures = 0;
        loop {
            match request.clone().send().await {
                Ok(done) => return Ok(done.attributes.unwrap_or_default()),
                Err(SdkError::ServiceError(error)) if is_refusal(error.err()) => {
                    let UpdateItemError::ConditionalCheckFailedException(refused) = error.into_err() else {
                        return Err(Fault::Refused(0, Item::new()));
                    };
                    return Err(Fault::Refused(0, refused.item.unwrap_or_default()));
                }
                Err(error) => pause_after(&mut failures, &error).await?,
            }
        }
    }

    /// Makes all of these writes or none. Sent again, they are made once.
    pub(super) async fn write(&self, writes: Vec<TransactWriteItem>) -> Result<(), Fault> {
        let token = format!("{:016x}{:016x}", super::unique(), super::unique());
        let request = self.client.transact_write_items().set_transact_items(Some(writes)).client_request_token(token);
        let mut failures = 0;
        loop {
            match request.clone().send().await {
                Ok(_) => return Ok(()),
                Err(error) => match error.as_service_error() {
                    Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                        let reasons = cancelled.cancellation_reasons();
                        let refused = reasons.iter().position(|r| r.code() == Some("ConditionalCheckFailed"));
                        if let Some(number) = refused {
                            return Err(Fault::Refused(number, reasons[number].item.clone().unwrap_or_default()));
                        }
                        if !reasons.iter().filter_map(|r| r.code()).any(passes) {
                            return Err(Fault::Unusable(message(&error)));
                        }
                        pause(&mut failures, "other writes are in the way").await?;
                    }
                    _ => pause_after(&mut failures, &error).await?,
                },
            }
        }
    }

    pub(super) fn put(&self, item: Item) -> Result<TransactWriteItem, Fault> {
        let put = Put::builder().table_name(&self.name).set_item(Some(item)).build().map_err(incomplete)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    pub(super) fn delete(&self, key: &str) -> Result<TransactWriteItem, Fault> {
        let delete = Delete::builder().table_name(&self.name).set_key(Some(item::key(key)));
        Ok(TransactWriteItem::builder().delete(delete.build().map_err(incomplete)?).build())
    }

    /// A transaction's condition on an item that it does not change.
    pub(super) fn check(&self, change: &Change) -> Result<TransactWriteItem, Fault> {
        let check = ConditionCheck::builder()
            .table_name(&self.name)
            .set_key(Some(item::key(&change.key)))
            .condition_expression(change.condition)
            .set_expression_attribute_names(Some(change.names()))
            .set_expression_attribute_values(Some(change.all_values()).filter(|values| !values.is_empty()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build();
        Ok(TransactWriteItem::builder().condition_check(check.map_err(incomplete)?).build())
    }

    /// All heads that have a state.
    pub(super) async fn heads(&self) -> Result<Vec<Item>, Fault> {
        let request = self
            .client
            .scan()
            .table_name(&self.name)
            .consistent_read(true)
            .filter_expression("attribute_exists(#state) AND attribute_exists(#generation)")
            .projection_expression("vault_id, #state, #generation, #versions, #damaged, #ttl")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#generation", "generation")
            .expression_attribute_names("#versions", "versions")
            .expression_attribute_names("#damaged", "damaged")
            .expression_attribute_names("#ttl", "ttl");
        let (mut heads, mut from) = (Vec::new(), None);
        let mut failures = 0;
        loop {
            match request.clone().set_exclusive_start_key(from.clone()).send().await {
                Ok(page) => {
                    failures = 0;
                    heads.extend(page.items.unwrap_or_default());
                    from = page.last_evaluated_key;
                    if from.is_none() {
                        return Ok(heads);
                    }
                }
                Err(error) => pause_after(&mut failures, &error).await?,
            }
        }
    }
}

fn is_refusal(error: &UpdateItemError) -> bool {
    error.is_conditional_check_failed_exception()
}

/// Whether a fault with this code may be gone at the next try.
fn passes(code: &str) -> bool {
    matches!(
        code,
        "TransactionConflict"
            | "TransactionConflictException"
            | "TransactionInProgressException"
            | "ThrottlingError"
            | "ThrottlingException"
            | "ProvisionedThroughputExceeded"
            | "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "InternalServerError"
    )
}

/// Waits for the next try, where there is one.
async fn pause(failures: &mut u32, why: &str) -> Result<(), Fault> {
    *failures += 1;
    let Some(pause) = RETRY.pause(*failures) else { return Err(Fault::Unusable(why.to_owned())) };
    tracing::debug!(why, failures, "trying again in {pause:?}");
    tokio::time::sleep(pause).await;
    Ok(())
}

async fn pause_after<E>(failures: &mut u32, error: &SdkError<E>) -> Result<(), Fault>
where
    E: Error + ProvideErrorMetadata + 'static,
{
    let message = message(error);
    match error.code() {
        // What the SDK has tried again already is given a few more tries only.
        Some(code) if passes(code) && (code.starts_with("Transaction") || *failures < 2) => {
            pause(failures, &message).await
        }
        _ => Err(Fault::Unusable(message)),
    }
}

fn message<E: Error + ProvideErrorMetadata + 'static>(error: &SdkError<E>) -> String {
    aws::explained(error.code(), error.message(), error)
}
