//! `--watch`: the program stays, follows, says how it stands, and ends when it is told to.

use std::path::Path;
use std::time::Duration;

use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::tree::{Tree, assert_same_tree};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::fixture::{Ended, Fixture};

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !holds().await {
            sleep(Duration::from_millis(50)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"));
}

/// Starts the program; gives the address of its health port.
async fn started(mut command: Command) -> (Child, String) {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    loop {
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().expect("the program ended");
        if let Some((_, address)) = line.split_once("health at http://") {
            // Read on, or the program would have nowhere to write to.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (child, address.to_owned());
        }
    }
}

async fn terminate(child: Child) -> Ended {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap().into()
}

/// Status and body.
pub(crate) async fn health(address: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

fn args<'a>(dest: &'a Path, heartbeat: &'a Path) -> Vec<&'a str> {
    let more = ["--watch", "--health", "127.0.0.1:0", "--heartbeat", heartbeat.to_str().unwrap()];
    Fixture::sync_args("V", dest, &[]).into_iter().chain(more).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_arrive_over_cuts_and_a_restarted_service_until_it_is_told_to_end() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V", EncryptionVersion::V3);
    vault.put("a.md", "first", 1);
    let (dest, heartbeat) = (fixture.dest(), fixture.path("heartbeat"));
    let (child, address) = started(fixture.command(&args(&dest, &heartbeat))).await;
    until("healthy", async || health(&address).await.0 == 200).await;
    assert_same_tree(&vault.tree(), &Tree::read(&dest));
    until("a heartbeat", async || heartbeat.exists()).await;
    for round in 0..3 {
        vault.put("a.md", format!("round {round}"), 2 + round);
        vault.put(&format!("នៅ {round}.md"), "new", 1);
        let tree = vault.tree();
        until("the change", async || Tree::read(&dest) == tree).await;
        fixture.emulator.cut_connections();
    }
    // Nothing waits in silence for a connection that is gone.
    vault.delete("a.md");
    let tree = vault.tree();
    until("a deletion after a cut", async || Tree::read(&dest) == tree).await;
    let (status, body) = health(&address).await;
    assert_eq!(status, 200, "{body}");
    assert!(body["last_success_seconds_ago"].as_u64().unwrap() < 60, "{body}");
    let ended = terminate(child).await;
    assert_eq!(ended.exit, Some(0), "{ended:?}");
    let answer = ended.vault();
    assert_eq!((answer["downloaded"].as_u64(), answer["deleted"].as_u64()), (Some(7), Some(1)), "{answer}");
}

/// What no later run can mend ends the program, with the code that it has elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_wrong_is_no_reason_to_stay() {
    let fixture = Fixture::new().await;
    fixture.vault("V", EncryptionVersion::V3).put("a.md", "a", 1);
    let dest = fixture.dest();
    let mut command = fixture.command(&Fixture::sync_args("V", &dest, &["--watch"]));
    command.env("OBSIDIAN_VAULT_PASSWORD", "wrong");
    let ended: Ended = timeout(PATIENCE, command.output()).await.unwrap().unwrap().into();
    ended.assert_refused(3, &["encryption password"]);
}

/// The token that ends while nothing happens is replaced by one from a new sign-in.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_is_replaced() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V", EncryptionVersion::V3);
    vault.put("a.md", "a", 1);
    let (dest, heartbeat) = (fixture.dest(), fixture.path("heartbeat"));
    let (child, address) = started(fixture.command(&args(&dest, &heartbeat))).await;
    until("healthy", async || health(&address).await.0 == 200).await;
    fixture.emulator.expire_tokens().unwrap();
    fixture.emulator.cut_connections();
    vault.put("b.md", "b", 1);
    let tree = vault.tree();
    until("the change", async || Tree::read(&dest) == tree).await;
    assert_eq!(fixture.emulator.counters().get().sign_ins, 2);
    assert_eq!(terminate(child).await.exit, Some(0));
}

/// What systemd is told (`sd_notify(3)`): that it is up, that it is not stuck, that it is going.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_what_it_asks_for() {
    let fixture = Fixture::new().await;
    fixture.vault("V", EncryptionVersion::V3).put("a.md", "a", 1);
    let place = fixture.path("notify");
    let socket = tokio::net::UnixDatagram::bind(&place).unwrap();
    let (dest, heartbeat) = (fixture.dest(), fixture.path("heartbeat"));
    let mut command = fixture.command(&args(&dest, &heartbeat));
    command.env("NOTIFY_SOCKET", &place).env("WATCHDOG_USEC", "200000");
    let (child, address) = started(command).await;
    let mut buffer = [0; 256];
    for expected in ["READY=1", "WATCHDOG=1", "WATCHDOG=1"] {
        let len = timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
        assert!(std::str::from_utf8(&buffer[..len]).unwrap().starts_with(expected), "{expected}");
    }
    until("healthy", async || health(&address).await.0 == 200).await;
    let ending = tokio::spawn(terminate(child));
    until("STOPPING=1", async || {
        let len = socket.recv(&mut buffer).await.unwrap();
        buffer[..len].starts_with(b"STOPPING=1")
    })
    .await;
    assert_eq!(ending.await.unwrap().exit, Some(0));
}
