//! What survives a restart.

use std::io::Write;

use bytes::Bytes;
use obsync_emulator::{Config, Emulator};
use obsync_proto::wire::socket::Push;
use serde_json::json;

use crate::client::{Socket, Stage, call, paths};

#[tokio::test]
async fn everything_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { data: Some(folder.path().to_owned()), ..Config::default() };
    let stage = Stage::new(config.clone()).await;
    stage.put("a", "old");
    let push = Push { path: "a".into(), hash: Some("h2".into()), ..Push::default() };
    let uid = stage.emulator.push(&stage.vault, push, Bytes::from_static(b"new")).unwrap();
    stage.put("empty", "");
    let init = stage.init(0, true);
    let (vault, token) = (stage.vault.clone(), stage.token.clone());
    stage.emulator.shutdown().await;

    // A line that a kill cut off.
    let lines = folder.path().join(vault.as_str()).join("records.jsonl");
    std::fs::OpenOptions::new().append(true).open(lines).unwrap().write_all(br#"{"record":{"#).unwrap();

    let emulator = Emulator::start(config.clone()).await.unwrap();
    assert_eq!(call(&emulator, "/user/info", json!({"token":token})).await["name"], "me");
    let mut socket = Socket::open(&emulator.host()).await.unwrap();
    assert_eq!(socket.ask(init).await["res"], "ok");
    assert_eq!(paths(&socket.listing().await), ["a", "empty"]);
    assert_eq!(socket.pull(uid).await.unwrap().1.concat(), b"new");
    // The content is still known by its hash, and numbers go on where they were.
    let known = json!({"op":"push","path":"b","hash":"h2","size":3,"pieces":1});
    assert_eq!(socket.ask(known).await["res"], "ok");
    assert_eq!(socket.json().await.unwrap()["uid"], 4);
    emulator.shutdown().await;
    let emulator = Emulator::start(config).await.unwrap();
    assert_eq!(emulator.records(&vault).unwrap().len(), 4);
}

#[tokio::test]
async fn shutdown_frees_the_port_and_ends_sessions() {
    let stage = Stage::new(Config::default()).await;
    let (mut socket, _) = stage.session(0, true).await;
    let listen = stage.emulator.address();
    stage.emulator.shutdown().await;
    assert!(socket.frame().await.is_none());
    Emulator::start(Config { listen, ..Config::default() }).await.unwrap();
}
