//! The messages of the service, and the limits on what a peer may choose.
//!
//! Both sides of each message are here, so that the client and the emulator write the same fields.

pub mod api;
pub mod limits;
mod number;
mod secret;
pub mod socket;

pub use secret::to_json;
pub use socket::{ClientMessage, Record, ServerMessage};
