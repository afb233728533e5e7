//! The command line from outside: the real program against an emulated service.

#![allow(clippy::unwrap_used)]

mod account;
mod cloud;
mod disk;
mod exact;
mod fixture;
mod hostile;
mod kill;
#[cfg(unix)]
mod line;
mod many;
mod peer;
#[cfg(unix)]
mod reliability;
#[cfg(unix)]
mod secrets;
mod usage;
#[cfg(unix)]
mod watch;
