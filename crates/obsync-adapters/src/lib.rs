//! What obsync touches outside itself: one module for each thing, each behind a feature. They decide nothing; what
//! is done, and what becomes of a fault, is up to `obsync-core`, whose seams they implement.
//!
//! | feature | what it is |
//! |---|---|
//! | `remote` | [`remote`]: the service, over HTTP and WebSocket, and the account's token |
//! | `local` | [`blob::local`]: a destination that is a folder |
//! | `sqlite` | [`state::sqlite`]: state in a local database |

#[cfg(feature = "local")]
pub mod blob;
#[cfg(feature = "remote")]
pub mod remote;
#[cfg(feature = "sqlite")]
pub mod state;
