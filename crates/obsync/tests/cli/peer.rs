//! The real program against a service that means it harm: it ends soon, with little memory, and says what was wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, SinkExt, StreamExt, stream};
use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::vault::TestVault;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::fixture::{Ended, Fixture};

/// The most memory that any of these runs takes. Without an attack it is some 60 MiB: 32 of them are scrypt's, for the
/// key.
const MOST_MEMORY: u64 = 128 << 20;

/// The longest that any of them takes: what can pass is tried five times, with pauses that grow.
const MOST_TIME: Duration = Duration::from_secs(40);

/// Programs that run at once: with more of them, one waits for the others for too much of its time.
const AT_ONCE: usize = 4;

/// A server that answers each connection with the same attack.
struct Peer {
    host: String,
    connections: Arc<AtomicU64>,
}

impl Peer {
    async fn start(attack: impl Fn(TcpStream) -> BoxFuture<'static, ()> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(AtomicU64::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(attack(stream));
            }
        });
        Self { host, connections }
    }

    /// One that only counts who comes.
    async fn recorder() -> Self {
        Self::start(|_| std::future::ready(()).boxed()).await
    }

    fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Runs the program, and checks that it stays within its bounds.
async fn bounded(name: &str, mut command: Command) -> Ended {
    let begun = Instant::now();
    let child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id().unwrap());
    let mut ending = std::pin::pin!(child.wait_with_output());
    // Once at the start, so that the shortest run has been looked at, too.
    let mut most = peak(&status);
    assert!(most > 0 || !cfg!(target_os = "linux"), "{name}: nothing is known of its memory");
    let ended = loop {
        tokio::select! {
            ended = &mut ending => break Ended::from(ended.unwrap()),
            () = sleep(Duration::from_millis(5)) => most = most.max(peak(&status)),
        }
        assert!(begun.elapsed() < MOST_TIME, "{name}: no end within {MOST_TIME:?}");
    };
    assert!(most < MOST_MEMORY, "{name}: {} MiB", most >> 20);
    // The figures, for who wants to see them (`--nocapture`).
    println!("{name}: exit {:?}, {} MiB, {:?}: {:.400}", ended.exit, most >> 20, begun.elapsed(), ended.stderr);
    ended
}

/// The most bytes that were resident at once; 0 where the system does not say, or the process has ended.
fn peak(status: &str) -> u64 {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

// What is sent over a WebSocket.

type Socket = WebSocketStream<TcpStream>;

const ACCEPTED: &str = r#"{"res":"ok","perFileMax":208666624,"userId":1}"#;

/// Opcodes, with the bit that says that the message ends with this frame (RFC 6455, 5.2).
const TEXT: u8 = 0x81;
const TEXT_GOES_ON: u8 = 0x01;
const GOES_ON: u8 = 0x00;
const PING: u8 = 0x89;

/// The head of a frame that announces `len` bytes.
fn head(opcode: u8, len: u64) -> Vec<u8> {
    let mut head = vec![opcode, 127];
    head.extend(len.to_be_bytes());
    head
}

async fn text(socket: &mut Socket, text: impl Into<String>) {
    let _ = socket.send(Message::text(text.into())).await;
}

/// Takes a session and accepts it.
async fn opened(stream: TcpStream) -> Option<Socket> {
    let mut socket = tokio_tungstenite::accept_async(stream).await.ok()?;
    socket.next().await?.ok()?;
    text(&mut socket, ACCEPTED).await;
    Some(socket)
}

/// Sends the same bytes for as long as they are taken.
async fn flood(stream: &mut TcpStream, bytes: &[u8]) {
    while stream.write_all(bytes).await.is_ok() {}
}

/// What the program says when the vault's host does this once the session is accepted.
async fn attacked<F>(name: &str, attack: impl Fn(Socket, Arc<TestVault>) -> F + Copy + Send + 'static) -> Ended
where
    F: Future<Output = ()> + Send + 'static,
{
    let fixture = Fixture::new().await;
    let vault = Arc::new(fixture.vault("V", EncryptionVersion::V3));
    let given = vault.clone();
    let peer = Peer::start(move |stream| {
        let vault = given.clone();
        async move {
            if let Some(socket) = opened(stream).await {
                attack(socket, vault).await;
            }
        }
        .boxed()
    })
    .await;
    fixture.emulator.set_vault_host(vault.id(), Some(peer.host)).unwrap();
    let mut command = fixture.command(&Fixture::sync_args("V", &fixture.dest(), &[]));
    command.env("OBSYNC_MAX_LISTING", "16").env("OBSYNC_TIMEOUT", "8");
    bounded(name, command).await
}

/// A run that failed as a whole.
async fn fails<F>(name: &str, words: &[&str], attack: impl Fn(Socket, Arc<TestVault>) -> F + Copy + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    attacked(name, attack).await.assert_refused(6, words);
}

/// Lists so many records, each of another path.
async fn records(mut socket: Socket, records: u64, path: impl Fn(u64) -> String, more: &str) {
    for uid in 1..=records {
        let record = format!(r#"{{"op":"push","uid":{uid},"path":"{}"{more}}}"#, path(uid));
        if socket.feed(Message::text(record)).await.is_err() {
            return;
        }
    }
    text(&mut socket, json!({ "op": "ready", "version": records }).to_string()).await;
    sleep(MOST_TIME).await;
}

/// One after the other: what they send keeps both sides busy. It is the vault that failed, as one of several may.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_without_end_is_given_up() {
    let words = &["16 MiB", "OBSYNC_MAX_LISTING"];
    attacked("records of ever new paths", |socket, vault| async move {
        records(socket, u64::MAX, |uid| vault.encode(&format!("note {uid}.md")), r#","deleted":true"#).await;
    })
    .await
    .assert_refused(1, words);
    attacked("paths as long as they can be", |socket, vault| async move {
        records(socket, u64::MAX, |uid| vault.encode(&format!("{uid:04096}")), r#","folder":true"#).await;
    })
    .await
    .assert_refused(1, words);
    attacked("paths that are none", |socket, _| async move {
        records(socket, u64::MAX, |uid| format!("{uid:016000}"), r#","hash":"00""#).await;
    })
    .await
    .assert_refused(1, words);
}

/// What is refused by name takes its room until the run's end, and is all said.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_of_nothing_but_refusals_is_told_in_bounded_memory() {
    let ended = attacked("refusals", |socket, _| async move {
        records(socket, 10_000, |uid| format!("{uid:032}"), "").await;
    })
    .await;
    assert_eq!(ended.exit, Some(1));
    assert_eq!(ended.vault()["failed"].as_array().unwrap().len(), 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_without_end_are_given_up() {
    let too_much = &["more than is allowed"];
    tokio::join!(
        fails("a frame of 1 GiB", too_much, |mut socket, _| async move {
            let stream = socket.get_mut();
            let _ = stream.write_all(&head(TEXT, 1 << 30)).await;
            flood(stream, &[b' '; 65_536]).await;
        }),
        fails("a frame of 2^60 bytes", too_much, |mut socket, _| async move {
            let stream = socket.get_mut();
            let _ = stream.write_all(&head(TEXT, 1 << 60)).await;
            flood(stream, &[b' '; 65_536]).await;
        }),
        fails("a message of ever more fragments", too_much, |mut socket, _| async move {
            let stream = socket.get_mut();
            let fragment = |opcode| [head(opcode, 1000), vec![b' '; 1000]].concat();
            let _ = stream.write_all(&fragment(TEXT_GOES_ON)).await;
            flood(stream, &fragment(GOES_ON)).await;
        }),
        fails("a message of empty fragments", too_much, |mut socket, _| async move {
            let stream = socket.get_mut();
            let _ = stream.write_all(&head(TEXT_GOES_ON, 0)).await;
            flood(stream, &head(GOES_ON, 0).repeat(1000)).await;
        }),
        fails("pings", too_much, |mut socket, _| async move {
            let stream = socket.get_mut();
            flood(stream, &[PING, 0].repeat(1000)).await;
        }),
        fails("a path of 10 MB", too_much, |mut socket, _| async move {
            text(&mut socket, json!({ "op": "push", "uid": 1, "path": "0".repeat(10_000_000) }).to_string()).await;
            sleep(MOST_TIME).await;
        }),
        fails("content that nobody asked for", &["nobody asked for"], |mut socket, _| async move {
            let _ = socket.send(Message::binary(vec![0; 1000])).await;
            sleep(MOST_TIME).await;
        }),
        fails("JSON that is nested 100,000 deep", &["not a message"], |mut socket, _| async move {
            text(&mut socket, format!(r#"{{"wat":{0}{1},"op":{0}{1}}}"#, "[".repeat(100_000), "]".repeat(100_000)))
                .await;
            sleep(MOST_TIME).await;
        }),
    );
}

/// What is announced of a file's content sets no memory aside. The file is named, and the run is one in part.
#[tokio::test(flavor = "multi_thread")]
async fn contents_that_cannot_be_are_refused_by_name() {
    async fn pulled<F>(name: &str, words: &[&str], answer: impl Fn(Socket) -> F + Copy + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let ended = attacked(name, move |mut socket, vault| async move {
            // All that a file may have, so that the record promises as much as the head.
            let hash = vault.encode(&"0".repeat(64));
            let record =
                json!({ "op": "push", "uid": 1, "path": vault.encode("a.md"), "hash": hash, "size": 16_u64 << 30 });
            text(&mut socket, record.to_string()).await;
            text(&mut socket, r#"{"op":"ready","version":1}"#).await;
            if socket.next().await.is_some_and(|message| message.is_ok()) {
                answer(socket).await;
            }
        })
        .await;
        assert_eq!(ended.exit, Some(1), "{name}: {ended:?}");
        let failed = ended.vault()["failed"].clone();
        assert_eq!(failed[0]["path"], "a.md", "{name}: {failed}");
        let error = failed[0]["error"].as_str().unwrap();
        assert!(words.iter().all(|word| error.contains(word)), "{name}: {error}");
    }
    tokio::join!(
        pulled("a million pieces", &["pieces of a file"], |mut socket| async move {
            text(&mut socket, json!({ "size": 16_u64 << 30, "pieces": 1_000_000 }).to_string()).await;
            sleep(MOST_TIME).await;
        }),
        pulled("2^60 pieces", &["pieces of a file"], |mut socket| async move {
            text(&mut socket, json!({ "size": 16_u64 << 30, "pieces": 1_u64 << 60 }).to_string()).await;
            sleep(MOST_TIME).await;
        }),
        pulled("2^60 bytes", &["bytes of a file"], |mut socket| async move {
            text(&mut socket, json!({ "size": 1_u64 << 60, "pieces": 9 }).to_string()).await;
            sleep(MOST_TIME).await;
        }),
        pulled("16 GiB that do not come", &["closed"], |mut socket| async move {
            text(&mut socket, json!({ "size": 16_u64 << 30, "pieces": 8192 }).to_string()).await;
            for _ in 0..8 {
                let _ = socket.send(Message::binary(vec![0; 2 << 20])).await;
            }
            let _ = socket.close(None).await;
        }),
        pulled("16 GiB in pieces without content", &["more than is allowed"], |mut socket| async move {
            text(&mut socket, json!({ "size": 16_u64 << 30, "pieces": 8192 }).to_string()).await;
            flood(socket.get_mut(), &[PING, 0].repeat(1000)).await;
        }),
    );
}

// What is answered over HTTP.

/// Reads a request: its path, and the request.
async fn asked(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut request = String::new();
    let mut buffer = [0; 4096];
    loop {
        let len = stream.read(&mut buffer).await.ok().filter(|len| *len > 0)?;
        request.push_str(&String::from_utf8_lossy(&buffer[..len]));
        let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
        let length =
            head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some((head.split(' ').nth(1)?.to_owned(), request));
        }
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// The program's command against this API.
fn command(fixture: &Fixture, api: &Peer) -> Command {
    let mut command = fixture.command(&Fixture::sync_args("V", &fixture.dest(), &[]));
    command.env("OBSYNC_API_URL", format!("http://{}", api.host)).env("OBSYNC_TIMEOUT", "2");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_end_are_given_up() {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    let deep = format!(r#"{{"vaults":{}"#, "[".repeat(100_000));
    // The first bytes, those that follow without end, and what is said of it.
    let cases = [
        ("a body", format!("{OK}\r\n"), " ".repeat(65_536), "more than 8388608 bytes"),
        (
            "a body of 2^60 bytes",
            format!("{OK}content-length: {}\r\n\r\n", 1_u64 << 60),
            " ".repeat(65_536),
            "more than 8388608",
        ),
        (
            "chunks",
            format!("{OK}transfer-encoding: chunked\r\n\r\n"),
            format!("400\r\n{}\r\n", " ".repeat(1024)).repeat(100),
            "more than 8388608",
        ),
        // Nothing is unpacked: nobody asked for it.
        ("a bomb", format!("{OK}content-encoding: gzip\r\n\r\n"), "\u{1f}".repeat(65_536), "more than 8388608"),
        ("headers", OK.to_owned(), "x: y\r\n".repeat(1000), "connection broke"),
        ("a header", format!("{OK}x: "), "y".repeat(65_536), "connection broke"),
        (
            "hints",
            String::new(),
            format!("HTTP/1.1 103 Early Hints\r\nx: {}\r\n\r\n", "y".repeat(50_000)).repeat(2),
            "out of reach",
        ),
        ("deep JSON", answer("200 OK", "", &deep), String::new(), "out of reach"),
        ("silence", String::new(), String::new(), "no answer in time"),
    ];
    let run = |(name, first, more, said): (&'static str, String, String, &'static str)| async move {
        let fixture = Fixture::new().await;
        let (note, mut requests) = mpsc::unbounded_channel();
        let api = Peer::start(move |mut stream| {
            let (first, more, note) = (first.clone(), more.clone(), note.clone());
            async move {
                let Some((_, request)) = asked(&mut stream).await else { return };
                let _ = note.send(request);
                let _ = stream.write_all(first.as_bytes()).await;
                if more.is_empty() {
                    sleep(MOST_TIME).await;
                }
                flood(&mut stream, more.as_bytes()).await;
            }
            .boxed()
        })
        .await;
        let mut command = command(&fixture, &api);
        command.env("OBSIDIAN_AUTH_TOKEN", "token");
        bounded(name, command).await.assert_refused(6, &[said]);
        let requests: Vec<String> = std::iter::from_fn(|| requests.try_recv().ok()).collect();
        let accepts_encodings = |request: &String| request.to_ascii_lowercase().contains("accept-encoding");
        assert!(!requests.is_empty() && !requests.iter().any(accepts_encodings), "{name}: {requests:?}");
    };
    stream::iter(cases).for_each_concurrent(AT_ONCE, run).await;
}

/// Wherever a redirect or a vault's row points: nobody comes there.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_where_a_redirect_points() {
    let statuses = ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"];
    let paths = ["/user/signin", "/vault/list", "/vault/access", "/"];
    let cases = statuses.into_iter().flat_map(|status| paths.map(|path| (status, path)));
    let run = |(status, redirected): (&'static str, &'static str)| async move {
        let fixture = Fixture::new().await;
        let recorder = Peer::recorder().await;
        let elsewhere = recorder.host.clone();
        let api = Peer::start(move |mut stream| {
            let elsewhere = elsewhere.clone();
            async move {
                let Some((path, request)) = asked(&mut stream).await else { return };
                let host = request.lines().find_map(|line| line.strip_prefix("host: ").or(line.strip_prefix("Host: ")));
                let row = json!({ "id": "v", "name": "V", "host": host, "salt": "s", "encryption_version": 3 });
                let body = json!({ "token": "t", "vaults": [row], "shared": [] }).to_string();
                let said = if path == redirected {
                    answer(status, &format!("location: http://{elsewhere}{path}\r\n"), "")
                } else {
                    answer("200 OK", "", &body)
                };
                let _ = stream.write_all(said.as_bytes()).await;
            }
            .boxed()
        })
        .await;
        let ended = bounded(&format!("{status} of {redirected}"), command(&fixture, &api)).await;
        ended.assert_refused(6, &["redirect", &status[..3], "not followed"]);
        assert_eq!(recorder.connections(), 0, "{status} of {redirected}");
    };
    stream::iter(cases).for_each_concurrent(AT_ONCE, run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_to_a_host_that_is_not_the_services() {
    let recorder = Peer::recorder().await;
    let port = recorder.host.rsplit_once(':').unwrap().1;
    let hosts = [
        "evil.example".to_owned(),
        "x.obsidian.md.evil.com".to_owned(),
        format!("user@127.0.0.1:{port}"),
        format!("sync.obsidian.md@127.0.0.1:{port}"),
        format!("127.0.0.1:{port}/"),
        format!("127.0.0.1:{port}#.obsidian.md"),
        format!("127.0.0.1:{port}\\.obsidian.md"),
        format!("http://127.0.0.1:{port}"),
        format!("0.0.0.0:{port}"),
        format!("2130706433:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("sync.obsidian.md:{port}"),
        format!("127.0.0.1:{port}\r\nx: .obsidian.md"),
        "\u{1b}[2Jsync.obsidian.md".to_owned(),
        "sync.obsidian.md\u{0}".to_owned(),
        "\u{202e}dm.naidisbo.cnys".to_owned(),
        String::new(),
        format!("{}.obsidian.md", "a".repeat(1_000_000)),
    ];
    let fixture = Fixture::new().await;
    let vault = fixture.vault("V", EncryptionVersion::V3);
    for host in hosts {
        fixture.emulator.set_vault_host(vault.id(), Some(host.clone())).unwrap();
        let name: String = host.chars().take(50).collect();
        let ended =
            bounded(&format!("{name:?}"), fixture.command(&Fixture::sync_args("V", &fixture.dest(), &[]))).await;
        ended.assert_refused(6, &["nothing was sent"]);
        let shown = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        assert!(ended.stderr.chars().all(shown) && ended.stderr.len() < 1000, "{ended:?}");
    }
    assert_eq!(recorder.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_nested_100_000_deep_is_refused() {
    let fixture = Fixture::new().await;
    let event = fixture.path("event.json");
    let deep = format!(r#"{{"action":"sync","vault_id":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    std::fs::write(&event, deep).unwrap();
    let ended = bounded("a deep event", fixture.command(&["invoke", event.to_str().unwrap()])).await;
    ended.assert_refused(2, &["event.json", "recursion limit"]);
}
