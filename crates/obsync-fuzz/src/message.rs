//! Text frames of the WebSocket, as the client and as the emulator read them.

use obsync_proto::wire::limits::{MAX_ENCODED, MAX_LABEL};
use obsync_proto::wire::socket::{ClientMessage, Incoming, Record, ServerMessage, word};

/// What is read keeps its limits, and is read the same from what is written of it.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(Incoming::Record(record)) = Incoming::parse(text) {
        check_record(&record);
    }
    if let Ok(message) = serde_json::from_str::<ClientMessage>(text) {
        let written = serde_json::to_string(&message).expect("plain data");
        let again: ClientMessage = serde_json::from_str(&written).expect("read from what was written");
        assert_eq!(serde_json::to_string(&again).expect("plain data"), written);
    }
}

fn check_record(record: &Record) {
    assert!(record.path.len() <= MAX_ENCODED && record.hash.len() <= MAX_ENCODED);
    assert!(record.device.len() <= MAX_LABEL);
    assert!(record.relatedpath.as_ref().is_none_or(|path| (1..=MAX_ENCODED).contains(&path.len())));
    let kept = serde_json::to_string(record).expect("plain data");
    assert_eq!(&serde_json::from_str::<Record>(&kept).expect("a state with this record in it"), record);
    let sent = ServerMessage::Record { op: word::Push, record: record.clone() };
    let sent = serde_json::to_string(&sent).expect("plain data");
    assert_eq!(Incoming::parse(&sent).expect("sent on"), Incoming::Record(record.clone()));
}
