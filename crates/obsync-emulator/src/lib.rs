//! An Obsidian Sync service on loopback, for tests, the demo and benchmarks: the HTTP API and the WebSocket of
//! `protocol.md` on one TCP port, with latency, bandwidth and faults on request.
//!
//! It stores ciphertext and has no key. It shares the wire types with the client and nothing else: what it does
//! was checked with the official client, so that it cannot agree with our client's mistakes.
//!
//! ```no_run
//! # async fn demo() -> Result<(), obsync_emulator::EmulatorError> {
//! use obsync_emulator::{Account, Config, Emulator, Fault, FaultRule, NewVault, Place};
//!
//! let emulator = Emulator::start(Config::default()).await?;
//! emulator.create_account(Account::new("me@example.com", "secret"))?;
//! let vault = emulator.create_vault("me@example.com", NewVault::end_to_end("Notes", 3, "salt", "00ff"))?;
//! emulator.faults().add(FaultRule::new(Place::Pull, Fault::FlipBit).after(2));
//! println!("{} holds {vault}", emulator.api_url());
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | `emulator` | [`Emulator`], what a test holds |
//! | `server` | the port: accepts connections, tells API calls from WebSocket upgrades |
//! | `api` | the HTTP API |
//! | `session` | one WebSocket |
//! | `service` | accounts, tokens and vaults |
//! | `vault` | one vault's records and contents |
//! | `archive` | the folder that outlives a restart |
//! | `link` | one TCP connection that can be slowed and cut at any byte |
//! | `fault`, `counters`, `config` | what a test sets and reads |

mod account;
mod api;
mod archive;
mod config;
mod counters;
mod emulator;
mod error;
mod fault;
mod link;
mod refusal;
mod server;
mod service;
mod session;
mod vault;

pub use account::Account;
pub use config::{Config, ListingShape, OverLimit, RenameShape};
pub use counters::{Counters, Counts};
pub use emulator::Emulator;
pub use error::{EmulatorError, PushError};
pub use fault::{Fault, FaultId, FaultRule, Faults, Place, Schedule};
pub use vault::{NewVault, VaultKey};
