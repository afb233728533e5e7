//! The WebSocket (`protocol.md` §3): drives an [`obsync_proto::session::Session`] over TCP and TLS.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::{Sink, Stream};
use obsync_core::remote::{Connection, Remote, RemoteError, RemoteErrorKind};
use obsync_proto::host::SessionHost;
use obsync_proto::session::{Event, Session, SessionError, SessionLimits};
use obsync_proto::wire::limits;
use obsync_proto::wire::socket::Init;
use obsync_proto::{Cursor, Uid, VaultId};
use rustls::pki_types::ServerName;
use secrecy::SecretString;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::http::header::{HeaderValue, USER_AGENT};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::tls::{self, Roots};

mod metered;

use metered::{Metered, Transport};

/// Bytes within one [`SessionLimits::answer`] that count as a sign of life while a frame is on its way: a piece of
/// 2 MiB takes more than 60 s on a slow line, and is no silence.
const SIGN_OF_LIFE: u64 = 16 * 1024;

/// The most bytes that come in before the answer that is due comes nearer, or an idle connection is spoken to: room for
/// the largest message and many live records. What goes on beyond, such as a flood of pings or of empty fragments, would
/// go on for ever: each read brings something, so that nobody looks at the clock.
const MOST_BESIDE: u64 = 4 * limits::MAX_PIECE as u64;

/// What a ping counts for among them: it is a few bytes, but has to be answered.
const PING: u64 = 8 * 1024;

/// One vault at the service, for one token.
#[derive(Debug, Clone)]
pub struct SocketConfig {
    /// Where the vault is.
    pub host: SessionHost,
    /// Stands for the account.
    pub token: SecretString,
    /// The vault.
    pub vault: VaultId,
    /// Stands for the key.
    pub keyhash: SecretString,
    /// The vault's encryption version: 0, 2 or 3.
    pub version: u8,
    /// Shown in the vault's version history.
    pub device: String,
    /// Sent with the handshake.
    pub user_agent: String,
    /// How long to wait for the service and how much to take from it.
    pub limits: SessionLimits,
    /// For name, TCP, TLS and the WebSocket's handshake together.
    pub connect_timeout: Duration,
}

/// The service's side of the seam: connections of its own for each [`open`](Remote::open).
#[derive(Debug, Clone)]
pub struct SocketRemote {
    config: SocketConfig,
}

impl SocketRemote {
    /// Opens nothing yet.
    pub fn new(config: SocketConfig) -> Self {
        Self { config }
    }

    async fn connect(&self) -> Result<Socket, RemoteError> {
        let mut request =
            self.config.host.url().into_client_request().map_err(|e| refused(format!("no address: {e}")))?;
        let user_agent = HeaderValue::from_str(&self.config.user_agent)
            .map_err(|_| refused(format!("the user agent {:?} cannot be sent", self.config.user_agent)))?;
        request.headers_mut().insert(USER_AGENT, user_agent);
        let stream = Metered::new(self.transport(&request).await?);
        let (socket, _) =
            client_async_with_config(request, stream, Some(socket_config())).await.map_err(handshake_error)?;
        Ok(socket)
    }

    async fn transport(&self, request: &Request) -> Result<Transport, RemoteError> {
        let no_host = || refused("an address without a host".to_owned());
        let host = request.uri().host().ok_or_else(no_host)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let tls = request.uri().scheme_str() == Some("wss");
        let port = request.uri().port_u16().unwrap_or(if tls { 443 } else { 80 });
        let tcp = connect_tcp(bare, port, self.config.connect_timeout)
            .await
            .map_err(|e| unreachable_because(format!("no connection to {host}: {e}")))?;
        // Requests are small and each waits for the one before.
        tcp.set_nodelay(true).map_err(|e| unreachable_because(e.to_string()))?;
        if !tls {
            return Ok(Transport::Plain(tcp));
        }
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| no_host())?;
        let tls = TlsConnector::from(tls::config(Roots::Mozilla))
            .connect(name, tcp)
            .await
            .map_err(|e| unreachable_because(format!("no TLS with {host}: {e}")))?;
        Ok(Transport::Tls(Box::new(tls)))
    }

    fn init(&self, cursor: Cursor) -> Init {
        Init {
            token: self.config.token.clone(),
            id: self.config.vault.clone(),
            keyhash: self.config.keyhash.clone(),
            cursor,
            initial: cursor == Cursor::START,
            device: self.config.device.clone(),
            encryption_version: self.config.version,
        }
    }
}

/// Tries the host's addresses one after the other, none of them for all of the time.
async fn connect_tcp(host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    let share = limit / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::Error::new(io::ErrorKind::TimedOut, format!("no answer from {address} in time")),
        }
    }
    Err(failed)
}

/// Nothing larger than a piece is taken into memory, and little is set aside for a connection that is idle. The buffer is
/// filled with zeros before each read, so that a larger one costs more than the reads that it saves.
fn socket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(32 * 1024)
        .write_buffer_size(4 * 1024)
        .max_write_buffer_size(limits::MAX_TEXT)
        .max_message_size(Some(limits::MAX_PIECE))
        .max_frame_size(Some(limits::MAX_PIECE))
}

#[async_trait]
impl Remote for SocketRemote {
    async fn open(&self, cursor: Cursor) -> Result<Box<dyn Connection>, RemoteError> {
        let limit = self.config.connect_timeout;
        let socket = timeout(limit, self.connect()).await.unwrap_or_else(|_| {
            Err(unreachable_because(format!("no connection to {} within {} s", self.config.host, limit.as_secs_f32())))
        })?;
        let session = Session::new(self.init(cursor), self.config.limits, Instant::now());
        let mut connection = SocketConnection::new(socket, session, self.config.limits.answer);
        timeout(limit, poll_fn(|cx| connection.poll_transmit(cx)))
            .await
            .unwrap_or_else(|_| Err(unreachable_because("the service takes nothing in".to_owned())))?;
        Ok(Box::new(connection))
    }
}

type Socket = WebSocketStream<Metered<Transport>>;

/// One connection. Dropped, it ends.
struct SocketConnection {
    socket: Socket,
    session: Session,
    timer: Pin<Box<Sleep>>,
    progress: Progress,
    unflushed: bool,
}

/// Whether bytes come in, where no frame is complete yet.
struct Progress {
    limit: Duration,
    /// Bytes received when it was last looked.
    seen: u64,
    /// Until when those that came since are enough.
    until: Option<Instant>,
    /// Bytes received when the session was last content.
    content: u64,
    /// Pings since then, and what else there is of control frames.
    pings: u64,
}

impl SocketConnection {
    fn new(socket: Socket, session: Session, answer: Duration) -> Self {
        let timer = Box::pin(tokio::time::sleep(answer));
        let progress = Progress { limit: answer, seen: 0, until: None, content: 0, pings: 0 };
        Self { socket, session, timer, progress, unflushed: false }
    }

    /// Hands over what the session has to say. Safe to cancel: a message is taken when there is room for it.
    fn poll_transmit(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RemoteError>> {
        let mut socket = Pin::new(&mut self.socket);
        loop {
            ready!(socket.as_mut().poll_ready(cx)).map_err(socket_error)?;
            let Some(text) = self.session.poll_transmit() else { break };
            let text = Utf8Bytes::try_from(text).map_err(|e| refused(format!("a message is no text: {e}")))?;
            socket.as_mut().start_send(Message::Text(text)).map_err(socket_error)?;
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(socket.poll_flush(cx)).map_err(socket_error)?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Moves on by one frame or one time limit.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RemoteError>> {
        if let Poll::Ready(Err(error)) = self.poll_transmit(cx) {
            return Poll::Ready(Err(error));
        }
        // Before the clock: what has come while nobody asked is no silence.
        let message = Pin::new(&mut self.socket).poll_next(cx);
        let beside = self.socket.get_ref().received() - self.progress.content + PING * self.progress.pings;
        if beside > MOST_BESIDE {
            return Poll::Ready(Err(refused(format!(
                "the service sent more than is allowed: bytes that are no answer above {MOST_BESIDE}"
            ))));
        }
        if let Poll::Ready(message) = message {
            return Poll::Ready(self.on_message(message));
        }
        let Some(due) = self.due() else {
            // The session is over, and says why.
            return Poll::Ready(self.session.handle_timeout(Instant::now()).map_err(RemoteError::from));
        };
        // Each frame moves the limit on; the timer follows when it rings.
        if due < self.timer.deadline().into_std() {
            self.timer.as_mut().reset(due.into());
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            match self.due() {
                Some(due) if now < due => self.timer.as_mut().reset(due.into()),
                _ if self.made_progress(now) => {}
                _ => return Poll::Ready(self.session.handle_timeout(now).map_err(RemoteError::from)),
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        let due = self.session.poll_timeout()?;
        Some(self.progress.until.map_or(due, |until| due.max(until)))
    }

    /// Whether enough came for another wait.
    fn made_progress(&mut self, now: Instant) -> bool {
        let received = self.socket.get_ref().received();
        let lives = !self.session.is_idle() && received - self.progress.seen >= SIGN_OF_LIFE;
        self.progress.seen = received;
        self.progress.until = lives.then(|| now + self.progress.limit);
        lives
    }

    fn on_message(&mut self, message: Option<Result<Message, SocketError>>) -> Result<(), RemoteError> {
        let now = Instant::now();
        match message {
            Some(Ok(Message::Text(text))) => self.hand_over(|session| session.handle_text(&text, now)),
            Some(Ok(Message::Binary(piece))) => self.hand_over(|session| session.handle_binary(piece, now)),
            Some(Ok(Message::Close(frame))) => Err(closed(frame.as_ref())),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                self.progress.pings += 1;
                Ok(())
            }
            Some(Err(error)) => Err(socket_error(error)),
            None => Err(closed(None)),
        }
    }

    /// Gives the session a message, and notes whether its deadline moves by it.
    fn hand_over(&mut self, take: impl FnOnce(&mut Session) -> Result<(), SessionError>) -> Result<(), RemoteError> {
        let received = self.socket.get_ref().received();
        (self.progress.seen, self.progress.until) = (received, None);
        let due = self.session.poll_timeout();
        take(&mut self.session)?;
        if self.session.poll_timeout() != due {
            (self.progress.content, self.progress.pings) = (received, 0);
        }
        Ok(())
    }
}

#[async_trait]
impl Connection for SocketConnection {
    async fn pull(&mut self, uid: Uid) -> Result<(), RemoteError> {
        self.session.pull(uid, Instant::now())?;
        // Out with it now, as far as there is room: the caller may take its time to ask for the answer.
        poll_fn(|cx| match self.poll_transmit(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        })
        .await
    }

    async fn next(&mut self) -> Result<Event, RemoteError> {
        loop {
            if let Some(event) = self.session.poll_event() {
                return Ok(event);
            }
            poll_fn(|cx| self.poll_step(cx)).await?;
        }
    }
}

fn refused(message: String) -> RemoteError {
    RemoteError::new(RemoteErrorKind::Refused, message)
}

fn unreachable_because(message: String) -> RemoteError {
    RemoteError::new(RemoteErrorKind::Unreachable, message)
}

fn closed(frame: Option<&CloseFrame>) -> RemoteError {
    unreachable_because(match frame {
        Some(frame) => {
            let reason = limits::label(&frame.reason);
            format!("the service closed the connection (code {}, {reason:?})", u16::from(frame.code))
        }
        None => "the service closed the connection".to_owned(),
    })
}

fn socket_error(error: SocketError) -> RemoteError {
    match error {
        SocketError::Capacity(_) => refused(format!("the service sent more than is allowed: {error}")),
        SocketError::ConnectionClosed | SocketError::AlreadyClosed => closed(None),
        SocketError::Io(error) => unreachable_because(format!("the connection broke: {error}")),
        SocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete) => {
            unreachable_because("the connection broke off".to_owned())
        }
        other => unreachable_because(format!("the service broke the protocol: {other}")),
    }
}

fn handshake_error(error: SocketError) -> RemoteError {
    match error {
        SocketError::Http(response) => not_switched(&response),
        other => socket_error(other),
    }
}

/// An HTTP answer where a WebSocket was asked for.
fn not_switched(response: &Response) -> RemoteError {
    let status = response.status();
    let message = format!("status {status} instead of a WebSocket");
    if status.is_redirection() {
        return refused(format!("a redirect (status {status}), not followed"));
    }
    // With a success status it is a page that says "overloaded".
    if status.is_server_error() || status.is_success() || matches!(status.as_u16(), 408 | 425 | 429) {
        return unreachable_because(message);
    }
    refused(message)
}
