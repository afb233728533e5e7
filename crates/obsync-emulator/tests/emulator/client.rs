//! A client for these tests: JSON in, JSON out.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use obsync_emulator::{Account, Config, Emulator, NewVault};
use obsync_proto::wire::socket::Push;
use obsync_proto::{Uid, VaultId};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub(crate) const EMAIL: &str = "me@example.com";
pub(crate) const PASSWORD: &str = "secret";
pub(crate) const KEYHASH: &str = "00ff";

/// A service with one account and one vault, and a token.
pub(crate) struct Stage {
    pub(crate) emulator: Emulator,
    pub(crate) vault: VaultId,
    pub(crate) token: String,
}

impl Stage {
    pub(crate) async fn new(config: Config) -> Self {
        let emulator = Emulator::start(config).await.unwrap();
        emulator.create_account(Account::new(EMAIL, PASSWORD)).unwrap();
        let vault = emulator.create_vault(EMAIL, NewVault::end_to_end("Notes", 3, "salt", KEYHASH)).unwrap();
        let token = sign_in(&emulator).await;
        Self { emulator, vault, token }
    }

    pub(crate) fn put(&self, path: &str, content: impl Into<Bytes>) -> Uid {
        let push = Push { path: path.to_owned(), hash: Some(format!("hash of {path}")), ..Push::default() };
        self.emulator.push(&self.vault, push, content.into()).unwrap()
    }

    pub(crate) async fn connect(&self) -> Socket {
        Socket::open(&self.emulator.host()).await.unwrap()
    }

    /// A session after `ready`, with the records listed.
    pub(crate) async fn session(&self, version: u64, initial: bool) -> (Socket, Vec<Value>) {
        let mut socket = self.connect().await;
        assert_eq!(socket.ask(self.init(version, initial)).await["res"], "ok");
        let records = socket.listing().await;
        (socket, records)
    }

    pub(crate) fn init(&self, version: u64, initial: bool) -> Value {
        json!({"op":"init","token":self.token,"id":self.vault.as_str(),"keyhash":KEYHASH,"version":version,
            "initial":initial,"device":"test","encryption_version":3})
    }
}

pub(crate) async fn sign_in(emulator: &Emulator) -> String {
    let answer = call(emulator, "/user/signin", json!({"email":EMAIL,"password":PASSWORD,"mfa":""})).await;
    answer["token"].as_str().unwrap().to_owned()
}

/// A call that is answered with status 200 and JSON.
pub(crate) async fn call(emulator: &Emulator, path: &str, body: Value) -> Value {
    let (status, text) = post(emulator, path, &body, true).await.unwrap();
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Status and body of a call; `None` if the connection ends before an answer is whole.
pub(crate) async fn post(emulator: &Emulator, path: &str, body: &Value, user_agent: bool) -> Option<(u16, String)> {
    let agent = if user_agent { "User-Agent: test\r\n" } else { "" };
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\n{agent}Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    exchange(emulator, &(head + &body)).await
}

pub(crate) async fn exchange(emulator: &Emulator, request: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(emulator.host()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let announced = head.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    (body.len() == announced).then(|| (status, body.to_owned()))
}

/// One WebSocket.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(crate) async fn open(host: &str) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        Ok(Self(connect_async(format!("ws://{host}/")).await?.0))
    }

    pub(crate) async fn send(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    pub(crate) async fn send_piece(&mut self, piece: Vec<u8>) {
        self.0.send(Message::binary(piece)).await.unwrap();
    }

    /// The next frame; `None` if the connection is over, however it ended.
    pub(crate) async fn frame(&mut self) -> Option<Message> {
        match timeout(Duration::from_secs(10), self.0.next()).await.expect("an answer in time") {
            Some(Ok(Message::Close(_)) | Err(_)) | None => None,
            Some(Ok(message)) => Some(message),
        }
    }

    pub(crate) async fn text(&mut self) -> Option<String> {
        Some(self.frame().await?.into_text().unwrap().to_string())
    }

    pub(crate) async fn json(&mut self) -> Option<Value> {
        self.text().await.map(|text| serde_json::from_str(&text).unwrap())
    }

    pub(crate) async fn ask(&mut self, message: Value) -> Value {
        self.send(message).await;
        self.json().await.expect("an answer")
    }

    /// The records before `ready`.
    pub(crate) async fn listing(&mut self) -> Vec<Value> {
        let mut records = Vec::new();
        loop {
            let message = self.json().await.expect("ready");
            if message["op"] == "ready" {
                return records;
            }
            assert_eq!(message["op"], "push");
            records.push(message);
        }
    }

    /// The head and as many pieces as it announces; `None` if the connection ends before.
    pub(crate) async fn pull(&mut self, uid: Uid) -> Option<(Value, Vec<Bytes>)> {
        self.send(json!({"op":"pull","uid":uid})).await;
        let head = self.json().await?;
        let mut pieces = Vec::new();
        for _ in 0..head["pieces"].as_u64().unwrap_or(0) {
            pieces.push(self.frame().await?.into_data());
        }
        Some((head, pieces))
    }

    /// Whether nothing comes for a while.
    pub(crate) async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_millis(150), self.0.next()).await.is_err()
    }
}

/// The paths of records, in order.
pub(crate) fn paths(records: &[Value]) -> Vec<&str> {
    records.iter().map(|r| r["path"].as_str().unwrap()).collect()
}
