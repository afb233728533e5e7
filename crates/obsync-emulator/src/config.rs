//! How the service behaves apart from faults. All of it but the address and the folder can change while it runs.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

/// How the service behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; a loopback address. Port 0 takes a free one. Read at the start only.
    pub listen: SocketAddr,
    /// The folder that outlives a restart; `None` keeps everything in memory. Read at the start only.
    pub data: Option<PathBuf>,
    /// Waited before each answer, of the API and of the WebSocket.
    pub latency: Duration,
    /// Bytes per second that the service sends on one connection. Applies to connections opened later.
    pub bandwidth: Option<NonZeroU64>,
    /// Most WebSockets at once; see [`OverLimit`] for how they are counted.
    pub max_connections: Option<usize>,
    /// What becomes of one WebSocket too many.
    pub over_limit: OverLimit,
    /// Every session is refused because the subscription has expired.
    pub subscription_expired: bool,
    /// What an initial listing holds.
    pub listing: ListingShape,
    /// How a rename is recorded.
    pub rename: RenameShape,
    /// Most bytes of ciphertext in one file, announced at `init`.
    pub per_file_max: u64,
    /// Bytes that a vault may hold, for `size` only.
    pub storage_limit: u64,
    /// Records on one page of a history.
    pub history_page: usize,
    /// A TOTP code is good for one sign-in only.
    pub refuse_replayed_codes: bool,
    /// An API call without a `User-Agent` is answered as an attack.
    pub require_user_agent: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data: None,
            latency: Duration::ZERO,
            bandwidth: None,
            max_connections: None,
            over_limit: OverLimit::default(),
            subscription_expired: false,
            listing: ListingShape::default(),
            rename: RenameShape::default(),
            per_file_max: 199 * 1024 * 1024,
            storage_limit: 10 * 1024 * 1024 * 1024,
            history_page: 100,
            refuse_replayed_codes: true,
            require_user_agent: true,
        }
    }
}

/// What becomes of a WebSocket beyond [`Config::max_connections`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OverLimit {
    /// Status 503 instead of the upgrade. The vault is not known by then: all sockets count.
    #[default]
    Status503,
    /// Closed without a word after `init`. The vault's sockets count.
    Close,
    /// Refused with a text after `init`. The vault's sockets count.
    Refuse,
}

/// What an initial listing holds besides the newest record of each live path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListingShape {
    /// Deleted records too.
    pub deleted: bool,
    /// Every path's earlier records too.
    pub earlier: bool,
    /// Every record twice.
    pub twice: bool,
}

/// How the service records a push with a `relatedpath`, the deleted record with the old path's content hash.
///
/// The official command-line client never sends a `relatedpath`: it pushes the new path and, apart from that, a
/// deletion of the old one. What the real service makes of a `relatedpath` was not observed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RenameShape {
    /// A record for the new path, then a deleted one for the old path.
    #[default]
    NewThenOld,
    /// A deleted record for the old path, then one for the new path.
    OldThenNew,
    /// A record for the new path, then a deleted one for the old path with the same `uid`.
    OneUid,
    /// A record for the new path only: the old path is left to the client.
    NewOnly,
}
