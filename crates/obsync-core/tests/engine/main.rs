//! The engine from outside: a vault at the emulator, over the real protocol, into stores in memory.

#![allow(clippy::unwrap_used)]

mod careful;
mod changes;
mod crash;
mod faults;
mod first;
mod fixture;
mod hostile;
mod verify;
