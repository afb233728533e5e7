//! What an event asks for.

use obsync_proto::VaultId;
use serde_json::{Value, json};

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Mirror.
    Sync(Box<Request>),
    /// Put one message for each vault on the queue.
    Dispatch(Box<Request>),
}

/// How to mirror what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// One vault, or all.
    pub vault: Option<VaultId>,
    /// How much to compare.
    pub sync_type: SyncType,
    /// Another bucket, for this event alone.
    pub dest_bucket: Option<String>,
    /// Another prefix, for this event alone.
    pub dest_prefix: Option<String>,
}

impl Request {
    /// The event that asks for the same of one vault, as text.
    pub fn message(&self, vault: &VaultId) -> String {
        json!({
            "action": "sync",
            "vault_id": vault,
            "sync_type": self.sync_type.as_str(),
            "dest_bucket": self.dest_bucket,
            "dest_prefix": self.dest_prefix,
        })
        .to_string()
    }
}

/// How much a run compares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SyncType {
    /// What changed since the last run.
    #[default]
    Incremental,
    /// The whole vault with the whole bucket.
    Complete,
}

impl SyncType {
    /// As the event and the answer have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Incremental => "incremental",
            Self::Complete => "complete",
        }
    }
}

/// An event that asks for nothing that can be done: the message of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

impl Action {
    /// Reads an event. `null`, `""` and a missing key are the same, and unknown keys are let through: schedulers add
    /// their own.
    ///
    /// # Errors
    /// [`Refused`], with the answer's message.
    pub fn read(event: &Value) -> Result<Self, Refused> {
        let text = |name: &str| match event.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(Refused(format!("Invalid {name}: not a text"))),
        };
        let owned = |name: &str| Ok(text(name)?.map(str::to_owned));
        let sync_type = match text("sync_type")? {
            None | Some("incremental") => SyncType::Incremental,
            Some("complete") => SyncType::Complete,
            Some(other) => return Err(Refused(format!("Unknown sync_type: {}", short(other)))),
        };
        let vault =
            text("vault_id")?.map(str::parse).transpose().map_err(|e| Refused(format!("Invalid vault_id: {e}")))?;
        let request =
            Request { vault, sync_type, dest_bucket: owned("dest_bucket")?, dest_prefix: owned("dest_prefix")? };
        match text("action")? {
            Some("sync") => Ok(Self::Sync(Box::new(request))),
            Some("dispatch") => Ok(Self::Dispatch(Box::new(request))),
            other => Err(Refused(format!("Unknown action: {}", short(other.unwrap_or_default())))),
        }
    }
}

/// A text from outside, cut to a length that fits into a message.
fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(100)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read() {
        let event =
            json!({"action":"sync","vault_id":"v1","sync_type":"complete","dest_bucket":"b","dest_prefix":"p/","x":1});
        let expected = Request {
            vault: Some("v1".parse().unwrap()),
            sync_type: SyncType::Complete,
            dest_bucket: Some("b".into()),
            dest_prefix: Some("p/".into()),
        };
        assert_eq!(Action::read(&event), Ok(Action::Sync(Box::new(expected))));
        let bare = json!({"action":"sync","vault_id":null,"sync_type":""});
        assert_eq!(Action::read(&bare), Ok(Action::Sync(Box::default())));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        for (event, message) in [
            (json!({"action":"destroy"}), "Unknown action: destroy"),
            (json!({}), "Unknown action: "),
            (json!([]), "Unknown action: "),
            (json!("sync"), "Unknown action: "),
            (json!({"action":"sync","sync_type":"full"}), "Unknown sync_type: full"),
            (json!({"action":"sync","sync_type":7}), "Invalid sync_type: not a text"),
            (
                json!({"action":"sync","vault_id":"a#b"}),
                "Invalid vault_id: not a vault id: expected 1 to 128 ASCII letters, digits, `-` or `_`",
            ),
        ] {
            assert_eq!(Action::read(&event), Err(Refused(message.into())));
        }
    }
}
