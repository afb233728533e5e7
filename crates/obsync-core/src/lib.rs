//! x
pub mod blob;
pub mod remote;
pub mod state;
