//! The emulator from outside: a plain WebSocket and hand-written HTTP, nothing of obsync's client.

// Helpers are no test functions, but nothing here runs outside of tests.
#![allow(clippy::unwrap_used)]

mod api;
mod archive;
mod client;
mod faults;
mod load;
mod session;
