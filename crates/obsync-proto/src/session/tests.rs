//! The session in virtual time: "now" is a number of seconds that the test chooses.

use super::*;

const OK: &str = r#"{"res":"ok","perFileMax":208666624,"userId":1}"#;
const READY: &str = r#"{"op":"ready","version":7}"#;

struct Peer {
    session: Session,
    start: Instant,
}

impl Peer {
    fn new() -> Self {
        let start = Instant::now();
        let init = Init {
            token: "t".to_owned().into(),
            id: "v".parse().unwrap(),
            keyhash: "k".to_owned().into(),
            cursor: Cursor::START,
            initial: true,
            device: "d".into(),
            encryption_version: 3,
        };
        let limits = SessionLimits { records: 3, file_size: 10 << 20, ..SessionLimits::default() };
        Self { session: Session::new(init, limits, start), start }
    }

    /// A session that has listed and is idle.
    fn ready() -> Self {
        let mut peer = Self::new();
        peer.sent();
        peer.text(OK, 0).unwrap();
        peer.text(READY, 0).unwrap();
        peer.events();
        peer
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn text(&mut self, text: &str, seconds: u64) -> Result<(), SessionError> {
        self.session.handle_text(text, self.at(seconds))
    }

    fn piece(&mut self, len: usize) -> Result<(), SessionError> {
        self.session.handle_binary(vec![0; len].into(), self.at(0))
    }

    fn pull(&mut self, uid: u64) {
        self.session.pull(Uid(uid), self.at(0)).unwrap();
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    fn sent(&mut self) -> Vec<String> {
        let sent = std::iter::from_fn(|| self.session.poll_transmit());
        sent.map(|frame| String::from_utf8(frame.to_vec()).unwrap()).collect()
    }
}

fn record(uid: u64) -> String {
    format!(r#"{{"op":"push","uid":{uid},"path":"aa","hash":"","size":0}}"#)
}

#[test]
fn a_session_opens_lists_and_pulls() {
    let mut peer = Peer::new();
    assert!(peer.sent()[0].starts_with(r#"{"op":"init","token":"t""#));
    for text in [OK, &record(1), &record(7), READY] {
        peer.text(text, 1).unwrap();
    }
    assert!(matches!(
        peer.events()[..],
        [Event::Accepted, Event::Record(_), Event::Record(_), Event::Ready(Cursor(7))]
    ));
    peer.pull(7);
    assert_eq!(peer.sent(), [r#"{"op":"pull","uid":7}"#]);
    peer.text(r#"{"size":20010,"pieces":2,"hash":"x"}"#, 2).unwrap();
    peer.text(&record(8), 2).unwrap();
    peer.piece(20_000).unwrap();
    peer.text(READY, 2).unwrap();
    assert!(!peer.session.is_idle());
    peer.piece(10).unwrap();
    assert!(peer.session.is_idle());
    let events = peer.events();
    assert!(
        matches!(&events[..], [Event::Content(20_010), Event::Record(_), Event::Piece(a), Event::Ready(_), Event::Piece(b), Event::PullDone] if a.len() == 20_000 && b.len() == 10),
        "{events:?}"
    );
}

#[test]
fn pulls_that_end_without_content_leave_the_session_usable() {
    let mut peer = Peer::ready();
    for (answer, event) in
        [(r#"{"deleted":true}"#, Event::PullGone), (r#"{"err":"Internal"}"#, Event::PullFailed("Internal".into()))]
    {
        peer.pull(1);
        peer.text(answer, 0).unwrap();
        assert_eq!(peer.events(), [event]);
    }
    peer.pull(1);
    peer.text(r#"{"size":0,"pieces":0,"hash":""}"#, 0).unwrap();
    assert_eq!(peer.events(), [Event::Content(0), Event::PullDone]);
}

#[test]
fn refusals_are_told_apart() {
    for (text, kind) in [
        ("Your subscription to Obsidian Sync has expired", RefusalKind::Subscription),
        ("Vault not found", RefusalKind::VaultNotFound),
        ("Authentication failed", RefusalKind::Authentication),
        ("busy", RefusalKind::Other),
    ] {
        let mut peer = Peer::new();
        let error = peer.text(&format!(r#"{{"res":"err","msg":"{text}"}}"#), 0).unwrap_err();
        assert_eq!(error, SessionError::Refused { kind, text: text.into() });
        assert_eq!(peer.text(OK, 0), Err(error), "an error ends the session for good");
    }
}

#[test]
fn what_breaks_the_protocol_ends_the_session() {
    let cases: [(&str, &[&str], &[usize]); 10] = [
        ("piece out of nowhere", &[], &[5]),
        ("short last piece", &[r#"{"size":30,"pieces":1}"#], &[29]),
        ("extra bytes", &[r#"{"size":30,"pieces":1}"#], &[31]),
        ("extra piece", &[r#"{"size":30,"pieces":1}"#], &[30, 1]),
        ("size above what pieces hold", &[r#"{"size":2097153,"pieces":1}"#], &[]),
        ("size above the limit", &[r#"{"size":1152921504606846976,"pieces":9}"#], &[]),
        ("a million pieces", &[r#"{"size":30,"pieces":1000000}"#], &[]),
        ("a piece for every byte", &[r#"{"size":30,"pieces":30}"#], &[]),
        ("bad JSON", &["{"], &[]),
        ("second answer", &[r#"{"deleted":true}"#, r#"{"deleted":true}"#], &[]),
    ];
    for (name, texts, pieces) in cases {
        let mut peer = Peer::ready();
        if name != "piece out of nowhere" {
            peer.pull(1);
        }
        let mut results: Vec<_> = texts.iter().map(|t| peer.text(t, 0)).collect();
        results.extend(pieces.iter().map(|len| peer.piece(*len)));
        let last = results.pop().unwrap();
        assert!(results.iter().all(Result::is_ok), "{name}: {results:?}");
        assert!(matches!(last, Err(SessionError::Protocol(_) | SessionError::Limit { .. })), "{name}: {last:?}");
    }
}

#[test]
fn a_listing_without_end_is_cut_off() {
    let mut peer = Peer::new();
    peer.text(OK, 0).unwrap();
    for uid in 1..=3 {
        peer.text(&record(uid), 0).unwrap();
    }
    assert!(matches!(peer.text(&record(4), 0), Err(SessionError::Limit { limit: 3, .. })));
}

/// Neither drop by drop nor without a pause, so that nobody looks at the clock.
#[test]
fn a_listing_that_is_never_late_ends_all_the_same() {
    for answers in [&[OK, r#"{"op":"pong"}"#][..], &[r#"{"op":"pong"}"#], &[OK, r#"{"op":"news"}"#]] {
        let mut peer = Peer::new();
        let mut ended = (0..).step_by(50).map(|at| {
            let result = peer.text(answers[usize::from(at > 0).min(answers.len() - 1)], at);
            (at, result.and_then(|()| peer.session.handle_timeout(peer.at(at + 49))))
        });
        let (at, error) = ended.find(|(_, result)| result.is_err()).unwrap();
        assert!((3550..=3600).contains(&at), "{at}");
        assert!(matches!(error, Err(SessionError::Limit { limit: 3600, .. })), "{error:?}");
    }
    let mut unheeded = Peer::new();
    unheeded.text(OK, 0).unwrap();
    assert!(matches!(unheeded.text(r#"{"op":"pong"}"#, 3600), Err(SessionError::Limit { .. })));
}

/// A million long names over a slow line take longer than an hour.
#[test]
fn a_listing_that_goes_on_may_take_its_time() {
    let mut peer = Peer::new();
    peer.text(OK, 0).unwrap();
    let long = record(1).replacen('{', &format!(r#"{{"padding":"{}","#, "x".repeat(20_000)), 1);
    peer.session.limits.records = 1000;
    for at in (0..2 * 3600).step_by(50) {
        peer.text(&long, at).unwrap();
    }
}

#[test]
fn records_before_acceptance_are_not_believed() {
    assert!(matches!(Peer::new().text(&record(1), 0), Err(SessionError::Protocol(_))));
}

#[test]
fn silence_ends_a_request_and_an_idle_connection_after_a_ping() {
    let mut opening = Peer::new();
    assert_eq!(opening.session.poll_timeout(), Some(opening.at(60)));
    opening.session.handle_timeout(opening.at(59)).unwrap();
    assert!(matches!(opening.session.handle_timeout(opening.at(60)), Err(SessionError::Timeout { .. })));
    assert_eq!(opening.session.poll_timeout(), None);

    let mut idle = Peer::ready();
    assert_eq!(idle.session.poll_timeout(), Some(idle.at(10)));
    idle.session.handle_timeout(idle.at(10)).unwrap();
    assert_eq!(idle.sent(), [r#"{"op":"ping"}"#]);
    assert_eq!(idle.session.poll_timeout(), Some(idle.at(120)));
    idle.text(r#"{"op":"pong"}"#, 50).unwrap();
    assert_eq!(idle.session.poll_timeout(), Some(idle.at(60)));
    idle.session.handle_timeout(idle.at(60)).unwrap();
    assert!(matches!(idle.session.handle_timeout(idle.at(170)), Err(SessionError::Timeout { .. })));
}

/// Regression: a busy vault's records kept a pull alive that was never answered.
#[test]
fn live_records_do_not_stand_for_an_answer() {
    let mut peer = Peer::ready();
    peer.pull(1);
    peer.text(&record(8), 30).unwrap();
    peer.text(&record(9), 59).unwrap();
    assert!(matches!(peer.session.handle_timeout(peer.at(60)), Err(SessionError::Timeout { .. })));
}

#[test]
fn only_one_pull_at_a_time() {
    let mut peer = Peer::ready();
    peer.pull(1);
    assert!(peer.session.pull(Uid(2), peer.at(0)).is_err());
}
