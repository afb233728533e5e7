//! The seam to the service: connections to one vault.

use async_trait::async_trait;
use obsync_proto::session::{Event, RefusalKind, SessionError};
use obsync_proto::{Cursor, Uid};

/// One vault at the service, for one account.
#[async_trait]
pub trait Remote: Send + Sync {
    /// Opens a connection. The service then sends every record after `cursor` ([`Cursor::START`]: the whole
    /// vault) and [`Event::Ready`].
    ///
    /// # Errors
    /// [`RemoteError`]; its [`kind`](RemoteError::kind) says whether to try again.
    async fn open(&self, cursor: Cursor) -> Result<Box<dyn Connection>, RemoteError>;
}

/// One open connection. After an error it is of no more use.
#[async_trait]
pub trait Connection: Send {
    /// Asks for a record's content; [`next`](Self::next) then brings it. One pull at a time, after
    /// [`Event::Ready`].
    ///
    /// # Errors
    /// [`RemoteError`].
    async fn pull(&mut self, uid: Uid) -> Result<(), RemoteError>;

    /// The next thing that the service sends. Answers pings and keeps the time limits meanwhile. Safe to cancel.
    ///
    /// # Errors
    /// [`RemoteError`].
    async fn next(&mut self) -> Result<Event, RemoteError>;
}

/// What kind of fault it is: all that retries and exit codes depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteErrorKind {
    /// The token or the key is not accepted.
    Authentication,
    /// The account has no running subscription.
    Subscription,
    /// There is no such vault for this account.
    VaultNotFound,
    /// Refused for another reason, or to an address that is not to be trusted.
    Refused,
    /// Out of reach, overloaded, cut off, silent or talking nonsense: worth another try.
    Unreachable,
}

/// A fault at or on the way to the service.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct RemoteError {
    /// What kind of fault.
    pub kind: RemoteErrorKind,
    /// The fact and its values, for people.
    pub message: String,
}

impl RemoteError {
    /// An error of this kind.
    pub fn new(kind: RemoteErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Whether nothing can be had from the service any more, so that there is no use in asking for other files.
    pub fn ends_run(&self) -> bool {
        !matches!(self.kind, RemoteErrorKind::Unreachable | RemoteErrorKind::Refused)
    }

    /// Whether another try can help.
    pub fn is_transient(&self) -> bool {
        self.kind == RemoteErrorKind::Unreachable
    }
}

impl From<SessionError> for RemoteError {
    fn from(error: SessionError) -> Self {
        let kind = match &error {
            SessionError::Refused { kind: RefusalKind::Authentication, .. } => RemoteErrorKind::Authentication,
            SessionError::Refused { kind: RefusalKind::Subscription, .. } => RemoteErrorKind::Subscription,
            SessionError::Refused { kind: RefusalKind::VaultNotFound, .. } => RemoteErrorKind::VaultNotFound,
            SessionError::Limit { .. } => RemoteErrorKind::Refused,
            // A refusal in words that nobody has seen yet is most likely a passing one ("busy", "try again").
            SessionError::Refused { kind: RefusalKind::Other, .. }
            | SessionError::Timeout { .. }
            | SessionError::Protocol(_) => RemoteErrorKind::Unreachable,
        };
        Self::new(kind, error.to_string())
    }
}
