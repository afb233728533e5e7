//! The commands, one file for each.

pub(crate) mod completions;
pub(crate) mod invoke;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod reset;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod sync;
pub(crate) mod vaults;
pub(crate) mod verify;
mod watch;
