//! How an event arrives, and how its sender wants to be answered.
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

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use super::handler::{Handler, Invocation};
use super::response::Response;

/// An event in its envelope.
#[derive(Debug, Clone, PartialEq)]
pub enum Envelope {
    /// Bare.
    Direct(Value),
    /// The body of an HTTP request; `None` where it is no JSON.
    Http(Option<Value>),
    /// The records of a queue: their ids and bodies.
    Queue(Vec<(String, Option<Value>)>),
    /// The detail of a bus's event.
    Bus(Value),
}

impl Envelope {
    /// Recognises the envelope by its form.
    pub fn open(payload: Value) -> Self {
        if let Some(records) = payload.get("Records").and_then(Value::as_array) {
            return Self::Queue(records.iter().map(record).collect());
        }
        if payload.get("requestContext").is_some() {
            return Self::Http(http_body(&payload));
        }
        if payload.get("detail-type").is_some() {
            return Self::Bus(payload.get("detail").cloned().unwrap_or_default());
        }
        Self::Direct(payload)
    }

    /// Handles what is in it.
    ///
    /// # Errors
    /// A text, where the sender tries again what failed.
    pub async fn answer(self, handler: &Handler, invocation: &Invocation) -> Result<Value, String> {
        match self {
            Self::Direct(event) => Ok(json!(handler.handle(&event, invocation).await)),
            Self::Http(body) => Ok(http(&handler.handle(&body.unwrap_or_default(), invocation).await)),
            Self::Queue(records) => Ok(queue(handler, records, invocation).await),
            Self::Bus(detail) => {
                let response = handler.handle(&detail, invocation).await;
                if response.failed_outright() { Err(told(&response)) } else { Ok(json!(response)) }
            }
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

fn record(record: &Value) -> (String, Option<Value>) {
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    (text("messageId").to_owned(), serde_json::from_str(text("body")).ok())
}

fn http_body(payload: &Value) -> Option<Value> {
    let body = payload.get("body")?.as_str()?;
    if payload.get("isBase64Encoded").and_then(Value::as_bool).unwrap_or(false) {
        serde_json::from_slice(&BASE64_STANDARD.decode(body).ok()?).ok()
    } else {
        serde_json::from_str(body).ok()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_are_recognised_by_their_form() {
        let event = json!({"action":"sync"});
        assert_eq!(Envelope::open(event.clone()), Envelope::Direct(event.clone()));
        assert_eq!(
            Envelope::open(json!({"requestContext":{},"body":"{\"action\":\"sync\"}"})),
            Envelope::Http(Some(event.clone()))
        );
        let encoded = json!({"requestContext":{},"isBase64Encoded":true,"body":"eyJhY3Rpb24iOiJzeW5jIn0="});
        assert_eq!(Envelope::open(encoded), Envelope::Http(Some(event.clone())));
        let queue = json!({"Records":[{"messageId":"1","body":"{\"action\":\"sync\"}"},{"messageId":"2","body":"?"}]});
        assert_eq!(Envelope::open(queue), Envelope::Queue(vec![("1".into(), Some(event.clone())), ("2".into(), None)]));
        let bus = json!({"detail-type":"x","source":"y","detail":{"action":"sync"}});
        assert_eq!(Envelope::open(bus), Envelope::Bus(event));
        for odd in [json!(null), json!(1), json!({"requestContext":{}}), json!({"requestContext":{},"body":"{"})] {
            let _ = Envelope::open(odd);
        }
    }
}
