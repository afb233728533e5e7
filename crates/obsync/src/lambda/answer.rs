//! How the sender of an event wants to be answered.
//!
//! | sender | answer | what failed |
//! |---|---|---|
//! | direct (bare event) | the documented JSON | the documented JSON with `success: false`: the caller reads it |
//! | API Gateway, function URL | status 200 and the documented JSON | status 500 (400 for an event that asks for nothing known) and the same JSON |
//! | SQS | no failed items | each record whose event failed outright, or ran out of time, is a failed item: SQS sends it again |
//! | EventBridge | the documented JSON | an event that failed outright is a failed invocation: Lambda sends it again |
//!
//! "Outright" is: no run over any vault came to its end ([`Response::failed_outright`]). What was done in part is not
//! sent again by itself: it is reported, and the next event goes on.

use obsync_input::Envelope;
use serde_json::{Value, json};

use super::handler::{Handler, Invocation};
use super::response::Response;

/// Handles what is in an envelope.
///
/// # Errors
/// A text, where the sender tries again what failed.
pub(super) async fn answer(envelope: Envelope, handler: &Handler, invocation: &Invocation) -> Result<Value, String> {
    match envelope {
        Envelope::Direct(event) => Ok(json!(handler.handle(&event, invocation).await)),
        Envelope::Http(body) => Ok(http(&handler.handle(&body.unwrap_or_default(), invocation).await)),
        Envelope::Queue(records) => Ok(queue(handler, records, invocation).await),
        Envelope::Bus(detail) => {
            let response = handler.handle(&detail, invocation).await;
            if response.failed_outright() { Err(told(&response)) } else { Ok(json!(response)) }
        }
    }
}

fn told(response: &Response) -> String {
    let mut text = response.message.clone();
    for error in &response.errors {
        text.push_str("; ");
        text.push_str(error);
    }
    text
}

fn http(response: &Response) -> Value {
    let status = match response.success {
        true => 200,
        false if response.message.starts_with("Unknown ") || response.message.starts_with("Invalid ") => 400,
        false => 500,
    };
    json!({
        "statusCode": status,
        "headers": { "content-type": "application/json" },
        "isBase64Encoded": false,
        "body": json!(response).to_string(),
    })
}

async fn queue(handler: &Handler, records: Vec<(String, Option<Value>)>, invocation: &Invocation) -> Value {
    let mut failed = Vec::new();
    for (id, body) in records {
        let response = handler.handle(&body.unwrap_or_default(), invocation).await;
        if response.failed_outright() || response.incomplete {
            tracing::warn!(message_id = id, message = told(&response), "the message goes back to the queue");
            failed.push(json!({ "itemIdentifier": id }));
        }
    }
    json!({ "batchItemFailures": failed })
}
