//! The head of a state in a table, and what goes with it.
//!
//! An input is up to four lines: the state as JSON, the versions of its shards with commas between them, pending changes
//! as JSON, and the list of generations as JSON.

use obsync_adapters::state::packed::head::{
    Attributes, MOST_SHARDS, Meta, Reading, Spill, check as check_of, pack_versions, read, read_generations,
    read_pending,
};
use obsync_adapters::state::packed::shard::pack_bytes;
use obsync_core::state::{Head, Pending};
use serde_json::Value;

/// A head that is believed fits together, and is read the same from what is written of it; pending changes are those
/// that were noted, or none.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.splitn(4, '\n');
    let [state, versions, pending, generations] = std::array::from_fn(|_| lines.next().unwrap_or_default());
    check_state(state, versions);
    if let Ok(head) = serde_json::from_str::<Head>(state) {
        let kept = serde_json::to_string(&head).expect("plain data");
        assert_eq!(serde_json::from_str::<Head>(&kept).expect("read from what was written"), head);
    }

    let spill = Spill { slot: 0, parts: 1, check: check_of(pending.as_bytes()) };
    let plain: Option<Vec<Pending>> = serde_json::from_str(pending).ok();
    let packed = pack_bytes(pending.as_bytes());
    assert_eq!(read_pending(&spill, &packed), plain);
    let other = Spill { check: check_of(b"others"), ..spill };
    assert_eq!(read_pending(&other, &packed), None);
    let _ = read_pending(&other, input);

    assert!(read_generations(generations).iter().all(|generation| generation.shards <= MOST_SHARDS));
}

fn check_state(state: &str, versions: &str) {
    let versions: Vec<u64> = versions.split(',').filter_map(|number| number.parse().ok()).collect();
    let value: Value = serde_json::from_str(state).unwrap_or_default();
    let packed = pack_versions(&versions);
    let attributes = Attributes {
        state: Some(state),
        generation: value["generation"].as_str(),
        versions: Some(&packed),
        ..Attributes::default()
    };
    let Reading::Good(meta) = read(&attributes, None, 0) else { return };
    assert_eq!(meta.versions.len(), meta.state.shards as usize);
    assert!(meta.state.shards <= MOST_SHARDS);
    check_written(&meta);
    let not_believed = [
        Attributes { ttl: Some(0), ..attributes },
        Attributes { damaged: Some("so it is said"), ..attributes },
        Attributes { versions: None, ..attributes },
        Attributes { generation: None, ..attributes },
    ];
    for attributes in not_believed {
        assert!(matches!(read(&attributes, None, 0), Reading::Unusable(_)));
    }
    let elsewhere = format!("{} or elsewhere", meta.state.destination);
    assert_eq!(read(&attributes, Some(&elsewhere), 0), Reading::Nothing);
}

fn check_written(meta: &Meta) {
    let state = serde_json::to_string(&meta.state).expect("plain data");
    let versions = pack_versions(&meta.versions);
    let written = Attributes {
        state: Some(&state),
        generation: Some(&meta.state.generation),
        versions: Some(&versions),
        ..Attributes::default()
    };
    assert_eq!(read(&written, Some(&meta.state.destination), 0), Reading::Good(Box::new(meta.clone())));
}
