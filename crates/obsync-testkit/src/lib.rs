//! What the tests, the demo and the benchmarks of obsync share. Not published.
//!
//! | module | what it is |
//! |---|---|
//! | [`memory`] | a destination, a state store and a vault in memory, with counters, open to tampering |
//! | [`fault`] | wrappers that let any destination, state store or service fail, die or dawdle at a chosen call |
//! | [`clock`] | a clock that jumps |
//! | [`reliability`] | what came of faults, as a table of `docs/reliability.md` |
//! | [`conformance`] | the suites that every destination and every state store has to pass |
//! | [`scenario`] | what runs of the engine do on every pair of a destination and a state store |
//! | `s3` | (feature `s3`) an S3 server in this process, with counters and faults, open to tampering |
//! | [`vault`] | a device that writes into a vault at the emulator, with real encryption |
//! | [`generate`] | vaults as people have them, and changes to them, from a seed |
//! | `dynamodb` | DynamoDB in this process (feature `dynamodb`) |
//! | [`secrets`] | looks for secrets in what a program leaves behind |
//! | [`tree`] | files and folders side by side, whether a vault's or a disk's |
//! | [`keys`] | keys, derived once per process |
//!
//! Everything here panics where a test could only fail: that is its way to report.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

pub mod clock;
pub mod conformance;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
pub mod fault;
pub mod generate;
pub mod keys;
pub mod memory;
pub mod reliability;
#[cfg(feature = "s3")]
pub mod s3;
pub mod scenario;
pub mod secrets;
pub mod tree;
pub mod vault;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks whatever another test's panic left behind: no invariant spans a panic here.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
