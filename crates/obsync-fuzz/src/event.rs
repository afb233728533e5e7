//! Events of the Lambda function, bare and in every envelope.

use base64::prelude::{BASE64_STANDARD, Engine};
use obsync_input::{Action, Envelope, Refused, Request};
use serde_json::{Value, json};

/// What is in an envelope comes out of it, and asks for the same as without; a request is what the message about it
/// asks for; and a refusal fits into an answer.
pub fn check(input: &[u8]) {
    let Ok(event) = serde_json::from_slice::<Value>(input) else { return };
    match Envelope::open(event.clone()) {
        Envelope::Direct(inner) => assert_eq!(inner, event),
        Envelope::Http(inner) => check_action(&inner.unwrap_or_default()),
        Envelope::Bus(inner) => check_action(&inner),
        Envelope::Queue(records) => {
            assert_eq!(Some(records.len()), event["Records"].as_array().map(Vec::len), "each is answered");
            records.into_iter().for_each(|(_, inner)| check_action(&inner.unwrap_or_default()));
        }
    }
    check_action(&event);

    let text = event.to_string();
    // A number with a fraction can lose its last bit by being written; no request has one.
    if serde_json::from_str::<Value>(&text).ok().as_ref() != Some(&event) {
        return;
    }
    let encoded = BASE64_STANDARD.encode(&text);
    let envelopes = [
        (json!({"requestContext": {}, "body": text}), Envelope::Http(Some(event.clone()))),
        (json!({"requestContext": {}, "isBase64Encoded": true, "body": encoded}), Envelope::Http(Some(event.clone()))),
        (json!({"detail-type": "", "detail": event}), Envelope::Bus(event.clone())),
        (
            json!({"Records": [{"messageId": "1", "body": text}, {"messageId": "2", "body": "?"}]}),
            Envelope::Queue(vec![("1".to_owned(), Some(event)), ("2".to_owned(), None)]),
        ),
    ];
    for (envelope, expected) in envelopes {
        assert_eq!(Envelope::open(envelope), expected);
    }
}

fn check_action(event: &Value) {
    match Action::read(event) {
        Ok(Action::Sync(request) | Action::Dispatch(request)) => {
            let given = [&request.dest_bucket, &request.dest_prefix].into_iter().flatten();
            assert!(given.into_iter().all(|text| !text.is_empty()));
            let vault = request.vault.clone().unwrap_or_else(|| "every".parse().expect("an id"));
            let message = serde_json::from_str(&request.message(&vault)).expect("an event");
            let asked = Request { vault: Some(vault), ..*request };
            assert_eq!(Action::read(&message), Ok(Action::Sync(Box::new(asked))));
        }
        Err(Refused(message)) => {
            assert!(message.len() <= 200 && (message.starts_with("Unknown ") || message.starts_with("Invalid ")));
        }
    }
}
