//! What the function does with an event.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use obsync_core::clock::{Clock, SystemClock};
use obsync_core::mirror::{Options, Report};
use obsync_core::progress::{Observer, Progress};
use obsync_core::state::StateStore;
use obsync_core::stop::Stop;
use obsync_proto::VaultId;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::config::{Env, Place, Ready};
use super::metrics;
use super::request::{Action, Refused, Request, SyncType};
use super::response::{Response, Sum};
use crate::destination::folder_name;
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
    ready: Mutex<Option<Arc<Ready>>>,
}

impl Handler {
    /// Reads nothing yet: a fault in the configuration is the answer to each event, until it is mended.
    pub fn new(env: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { env: Box::new(env), ready: Mutex::default() }
    }

    /// Does what an event asks for.
    pub async fn handle(&self, event: &serde_json::Value, invocation: &Invocation) -> Response {
        let started = Instant::now();
        let action = match Action::read(event) {
            Ok(action) => action,
            Err(Refused(message)) => return log(Response::refused(message.clone(), vec![message])),
        };
        let ready = match self.ready().await {
            Ok(ready) => ready,
            Err(failure) => return log(Response::refused("Failed to initialize handler", vec![one_line(&failure)])),
        };
        let vaults = match ready.session.vaults().await {
            Ok(vaults) => vaults,
            Err(failure) => {
                self.forget(&failure).await;
                return log(Response::refused("Failed to list vaults", vec![one_line(&failure)]));
            }
        };
        log(match action {
            Action::Dispatch(request) => dispatch(&ready, &vaults, &request).await,
            Action::Sync(request) => self.sync(&ready, vaults, &request, invocation, started).await,
        })
    }

    async fn ready(&self) -> Result<Arc<Ready>, Failure> {
        let mut ready = self.ready.lock().await;
        if let Some(ready) = &*ready {
            return Ok(ready.clone());
        }
        Ok(ready.insert(Arc::new(Ready::read(&self.env).await?)).clone())
    }

    /// After a refused password, the next event reads the secret anew.
    async fn forget(&self, failure: &Failure) {
        if failure.exit == Exit::Refused {
            *self.ready.lock().await = None;
        }
    }

    async fn sync(
        &self,
        ready: &Ready,
        vaults: Vec<Vault>,
        request: &Request,
        invocation: &Invocation,
        started: Instant,
    ) -> Response {
        let mut sum = Sum::default();
        let place = ready.place(request);
        let state = ready.state(&place);
        let stop = stop_before(invocation.deadline);
        for vault in wanted(vaults, request.vault.as_ref(), &mut sum) {
            if stop.has_come() {
                sum.incomplete = true;
                break;
            }
            if let Some(failure) = sync_vault(ready, &vault, &place, &state, request, invocation, &stop, &mut sum).await
            {
                self.forget(&failure).await;
                sum.errors.push(format!("vault {}: {}", vault.row.id, one_line(&failure)));
            }
        }
        println!("{}", metrics::line(&sum, &ready.function, started.elapsed(), &invocation.request_id));
        sum.into_response(request.sync_type, started.elapsed())
    }
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
        sum.errors.push(format!("vault {only}: there is no such vault in this account"));
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

/// Stops in time to record what was done and to answer: a fifth of what is left, but at least half a second and at
/// most ten.
fn stop_before(deadline: Instant) -> Stop {
    let left = deadline.saturating_duration_since(Instant::now());
    let margin = (left / 5).clamp(Duration::from_millis(500), Duration::from_secs(10));
    Stop { deadline: Some(deadline.checked_sub(margin).unwrap_or(deadline)), grace: margin / 2, ..Stop::default() }
}

#[expect(clippy::too_many_arguments, reason = "one event's circumstances, used here alone")]
async fn sync_vault(
    ready: &Ready,
    vault: &Vault,
    place: &Place,
    state: &Arc<dyn StateStore>,
    request: &Request,
    invocation: &Invocation,
    stop: &Stop,
    sum: &mut Sum,
) -> Option<Failure> {
    let row = &vault.row;
    let folder = match folder_name(row.id.as_str(), &row.name) {
        Ok(folder) => folder,
        Err(failure) => return Some(failure),
    };
    let options = Options {
        complete: request.sync_type == SyncType::Complete,
        holder: format!("Lambda request {}", invocation.request_id),
        ..Options::default()
    };
    let observer: Arc<dyn Observer> = Arc::new(Log { vault: row.id.clone() });
    let blobs = ready.blobs(place, folder);
    match ready.session.sync(row, blobs, state.clone(), observer, &options, stop).await {
        Ok(report) => {
            sum.add(&row.id, &report);
            sum.lag = sum.lag.max(lag(&report));
            log_report(&row.id, &report);
            failure_of(&report)
        }
        Err(failure) => Some(failure),
    }
}

/// How a run failed. Out of time is no fault: the next event goes on.
fn failure_of(report: &Report) -> Option<Failure> {
    let out_of_time_alone = report.incomplete && report.failed.is_empty() && report.error.is_none();
    if out_of_time_alone && report.guarded.is_none() {
        return None;
    }
    let mut failure = of_report(report, false)?;
    if let (Some(first), None, None) = (report.failed.first(), &report.error, report.guarded) {
        failure.problem = format!("{}: {:?}: {}", failure.problem, first.path, first.error);
    }
    Some(failure)
}

/// Time since the mirror was last what the vault is.
fn lag(report: &Report) -> Duration {
    let ms = SystemClock.unix_ms().saturating_sub(report.succeeded_at);
    if report.succeeded_at == 0 { Duration::ZERO } else { Duration::from_millis(u64::try_from(ms).unwrap_or(0)) }
}

/// One message a vault, for as many invocations of the function as Lambda runs at once.
async fn dispatch(ready: &Ready, vaults: &[Vault], request: &Request) -> Response {
    let queue = match ready.queue() {
        Ok(queue) => queue,
        Err(failure) => return Response::refused("Failed to initialize handler", vec![one_line(&failure)]),
    };
    let message = |vault: &Vault| {
        json!({
            "action": "sync",
            "vault_id": vault.row.id,
            "sync_type": request.sync_type.as_str(),
            "dest_bucket": request.dest_bucket,
            "dest_prefix": request.dest_prefix,
        })
        .to_string()
    };
    let vaults: Vec<&Vault> =
        vaults.iter().filter(|vault| request.vault.as_ref().is_none_or(|only| *only == vault.row.id)).collect();
    let messages: Vec<String> = vaults.iter().map(|vault| message(vault)).collect();
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

fn log(response: Response) -> Response {
    if response.success {
        tracing::info!(message = response.message, "done");
    } else {
        tracing::error!(message = response.message, errors = ?response.errors, "failed");
    }
    response
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
