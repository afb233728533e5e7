//! The service: its HTTP API, its WebSocket, and the account that both are used with.
//!
//! The token and the key hash go to the API's base and to [`SessionHost`](obsync_proto::host::SessionHost)s only;
//! no redirect is followed, and no proxy is asked.

pub mod account;
pub mod api;
pub mod socket;
pub mod token;
#[cfg(feature = "dynamodb")]
pub mod token_table;

pub use account::{Account, AccountError, Credentials};
pub use api::{Api, ApiConfig, ApiError, InvalidApiConfig};
pub use socket::{SocketConfig, SocketRemote};
pub use token::{StoredToken, TokenFile, TokenInMemory, TokenStore, TokenStoreError};
#[cfg(feature = "dynamodb")]
pub use token_table::TableTokens;
