//! AWS SQS: sending messages.

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;

use crate::aws;

/// Messages that one request takes (the service's limit).
const BATCH: usize = 10;

/// A queue that messages are put on.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
}

impl Queue {
    /// The queue at `url`. Sends nothing yet.
    pub fn new(aws: &SdkConfig, url: impl Into<String>) -> Self {
        Self { client: Client::new(aws), url: url.into() }
    }

    /// Puts messages on the queue, and gives for each either nothing or the reason why it is not there.
    pub async fn send(&self, messages: &[String]) -> Vec<Result<(), String>> {
        let mut results = Vec::with_capacity(messages.len());
        for batch in messages.chunks(BATCH) {
            results.extend(self.send_batch(batch).await);
        }
        results
    }

    async fn send_batch(&self, batch: &[String]) -> Vec<Result<(), String>> {
        let entry = |(n, message): (usize, &String)| {
            SendMessageBatchRequestEntry::builder().id(n.to_string()).message_body(message).build()
        };
        let entries = match batch.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>() {
            Ok(entries) => entries,
            Err(error) => return vec![Err(error.to_string()); batch.len()],
        };
        let sent = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries)).send().await;
        let failed = match sent {
            Ok(answer) => answer.failed,
            Err(error) => return vec![Err(aws::explained(error.code(), error.message(), &error)); batch.len()],
        };
        let mut results = vec![Ok(()); batch.len()];
        for failure in failed {
            if let Some(result) = failure.id.parse::<usize>().ok().and_then(|n| results.get_mut(n)) {
                *result = Err(failure.message.unwrap_or(failure.code));
            }
        }
        results
    }
}
