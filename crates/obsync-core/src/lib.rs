//! The engine of obsync: from a vault's records to an exact mirror.
//!
//! ```text
//! Remote ── records ──► listing ──► plan (pure) ──► mirror: fetch · copy · delete ──► BlobStore
//!                                     ▲                          │
//!                                 StateStore ◄── entries, then cursor, under a lease
//! ```
//!
//! The engine knows the service, the destination and the memory of earlier runs only through three seams:
//! [`remote::Remote`], [`blob::BlobStore`] and [`state::StateStore`]. It prints nothing: what happens is told to a
//! [`progress::Observer`].

pub mod blob;
pub mod clock;
pub mod filter;
pub mod item;
pub mod listing;
pub mod mirror;
pub mod plan;
pub mod progress;
pub mod reconcile;
pub mod remote;
pub mod retry;
pub mod state;
pub mod stop;
pub mod transfer;
pub mod verify;
pub mod watch;
