//! What can go wrong on the emulator's own side.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use obsync_proto::VaultId;

/// Why the emulator could not do what a test asked for.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// Only loopback may be listened on: the emulator's secrets are for show.
    #[error("{0} is not a loopback address")]
    NotLoopback(SocketAddr),
    /// The port could not be opened.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The folder of stored data could not be read or written.
    #[error("cannot use {0}")]
    Data(PathBuf, #[source] io::Error),
    /// A file of stored data is not what the emulator wrote.
    #[error("{0} is damaged")]
    Damaged(PathBuf, #[source] serde_json::Error),
    /// The operating system gave no random bytes.
    #[error("no random bytes: {0}")]
    Randomness(getrandom::Error),
    /// There is no such account.
    #[error("no account {0:?}")]
    NoSuchAccount(String),
    /// The account exists already.
    #[error("the account {0:?} exists already")]
    AccountExists(String),
    /// A TOTP secret that is no Base32.
    #[error("the TOTP secret is not Base32")]
    BadTotpSecret,
    /// There is no such vault.
    #[error("no vault {0}")]
    NoSuchVault(VaultId),
    /// A push was refused, as a client's would have been.
    #[error(transparent)]
    Push(#[from] PushError),
}

/// Why a push was refused.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// A record without a path.
    #[error("a record needs a path")]
    NoPath,
    /// More bytes than one file may have.
    #[error("file of {size} bytes is larger than the {limit} allowed")]
    TooLarge {
        /// Bytes announced.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The pieces do not add up to the size announced.
    #[error("{announced} bytes announced, {received} received")]
    WrongSize {
        /// Bytes announced.
        announced: u64,
        /// Bytes received.
        received: u64,
    },
    /// The content could not be stored.
    #[error("cannot store the content")]
    Store(#[from] io::Error),
}
