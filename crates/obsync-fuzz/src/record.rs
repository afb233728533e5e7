//! Records, as the engine takes them and keeps them.
//!
//! An input is a record as JSON, with its path and hash in plain text.

use obsync_core::item::{Item, ItemKind};
use obsync_core::state::{Head, Pending};
use obsync_proto::VaultPath;
use obsync_proto::crypto::plaintext_size;
use obsync_proto::wire::Record;
use obsync_proto::wire::socket::Incoming;

use crate::keys::KEYS;

/// A record that a key can read is taken as it is or refused by name; one that it cannot is refused. Whatever was
/// refused can be kept for the next run.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(Incoming::Record(plain)) = Incoming::parse(text) else { return };
    let strings = &KEYS[1].strings;
    let unreadable = Item::decode(&plain, strings).expect_err("no code of this key");
    keep(&plain, unreadable.name, unreadable.reason.to_string());

    let hash = if plain.hash.is_empty() { String::new() } else { strings.encode(&plain.hash) };
    let record = Record { path: strings.encode(&plain.path), hash, ..plain.clone() };
    let path = VaultPath::parse(plain.path.as_str());
    match Item::decode(&record, strings) {
        Ok((decoded, item)) => {
            assert_eq!(Ok(decoded), path);
            match item.kind {
                ItemKind::Deleted => assert!(record.deleted),
                ItemKind::Folder => assert!(record.folder && !record.deleted),
                ItemKind::File(file) => {
                    assert_eq!(file.hash.map(String::from).unwrap_or_default(), plain.hash.to_ascii_lowercase());
                    assert_eq!(plaintext_size(record.size), Some(file.size()));
                    assert_eq!((file.mtime, file.ctime), (record.mtime, record.ctime));
                }
                ItemKind::Unreadable => panic!("neither taken nor refused"),
            }
            assert_eq!(item.uid, record.uid);
        }
        Err(refused) => {
            assert_eq!(refused.path, path.ok());
            assert!(refused.name.chars().count() <= 301 || refused.name.len() <= VaultPath::MAX);
            keep(&record, refused.name, refused.reason.to_string());
        }
    }
}

fn keep(record: &Record, name: String, error: String) {
    let head = Head { pending: vec![Pending { name, record: record.clone(), error }], ..Head::default() };
    let kept = serde_json::to_string(&head).expect("plain data");
    assert_eq!(serde_json::from_str::<Head>(&kept).expect("read from what was written"), head);
}
