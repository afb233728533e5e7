//! Destinations.

#[cfg(feature = "local")]
pub mod local;
#[cfg(feature = "s3")]
pub mod s3;

#[cfg(feature = "local")]
pub use local::LocalFolder;
#[cfg(feature = "s3")]
pub use s3::{S3Bucket, S3Config};
