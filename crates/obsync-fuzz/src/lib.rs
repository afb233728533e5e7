//! What is held of obsync's readers for arbitrary bytes.
//!
//! Each module has one `check`, which panics where what it says does not hold. The programs of `fuzz/` run it with
//! what libFuzzer makes up; the tests of this crate run it with what is kept in `fuzz/corpus`, on any machine.
//! `fuzz/README.md` tells how to use both.
//!
//! | module | what is read |
//! |---|---|
//! | [`message`] | text frames of the WebSocket |
//! | [`session`] | whole conversations: frames of both kinds, pulls and silence, in any order |
//! | [`answer`] | answers of the HTTP API |
//! | [`string`] | encoded paths and hashes |
//! | [`content`] | files, cut anywhere |
//! | [`path`] | paths of a vault |
//! | [`record`] | records, as the engine takes them and keeps them |
//! | [`event`] | events of the Lambda function |
//! | [`secret`] | the function's secret or the configuration file |
//! | [`head`], [`shard`] | state in a table |
//! | [`state_file`] | state in SQLite |

#![allow(clippy::missing_panics_doc, reason = "to panic is what a check is for")]

pub mod answer;
pub mod content;
pub mod event;
pub mod head;
mod keys;
pub mod message;
pub mod path;
pub mod record;
pub mod secret;
pub mod session;
pub mod shard;
pub mod state_file;
pub mod string;

/// A check of some bytes.
pub type Check = fn(&[u8]);

/// All checks, by the names of their programs and corpora.
pub const TARGETS: [(&str, Check); 12] = [
    ("answer", answer::check),
    ("content", content::check),
    ("event", event::check),
    ("head", head::check),
    ("message", message::check),
    ("path", path::check),
    ("record", record::check),
    ("secret", secret::check),
    ("session", session::check),
    ("shard", shard::check),
    ("state_file", state_file::check),
    ("string", string::check),
];
