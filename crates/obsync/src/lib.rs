//! The programs of obsync: what users hold in their hands, over the engine of `obsync-core`.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | the command line's grammar and its `main` |
//! | `command` | one file for each command |
//! | [`lambda`] | the Lambda function |
//! | `log` | what is logged |
//! | [`settings`] | what the environment and the configuration file say |
//! | [`cloud`] | AWS |
//! | [`failure`] | exit codes, and the one place where errors get their advice |
//! | [`destination`] | DEST |
//! | [`memory`] | STATE |
//! | [`session`] | an account and its vaults, ready to be mirrored |
//! | [`progress`] | progress on a terminal, and elsewhere |
//! | `process` | what the system is not to do with the program's memory |
//! | `health` | how followed mirrors stand, for supervisors |

pub mod cli;
pub mod cloud;
mod command;
pub mod destination;
pub mod failure;
mod health;
pub mod lambda;
mod log;
pub mod memory;
mod process;
pub mod progress;
mod prompt;
pub mod session;
pub mod settings;
mod text;
