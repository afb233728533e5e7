//! Following a vault as it changes: a doorbell, and a run whenever it has rung.
//!
//! ```text
//! service ── live records ──► Doorbell ── how far the vault has come ──► follow ──► a run (Follower::sync)
//! ```
//! The doorbell is a connection that does nothing but listen. What a record says is not looked at: the run that follows
//! lists and applies it as any other run does, so that whatever is true of runs is true here. Between runs nothing is
//! held: no lease, and one connection.
//!
//! It never waits in silence: a connection that says nothing for longer than its limits ends with an error, and is opened
//! anew. What changed meanwhile is in the listing of the new one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use obsync_proto::Cursor;
use obsync_proto::session::Event;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

use crate::mirror::Report;
use crate::remote::{Remote, RemoteError};
use crate::retry::RetryPolicy;
use crate::stop::Stop;

/// Times of [`follow`].
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// A run begins when so long nothing more has changed: a device sends what its user did in several records.
    pub quiet: Duration,
    /// A run begins at the latest so long after the first change.
    pub longest: Duration,
    /// How long to wait before another try, of the doorbell or of a run that was no success. Without an end.
    pub retry: RetryPolicy,
    /// How often [`Follower::stands`] is called while nothing changes.
    pub heartbeat: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let (first_pause, longest_pause) = (Duration::from_secs(2), Duration::from_secs(300));
        Self {
            quiet: Duration::from_secs(1),
            longest: Duration::from_secs(10),
            retry: RetryPolicy { tries: u32::MAX, first_pause, longest_pause },
            heartbeat: Duration::from_secs(15),
        }
    }
}

/// A connection that held for so long was a good one.
const STEADY: Duration = Duration::from_secs(30);

/// Connections in a row that could not be opened, or did not hold, after which the vault is looked for anew.
const MOST_FAILURES: u32 = 3;

/// Whoever follows a vault.
#[async_trait]
pub trait Follower: Send {
    /// What ends it.
    type Error;

    /// Brings the mirror up to date.
    ///
    /// # Errors
    /// Where no later try can be of use. What a later one can mend is in the report, or `None` where there is none.
    async fn sync(&mut self, why: Why) -> Result<Option<Report>, Self::Error>;

    /// The service, for a doorbell; with the token as it is by now. `None` where there is none to be had at present.
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    async fn remote(&mut self) -> Result<Option<Arc<dyn Remote>>, Self::Error>;

    /// Told from time to time how the mirror stands.
    fn stands(&mut self, standing: Standing);
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is the first one.
    Start,
    /// The vault has changed, or the last run was no success.
    News,
    /// The service does not take the connection that listens any more: the token, the vault, or where it is may have
    /// changed.
    Deaf,
}

/// How a mirror stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The mirror is what the vault is: the last run was a success, and the doorbell, which is connected, has not rung
    /// since.
    InStep,
    /// It may be behind.
    Behind,
}

/// What a doorbell has heard.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    /// How far the vault has come, as far as anyone knows.
    cursor: Cursor,
    connected: bool,
    /// It hears nothing any more: the service is out of reach for long, refuses the token, has no such vault, or has begun
    /// its history anew.
    deaf: bool,
}

/// Listens until it is dropped.
struct Doorbell {
    heard: watch::Receiver<Heard>,
    listening: JoinHandle<()>,
}

impl Doorbell {
    fn listen(remote: Arc<dyn Remote>, cursor: Cursor, retry: RetryPolicy) -> Self {
        let (sender, heard) = watch::channel(Heard { cursor, ..Heard::default() });
        let listening = async move {
            let mut failures = 0;
            let mut opened = Instant::now();
            while let Err(error) = listen_once(remote.as_ref(), &sender).await {
                tracing::debug!(%error, "the connection that listens is gone");
                sender.send_modify(|heard| heard.connected = false);
                failures = if opened.elapsed() < STEADY { failures + 1 } else { 1 };
                match retry.pause(failures) {
                    Some(pause) if error.is_transient() && failures < MOST_FAILURES => tokio::time::sleep(pause).await,
                    _ => break,
                }
                opened = Instant::now();
            }
            sender.send_modify(|heard| heard.deaf = true);
        };
        Self { heard, listening: tokio::spawn(listening.in_current_span()) }
    }
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Listens for as long as the connection holds, or until the vault's history turns out to have been begun anew.
async fn listen_once(remote: &dyn Remote, sender: &watch::Sender<Heard>) -> Result<(), RemoteError> {
    let known = sender.borrow().cursor;
    let mut connection = remote.open(known).await?;
    loop {
        let reached = match connection.next().await? {
            Event::Record(record) => Cursor(record.uid.0),
            Event::Oversized(uid, _) => Cursor(uid.0),
            Event::Ready(cursor) if cursor < known => return Ok(()),
            Event::Ready(cursor) => {
                sender.send_modify(|heard| heard.connected = true);
                cursor
            }
            _ => continue,
        };
        sender.send_if_modified(|heard| {
            let is_news = heard.cursor < reached;
            heard.cursor = heard.cursor.max(reached);
            is_news
        });
    }
}

/// Runs once, and then whenever the vault has changed or the last run was no success, until `stop`.
///
/// # Errors
/// What [`Follower`] says.
pub async fn follow<F: Follower>(follower: &mut F, stop: &Stop, pace: Pace) -> Result<(), F::Error> {
    let mut doorbell: Option<Doorbell> = None;
    let mut why = Why::Start;
    let (mut failures, mut deaf) = (0, 0);
    loop {
        let heard = doorbell.as_ref().map(|bell| bell.heard.borrow().cursor).unwrap_or_default();
        let report = follower.sync(why).await?;
        if stop.has_come() {
            return Ok(());
        }
        let is_success = report.as_ref().is_some_and(Report::is_success);
        failures = if is_success { 0 } else { failures + 1 };
        let cursor = report.map(|report| report.cursor).unwrap_or_default();
        let run = Run {
            // What a run has not reached of what had been heard by then, it tries again in its own time.
            reached: cursor.max(heard),
            again: if is_success { None } else { pace.retry.pause(failures).map(|pause| Instant::now() + pause) },
        };
        let bell = match doorbell.take() {
            Some(bell) => Some(bell),
            None => match stop.or(follower.remote()).await {
                Some(remote) => remote?.map(|remote| Doorbell::listen(remote, cursor, pace.retry)),
                None => return Ok(()),
            },
        };
        let waited = match &bell {
            Some(bell) => wait(follower, bell, &run, stop, pace, &mut deaf).await,
            None => Waited::Deaf,
        };
        match waited {
            Waited::Stopped => return Ok(()),
            Waited::Due => (doorbell, why) = (bell, Why::News),
            Waited::Deaf => {
                drop(bell);
                follower.stands(Standing::Behind);
                deaf += 1;
                why = Why::Deaf;
                if stop.or(tokio::time::sleep(pace.retry.pause(deaf).unwrap_or_default())).await.is_none() {
                    return Ok(());
                }
            }
        }
    }
}

/// What there is to know of the last run.
struct Run {
    /// Only what is beyond is news.
    reached: Cursor,
    /// When to try again, after one that was no success.
    again: Option<Instant>,
}

enum Waited {
    Stopped,
    /// It is time for a run.
    Due,
    /// The doorbell hears nothing any more: a run finds out why, and there is need of a new one.
    Deaf,
}

/// Waits until there is something to do.
async fn wait<F: Follower>(
    follower: &mut F,
    bell: &Doorbell,
    run: &Run,
    stop: &Stop,
    pace: Pace,
    deaf: &mut u32,
) -> Waited {
    let mut ears = bell.heard.clone();
    let mut rang: Option<Instant> = None;
    loop {
        let heard = *ears.borrow_and_update();
        if heard.deaf {
            return Waited::Deaf;
        }
        let now = Instant::now();
        let mut due = run.again;
        if heard.cursor > run.reached {
            let soon = (now + pace.quiet).min(*rang.get_or_insert(now) + pace.longest);
            due = Some(due.map_or(soon, |again| again.min(soon)));
        }
        let in_step = heard.connected && due.is_none();
        if in_step {
            *deaf = 0;
        }
        follower.stands(if in_step { Standing::InStep } else { Standing::Behind });
        let heartbeat = now + pace.heartbeat;
        tokio::select! {
            biased;
            () = stop.wait() => return Waited::Stopped,
            () = sleep_until(due.unwrap_or(heartbeat)), if due.is_some() => return Waited::Due,
            changed = ears.changed() => if changed.is_err() { return Waited::Deaf },
            () = sleep_until(heartbeat) => {}
        }
    }
}
