//! What the function does with an event.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use obsync_core::clock::{Clock, SystemClock};
use obsync_core::mirror::{Options, Report};
use obsync_core::progress::{Observer, Progress};
use obsync_core::state::StateStore;
use obsync_core::stop::Stop;
use obsync_input::{Action, Refused, Request, SyncType};
use obsync_proto::VaultId;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::config::{Env, Place, Ready};
use super::metrics;
use super::response::{Response, Sum};
use crate::failure::{Exit, Failure, of_report};
use crate::session::Vault;

/// One invocation of the function.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Lambda's id for it.
    pub request_id: String,
    /// When Lambda ends it.
    pub deadline: Instant,
}

/// Answers events. Keeps the account, its token and the vaults' keys from one to the next.
pub struct Handler {
    env: Env,
    metrics: fn(&str),
    ready: Mutex<Option<Arc<Ready>>>,
    /// A password was refused: the secret may have changed.
    is_doubtful: AtomicBool,
}

impl Handler {
    /// Reads nothing yet: a fault in the configuration is the answer to each event, until it is mended. `env` looks up
    /// an environment variable, `metrics` writes a line of metrics.
    pub fn new(env: impl Fn(&str) -> Option<String> + Send + Sync + 'static, metrics: fn(&str)) -> Self {
        Self { env: Box::new(env), metrics, ready: Mutex::default(), is_doubtful: AtomicBool::new(false) }
    }

    /// Does what an event asks for, and writes a line of metrics about it.
    pub async fn handle(&self, event: &serde_json::Value, invocation: &Invocation) -> Response {
        let started = Instant::now();
        let response = match Action::read(event) {
            Ok(action) => self.act(action, invocation, started).await,
            Err(Refused(message)) => Response::refused(message.clone(), vec![message]),
        };
        if response.success {
            tracing::info!(message = response.message, "done");
        } else {
            tracing::error!(message = response.message, errors = ?response.errors, "failed");
        }
        (self.metrics)(&metrics::line(&response, &self.function(), started.elapsed(), &invocation.request_id));
        response
    }

    async fn act(&self, action: Action, invocation: &Invocation, started: Instant) -> Response {
        let ready = match self.ready().await {
            Ok(ready) => ready,
            Err(failure) => return unready(&failure),
        };
        let stop = stop_before(invocation.deadline);
        let vaults = match stop.or(ready.session.vaults()).await {
            Some(Ok(vaults)) => vaults,
            Some(Err(failure)) => {
                self.doubt(&failure);
                return Response::refused("Failed to list vaults", vec![one_line(&failure)]);
            }
            None => return Response::refused("Failed to list vaults", vec!["no answer before the time was up".into()]),
        };
        match action {
            Action::Dispatch(request) => dispatch(&ready, &vaults, &request).await,
            Action::Sync(request) => {
                let place = ready.place(&request);
                let state = match ready.state(&place).await {
                    Ok(state) => state,
                    Err(failure) => return unready(&failure),
                };
                let round = Round { ready: &ready, place, state, request: &request, invocation, stop };
                self.sync(&round, vaults).await.into_response(request.sync_type, started.elapsed())
            }
        }
    }

    async fn ready(&self) -> Result<Arc<Ready>, Failure> {
        let mut ready = self.ready.lock().await;
        let is_doubtful = self.is_doubtful.swap(false, Ordering::Relaxed);
        match &*ready {
            Some(ready) if !is_doubtful || ready.is_current().await => Ok(ready.clone()),
            _ => Ok(ready.insert(Arc::new(Ready::read(&self.env).await?)).clone()),
        }
    }

    /// After a refused password, the next event looks whether the secret has a new one.
    fn doubt(&self, failure: &Failure) {
        if failure.exit == Exit::Refused {
            self.is_doubtful.store(true, Ordering::Relaxed);
        }
    }

    /// The function's name.
    fn function(&self) -> String {
        (self.env)("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|| "obsync".to_owned())
    }

    async fn sync(&self, round: &Round<'_>, vaults: Vec<Vault>) -> Sum {
        let mut sum = Sum::default();
        for vault in wanted(vaults, round.request.vault.as_ref(), &mut sum) {
            if round.stop.has_come() {
                sum.incomplete = true;
                break;
            }
            if let Err(failure) = round.sync(&vault, &mut sum).await {
                self.doubt(&failure);
                sum.errors.push(format!("vault {}: {}", vault.row.id, one_line(&failure)));
            }
        }
        sum
    }
}

/// One event's circumstances.
struct Round<'a> {
    ready: &'a Ready,
    place: Place,
    state: Arc<dyn StateStore>,
    request: &'a Request,
    invocation: &'a Invocation,
    stop: Stop,
}

impl Round<'_> {
    async fn sync(&self, vault: &Vault, sum: &mut Sum) -> Result<(), Failure> {
        let row = &vault.row;
        let options = Options {
            complete: self.request.sync_type == SyncType::Complete,
            rules: self.ready.rules,
            holder: format!("Lambda request {}", self.invocation.request_id),
            ..self.ready.session.options()
        };
        let observer: Arc<dyn Observer> = Arc::new(Log { vault: row.id.clone() });
        let blobs = self.ready.blobs(&self.place, row).await?;
        let report = self.ready.session.sync(row, blobs, self.state.clone(), observer, &options, &self.stop).await?;
        sum.add(&row.id, &report);
        sum.lag = sum.lag.max(lag(&report));
        log_report(&row.id, &report);
        failure_of(&report).map_or(Ok(()), Err)
    }
}

fn unready(failure: &Failure) -> Response {
    Response::refused("Failed to initialize handler", vec![one_line(failure)])
}

/// The vaults that an event is about. Two that share a name would share their keys in the bucket: neither is mirrored.
fn wanted(vaults: Vec<Vault>, only: Option<&VaultId>, sum: &mut Sum) -> Vec<Vault> {
    let mut names: HashMap<String, Vec<VaultId>> = HashMap::new();
    for vault in &vaults {
        names.entry(vault.row.name.clone()).or_default().push(vault.row.id.clone());
    }
    let mut wanted: Vec<Vault> =
        vaults.into_iter().filter(|vault| only.is_none_or(|only| *only == vault.row.id)).collect();
    if let (Some(only), true) = (only, wanted.is_empty()) {
        sum.errors.push(no_such_vault(only));
    }
    wanted.retain(|vault| {
        let twins = &names[&vault.row.name];
        if twins.len() > 1 {
            let others: Vec<&str> = twins.iter().filter(|id| **id != vault.row.id).map(VaultId::as_str).collect();
            sum.errors.push(format!(
                "vault {}: its name {:?} is also that of {}; rename one of them",
                vault.row.id,
                vault.row.name,
                others.join(", ")
            ));
        }
        twins.len() == 1
    });
    wanted
}

fn no_such_vault(id: &VaultId) -> String {
    format!("vault {id}: there is no such vault in this account")
}

/// Stops in time to record what was done and to answer: a fifth of what is left, but at least half a second and at
/// most twenty.
fn stop_before(deadline: Instant) -> Stop {
    let left = deadline.saturating_duration_since(Instant::now());
    let margin = (left / 5).clamp(Duration::from_millis(500), Duration::from_secs(20));
    Stop { deadline: Some(deadline.checked_sub(margin).unwrap_or(deadline)), grace: margin / 4, ..Stop::default() }
}

/// How a run failed. Out of time is no fault: the next event goes on.
fn failure_of(report: &Report) -> Option<Failure> {
    let in_time = Report { incomplete: false, ..report.clone() };
    let mut failure = of_report(&in_time, false)?;
    if let Some(guarded) = report.guarded {
        failure.advice = format!("if that is right, set OBSYNC_MAX_DELETE to {} for one event", guarded.deletes);
    } else if let (Some(first), None) = (report.failed.first(), &report.error) {
        failure.problem = format!("{}: {:?}: {}", failure.problem, first.path, first.error);
    }
    Some(failure)
}

/// Time since the mirror was last what the vault is; `None` where it never was.
fn lag(report: &Report) -> Option<Duration> {
    let ms = SystemClock.unix_ms().saturating_sub(report.succeeded_at);
    (report.succeeded_at != 0).then(|| Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// One message a vault, for as many invocations of the function as Lambda runs at once.
async fn dispatch(ready: &Ready, vaults: &[Vault], request: &Request) -> Response {
    let queue = match ready.queue().await {
        Ok(queue) => queue,
        Err(failure) => return unready(&failure),
    };
    let vaults: Vec<&Vault> =
        vaults.iter().filter(|vault| request.vault.as_ref().is_none_or(|only| *only == vault.row.id)).collect();
    if let (Some(only), true) = (&request.vault, vaults.is_empty()) {
        return Response::refused("Dispatched 0 vaults", vec![no_such_vault(only)]);
    }
    let messages: Vec<String> = vaults.iter().map(|vault| request.message(&vault.row.id)).collect();
    let sent = queue.send(&messages).await;
    let failed = vaults.iter().zip(sent).filter_map(|(vault, sent)| Some((vault, sent.err()?)));
    let errors: Vec<String> = failed.map(|(vault, error)| format!("vault {}: {error}", vault.row.id)).collect();
    let dispatched = vaults.len() - errors.len();
    Response {
        success: errors.is_empty(),
        message: format!("Dispatched {dispatched} vaults"),
        errors,
        metadata: [("dispatched", dispatched.to_string()), ("sync_type", request.sync_type.as_str().to_owned())].into(),
        ..Response::default()
    }
}

fn one_line(failure: &Failure) -> String {
    failure.to_string().replace("\n  ", ": ")
}

fn log_report(vault: &VaultId, report: &Report) {
    tracing::info!(
        %vault,
        cursor = report.cursor.0,
        downloaded = report.downloaded,
        copied = report.copied,
        deleted = report.deleted,
        unchanged = report.unchanged,
        failed = report.failed.len(),
        bytes = report.bytes,
        incomplete = report.incomplete,
        seconds = report.elapsed.as_secs_f64(),
        "vault"
    );
}

/// Progress for the log: failures by name, the rest for whoever asks for it.
struct Log {
    vault: VaultId,
}

impl Observer for Log {
    fn on(&self, progress: Progress<'_>) {
        let vault = &self.vault;
        match progress {
            Progress::Failed { path, error } => tracing::warn!(%vault, path, error, "not mirrored"),
            Progress::Retrying { path, error } => tracing::info!(%vault, %path, error, "trying again"),
            Progress::Planned(planned) => tracing::debug!(%vault, ?planned, "planned"),
            _ => {}
        }
    }
}
