//! The WebSocket against the emulator, with each of its faults, and against servers that are none.
#![cfg(feature = "remote")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use obsync_adapters::remote::{SocketConfig, SocketRemote};
use obsync_core::remote::{Connection, Remote, RemoteError, RemoteErrorKind};
use obsync_emulator::{Account, Config, Emulator, Fault, FaultRule, NewVault, OverLimit, Place};
use obsync_proto::host::SessionHost;
use obsync_proto::session::{Event, SessionLimits};
use obsync_proto::wire::Record;
use obsync_proto::wire::api::SignIn;
use obsync_proto::wire::socket::Push;
use obsync_proto::{Cursor, Uid, VaultId};
use support::{Scripted, answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const EMAIL: &str = "me@example.com";
const KEYHASH: &str = "00ff";
const PIECE: usize = 2 << 20;

struct Service {
    emulator: Emulator,
    vault: VaultId,
    config: SocketConfig,
}

impl Service {
    /// A vault with two small files and one of three pieces.
    async fn start() -> Self {
        let emulator = Emulator::start(Config::default()).await.unwrap();
        emulator.create_account(Account::new(EMAIL, "pw")).unwrap();
        let vault = emulator.create_vault(EMAIL, NewVault::end_to_end("Notes", 3, "salt", KEYHASH)).unwrap();
        let base = obsync_adapters::remote::ApiConfig {
            base: emulator.api_url(),
            ..obsync_adapters::remote::ApiConfig::new("obsync-test/1")
        };
        let sign_in = SignIn { email: EMAIL.into(), password: "pw".to_owned().into(), mfa: String::new().into() };
        let token = obsync_adapters::remote::Api::new(&base).unwrap().call(&sign_in).await.unwrap().token;
        let config = SocketConfig { token, vault: vault.clone(), ..config(&emulator.host()) };
        let service = Self { emulator, vault, config };
        for (path, content) in [("aa", small()), ("bb", small()), ("cc", large())] {
            service.push(path, content);
        }
        service
    }

    fn push(&self, path: &str, content: Bytes) -> Uid {
        let push = Push { path: path.into(), hash: Some(format!("{path}00")), ..Push::default() };
        self.emulator.push(&self.vault, push, content).unwrap()
    }

    fn fault(&self, place: Place, fault: Fault) {
        self.emulator.faults().add(FaultRule::new(place, fault));
    }

    async fn open(&self) -> Result<Box<dyn Connection>, RemoteError> {
        SocketRemote::new(self.config.clone()).open(Cursor::START).await
    }

    async fn listed(&self) -> Result<Box<dyn Connection>, RemoteError> {
        let mut connection = self.open().await?;
        listing(&mut *connection).await?;
        Ok(connection)
    }
}

fn config(host: &str) -> SocketConfig {
    SocketConfig {
        host: SessionHost::parse(host, true).unwrap(),
        token: "secret-token".to_owned().into(),
        vault: "v".parse().unwrap(),
        keyhash: KEYHASH.to_owned().into(),
        version: 3,
        device: "obsync".into(),
        user_agent: "obsync-test/1".into(),
        limits: SessionLimits {
            answer: Duration::from_millis(500),
            ping_after: Duration::from_millis(150),
            idle: Duration::from_millis(600),
            ..SessionLimits::default()
        },
        connect_timeout: Duration::from_millis(500),
    }
}

fn small() -> Bytes {
    Bytes::from_static(&[1; 40])
}

fn large() -> Bytes {
    (0..2 * PIECE + 5_000).map(|n| (n % 251) as u8).collect()
}

/// The records up to `ready`.
async fn listing(connection: &mut dyn Connection) -> Result<(Vec<Record>, Cursor), RemoteError> {
    let mut records = Vec::new();
    loop {
        match connection.next().await? {
            Event::Accepted => {}
            Event::Record(record) => records.push(record),
            Event::Ready(cursor) => return Ok((records, cursor)),
            other => panic!("{other:?}"),
        }
    }
}

async fn pulled(connection: &mut dyn Connection, uid: u64) -> Result<Result<BytesMut, String>, RemoteError> {
    connection.pull(Uid(uid)).await?;
    let mut content = BytesMut::new();
    loop {
        match connection.next().await? {
            Event::Content(size) => content.reserve(size as usize),
            Event::Piece(piece) => content.extend_from_slice(&piece),
            Event::PullDone => return Ok(Ok(content)),
            Event::PullGone => return Ok(Err("gone".into())),
            Event::PullFailed(text) => return Ok(Err(text)),
            other => panic!("{other:?}"),
        }
    }
}

/// The error that comes within `limit`.
async fn error_within<T>(limit: Duration, work: impl Future<Output = Result<T, RemoteError>>) -> RemoteError {
    match tokio::time::timeout(limit, work).await {
        Ok(Err(error)) => error,
        Ok(Ok(_)) => panic!("no error"),
        Err(_) => panic!("nothing within {limit:?}"),
    }
}

const SOON: Duration = Duration::from_secs(3);

#[tokio::test]
async fn vault_is_listed_and_pulled() {
    let service = Service::start().await;
    let mut connection = service.open().await.unwrap();
    let (records, cursor) = listing(&mut *connection).await.unwrap();
    let paths: Vec<&str> = records.iter().map(|r| r.path.as_str()).collect();
    assert_eq!((paths, cursor), (vec!["aa", "bb", "cc"], Cursor(3)));
    for (uid, content) in [(1, small()), (3, large()), (2, small())] {
        assert_eq!(pulled(&mut *connection, uid).await.unwrap().unwrap(), content);
    }
    assert_eq!(pulled(&mut *connection, 99).await.unwrap().unwrap_err(), "Record not found");
    assert_eq!(pulled(&mut *connection, 1).await.unwrap().unwrap(), small());
}

#[tokio::test]
async fn cursor_leaves_out_what_is_known() {
    let service = Service::start().await;
    let mut connection = SocketRemote::new(service.config.clone()).open(Cursor(2)).await.unwrap();
    let (records, cursor) = listing(&mut *connection).await.unwrap();
    assert_eq!((records.len(), records[0].uid, cursor), (1, Uid(3), Cursor(3)));
    let mut connection = SocketRemote::new(service.config.clone()).open(Cursor(3)).await.unwrap();
    assert_eq!(listing(&mut *connection).await.unwrap(), (vec![], Cursor(3)));
}

#[tokio::test]
async fn idle_connection_is_kept_alive_and_told_of_changes() {
    let service = Service::start().await;
    let mut connection = service.listed().await.unwrap();
    let idle = tokio::time::timeout(Duration::from_millis(1_500), connection.next()).await;
    assert!(idle.is_err(), "{idle:?}");
    let pings = service.emulator.counters().get().pings;
    assert!((4..=10).contains(&pings), "{pings}");
    service.push("dd", small());
    let Event::Record(record) = connection.next().await.unwrap() else { panic!() };
    assert_eq!((record.path.as_str(), record.uid), ("dd", Uid(4)));
    assert_eq!(pulled(&mut *connection, 4).await.unwrap().unwrap(), small());
}

#[tokio::test]
async fn next_that_is_cancelled_loses_nothing() {
    let service = Service::start().await;
    service.emulator.configure(|config| config.bandwidth = std::num::NonZeroU64::new(8 << 20));
    let mut connection = service.listed().await.unwrap();
    connection.pull(Uid(3)).await.unwrap();
    let mut content = BytesMut::new();
    loop {
        // Far less than a piece takes.
        match tokio::time::timeout(Duration::from_millis(3), connection.next()).await {
            Err(_) => {}
            Ok(Ok(Event::Piece(piece))) => content.extend_from_slice(&piece),
            Ok(Ok(Event::PullDone)) => break,
            Ok(other) => drop(other.unwrap()),
        }
    }
    assert_eq!(content, large());
}

#[tokio::test]
async fn frame_that_takes_longer_than_the_limit_is_no_silence() {
    let service = Service::start().await;
    // A piece of 2 MiB takes 2 s, four times the limit.
    service.emulator.configure(|config| config.bandwidth = std::num::NonZeroU64::new(1 << 20));
    let mut connection = service.listed().await.unwrap();
    assert_eq!(pulled(&mut *connection, 3).await.unwrap().unwrap(), large());
}

#[tokio::test]
async fn consumer_that_takes_its_time_is_no_silence() {
    let service = Service::start().await;
    let mut connection = service.open().await.unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(listing(&mut *connection).await.unwrap().0.len(), 3);
    connection.pull(Uid(3)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;
    let mut pieces = 0;
    loop {
        match connection.next().await.unwrap() {
            Event::Piece(_) => pieces += 1,
            Event::PullDone => break,
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    assert_eq!(pieces, 3);
}

#[tokio::test]
async fn dropped_connection_ends() {
    let service = Service::start().await;
    let connection = service.listed().await.unwrap();
    assert_eq!(service.emulator.counters().get().connections, 1);
    drop(connection);
    let start = Instant::now();
    while service.emulator.counters().get().connections > 0 {
        assert!(start.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn faults_at_the_handshake_are_transient_and_soon() {
    let faults = [
        Fault::Status(503),
        Fault::Status(429),
        Fault::Status(500),
        Fault::Status(520),
        Fault::Overloaded,
        Fault::Cut,
        Fault::CutAfterBytes(10),
        Fault::Silence,
        Fault::Delay(Duration::from_secs(60)),
        Fault::Trickle(5),
        Fault::Raw("no".into()),
        Fault::BadJson,
    ];
    let service = Service::start().await;
    for fault in faults {
        service.fault(Place::Connect, fault.clone());
        let error = error_within(SOON, service.open()).await;
        assert_eq!(error.kind, RemoteErrorKind::Unreachable, "{fault:?}: {error}");
        service.listed().await.unwrap_or_else(|e| panic!("after {fault:?}: {e}"));
    }
}

#[tokio::test]
async fn refusals_are_of_the_kind_that_they_are() {
    let service = Service::start().await;
    let kinds = [
        ("Your subscription to Obsidian Sync has expired.", RemoteErrorKind::Subscription),
        ("Vault not found", RemoteErrorKind::VaultNotFound),
        ("Authentication failed", RemoteErrorKind::Authentication),
        ("Too many connections", RemoteErrorKind::Unreachable),
    ];
    for (text, kind) in kinds {
        service.fault(Place::Init, Fault::Refuse(text.into()));
        let error = error_within(SOON, service.listed()).await;
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(text), "{error}");
    }
    let with = |change: fn(&mut SocketConfig)| {
        let mut config = service.config.clone();
        change(&mut config);
        async move {
            let mut connection = SocketRemote::new(config).open(Cursor::START).await?;
            listing(&mut *connection).await
        }
    };
    let wrong_token = error_within(SOON, with(|c| c.token = "wrong".to_owned().into())).await;
    let wrong_key = error_within(SOON, with(|c| c.keyhash = "wrong".to_owned().into())).await;
    let wrong_vault = error_within(SOON, with(|c| c.vault = "none".parse().unwrap())).await;
    assert_eq!(wrong_token.kind, RemoteErrorKind::Authentication);
    assert_eq!(wrong_key.kind, RemoteErrorKind::Authentication);
    assert_eq!(wrong_vault.kind, RemoteErrorKind::VaultNotFound);
    service.fault(Place::Init, Fault::ExpiredToken);
    assert_eq!(error_within(SOON, service.listed()).await.kind, RemoteErrorKind::Authentication);
}

#[tokio::test]
async fn faults_of_an_opening_session_are_transient_and_soon() {
    let faults = [
        Fault::Cut,
        Fault::CutAfterBytes(5),
        Fault::Silence,
        Fault::Delay(Duration::from_secs(60)),
        Fault::Trickle(5),
        Fault::BadJson,
        Fault::Raw("nonsense".into()),
        Fault::Raw(r#"{"op":"push","uid":1,"path":"aa"}"#.into()),
    ];
    for place in [Place::Init, Place::Listing] {
        for fault in &faults {
            let service = Service::start().await;
            service.fault(place.clone(), fault.clone());
            let listed = tokio::time::timeout(SOON, service.listed()).await.expect("nothing within the time");
            match listed.map(drop) {
                // Beside a listing, a record is just one more.
                Ok(()) => assert!(place == Place::Listing && matches!(fault, Fault::Raw(t) if t.contains("push"))),
                Err(e) => assert_eq!(e.kind, RemoteErrorKind::Unreachable, "{place:?} {fault:?}: {e}"),
            }
        }
    }
    let service = Service::start().await;
    service.fault(Place::Listing, Fault::CutAfter(1));
    assert_eq!(error_within(SOON, service.listed()).await.kind, RemoteErrorKind::Unreachable);
}

#[tokio::test]
async fn faults_of_a_pull_are_transient_and_soon() {
    let faults = [
        Fault::Cut,
        Fault::CutAfterBytes(100_000),
        Fault::CutInPiece(1),
        Fault::CutAfter(1),
        Fault::Silence,
        Fault::Delay(Duration::from_secs(60)),
        Fault::Trickle(1_000),
        Fault::BadJson,
        Fault::Raw("nonsense".into()),
        Fault::ShortPiece,
        Fault::WrongSize(10),
        Fault::WrongSize(5 << 20),
        Fault::WrongPieces(2),
        Fault::WrongPieces(9),
        Fault::WrongPieces(0),
    ];
    let service = Service::start().await;
    for fault in faults {
        service.fault(Place::Pull, fault.clone());
        let mut connection = service.listed().await.unwrap();
        let error = error_within(SOON, pulled(&mut *connection, 3)).await;
        assert_eq!(error.kind, RemoteErrorKind::Unreachable, "{fault:?}: {error}");
        // The connection is of no more use, and says so at once.
        error_within(SOON, connection.next()).await;
    }
}

#[tokio::test]
async fn more_than_is_allowed_is_refused() {
    let service = Service::start().await;
    for fault in [Fault::WrongSize(1 << 50), Fault::WrongPieces(1 << 40)] {
        service.fault(Place::Pull, fault.clone());
        let mut connection = service.listed().await.unwrap();
        let error = error_within(SOON, pulled(&mut *connection, 3)).await;
        assert_eq!(error.kind, RemoteErrorKind::Refused, "{fault:?}: {error}");
    }
    service.fault(Place::Init, Fault::Raw("x".repeat(PIECE + 1)));
    let error = error_within(SOON, service.listed()).await;
    assert_eq!(error.kind, RemoteErrorKind::Refused, "{error}");
}

#[tokio::test]
async fn pulls_that_the_service_answers_leave_the_connection_alone() {
    let service = Service::start().await;
    let mut connection = service.listed().await.unwrap();
    service.fault(Place::Pull, Fault::Gone);
    assert_eq!(pulled(&mut *connection, 1).await.unwrap().unwrap_err(), "gone");
    service.fault(Place::Pull, Fault::Refuse("Internal error".into()));
    assert_eq!(pulled(&mut *connection, 1).await.unwrap().unwrap_err(), "Internal error");
    service.fault(Place::Pull, Fault::FlipBit);
    assert_ne!(pulled(&mut *connection, 1).await.unwrap().unwrap(), small());
    assert_eq!(pulled(&mut *connection, 1).await.unwrap().unwrap(), small());
}

#[tokio::test]
async fn piece_that_nobody_asked_for_ends_the_connection() {
    let service = Service::start().await;
    let mut connection = service.listed().await.unwrap();
    service.fault(Place::Pull, Fault::ExtraPiece);
    assert_eq!(pulled(&mut *connection, 1).await.unwrap().unwrap(), small());
    assert_eq!(error_within(SOON, connection.next()).await.kind, RemoteErrorKind::Unreachable);
}

#[tokio::test]
async fn ping_without_an_answer_ends_the_connection() {
    let service = Service::start().await;
    for fault in [Fault::Silence, Fault::Cut, Fault::BadJson] {
        service.emulator.faults().add(FaultRule::new(Place::Ping, fault.clone()).always());
        let mut connection = service.listed().await.unwrap();
        let error = error_within(SOON, connection.next()).await;
        assert_eq!(error.kind, RemoteErrorKind::Unreachable, "{fault:?}: {error}");
        service.emulator.faults().clear();
    }
}

#[tokio::test]
async fn connections_that_the_service_ends_are_noticed() {
    let service = Service::start().await;
    let mut connection = service.listed().await.unwrap();
    service.emulator.cut_connections();
    assert_eq!(error_within(SOON, connection.next()).await.kind, RemoteErrorKind::Unreachable);
    for over in [OverLimit::Status503, OverLimit::Close, OverLimit::Refuse] {
        service.emulator.configure(|config| {
            config.max_connections = Some(1);
            config.over_limit = over;
        });
        let _first = service.listed().await.unwrap();
        let error = error_within(SOON, service.listed()).await;
        assert_eq!(error.kind, RemoteErrorKind::Unreachable, "{over:?}: {error}");
        service.emulator.configure(|config| config.max_connections = None);
    }
}

#[tokio::test]
async fn handshake_names_the_program_and_carries_no_token() {
    let server = Scripted::answering(vec![answer("503 Service Unavailable", "", "")]).await;
    let error = SocketRemote::new(config(&server.address)).open(Cursor::START).await.err().unwrap();
    assert_eq!(error.kind, RemoteErrorKind::Unreachable);
    let request = server.requests().concat().to_ascii_lowercase();
    assert!(
        request.starts_with("get / http/1.1\r\n") && request.contains("user-agent: obsync-test/1\r\n"),
        "{request}"
    );
    assert!(!request.contains("secret-token"));
}

#[tokio::test]
async fn redirect_is_refused_and_not_followed() {
    let elsewhere = Scripted::answering(vec![answer("200 OK", "", "")]).await;
    let location = format!("location: {}/\r\n", elsewhere.url().replace("http", "ws"));
    let server = Scripted::answering(vec![answer("302 Found", &location, "")]).await;
    let error = SocketRemote::new(config(&server.address)).open(Cursor::START).await.err().unwrap();
    assert_eq!(error.kind, RemoteErrorKind::Refused, "{error}");
    assert_eq!(elsewhere.requests(), [""; 0]);
}

#[tokio::test]
async fn host_that_takes_in_nothing_is_unreachable_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let start = Instant::now();
    let error = SocketRemote::new(config(&address)).open(Cursor::START).await.err().unwrap();
    assert_eq!(error.kind, RemoteErrorKind::Unreachable, "{error}");
    assert!(start.elapsed() < SOON);
    drop(listener);
    let error = SocketRemote::new(config(&address)).open(Cursor::START).await.err().unwrap();
    assert!(error.message.contains("no connection"), "{error}");
}

#[tokio::test]
async fn headers_without_end_are_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n").await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let mut config = config(&address);
    config.connect_timeout = Duration::from_secs(20);
    let error = error_within(SOON, SocketRemote::new(config).open(Cursor::START)).await;
    assert_eq!(error.kind, RemoteErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn no_error_and_no_debug_shows_a_secret() {
    let service = Service::start().await;
    let shown = format!("{:?} {:?}", SocketRemote::new(service.config.clone()), config("127.0.0.1:1"));
    assert!(!shown.contains(KEYHASH) && !shown.contains("secret-token"), "{shown}");
}

/// Run by hand: `cargo test -p obsync-adapters --test socket -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measure_listing_and_pulls() {
    let mut service = Service::start().await;
    service.config.limits = SessionLimits::default();
    for n in 0..100_000 {
        let path = format!("{n:0100x}");
        let record = Record { path: path.clone(), hash: path, size: 40, ..Record::default() };
        service.emulator.push_record_raw(&service.vault, record, None).unwrap();
    }
    let start = Instant::now();
    let mut connection = service.open().await.unwrap();
    let (records, _) = listing(&mut *connection).await.unwrap();
    println!("{} records in {:?}", records.len(), start.elapsed());
    let start = Instant::now();
    for _ in 0..2_000 {
        pulled(&mut *connection, 1).await.unwrap().unwrap();
    }
    println!("2000 small pulls in {:?}", start.elapsed());
    let start = Instant::now();
    for _ in 0..50 {
        pulled(&mut *connection, 3).await.unwrap().unwrap();
    }
    println!("50 pulls of 4 MiB in {:?}", start.elapsed());
}
