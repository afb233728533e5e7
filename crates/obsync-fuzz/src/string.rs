//! Encoded paths and hashes.

use obsync_proto::crypto::StringError;

use crate::keys::KEYS;

/// What was encoded decodes, and nothing else does: neither what is damaged, nor cut, nor another key's, nor anything
/// that the input may be.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for (own, other) in [(&KEYS[0].strings, &KEYS[1].strings), (&KEYS[1].strings, &KEYS[0].strings)] {
        if let Ok(plain) = own.decode(&text) {
            assert_eq!(own.encode(&plain), text.to_ascii_lowercase(), "decodes, and is not its code");
        }
        let code = own.encode(&text);
        assert_eq!(own.decode(&code).as_deref(), Ok(&*text));
        assert!(other.decode(&code).is_err());
        // Somewhere, as the input has it.
        let at = input.iter().fold(0, |at: usize, byte| at.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        let at = at % code.len();
        assert!(own.decode(&code[..at]).is_err(), "cut at {at}");
        let mut damaged = code.into_bytes();
        damaged[at] = if damaged[at] == b'0' { b'1' } else { b'0' };
        let damaged = String::from_utf8(damaged).expect("hex digits");
        assert_eq!(own.decode(&damaged), Err(StringError::Tag), "digit {at}");
    }
}
