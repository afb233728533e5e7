//! How an event arrives.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::Value;

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

#[cfg(test)]
mod tests {
    use serde_json::json;

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
