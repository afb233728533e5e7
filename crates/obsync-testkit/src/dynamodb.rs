//! DynamoDB in this process: `dynoxide` behind a door that counts, and that fails on request.
//!
//! The door is an HTTP proxy of its own: what it counts is what went over the wire, headers included, and what it
//! breaks is broken for the real client.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use obsync_adapters::aws::http_client;
use obsync_adapters::tls::Roots;
use obsync_emulator::Schedule;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::lock;

mod direct;

pub use direct::{Answer, DirectDynamo};

/// The partition key of the tables that are made here.
const KEY: &str = "vault_id";

/// An item as the SDK has it.
pub type Item = HashMap<String, AttributeValue>;

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// `ThrottlingException`, and nothing is done.
    Throttled,
    /// `ProvisionedThroughputExceededException`, and nothing is done.
    Exceeded,
    /// `InternalServerError`, and nothing is done.
    Internal,
    /// A batch is answered with all of it unprocessed.
    Unprocessed,
    /// The connection is closed, and nothing is done.
    Cut,
    /// It is done, and the connection is closed instead of an answer.
    AnswerLost,
    /// Nothing is done, and there is no answer; the connection stays.
    Silence,
}

/// What went through the door.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests by operation, failed ones too.
    pub requests: BTreeMap<String, u64>,
    /// Bytes towards the table.
    pub sent: u64,
    /// Bytes from the table.
    pub received: u64,
}

impl Traffic {
    /// All requests.
    pub fn count(&self) -> u64 {
        self.requests.values().sum()
    }

    /// Bytes in both directions.
    pub fn bytes(&self) -> u64 {
        self.sent + self.received
    }
}

/// Requests of one operation, or of any, that fail by a schedule.
struct Planned {
    operation: Option<String>,
    schedule: Schedule,
    failure: Failure,
}

#[derive(Default)]
struct Door {
    traffic: Traffic,
    planned: Vec<Planned>,
    struck: u64,
    /// Requests that are still let through; then none is, until the door is opened again.
    left: Option<u64>,
}

impl Door {
    fn failure(&mut self, operation: &str) -> Option<Failure> {
        match &mut self.left {
            Some(0) => return Some(Failure::Cut),
            Some(left) => *left -= 1,
            None => {}
        }
        let is_meant = |planned: &&mut Planned| planned.operation.as_deref().is_none_or(|meant| meant == operation);
        let mut meant = self.planned.iter_mut().filter(is_meant);
        let planned = meant.find_map(|planned| planned.schedule.wants().then_some(planned))?;
        planned.schedule.take();
        self.struck += 1;
        Some(planned.failure)
    }
}

/// A server with tables in memory, as long as it lives.
pub struct MemoryDynamo {
    door: Arc<Mutex<Door>>,
    address: SocketAddr,
    behind: SocketAddr,
    _stop: oneshot::Sender<()>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for MemoryDynamo {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl MemoryDynamo {
    /// Starts it, without tables.
    pub async fn start() -> Self {
        let database = dynoxide::Database::memory().unwrap();
        let (server, behind) = listen().await;
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let stopped = async move { drop(stopped.await) };
            dynoxide::server::serve_with_shutdown(server, database, stopped).await.unwrap();
        });
        let (front, address) = listen().await;
        let door = Arc::<Mutex<Door>>::default();
        let shared = door.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = front.accept().await {
                let door = shared.clone();
                // Whoever goes away in the middle of a request finds out for himself.
                tokio::spawn(async move { drop(pass_on(client, behind, &door).await) });
            }
        });
        Self { door, address, behind, _stop: stop, tasks: vec![serving, accepting] }
    }

    /// How an AWS SDK reaches it.
    pub async fn sdk_config(&self) -> SdkConfig {
        config(&self.endpoint(), http_client(Roots::Mozilla)).await
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What tells a program to use it, beside region and credentials, of which any will do: a variable and its value.
    pub fn environment(&self) -> (&'static str, String) {
        ("AWS_ENDPOINT_URL_DYNAMODB", self.endpoint())
    }

    /// A client that is counted and failed.
    pub async fn client(&self) -> Client {
        Client::new(&self.sdk_config().await)
    }

    /// A client by the back door.
    pub async fn raw(&self) -> Client {
        Client::new(&config(&format!("http://{}", self.behind), http_client(Roots::Mozilla)).await)
    }

    /// Makes a table as the contract has it: the partition key alone.
    pub async fn create_table(&self, name: &str) {
        create_table(&self.raw().await, name).await;
    }

    /// All items of a table, by key.
    pub async fn items(&self, table: &str) -> BTreeMap<String, Item> {
        let pages = self.raw().await.scan().table_name(table).consistent_read(true).into_paginator().items().send();
        let items = pages.collect::<Result<Vec<Item>, _>>().await.unwrap();
        items.into_iter().map(|item| (item[KEY].as_s().unwrap().clone(), item)).collect()
    }

    /// Puts an item in place of whatever is there.
    pub async fn put(&self, table: &str, item: Item) {
        self.raw().await.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
    }

    /// Deletes an item.
    pub async fn delete(&self, table: &str, key: &str) {
        let key = AttributeValue::S(key.to_owned());
        self.raw().await.delete_item().table_name(table).key(KEY, key).send().await.unwrap();
    }

    /// Sets one attribute of an item that is there.
    pub async fn set(&self, table: &str, key: &str, name: &str, value: AttributeValue) {
        let mut item = self.items(table).await.remove(key).unwrap();
        item.insert(name.to_owned(), value);
        self.put(table, item).await;
    }

    /// Deletes what has expired at `now` (s since 1970), as DynamoDB does at a time of its choice.
    pub async fn expire(&self, table: &str, now: i64) {
        for (key, item) in self.items(table).await {
            if item.get("ttl").is_some_and(|ttl| ttl.as_n().unwrap().parse::<i64>().unwrap() <= now) {
                self.delete(table, &key).await;
            }
        }
    }

    /// Lets the next `times` requests (for an operation: of it) fail.
    pub fn fail_next(&self, operation: Option<&str>, times: usize, failure: Failure) {
        self.strike(operation, Schedule::default().times(times as u64), failure);
    }

    /// Lets requests fail by a schedule: those of one operation, or all.
    pub fn strike(&self, operation: Option<&str>, schedule: Schedule, failure: Failure) {
        let operation = operation.map(str::to_owned);
        lock(&self.door).planned.push(Planned { operation, schedule, failure });
    }

    /// How often a request failed since the door was last opened.
    pub fn struck(&self) -> u64 {
        lock(&self.door).struck
    }

    /// Lets `requests` more through and then none: as if the program had died.
    pub fn close_after(&self, requests: u64) {
        lock(&self.door).left = Some(requests);
    }

    /// Lets everything through again; failures that have not come are forgotten.
    pub fn open(&self) {
        let mut door = lock(&self.door);
        door.left = None;
        door.planned.clear();
        door.struck = 0;
    }

    /// What went through since the last time that this was asked.
    pub fn take_traffic(&self) -> Traffic {
        std::mem::take(&mut lock(&self.door).traffic)
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Makes a table as the contract has it, wherever `client` leads.
pub async fn create_table(client: &Client, name: &str) {
    let key = KeySchemaElement::builder().attribute_name(KEY).key_type(KeyType::Hash).build().unwrap();
    let string = ScalarAttributeType::S;
    let attribute = AttributeDefinition::builder().attribute_name(KEY).attribute_type(string).build().unwrap();
    let create = client.create_table().table_name(name).key_schema(key).attribute_definitions(attribute);
    create.billing_mode(BillingMode::PayPerRequest).send().await.unwrap();
}

async fn config(endpoint: &str, client: SharedHttpClient) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(client)
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(endpoint)
        .retry_config(RetryConfig::standard().with_max_attempts(5).with_initial_backoff(Duration::from_millis(5)))
        .load()
        .await
}

/// An HTTP message with its body.
struct Message {
    bytes: Vec<u8>,
    /// Where the body begins.
    body: usize,
}

impl Message {
    fn header(&self, name: &str) -> Option<&str> {
        let head = std::str::from_utf8(&self.bytes[..self.body]).ok()?;
        head.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.trim())
    }

    /// `GetItem`, of `DynamoDB_20120810.GetItem`.
    fn operation(&self) -> &str {
        self.header("x-amz-target").and_then(|target| target.rsplit('.').next()).unwrap_or_default()
    }
}

/// Reads one message; `None` at the end of the connection.
async fn read_message(from: &mut TcpStream, rest: &mut Vec<u8>) -> std::io::Result<Option<Message>> {
    let mut message = Message { bytes: std::mem::take(rest), body: 0 };
    loop {
        if message.body == 0
            && let Some(end) = message.bytes.windows(4).position(|window| window == b"\r\n\r\n")
        {
            message.body = end + 4;
        }
        if message.body > 0 {
            let length = message.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if message.bytes.len() >= message.body + length {
                *rest = message.bytes.split_off(message.body + length);
                return Ok(Some(message));
            }
        }
        if from.read_buf(&mut message.bytes).await? == 0 {
            return Ok(None);
        }
    }
}

/// Serves one connection.
async fn pass_on(mut client: TcpStream, behind: SocketAddr, door: &Mutex<Door>) -> std::io::Result<()> {
    let mut server = TcpStream::connect(behind).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut from_server) = (Vec::new(), Vec::new());
    while let Some(request) = read_message(&mut client, &mut from_client).await? {
        let failure = {
            let mut door = lock(door);
            *door.traffic.requests.entry(request.operation().to_owned()).or_default() += 1;
            door.traffic.sent += request.bytes.len() as u64;
            door.failure(request.operation())
        };
        let answer = match failure {
            Some(Failure::Cut) => return Ok(()),
            Some(Failure::Silence) => std::future::pending().await,
            Some(failure) if failure != Failure::AnswerLost => made_up(&request, failure),
            _ => {
                server.write_all(&request.bytes).await?;
                let Some(answer) = read_message(&mut server, &mut from_server).await? else { return Ok(()) };
                if failure.is_some() {
                    return Ok(());
                }
                answer.bytes
            }
        };
        lock(door).traffic.received += answer.len() as u64;
        client.write_all(&answer).await?;
    }
    Ok(())
}

fn made_up(request: &Message, failure: Failure) -> Vec<u8> {
    let error = |name: &str| format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{name}","message":"try again"}}"#);
    let (status, body) = match failure {
        Failure::Throttled => ("400 Bad Request", error("ThrottlingException")),
        Failure::Exceeded => ("400 Bad Request", error("ProvisionedThroughputExceededException")),
        Failure::Unprocessed => {
            let body = String::from_utf8_lossy(&request.bytes[request.body..]).into_owned();
            let items = items_of_batch(&body);
            ("200 OK", format!(r#"{{"Responses":{{}},"UnprocessedKeys":{items}}}"#))
        }
        _ => ("500 Internal Server Error", error("InternalServerError")),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {length}\r\n");
    format!("{head}\r\n{body}").into_bytes()
}

/// The object `RequestItems` of a batch's body, as it stands there.
fn items_of_batch(body: &str) -> &str {
    let start = body.find("\"RequestItems\":").map(|at| at + "\"RequestItems\":".len()).unwrap();
    let mut depth = 0;
    for (at, byte) in body.bytes().enumerate().skip(start) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return &body[start..=at],
            b'}' => depth -= 1,
            _ => {}
        }
    }
    panic!("no batch: {body}");
}
