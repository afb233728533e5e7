//! The engine from outside: a vault at the emulator, over the real protocol, into stores in memory. What it does on every
//! pair of stores is in `obsync_testkit::scenario`; here is what needs a look into the stores, or has nothing to do with
//! them.

#![allow(clippy::unwrap_used)]

mod careful;
mod cost;
mod crash;
mod faults;
mod fixture;
mod hostile;
mod transfer;
mod verify;

mod folder {
    obsync_testkit::scenarios!(crate::fixture::folders());
}

mod bucket {
    obsync_testkit::scenarios!(crate::fixture::buckets());
}
