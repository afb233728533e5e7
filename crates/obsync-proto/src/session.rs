//! One WebSocket connection to a vault, as a state machine (`protocol.md` §3).
//!
//! It has no socket and no clock. Whoever drives it
//! - sends what [`poll_transmit`](Session::poll_transmit) gives, as text frames;
//! - passes each frame that comes to [`handle_text`](Session::handle_text) or
//!   [`handle_binary`](Session::handle_binary), with the time;
//! - calls [`handle_timeout`](Session::handle_timeout) when [`poll_timeout`](Session::poll_timeout) has come;
//! - takes what [`poll_event`](Session::poll_event) gives.
//!
//! ```text
//! opening ──accepted──► listing ──ready──► idle ◄──────────────┐
//!                                           │ pull             │ last piece, gone, failed
//!                                           ▼                  │
//!                                         asked ──content──► receiving
//! ```
//! An error ends the session: it stays in that error, and the connection is to be dropped.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::ids::{Cursor, Uid};
use crate::wire::socket::{ClientMessage, Incoming, Init, MessageError, Record};
use crate::wire::{limits, to_json};

/// How long to wait and how much to take. The defaults are the official client's, where it has one.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Silence after which an answer that is due will not come any more.
    pub answer: Duration,
    /// Silence after which an idle connection is asked for a sign of life.
    pub ping_after: Duration,
    /// Silence after which an idle connection is given up.
    pub idle: Duration,
    /// The longest that a listing may take, beside an [`answer`](Self::answer) for each 16 KiB of it: one that comes
    /// drop by drop is never silent, and never done.
    pub listing: Duration,
    /// The most records of one listing.
    pub records: u64,
    /// The most bytes of ciphertext of one file.
    pub file_size: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(60),
            ping_after: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            listing: Duration::from_secs(3600),
            records: 20_000_000,
            // The largest plan allows 200 MB for a file; this leaves room for plans to come.
            file_size: 16 << 30,
        }
    }
}

/// What a session tells whoever drives it.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The service accepted the session; a listing follows.
    Accepted,
    /// A record: before [`Event::Ready`] of the listing, later live.
    Record(Record),
    /// A record that breaks the named limit and is not passed on.
    Oversized(Uid, &'static str),
    /// The listing is complete up to this cursor.
    Ready(Cursor),
    /// The pull's content follows: bytes of ciphertext in all.
    Content(u64),
    /// The next piece of the content.
    Piece(BytesMut),
    /// The last piece has come; another pull can start.
    PullDone,
    /// The record's content is no more; another pull can start.
    PullGone,
    /// The service could not serve the pull, for this reason; another pull can start.
    PullFailed(String),
}

/// What a refused session was refused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The token or the key hash is not taken.
    Authentication,
    /// The account has no running subscription.
    Subscription,
    /// The vault is not there, or not for this account.
    VaultNotFound,
    /// Anything else.
    Other,
}

impl RefusalKind {
    /// Reads the service's text, which is all that it sends (`protocol.md` §3).
    fn of(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
        if has(&["subscription"]) {
            Self::Subscription
        } else if has(&["vault not found"]) {
            Self::VaultNotFound
        } else if has(&["auth", "token", "not logged in", "key", "password"]) {
            Self::Authentication
        } else {
            Self::Other
        }
    }
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The service refused the session.
    #[error("the service refused the session: {text}")]
    Refused {
        /// For what.
        kind: RefusalKind,
        /// In the service's words.
        text: String,
    },
    /// Nothing came within the time.
    #[error("no answer from the service within {} s while {while_}", limit.as_secs())]
    Timeout {
        /// The time.
        limit: Duration,
        /// What was waited for.
        while_: &'static str,
    },
    /// The peer broke the protocol.
    #[error("the service broke the protocol: {0}")]
    Protocol(String),
    /// The peer went beyond a limit.
    #[error("the service sent more than is allowed: {what} above {limit}")]
    Limit {
        /// What there was too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
}

impl From<MessageError> for SessionError {
    fn from(error: MessageError) -> Self {
        SessionError::Protocol(error.to_string())
    }
}

#[derive(Debug)]
enum State {
    Opening,
    Listing { records: u64 },
    Idle,
    Asked,
    Receiving { bytes: u64, pieces: u64 },
    Failed(SessionError),
}

/// See the [module](self). Without `Debug`: what is to be sent has the token in it.
pub struct Session {
    state: State,
    limits: SessionLimits,
    transmits: VecDeque<Bytes>,
    events: VecDeque<Event>,
    opened: Instant,
    /// Bytes of the records of a listing so far.
    listed: u64,
    last_heard: Instant,
    /// When the answer that is due last came nearer. Live records between a pull and its answer are none of it.
    last_progress: Instant,
    /// When the last ping went out, while it has no answer.
    pinged: Option<Instant>,
}

impl Session {
    /// Opens a session: `init` is the first message to transmit.
    pub fn new(init: Init, limits: SessionLimits, now: Instant) -> Self {
        let mut session = Self {
            state: State::Opening,
            limits,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            opened: now,
            listed: 0,
            last_heard: now,
            last_progress: now,
            pinged: None,
        };
        session.transmit(&ClientMessage::Init(init));
        session
    }

    fn transmit(&mut self, message: &ClientMessage) {
        self.transmits.push_back(to_json(message).expect("a message is plain data"));
    }

    /// The next text frame to send. It may have secrets in it, and is cleared from memory when it is dropped.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.transmits.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called if nothing comes before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Failed(_) => None,
            State::Idle => Some(match self.pinged {
                Some(_) => self.last_heard + self.limits.idle,
                None => self.last_heard + self.limits.ping_after,
            }),
            State::Opening | State::Listing { .. } => {
                Some((self.last_progress + self.limits.answer).min(self.listing_ends()))
            }
            State::Asked | State::Receiving { .. } => Some(self.last_progress + self.limits.answer),
        }
    }

    /// Whether a [`pull`](Self::pull) can start.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Asks for a record's content. One pull at a time: answers carry no number, only their order links them.
    ///
    /// # Errors
    /// The error that ended the session; [`SessionError::Protocol`] where a listing or another pull is running.
    pub fn pull(&mut self, uid: Uid, now: Instant) -> Result<(), SessionError> {
        self.check()?;
        if !self.is_idle() {
            return Err(SessionError::Protocol("a pull was asked for while another request is running".into()));
        }
        self.transmit(&ClientMessage::Pull { uid });
        self.state = State::Asked;
        (self.last_heard, self.last_progress) = (now, now);
        Ok(())
    }

    fn check(&self) -> Result<(), SessionError> {
        match &self.state {
            State::Failed(error) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Takes a text frame.
    ///
    /// # Errors
    /// The error that ended the session, now or earlier.
    pub fn handle_text(&mut self, text: &str, now: Instant) -> Result<(), SessionError> {
        self.check()?;
        self.heard(now);
        if !matches!(self.state, State::Asked | State::Receiving { .. }) {
            self.last_progress = now;
        }
        let before = self.records();
        let result = Incoming::parse(text).map_err(SessionError::from).and_then(|message| self.on_message(message));
        self.fail_on(result)?;
        if self.records() > before {
            self.listed += text.len() as u64;
        }
        // Not left to the clock alone: a peer that never pauses leaves its driver no time to look at it.
        if self.is_listing() && now >= self.listing_ends() { self.handle_timeout(now) } else { Ok(()) }
    }

    /// Records of the running listing.
    fn records(&self) -> u64 {
        if let State::Listing { records } = self.state { records } else { 0 }
    }

    /// When a listing comes too slowly.
    fn listing_ends(&self) -> Instant {
        let answers = u32::try_from(self.listed / limits::MIN_PIECE).unwrap_or(u32::MAX);
        self.opened + self.limits.listing + self.limits.answer.saturating_mul(answers)
    }

    fn is_listing(&self) -> bool {
        matches!(self.state, State::Opening | State::Listing { .. })
    }

    /// Takes a binary frame: a piece of the running pull.
    ///
    /// # Errors
    /// The error that ended the session, now or earlier.
    pub fn handle_binary(&mut self, piece: Bytes, now: Instant) -> Result<(), SessionError> {
        self.check()?;
        self.heard(now);
        self.last_progress = now;
        let result = self.on_piece(piece);
        self.fail_on(result)
    }

    /// Acts on time that has passed: pings an idle connection, or gives up.
    ///
    /// # Errors
    /// [`SessionError::Timeout`], or the error that ended the session earlier.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        self.check()?;
        if self.poll_timeout().is_none_or(|due| now < due) {
            return Ok(());
        }
        if self.is_idle() && self.pinged.is_none() {
            self.transmit(&ClientMessage::Ping);
            self.pinged = Some(now);
            return Ok(());
        }
        if self.is_listing() && now >= self.listing_ends() {
            return self.fail_on(Err(SessionError::Limit {
                what: "seconds of a listing that comes drop by drop",
                limit: self.limits.listing.as_secs(),
            }));
        }
        let (limit, while_) = match self.state {
            State::Opening => (self.limits.answer, "opening the session"),
            State::Listing { .. } => (self.limits.answer, "listing the vault"),
            State::Idle => (self.limits.idle, "the connection was idle"),
            _ => (self.limits.answer, "fetching a file"),
        };
        self.fail_on(Err(SessionError::Timeout { limit, while_ }))
    }

    fn heard(&mut self, now: Instant) {
        self.last_heard = now;
        self.pinged = None;
    }

    fn fail_on(&mut self, result: Result<(), SessionError>) -> Result<(), SessionError> {
        if let Err(error) = &result {
            self.state = State::Failed(error.clone());
        }
        result
    }

    fn on_message(&mut self, message: Incoming<'_>) -> Result<(), SessionError> {
        match message {
            Incoming::Accepted { .. } if matches!(self.state, State::Opening) => {
                self.state = State::Listing { records: 0 };
                self.events.push_back(Event::Accepted);
            }
            Incoming::Refused(text) => {
                let text = limits::label(&text).to_owned();
                return Err(SessionError::Refused { kind: RefusalKind::of(&text), text });
            }
            // A request that fails answers `err`; before the listing is done the only request is the session itself.
            Incoming::Failed(text) if matches!(self.state, State::Opening | State::Listing { .. }) => {
                let text = limits::label(&text).to_owned();
                return Err(SessionError::Refused { kind: RefusalKind::of(&text), text });
            }
            Incoming::Record(record) => {
                self.count_record()?;
                self.events.push_back(Event::Record(record));
            }
            Incoming::Oversized(uid, what) => {
                self.count_record()?;
                self.events.push_back(Event::Oversized(uid, what));
            }
            Incoming::Ready(cursor) => {
                if matches!(self.state, State::Listing { .. }) {
                    self.state = State::Idle;
                }
                self.events.push_back(Event::Ready(cursor));
            }
            Incoming::Pong | Incoming::Other => {}
            Incoming::Content { size, pieces } if matches!(self.state, State::Asked) => {
                self.on_content(size, pieces)?
            }
            Incoming::Gone if matches!(self.state, State::Asked) => self.end_pull(Event::PullGone),
            Incoming::Failed(text) if matches!(self.state, State::Asked) => {
                self.end_pull(Event::PullFailed(limits::label(&text).to_owned()));
            }
            Incoming::Accepted { .. } | Incoming::Content { .. } | Incoming::Gone | Incoming::Failed(_) => {
                return Err(SessionError::Protocol("an answer to nothing that was asked".into()));
            }
        }
        Ok(())
    }

    fn count_record(&mut self) -> Result<(), SessionError> {
        match &mut self.state {
            State::Opening => return Err(SessionError::Protocol("a record before the session was accepted".into())),
            State::Listing { records } => {
                *records += 1;
                if *records > self.limits.records {
                    return Err(SessionError::Limit { what: "records in a listing", limit: self.limits.records });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn on_content(&mut self, size: u64, pieces: u64) -> Result<(), SessionError> {
        if size > self.limits.file_size {
            return Err(SessionError::Limit { what: "bytes of a file", limit: self.limits.file_size });
        }
        if pieces > limits::MAX_PIECES {
            return Err(SessionError::Limit { what: "pieces of a file", limit: limits::MAX_PIECES });
        }
        if pieces > size / limits::MIN_PIECE + 1 {
            return Err(SessionError::Protocol(format!("{size} bytes in {pieces} pieces")));
        }
        if size > pieces.saturating_mul(limits::MAX_PIECE as u64) {
            return Err(SessionError::Protocol(format!("{size} bytes do not fit into {pieces} pieces")));
        }
        self.events.push_back(Event::Content(size));
        self.state = State::Receiving { bytes: size, pieces };
        if pieces == 0 {
            self.end_pull(Event::PullDone);
        }
        Ok(())
    }

    fn on_piece(&mut self, piece: Bytes) -> Result<(), SessionError> {
        let State::Receiving { bytes, pieces } = &mut self.state else {
            return Err(SessionError::Protocol("a piece of content that nobody asked for".into()));
        };
        let len = piece.len() as u64;
        if piece.len() > limits::MAX_PIECE {
            return Err(SessionError::Limit { what: "bytes of a piece", limit: limits::MAX_PIECE as u64 });
        }
        if len > *bytes {
            return Err(SessionError::Protocol(format!("a file's pieces are {} bytes too long", len - *bytes)));
        }
        *bytes -= len;
        *pieces -= 1;
        let (bytes_left, pieces_left) = (*bytes, *pieces);
        if pieces_left == 0 && bytes_left > 0 {
            return Err(SessionError::Protocol(format!("a file's pieces are {bytes_left} bytes too short")));
        }
        // The frame's memory is reused for the plaintext where nothing else holds on to it.
        self.events.push_back(Event::Piece(piece.into()));
        if pieces_left == 0 {
            self.end_pull(Event::PullDone);
        }
        Ok(())
    }

    fn end_pull(&mut self, event: Event) {
        self.events.push_back(event);
        self.state = State::Idle;
    }
}

#[cfg(test)]
mod tests;
