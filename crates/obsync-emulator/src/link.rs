//! One TCP connection that is counted, and can be slowed, and cut at any byte.

use std::io;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::counters::Counters;

/// A slowed connection is written to in portions worth this long.
const PORTION: Duration = Duration::from_millis(10);

/// What a slowed connection may make up for when a timer was late.
const CREDIT: Duration = Duration::from_millis(50);

/// Steers a [`Link`] from outside.
#[derive(Debug, Clone)]
pub(crate) struct LinkControl(Arc<Mutex<Course>>);

#[derive(Debug)]
struct Course {
    /// The rate of an undisturbed connection.
    usual: Option<NonZeroU64>,
    rate: Option<NonZeroU64>,
    /// Bytes that may still be sent.
    left: Option<u64>,
    /// When the line is free again.
    free_at: Instant,
}

impl LinkControl {
    pub(crate) fn new(bandwidth: Option<NonZeroU64>) -> Self {
        Self(Arc::new(Mutex::new(Course { usual: bandwidth, rate: bandwidth, left: None, free_at: Instant::now() })))
    }

    /// Ends the connection after `bytes` more.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.0.lock().left = Some(bytes);
    }

    /// Sends at `rate` bytes a second until [`LinkControl::usual_rate`].
    pub(crate) fn trickle(&self, rate: u64) {
        self.0.lock().rate = NonZeroU64::new(rate.max(1));
    }

    pub(crate) fn usual_rate(&self) {
        let mut course = self.0.lock();
        course.rate = course.usual;
    }

    /// How many of `wanted` bytes may be sent now, or when to ask again.
    fn allowance(&self, wanted: usize) -> io::Result<Result<usize, Instant>> {
        let course = self.0.lock();
        let wanted = course.left.map_or(wanted, |left| wanted.min(usize::try_from(left).unwrap_or(usize::MAX)));
        if course.left == Some(0) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let Some(rate) = course.rate else { return Ok(Ok(wanted)) };
        if course.free_at > Instant::now() {
            return Ok(Err(course.free_at));
        }
        let portion = (rate.get() as f64 * PORTION.as_secs_f64()) as usize;
        Ok(Ok(wanted.min(portion.max(1))))
    }

    fn sent(&self, bytes: usize) {
        let mut course = self.0.lock();
        course.left = course.left.map(|left| left.saturating_sub(bytes as u64));
        if let Some(rate) = course.rate {
            let earliest = Instant::now().checked_sub(CREDIT).unwrap_or_else(Instant::now);
            course.free_at = course.free_at.max(earliest) + Duration::from_secs_f64(bytes as f64 / rate.get() as f64);
        }
    }
}

/// A TCP connection under a [`LinkControl`].
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    control: LinkControl,
    counters: Counters,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Link {
    pub(crate) fn new(stream: TcpStream, control: LinkControl, counters: Counters) -> Self {
        Self { stream, control, counters, pause: None }
    }
}

impl AsyncRead for Link {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let received = buf.filled().len() - before;
        self.counters.add(|counts| counts.bytes_received += received as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match self.control.allowance(buf.len())? {
                Err(free_at) => self.pause = Some(Box::pin(sleep_until(free_at))),
                Ok(portion) => {
                    let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &buf[..portion]))?;
                    self.control.sent(sent);
                    self.counters.add(|counts| counts.bytes_sent += sent as u64);
                    return Poll::Ready(Ok(sent));
                }
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
