//! Destinations.

pub mod local;

pub use local::LocalFolder;
