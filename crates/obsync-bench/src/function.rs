//! An instance of the function, and the Runtime API that it asks for events.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::Result;
use crate::child::{Usage, this_program};
use crate::service::{EMAIL, PASSWORD, VAULT_PASSWORD};
use crate::stage::Stage;
use crate::stores::{BUCKET, TABLE};

/// The time that an event has. More than Lambda gives: a mirror is to be made by one event.
const BUDGET: Duration = Duration::from_secs(4 * 60 * 60);

/// How long to wait for a function that has an event, or is starting.
const PATIENCE: Duration = Duration::from_secs(60);

/// An instance of the function. It ends when this is dropped.
pub(crate) struct Function {
    process: Child,
    started: Instant,
    events: UnboundedSender<Value>,
    nexts: UnboundedReceiver<Instant>,
    answers: UnboundedReceiver<Value>,
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Function {
    /// Starts it: `program`, or the one that is built into this one. Of two values of a variable the one in `more`
    /// counts.
    pub(crate) fn start(stage: &Stage, program: Option<&Path>, more: &[(&str, &str)]) -> Result<Self> {
        let (events, waiting) = unbounded_channel();
        let (asking, nexts) = unbounded_channel();
        let (answering, answers) = unbounded_channel();
        let api = Arc::new(RuntimeApi { events: Mutex::new(waiting), nexts: asking, answers: answering });
        let address = stage.runtime.block_on(api.start())?;
        let mut command = program.map_or_else(|| this_program("bootstrap"), |program| Ok(Command::new(program)))?;
        let log = File::create(stage.work().join("function.log"))?;
        command.env_clear().envs(environment(stage, address)).envs(more.iter().copied());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let started = Instant::now();
        Ok(Self { process: command.spawn()?, started, events, nexts, answers })
    }

    /// When it was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Waits until it asks for an event; tells when.
    pub(crate) async fn next(&mut self) -> Result<Instant> {
        let asked = tokio::time::timeout(PATIENCE, self.nexts.recv()).await;
        Ok(asked.map_err(|_| "the function does not start")?.ok_or("the Runtime API has ended")?)
    }

    /// Gives it an event, without waiting for the answer.
    pub(crate) fn send(&self, event: &Value) -> Result<()> {
        Ok(self.events.send(event.clone())?)
    }

    /// Gives it an event and waits for the answer; tells how long that took.
    pub(crate) fn invoke(&mut self, stage: &Stage, event: &Value) -> Result<(Value, Duration)> {
        let sent = Instant::now();
        self.send(event)?;
        let answer = stage.runtime.block_on(async { tokio::time::timeout(BUDGET, self.answers.recv()).await });
        Ok((answer?.ok_or("the Runtime API has ended")?, sent.elapsed()))
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Ok(Usage::of(self.process.id()).ok_or("the function has died")?)
    }
}

fn environment(stage: &Stage, api: SocketAddr) -> BTreeMap<String, String> {
    let own = [
        ("AWS_LAMBDA_FUNCTION_NAME", "obsync"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "stream"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "group"),
        ("AWS_LAMBDA_RUNTIME_API", &api.to_string()),
        ("OBSYNC_API_URL", &stage.service.url),
        ("OBSIDIAN_EMAIL", EMAIL),
        ("OBSIDIAN_PASSWORD", PASSWORD),
        ("OBSIDIAN_VAULT_PASSWORD", VAULT_PASSWORD),
        ("S3_BUCKET", BUCKET),
        ("STATE_TABLE_NAME", TABLE),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    stage.stores.environment.clone().into_iter().chain(own).collect()
}

/// The Lambda Runtime API, for one instance: `next` waits for an event, and `response` and `error` answer it.
struct RuntimeApi {
    events: Mutex<UnboundedReceiver<Value>>,
    nexts: UnboundedSender<Instant>,
    answers: UnboundedSender<Value>,
}

impl RuntimeApi {
    async fn start(self: Arc<Self>) -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.clone().serve(stream));
            }
        });
        Ok(address)
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let answer = service_fn(|request| self.clone().answer(request));
        // Ends with an error where the instance is killed.
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
        if request.uri().path().ends_with("/invocation/next") {
            let _ = self.nexts.send(Instant::now());
            return Ok(self.event().await);
        }
        let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let _ = self.answers.send(serde_json::from_slice(&body).unwrap_or_default());
        let mut taken = Response::new(Full::default());
        *taken.status_mut() = hyper::StatusCode::ACCEPTED;
        Ok(taken)
    }

    async fn event(&self) -> Response<Full<Bytes>> {
        let Some(event) = self.events.lock().await.recv().await else { return std::future::pending().await };
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + BUDGET;
        let response = Response::builder()
            .header("lambda-runtime-aws-request-id", "a-request")
            .header("lambda-runtime-deadline-ms", deadline.as_millis().to_string())
            .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:1:function:obsync")
            .body(Full::from(event.to_string()));
        response.unwrap_or_default()
    }
}
