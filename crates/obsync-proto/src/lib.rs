//! The Obsidian Sync protocol and its encryption, as a library without side effects.
//!
//! Nothing in this crate opens a socket or a file, reads a clock or draws a random number: bytes, "now" and
//! randomness are passed in. What it knows is in `protocol.md` and held by the figures of
//! `vectors/crypto.json`, which were computed with the official client.
//!
//! | module | what it is |
//! |---|---|
//! | [`ids`] | the small types: [`Uid`], [`Cursor`], [`VaultId`], [`ContentHash`] |
//! | [`path`] | [`VaultPath`], a path that cannot leave the folder it is joined to |
//! | [`crypto`] | keys from a password, strings (paths and hashes), content as a stream |
//! | [`wire`] | the messages of the HTTP API and of the WebSocket, with limits on what a peer may send |
//! | [`session`] | one WebSocket connection as a state machine |
//! | [`host`] | which hosts may be given a token |
//! | [`totp`] | the code of two-factor sign-in |

pub mod crypto;
pub mod host;
pub mod ids;
pub mod path;
pub mod session;
pub mod totp;
pub mod wire;

pub use ids::{ContentHash, Cursor, Uid, VaultId};
pub use path::VaultPath;
