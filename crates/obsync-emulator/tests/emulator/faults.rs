//! Each fault does what it says, and is over when it is spent.

use std::time::{Duration, Instant};

use bytes::Bytes;
use obsync_emulator::{Config, Fault, FaultRule, Place};
use obsync_proto::Uid;
use serde_json::{Value, json};

use crate::client::{Socket, Stage, call, paths, post};

const MIB: usize = 1024 * 1024;

/// A stage with one file of 5 MiB, a fault on its pull, and a session.
async fn pulling(fault: Fault) -> (Stage, Socket, Uid) {
    let stage = Stage::new(Config::default()).await;
    let uid = stage.put("a", vec![0; 5 * MIB]);
    stage.emulator.faults().add(FaultRule::new(Place::Pull, fault));
    let (socket, _) = stage.session(0, true).await;
    (stage, socket, uid)
}

async fn spoiled(fault: Fault) -> (Value, Vec<Bytes>, Socket) {
    let (_stage, mut socket, uid) = pulling(fault).await;
    let (head, pieces) = socket.pull(uid).await.unwrap();
    // The stage may go: what was sent is on its way.
    (head, pieces, socket)
}

#[tokio::test]
async fn flipped_bit_is_one_bit() {
    let (_, pieces, _) = spoiled(Fault::FlipBit).await;
    let ones: u32 = pieces.iter().flat_map(|p| p.iter()).map(|b| b.count_ones()).sum();
    assert_eq!((ones, pieces.concat().len()), (1, 5 * MIB));
}

#[tokio::test]
async fn short_piece_lacks_a_byte_that_the_head_announces() {
    let (head, pieces, _) = spoiled(Fault::ShortPiece).await;
    assert_eq!((head["size"].as_u64().unwrap() as usize, pieces.concat().len()), (5 * MIB, 5 * MIB - 1));
}

#[tokio::test]
async fn extra_piece_follows_the_announced_ones() {
    let (stage, mut socket, uid) = pulling(Fault::ExtraPiece).await;
    let (_, pieces) = socket.pull(uid).await.unwrap();
    assert_eq!(pieces.len(), 3);
    assert!(socket.frame().await.unwrap().is_binary());
    assert_eq!(socket.pull(uid).await.unwrap().1.concat().len(), 5 * MIB, "the fault is spent");
    drop(stage);
}

#[tokio::test]
async fn head_can_lie() {
    assert_eq!(spoiled(Fault::WrongSize(7)).await.0["size"], 7);
    let (_stage, mut socket, uid) = pulling(Fault::WrongPieces(1)).await;
    assert_eq!(socket.pull(uid).await.unwrap().1.len(), 1);
    assert!(socket.frame().await.unwrap().is_binary());
}

#[tokio::test]
async fn pull_is_cut_before_within_and_between_pieces() {
    let whole = |at: Fault| async move {
        let (_stage, mut socket, uid) = pulling(at).await;
        socket.send(json!({"op":"pull","uid":uid})).await;
        let mut frames = 0;
        while socket.frame().await.is_some() {
            frames += 1;
        }
        frames
    };
    assert_eq!(whole(Fault::Cut).await, 0);
    assert_eq!(whole(Fault::CutAfter(0)).await, 1, "the head");
    assert_eq!(whole(Fault::CutAfter(2)).await, 3);
    assert_eq!(whole(Fault::CutInPiece(1)).await, 2);
    assert_eq!(whole(Fault::CutAfterBytes(3)).await, 0);
}

#[tokio::test]
async fn cut_in_a_piece_sends_half_of_it() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let stage = Stage::new(Config::default()).await;
    let uid = stage.put("a", vec![0xAB; 1000]);
    stage.emulator.faults().add(FaultRule::new(Place::Pull, Fault::CutInPiece(0)));
    // By hand: a WebSocket library shows no half frames.
    let mut stream = tokio::net::TcpStream::connect(stage.emulator.host()).await.unwrap();
    let upgrade = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    for message in [stage.init(0, true), json!({"op":"pull","uid":uid})] {
        let text = message.to_string();
        let mut frame = vec![0x81, 0x80 | 126];
        frame.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text.as_bytes());
        stream.write_all(&frame).await.unwrap();
    }
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    assert!(received.windows(20).any(|w| w == b"s3pPLMBiTxaQ9kYGzzhZ"), "the accept key of RFC 6455");
    let content = received.iter().rev().take_while(|b| **b == 0xAB).count();
    assert!((480..=500).contains(&content), "{content} of 1000 bytes");
}

#[tokio::test]
async fn pull_is_answered_with_something_else() {
    let answer = |fault: Fault| async move {
        let (_stage, mut socket, uid) = pulling(fault).await;
        socket.send(json!({"op":"pull","uid":uid})).await;
        socket.text().await.unwrap()
    };
    assert_eq!(answer(Fault::Gone).await, r#"{"deleted":true}"#);
    assert_eq!(answer(Fault::Refuse("no".into())).await, r#"{"err":"no"}"#);
    assert_eq!(answer(Fault::Raw("[]".into())).await, "[]");
    let bad = answer(Fault::BadJson).await;
    assert!(serde_json::from_str::<Value>(&bad).is_err());
}

#[tokio::test]
async fn silence_leaves_the_connection_open() {
    let (_stage, mut socket, uid) = pulling(Fault::Silence).await;
    socket.send(json!({"op":"pull","uid":uid})).await;
    assert!(socket.is_silent().await);
    assert_eq!(socket.ask(json!({"op":"ping"})).await, json!({"op":"pong"}));
}

#[tokio::test]
async fn trickle_and_delay_are_slow_and_over_after_the_answer() {
    let stage = Stage::new(Config::default()).await;
    let uid = stage.put("a", vec![0; 20_000]);
    let faults = stage.emulator.faults();
    let (mut socket, _) = stage.session(0, true).await;
    faults.add(FaultRule::new(Place::PullOf(uid), Fault::Trickle(20_000)));
    let start = Instant::now();
    socket.pull(uid).await.unwrap();
    assert!(start.elapsed() > Duration::from_millis(800), "{:?}", start.elapsed());
    faults.add(FaultRule::new(Place::Ping, Fault::Delay(Duration::from_millis(80))));
    let start = Instant::now();
    socket.ask(json!({"op":"ping"})).await;
    assert!(start.elapsed() >= Duration::from_millis(80));
    let start = Instant::now();
    socket.pull(uid).await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
}

#[tokio::test]
async fn fault_on_one_record_leaves_the_others() {
    let stage = Stage::new(Config::default()).await;
    let (a, b) = (stage.put("a", "1"), stage.put("b", "2"));
    let rule = stage.emulator.faults().add(FaultRule::new(Place::PullOf(b), Fault::Gone).always());
    let (mut socket, _) = stage.session(0, true).await;
    for _ in 0..2 {
        assert_eq!(socket.pull(a).await.unwrap().1.concat(), b"1");
        assert_eq!(socket.pull(b).await.unwrap().0, json!({"deleted":true}));
    }
    assert_eq!(stage.emulator.faults().struck(rule), 2);
    stage.emulator.faults().clear();
    assert_eq!(socket.pull(b).await.unwrap().1.concat(), b"2");
}

#[tokio::test]
async fn listing_is_cut_doubled_garbled_or_withheld() {
    let stage = Stage::new(Config::default()).await;
    for path in ["a", "b", "c"] {
        stage.put(path, "x");
    }
    let faults = stage.emulator.faults();
    let opened = async |fault| {
        faults.add(FaultRule::new(Place::Listing, fault));
        let mut socket = stage.connect().await;
        assert_eq!(socket.ask(stage.init(0, true)).await["res"], "ok");
        socket
    };
    let mut cut = opened(Fault::CutAfter(2)).await;
    assert!(cut.json().await.is_some() && cut.json().await.is_some() && cut.frame().await.is_none());
    assert!(opened(Fault::Cut).await.frame().await.is_none());
    let doubled = opened(Fault::DuplicateRecords).await.listing().await;
    assert_eq!(paths(&doubled), ["a", "a", "b", "b", "c", "c"]);
    let mut garbled = opened(Fault::BadJson).await;
    assert!(serde_json::from_str::<Value>(&garbled.text().await.unwrap()).is_err());
    assert_eq!(paths(&garbled.listing().await), ["b", "c"]);
    let mut raw = opened(Fault::Raw(r#"{"op":"news"}"#.into())).await;
    assert_eq!(raw.json().await.unwrap()["op"], "news");
    assert_eq!(raw.listing().await.len(), 3);
    assert!(opened(Fault::Silence).await.is_silent().await);
}

#[tokio::test]
async fn init_is_refused_cut_or_unanswered() {
    let stage = Stage::new(Config::default()).await;
    let faults = stage.emulator.faults();
    faults.add(FaultRule::new(Place::Init, Fault::Refuse("busy".into())));
    assert_eq!(stage.connect().await.ask(stage.init(0, true)).await, json!({"res":"err","msg":"busy"}));
    faults.add(FaultRule::new(Place::Init, Fault::Cut));
    let mut socket = stage.connect().await;
    socket.send(stage.init(0, true)).await;
    assert!(socket.frame().await.is_none());
    faults.add(FaultRule::new(Place::Init, Fault::Silence));
    let mut socket = stage.connect().await;
    socket.send(stage.init(0, true)).await;
    assert!(socket.is_silent().await);
    faults.add(FaultRule::new(Place::Init, Fault::ExpiredToken));
    let answer = stage.connect().await.ask(stage.init(0, true)).await;
    assert!(answer["msg"].as_str().unwrap().contains("Authentication failed"));
    let list =
        call(&stage.emulator, "/vault/list", json!({"token":stage.token,"supported_encryption_version":3})).await;
    assert_eq!(list["error"], "Not logged in");
}

#[tokio::test]
async fn connect_is_refused_or_cut() {
    let stage = Stage::new(Config::default()).await;
    for fault in [Fault::Status(503), Fault::Status(429), Fault::Overloaded, Fault::Cut] {
        stage.emulator.faults().add(FaultRule::new(Place::Connect, fault));
        assert!(Socket::open(&stage.emulator.host()).await.is_err());
    }
    assert_eq!(stage.emulator.counters().get().connects_refused, 3, "a cut is no refusal");
    stage.session(0, true).await;
}

#[tokio::test]
async fn ping_goes_unanswered() {
    let stage = Stage::new(Config::default()).await;
    let (mut socket, _) = stage.session(0, true).await;
    stage.emulator.faults().add(FaultRule::new(Place::Ping, Fault::Silence).times(1));
    socket.send(json!({"op":"ping"})).await;
    assert!(socket.is_silent().await);
    assert_eq!(socket.ask(json!({"op":"ping"})).await, json!({"op":"pong"}));
    assert_eq!(stage.emulator.counters().get().pings, 2);
}

#[tokio::test]
async fn api_fails_in_every_way() {
    let stage = Stage::new(Config::default()).await;
    let faults = stage.emulator.faults();
    let info = json!({"token":stage.token});
    let struck = async |fault: Fault| {
        faults.add(FaultRule::new(Place::Http("/user/info".into()), fault));
        post(&stage.emulator, "/user/info", &info, true).await
    };
    assert_eq!(struck(Fault::Status(503)).await.unwrap().0, 503);
    assert_eq!(struck(Fault::Status(429)).await.unwrap().0, 429);
    let (status, page) = struck(Fault::Overloaded).await.unwrap();
    assert!(status == 200 && page.contains("overloaded"));
    let (status, bad) = struck(Fault::BadJson).await.unwrap();
    assert!(status == 200 && serde_json::from_str::<Value>(&bad).is_err());
    assert_eq!(struck(Fault::Refuse("no".into())).await.unwrap().1, r#"{"error":"no"}"#);
    assert_eq!(struck(Fault::Cut).await, None);
    assert_eq!(struck(Fault::CutAfterBytes(40)).await, None);
    let start = Instant::now();
    assert_eq!(struck(Fault::Trickle(1000)).await.unwrap().0, 200);
    assert!(start.elapsed() > Duration::from_millis(60), "{:?}", start.elapsed());
    let silent = tokio::time::timeout(Duration::from_millis(150), struck(Fault::Silence)).await;
    assert!(silent.is_err());
    assert_eq!(call(&stage.emulator, "/user/info", info.clone()).await["name"], "me");
    assert_eq!(struck(Fault::ExpiredToken).await.unwrap().1, r#"{"error":"Not logged in"}"#);
    assert_eq!(call(&stage.emulator, "/user/info", info).await["error"], "Not logged in");
}

#[tokio::test]
async fn push_is_refused() {
    let stage = Stage::new(Config::default()).await;
    stage.emulator.faults().add(FaultRule::new(Place::Push, Fault::Refuse("full".into())));
    let (mut socket, _) = stage.session(0, true).await;
    let push = json!({"op":"push","path":"f","folder":true});
    assert_eq!(socket.ask(push.clone()).await, json!({"err":"full"}));
    assert_eq!(socket.ask(push).await["res"], "ok");
}
