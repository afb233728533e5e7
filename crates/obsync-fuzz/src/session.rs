//! Whole conversations on a WebSocket.
//!
//! An input is a line for each step: `<TEXT` a text frame comes, `=N` a binary frame of N bytes comes, `>UID` a pull is
//! asked for, `~MS` time passes. Whatever comes, and in whatever order.

use std::time::{Duration, Instant};

use obsync_proto::session::{Event, Session, SessionError, SessionLimits};
use obsync_proto::wire::limits::{MAX_ENCODED, MAX_LABEL, MAX_PIECE};
use obsync_proto::wire::socket::Init;
use obsync_proto::{Cursor, Uid};

/// The most records of a listing.
const RECORDS: u64 = 5;

/// The most bytes of a file.
const FILE: u64 = 6 << 20;

/// A session tells of a pull what was announced and no byte more, and of a listing no more than its limit; it has one
/// answer to one pull; and it ends, in an error that stays, at the latest when nothing more comes.
pub fn check(input: &[u8]) {
    let mut conversation = Conversation::new();
    for line in String::from_utf8_lossy(input).split('\n') {
        conversation.step(line);
    }
    conversation.silence();
}

struct Conversation {
    session: Session,
    now: Instant,
    error: Option<SessionError>,
    is_accepted: bool,
    is_listed: bool,
    /// Before it was listed.
    records: u64,
    /// A pull has no end yet.
    is_pulling: bool,
    /// Of the content that was announced.
    left: Option<u64>,
}

impl Conversation {
    fn new() -> Self {
        let init = Init {
            token: "token".to_owned().into(),
            id: "vault".parse().expect("an id"),
            keyhash: "hash".to_owned().into(),
            cursor: Cursor::START,
            initial: true,
            device: "device".to_owned(),
            encryption_version: 3,
        };
        let now = Instant::now();
        let limits = SessionLimits { records: RECORDS, file_size: FILE, ..SessionLimits::default() };
        let mut session = Session::new(init, limits, now);
        assert!(session.poll_transmit().is_some_and(|text| text.starts_with(br#"{"op":"init""#)));
        Self {
            session,
            now,
            error: None,
            is_accepted: false,
            is_listed: false,
            records: 0,
            is_pulling: false,
            left: None,
        }
    }

    fn step(&mut self, line: &str) {
        let Some(kind) = line.chars().next() else { return };
        let rest = &line[kind.len_utf8()..];
        let number: u64 = rest.parse().unwrap_or_default();
        let done = match kind {
            '<' => self.session.handle_text(rest, self.now),
            '=' => {
                let len = usize::try_from(number).unwrap_or_default().min(MAX_PIECE + 1);
                self.session.handle_binary(vec![0; len].into(), self.now)
            }
            '>' => {
                let was_idle = self.session.is_idle();
                let done = self.session.pull(Uid(number), self.now);
                assert_eq!(done.is_ok(), was_idle);
                if !was_idle {
                    // Refused, and the session goes on as if it had not been asked.
                    return;
                }
                self.is_pulling = true;
                done
            }
            '~' => {
                self.now += Duration::from_millis(number.min(1 << 40));
                self.session.handle_timeout(self.now)
            }
            _ => return,
        };
        self.settle(done);
    }

    fn settle(&mut self, done: Result<(), SessionError>) {
        if let Some(error) = &self.error {
            assert_eq!(done.as_ref(), Err(error), "an error stays");
            assert_eq!(self.session.poll_event(), None);
            assert_eq!(self.session.poll_transmit(), None);
            return;
        }
        let mut events = 0;
        while let Some(event) = self.session.poll_event() {
            events += 1;
            self.on(event);
        }
        assert!(events <= 2, "one frame, and the end of a pull with it");
        while let Some(text) = self.session.poll_transmit() {
            assert!(text.starts_with(br#"{"op":"p"#), "a pull or a ping");
        }
        assert_eq!(self.session.is_idle(), self.is_listed && !self.is_pulling && done.is_ok());
        self.error = done.err();
        assert_eq!(self.session.poll_timeout().is_none(), self.error.is_some());
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Accepted => {
                assert!(!self.is_accepted);
                self.is_accepted = true;
            }
            Event::Record(record) => {
                assert!(record.path.len() <= MAX_ENCODED && record.hash.len() <= MAX_ENCODED);
                self.count();
            }
            Event::Oversized(..) => self.count(),
            Event::Ready(_) => self.is_listed |= self.is_accepted,
            Event::Content(size) => {
                assert!(self.is_pulling && self.left.is_none() && size <= FILE);
                self.left = Some(size);
            }
            Event::Piece(piece) => {
                assert!(piece.len() <= MAX_PIECE);
                self.left = Some(self.left.expect("announced") - piece.len() as u64);
            }
            Event::PullDone => {
                assert!(self.is_pulling);
                assert_eq!(self.left.take(), Some(0), "no byte more or less than was announced");
                self.is_pulling = false;
            }
            Event::PullGone => self.end_without_content(),
            Event::PullFailed(text) => {
                assert!(text.len() <= MAX_LABEL);
                self.end_without_content();
            }
        }
    }

    fn count(&mut self) {
        if !self.is_listed {
            self.records += 1;
            assert!(self.records <= RECORDS);
        }
    }

    fn end_without_content(&mut self) {
        assert!(self.is_pulling && self.left.is_none());
        self.is_pulling = false;
    }

    /// Nothing comes any more: one ping, and then the end.
    fn silence(&mut self) {
        for _ in 0..2 {
            let Some(due) = self.session.poll_timeout() else { return };
            assert!(due <= self.now + SessionLimits::default().idle);
            self.now = self.now.max(due);
            let done = self.session.handle_timeout(self.now);
            self.settle(done);
        }
        assert!(matches!(self.error, Some(SessionError::Timeout { .. })));
    }
}
