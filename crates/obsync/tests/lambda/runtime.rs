//! The Lambda Runtime API: `next`, `response` and `error`.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};

/// What the function answered, or the error that it reported.
pub(crate) type Answer = Result<Value, Value>;

#[derive(Default)]
struct Shared {
    waiting: Mutex<VecDeque<Event>>,
    arrived: Notify,
    answers: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
}

struct Event {
    id: String,
    deadline_ms: u128,
    payload: Value,
}

pub(crate) struct Runtime {
    shared: Arc<Shared>,
    address: String,
}

impl Runtime {
    pub(crate) async fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = shared.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| serve(shared.clone(), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { shared, address }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Sends an event that has to be answered within `budget`, and waits for the answer.
    pub(crate) async fn invoke(&self, payload: Value, budget: Duration) -> Answer {
        let id = format!("request-{:016x}", fastrand::u64(..));
        let (sender, answer) = oneshot::channel();
        self.shared.answers.lock().unwrap().insert(id.clone(), sender);
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + budget;
        self.shared.waiting.lock().unwrap().push_back(Event { id, deadline_ms: deadline.as_millis(), payload });
        self.shared.arrived.notify_one();
        tokio::time::timeout(budget, answer).await.expect("no answer before the deadline").unwrap()
    }
}

async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    if path.ends_with("/invocation/next") {
        let event = loop {
            let next = shared.waiting.lock().unwrap().pop_front();
            match next {
                Some(event) => break event,
                None => shared.arrived.notified().await,
            }
        };
        let response = Response::builder()
            .header("lambda-runtime-aws-request-id", event.id)
            .header("lambda-runtime-deadline-ms", event.deadline_ms.to_string())
            .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:1:function:obsync")
            .body(Full::from(event.payload.to_string()));
        return Ok(response.unwrap());
    }
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut parts = path.rsplit('/');
    let (kind, id) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if let Some(sender) = shared.answers.lock().unwrap().remove(id) {
        let _ = sender.send(if kind == "response" { Ok(value) } else { Err(value) });
    }
    Ok(Response::builder().status(202).body(Full::default()).unwrap())
}
