//! Limits on what a peer chooses. A peer that goes beyond one is not believed any further.

/// The most bytes of content in one binary frame (`protocol.md` §3, Pull).
pub const MAX_PIECE: usize = 2 * 1024 * 1024;

/// The fewest bytes of content that there are for each binary frame but one. Known services send frames of [`MAX_PIECE`];
/// with many small ones a file could be made to take as long as the peer likes, none of them late.
pub const MIN_PIECE: u64 = 16 * 1024;

/// The most bytes of one text frame. An honest record is under 20 KB.
pub const MAX_TEXT: usize = 1024 * 1024;

/// The most pieces of one file. At [`MAX_PIECE`] bytes each this is 128 GiB, far above any plan's limit.
pub const MAX_PIECES: u64 = 65_536;

/// The most hex digits of an encoded path or hash: a path of 4,096 bytes and the 28 bytes around it, doubled,
/// and as much again.
pub const MAX_ENCODED: usize = 16 * 1024;

/// The most bytes of a name that is for people only (a device, a refusal's text); the rest is cut off.
pub const MAX_LABEL: usize = 1024;

/// The most bytes of an answer of the HTTP API.
pub const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Cuts `text` to at most [`MAX_LABEL`] bytes, at a character's edge.
pub fn label(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_LABEL)]
}
