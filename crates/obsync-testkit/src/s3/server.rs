//! Connections, and what goes wrong with them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::service::S3Service;
use s3s::{Body, HttpError, HttpResponse};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::fault::{Operation, S3Fault};
use super::{MemoryS3, Shared};

/// Marks a request whose answer is to end halfway.
#[derive(Debug, Clone, Copy)]
pub(super) struct Halfway;

/// Serves until it is aborted, and its connections with it.
pub(super) async fn serve(listener: TcpListener, service: S3Service, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let _ = stream.set_nodelay(true);
        let (service, shared) = (service.clone(), shared.clone());
        let stream = Counted { stream, shared: shared.clone() };
        let answer = service_fn(move |request| answer(service.clone(), shared.clone(), request));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

async fn answer(
    service: S3Service,
    shared: Arc<Shared>,
    mut request: Request<Incoming>,
) -> Result<HttpResponse, HttpError> {
    let (latency, fault) = {
        let mut faults = shared.faults();
        let url = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        (faults.latency, faults.meet(Operation::of(&request), &url))
    };
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    match fault {
        None => {}
        Some(S3Fault::CutHalfway) => {
            request.extensions_mut().insert(Halfway);
        }
        Some(S3Fault::CutBefore) => return Err(cut()),
        Some(S3Fault::Silence) => std::future::pending().await,
        Some(S3Fault::CutAfter) => {
            service.call(request.map(Body::from)).await?;
            return Err(cut());
        }
        Some(S3Fault::Answer { status, code }) => return refuse(request, status, &code).await,
    }
    service.call(request.map(Body::from)).await
}

/// Hyper closes the connection for it.
fn cut() -> HttpError {
    HttpError::new(Box::new(io::Error::from(io::ErrorKind::ConnectionReset)))
}

async fn refuse(request: Request<Incoming>, status: u16, code: &str) -> Result<HttpResponse, HttpError> {
    // Who does not read to the end what is sent, cuts the connection.
    Body::from(request.into_body()).store_all_limited(usize::MAX).await.map_err(HttpError::new)?;
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>a fault of the test</Message></Error>"
    );
    let response = Response::builder().status(status).header("content-type", "application/xml");
    Ok(response.body(Body::from(xml)).unwrap())
}

impl MemoryS3 {
    /// Bytes to and from it so far, over all connections, with all that HTTP puts around them.
    pub fn bytes(&self) -> u64 {
        self.shared.faults().bytes
    }
}

/// A connection whose bytes are counted.
struct Counted {
    stream: TcpStream,
    shared: Arc<Shared>,
}

impl Counted {
    fn count(&self, bytes: usize) {
        self.shared.faults().bytes += bytes as u64;
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.count(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.count(sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
