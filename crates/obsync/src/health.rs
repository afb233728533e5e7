//! How the mirrors that are being followed stand, for supervisors: systemd, a file, an HTTP port.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// A mirror that was not known to be what its vault is for so long is not healthy. Twice what the longest pause between
/// two tries takes.
const LIMIT: Duration = Duration::from_secs(600);

/// How often the heartbeat file is looked after.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// For one request, headers and answer.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Requests at once.
const REQUESTS: usize = 16;

/// How all the mirrors of one `sync --watch` stand.
#[derive(Debug)]
pub(crate) struct Health {
    /// By vault id: when the mirror was last known to be what its vault is.
    in_step: Mutex<BTreeMap<String, Option<Instant>>>,
}

impl Health {
    /// For these vaults.
    pub(crate) fn new(vaults: impl Iterator<Item = String>) -> Arc<Self> {
        Arc::new(Self { in_step: Mutex::new(vaults.map(|id| (id, None)).collect()) })
    }

    fn in_step(&self) -> MutexGuard<'_, BTreeMap<String, Option<Instant>>> {
        self.in_step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mirror of this vault is what the vault is.
    pub(crate) fn is_in_step(&self, vault: &str) {
        self.in_step().insert(vault.to_owned(), Some(Instant::now()));
    }

    /// Writes the file anew every so often, for as long as the port would answer 200.
    pub(crate) fn keep_heartbeat(self: &Arc<Self>, path: PathBuf) {
        let health = self.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(HEARTBEAT);
            loop {
                ticks.tick().await;
                if health.is_well()
                    && let Err(error) = tokio::fs::write(&path, format!("{}\n", unix_seconds())).await
                {
                    tracing::warn!(path = %path.display(), %error, "the heartbeat file cannot be written");
                }
            }
        });
    }

    /// How long ago the mirror that is furthest behind was in step; `None`: never, since the program started.
    fn age(&self) -> Option<Duration> {
        let oldest = self.in_step().values().copied().min().flatten()?;
        Some(oldest.elapsed())
    }

    fn is_well(&self) -> bool {
        self.age().is_some_and(|age| age < LIMIT)
    }

    fn answer(&self) -> (StatusCode, Value) {
        let seconds = |at: &Option<Instant>| at.map(|at| at.elapsed().as_secs());
        let vaults: BTreeMap<String, Option<u64>> =
            self.in_step().iter().map(|(id, at)| (id.clone(), seconds(at))).collect();
        let status = if self.is_well() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, json!({ "last_success_seconds_ago": self.age().map(|age| age.as_secs()), "vaults": vaults }))
    }

    /// Answers every HTTP request at `address`: 200 while all mirrors are in step or were within the last 10 minutes, else
    /// 503, with the age of the last success.
    ///
    /// # Errors
    /// Where nothing can listen there.
    pub(crate) async fn serve(self: &Arc<Self>, address: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        let health = self.clone();
        tokio::spawn(async move { health.accept(listener).await });
        Ok(bound)
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let requests = Arc::new(Semaphore::new(REQUESTS));
        loop {
            let Ok(place) = requests.clone().acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: wait for some to come free.
                    tracing::warn!(%error, "the health port");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let health = self.clone();
            tokio::spawn(async move {
                let answer = service_fn(|_: Request<Incoming>| std::future::ready(health.respond()));
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), answer);
                let _ = timeout(REQUEST_LIMIT, connection).await;
                drop(place);
            });
        }
    }

    fn respond(&self) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
        let (status, body) = self.answer();
        let mut response = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }
}

/// Tells systemd that the program is up, and from then on, as often as it asks for (`sd_watchdog_enabled(3)`), that it is
/// not stuck. A first run takes as long as it takes, and an Obsidian that is out of reach is no reason to be started
/// anew: how the mirrors stand is the port's to say.
pub(crate) fn start_watchdog() {
    notify("READY=1\nSTATUS=following");
    let asked = std::env::var("WATCHDOG_USEC").ok().and_then(|us| us.parse().ok()).map(Duration::from_micros);
    if let Some(limit) = asked.filter(|limit| !limit.is_zero()) {
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(limit / 2);
            loop {
                ticks.tick().await;
                notify("WATCHDOG=1");
            }
        });
    }
}

/// Tells systemd, where it has started this program and wants to know (`sd_notify(3)`).
pub(crate) fn notify(state: &str) {
    #[cfg(target_os = "linux")]
    if let Err(error) = send(state) {
        tracing::warn!(%error, "systemd cannot be told");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = state;
}

#[cfg(target_os = "linux")]
fn send(state: &str) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let Some(place) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match place.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&place)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

fn unix_seconds() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_is_well_while_every_mirror_was_in_step_within_the_limit() {
        let health = Health::new(["a", "b"].map(str::to_owned).into_iter());
        health.is_in_step("a");
        let (status, body) = health.answer();
        assert_eq!((status.as_u16(), &body["last_success_seconds_ago"]), (503, &Value::Null), "b was never in step");
        health.is_in_step("b");
        sleep(LIMIT / 2).await;
        health.is_in_step("a");
        sleep(LIMIT / 2 - Duration::from_secs(1)).await;
        assert_eq!(health.answer().0, 200);
        sleep(Duration::from_secs(1)).await;
        let (status, body) = health.answer();
        assert_eq!((status.as_u16(), body["last_success_seconds_ago"].as_u64()), (503, Some(LIMIT.as_secs())));
        assert_eq!(body["vaults"], json!({ "a": LIMIT.as_secs() / 2, "b": LIMIT.as_secs() }));
    }
}
