//! The port: accepts connections, and tells API calls from WebSocket upgrades.

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE, USER_AGENT,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::api;
use crate::config::OverLimit;
use crate::counters::Connected;
use crate::fault::{Event, Fault};
use crate::link::{Link, LinkControl};
use crate::refusal;
use crate::service::Service;
use crate::session::{self, Wire};

/// The most bytes of a call's body.
const MAX_BODY: usize = 1024 * 1024;

type Answer = Response<Full<Bytes>>;

/// Ends connections from outside.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    /// Closed or true: the service ends.
    pub(crate) service: watch::Receiver<bool>,
    /// Each change ends the WebSockets that are open.
    pub(crate) sockets: watch::Receiver<u64>,
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("cut on request")]
struct CutOff;

/// Accepts connections until told to stop.
pub(crate) async fn run(listener: TcpListener, service: Arc<Service>, mut stop: Stop) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.service.changed() => return,
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, service.clone(), stop.clone()))),
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to come free.
                tracing::warn!(%error, "accept");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, service: Arc<Service>, mut stop: Stop) {
    let link = LinkControl::new(service.config().bandwidth);
    // Answers are small and each waits for the one before: Nagle's algorithm would hold them back.
    let _ = stream.set_nodelay(true);
    let stream = Link::new(stream, link.clone(), service.counters.clone());
    let caller = Caller { service, link, stop: stop.clone() };
    let serve = service_fn(move |request| caller.clone().answer(request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), serve);
    tokio::select! {
        ended = connection.with_upgrades() => if let Err(error) = ended { tracing::debug!(%error, "connection") },
        _ = stop.service.changed() => {}
    }
}

/// What a request on one connection has to do with.
#[derive(Clone)]
struct Caller {
    service: Arc<Service>,
    link: LinkControl,
    stop: Stop,
}

impl Caller {
    async fn answer(self, request: Request<Incoming>) -> Result<Answer, CutOff> {
        if request.headers().contains_key(UPGRADE) {
            return self.connect(request).await;
        }
        match *request.method() {
            Method::OPTIONS => Ok(preflight()),
            Method::POST => self.call(request).await,
            _ => Ok(status(StatusCode::METHOD_NOT_ALLOWED)),
        }
    }

    async fn call(self, request: Request<Incoming>) -> Result<Answer, CutOff> {
        let path = request.uri().path().to_owned();
        let named = request.headers().contains_key(USER_AGENT);
        self.service.counters.add(|counts| {
            *counts.http.entry(path.clone()).or_default() += 1;
            counts.without_user_agent += u64::from(!named);
        });
        let Ok(body) = Limited::new(request.into_body(), MAX_BODY).collect().await else {
            return Ok(status(StatusCode::PAYLOAD_TOO_LARGE));
        };
        let body = body.to_bytes();
        tracing::trace!(%path, body = %String::from_utf8_lossy(&body), "call");
        self.service.take_time().await;
        if let Some(answer) = self.fault(Event::Http(&path)).await? {
            return Ok(answer);
        }
        if !named && self.service.config().require_user_agent {
            return Ok(page(refusal::OVERLOADED));
        }
        let Some(answer) = api::answer(&self.service, &path, &body) else { return Ok(status(StatusCode::NOT_FOUND)) };
        tracing::trace!(%path, answer = %String::from_utf8_lossy(&answer), "answer");
        Ok(json(answer))
    }

    /// What a fault answers in the call's stead.
    async fn fault(&self, event: Event<'_>) -> Result<Option<Answer>, CutOff> {
        self.link.usual_rate();
        let Some(fault) = self.service.faults.strike(event) else { return Ok(None) };
        match fault {
            Fault::Cut => return Err(CutOff),
            Fault::CutAfterBytes(bytes) => self.link.cut_after(bytes),
            Fault::Trickle(rate) => self.link.trickle(rate),
            Fault::Silence => pending::<()>().await,
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::BadJson => return Ok(Some(json(br#"{"token":"#.to_vec()))),
            Fault::Raw(text) => return Ok(Some(json(text.into_bytes()))),
            Fault::Refuse(text) => return Ok(Some(json(api::refused(&text)))),
            Fault::ExpiredToken => {
                let _ = self.service.expire_tokens();
                return Ok(Some(json(api::refused(refusal::NOT_SIGNED_IN))));
            }
            Fault::Status(code) => {
                return Ok(Some(status(StatusCode::from_u16(code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE))));
            }
            Fault::Overloaded => return Ok(Some(page(refusal::OVERLOADED))),
            _ => {}
        }
        Ok(None)
    }

    async fn connect(self, mut request: Request<Incoming>) -> Result<Answer, CutOff> {
        let config = self.service.config();
        self.service.take_time().await;
        if let Some(answer) = self.fault(Event::Connect).await? {
            self.service.counters.add(|counts| counts.connects_refused += 1);
            return Ok(answer);
        }
        let Some(key) = websocket_key(&request) else { return Ok(status(StatusCode::BAD_REQUEST)) };
        let most = config.max_connections.filter(|_| config.over_limit == OverLimit::Status503);
        let Some(connected) = self.service.counters.connect(most) else {
            return Ok(status(StatusCode::SERVICE_UNAVAILABLE));
        };
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(self.socket(upgrade, connected));
        Ok(switch(&key))
    }

    async fn socket(mut self, upgrade: hyper::upgrade::OnUpgrade, connected: Connected) {
        // Only cuts from now on are meant for this socket.
        self.stop.sockets.mark_unchanged();
        let serve = async {
            let Ok(upgraded) = upgrade.await else { return };
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            session::serve(Wire::new(socket, self.link), self.service).await;
        };
        tokio::select! {
            () = serve => {}
            _ = self.stop.service.changed() => {}
            _ = self.stop.sockets.changed() => {}
        }
        drop(connected);
    }
}

/// The key of a well-formed upgrade.
fn websocket_key(request: &Request<Incoming>) -> Option<HeaderValue> {
    let upgrade = request.headers().get(UPGRADE)?.to_str().ok()?;
    upgrade.eq_ignore_ascii_case("websocket").then(|| request.headers().get(SEC_WEBSOCKET_KEY).cloned()).flatten()
}

fn switch(key: &HeaderValue) -> Answer {
    let mut answer = status(StatusCode::SWITCHING_PROTOCOLS);
    *answer.body_mut() = Full::default();
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    answer
}

fn preflight() -> Answer {
    let mut answer = status(StatusCode::NO_CONTENT);
    let headers = answer.headers_mut();
    headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
    headers.insert("access-control-allow-headers", HeaderValue::from_static("content-type"));
    headers.insert("access-control-allow-methods", HeaderValue::from_static("POST, OPTIONS"));
    answer
}

fn json(body: Vec<u8>) -> Answer {
    typed("application/json", body.into())
}

fn page(body: &'static str) -> Answer {
    typed("text/html", Bytes::from_static(body.as_bytes()))
}

fn typed(content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

fn status(code: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = code;
    answer
}
