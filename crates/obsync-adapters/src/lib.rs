//! What obsync touches outside itself: one module for each thing, each behind a feature. They decide nothing; what
//! is done, and what becomes of a fault, is up to `obsync-core`, whose seams they implement.
//!
//! | feature | what it is |
//! |---|---|
//! | `remote` | [`remote`]: the service, over HTTP and WebSocket, and the account's token |
//! | `local` | [`blob::local`]: a destination that is a folder |
//! | `aws` | `aws`: what all AWS services are reached with; a part of each of their features |
//! | `s3` | `blob::s3`: a destination that is a bucket |
//! | `queue` | `queue`: AWS SQS |
//! | `secrets` | `secrets`: AWS Secrets Manager |
//! | `dynamodb` | `state::dynamodb`: state in a table of AWS DynamoDB |
//! | `packed` | `state::packed`: how such state is written, without AWS; a part of `dynamodb` |
//! | `sqlite` | [`state::sqlite`]: state in a local database |

#[cfg(feature = "aws")]
pub mod aws;
#[cfg(any(feature = "local", feature = "s3"))]
pub mod blob;
#[cfg(feature = "queue")]
pub mod queue;
#[cfg(feature = "remote")]
pub mod remote;
#[cfg(feature = "secrets")]
pub mod secrets;
#[cfg(any(feature = "packed", feature = "sqlite"))]
pub mod state;
#[cfg(any(feature = "aws", feature = "remote"))]
pub mod tls;
