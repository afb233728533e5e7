//! Answers of the HTTP API, and the hosts that they name.

use obsync_proto::host::SessionHost;
use obsync_proto::wire::api::{AnswerError, SignedIn, VaultList, parse_answer};
use obsync_proto::wire::limits::MAX_LABEL;

/// No host of a vault gets a token that is not Obsidian's; a list is read the same from what is written of it; and no
/// message quotes more than a line, or anything of an answer that could hold a secret.
pub fn check(input: &[u8]) {
    let list = parse_answer::<VaultList>(input);
    if let Ok(list) = &list {
        list.vaults.iter().chain(&list.shared).for_each(|row| check_host(&row.host));
        let written = serde_json::to_string(list).expect("plain data");
        let again: VaultList = parse_answer(written.as_bytes()).expect("read from what was written");
        assert_eq!(serde_json::to_string(&again).expect("plain data"), written);
    }
    for error in [list.err(), parse_answer::<SignedIn>(input).err()].into_iter().flatten() {
        match error {
            AnswerError::Refused(refusal) => assert!(refusal.error.len() <= MAX_LABEL),
            AnswerError::Unexpected(text) if input.trim_ascii_start().starts_with(b"{") => {
                let where_alone = "a JSON object of another form (line ";
                assert!(text == "broken JSON" || text.starts_with(where_alone), "{text}");
            }
            // 200 bytes, of which each can be shown as `\u{10ffff}`.
            AnswerError::Unexpected(text) => assert!(text.len() <= 200 * 10 + 2 && !text.contains('\n')),
        }
    }
}

fn check_host(host: &str) {
    if let Ok(allowed) = SessionHost::parse(host, false) {
        assert_eq!(allowed.url(), format!("wss://{host}/"));
        assert!(host.to_ascii_lowercase().ends_with(".obsidian.md"));
    }
    if let Ok(allowed) = SessionHost::parse(host, true) {
        let url = allowed.url();
        let authority = url.split_once("://").and_then(|(_, rest)| rest.strip_suffix('/'));
        assert_eq!(authority, Some(host));
        // Nothing that another reader of URLs takes for the end of the host, or for its beginning.
        assert!(host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b)), "{host:?}");
    }
}
