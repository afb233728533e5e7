//! `obsync sync --watch`: brings vaults to DEST, and stays to follow them.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use obsync_core::mirror::{Options, Report};
use obsync_core::remote::Remote;
use obsync_core::state::StateStore;
use obsync_core::stop::Stop;
use obsync_core::watch::{Follower, Pace, Standing, Why, follow};
use tokio::sync::Semaphore;

use super::sync::{self, Target};
use crate::cli::Sync;
use crate::failure::{Exit, Failure};
use crate::health::{self, Health};
use crate::session::{self, Session};
use crate::text::say;

/// Runs of several vaults at once: memory and connections are bounded for each run.
const RUNS_AT_ONCE: usize = 2;

/// Follows all of them until told to stop; gives for each what was done, in sum, and what ended it or went wrong last.
pub(super) async fn run(
    session: &Session,
    targets: Vec<Target>,
    state: &Arc<dyn StateStore>,
    options: &Options,
    stop: &Stop,
    args: &Sync,
) -> Result<Vec<(Target, Report, Option<Failure>)>, Failure> {
    let ids = targets.iter().map(|target| target.vault.row.id.to_string());
    let health = Health::new(ids);
    if let Some(path) = &args.heartbeat {
        health.keep_heartbeat(path.clone());
    }
    if let Some(address) = args.health {
        let bound = health.serve(address).await.map_err(|e| {
            Failure::usage(format!("--health {address}: {e}"), "give an address and port that are free")
        })?;
        eprintln!("obsync: health at http://{bound}");
    }
    health::start_watchdog();
    let turns = Arc::new(Semaphore::new(RUNS_AT_ONCE));
    let following = targets.into_iter().map(|target| {
        let mut vault = Following {
            session,
            target,
            state: state.clone(),
            options,
            stop,
            args,
            health: health.clone(),
            turns: turns.clone(),
            sum: Report::default(),
            complete: options.complete,
            failure: None,
        };
        async move {
            let ended = follow(&mut vault, stop, Pace::default()).await;
            // One that cannot go on ends all: whoever started the program has to know.
            stop.request.cancel();
            if let Err(failure) = &ended {
                vault.target.complain(failure);
            }
            (vault, ended)
        }
    });
    let ended = join_all(following).await;
    health::notify("STOPPING=1");
    // Where one had to end, that the others were told to is no news.
    let is_told = |failure: &Failure| failure.exit == Exit::Interrupted;
    let had_to = ended.iter().any(|(_, ended)| ended.is_err());
    let last = |failure: Option<Failure>| failure.filter(|failure| !(had_to && is_told(failure)));
    Ok(ended.into_iter().map(|(v, ended)| (v.target, v.sum, ended.err().or_else(|| last(v.failure)))).collect())
}

/// One vault that is followed.
struct Following<'a> {
    session: &'a Session,
    target: Target,
    state: Arc<dyn StateStore>,
    options: &'a Options,
    stop: &'a Stop,
    args: &'a Sync,
    health: Arc<Health>,
    /// For runs of all vaults.
    turns: Arc<Semaphore>,
    /// What all runs did.
    sum: Report,
    /// A complete run was asked for, and none has got through yet.
    complete: bool,
    /// What went wrong last, if nothing has gone well since. What is known of the vault, its host above all, may then have
    /// changed.
    failure: Option<Failure>,
}

impl Following<'_> {
    /// Looks the vault up anew.
    async fn refresh(&mut self) -> Result<(), Failure> {
        let vaults = self.session.vaults().await?;
        self.target.vault = session::find(&vaults, self.target.vault.row.id.as_str())?.clone();
        Ok(())
    }

    /// Says what went wrong, once for as long as it is the same.
    fn tell(&mut self, failure: Failure) {
        if self.failure.as_ref() != Some(&failure) {
            self.target.complain(&failure);
        }
        self.failure = Some(failure);
    }

    fn add(&mut self, report: &Report) {
        let Report { downloaded, copied, deleted, bytes, elapsed, .. } = self.sum;
        self.sum = Report {
            complete: self.options.complete,
            downloaded: downloaded + report.downloaded,
            copied: copied + report.copied,
            deleted: deleted + report.deleted,
            bytes: bytes + report.bytes,
            elapsed: elapsed + report.elapsed,
            ..report.clone()
        };
    }
}

/// Whether a later run may succeed.
fn can_pass(failure: &Failure) -> bool {
    !matches!(failure.exit, Exit::Usage | Exit::Refused | Exit::NoVault)
}

#[async_trait]
impl Follower for Following<'_> {
    type Error = Failure;

    async fn sync(&mut self, why: Why) -> Result<Option<Report>, Failure> {
        let is_in_doubt = why == Why::Deaf || self.failure.is_some();
        if is_in_doubt {
            match self.stop.or(self.refresh()).await {
                None => return Ok(None),
                Some(Err(failure)) if can_pass(&failure) => {
                    self.tell(failure);
                    return Ok(None);
                }
                Some(refreshed) => refreshed?,
            }
        }
        let Ok(_turn) = self.turns.clone().acquire_owned().await else { return Ok(None) };
        let options = Options { complete: self.complete, ..self.options.clone() };
        let (report, failure) = sync::sync(self.session, &self.target, &self.state, &options, self.stop).await;
        self.complete &= report.error.is_some() || report.incomplete;
        self.add(&report);
        if report.downloaded + report.copied + report.deleted > 0 && !self.args.json {
            say(sync::answer(&self.target, &report, failure.as_ref(), self.args).1);
        }
        match failure {
            // What was known of a vault that was not looked up just now may have been out of date.
            Some(failure) if !can_pass(&failure) && (is_in_doubt || why == Why::Start) => return Err(failure),
            Some(failure) => self.tell(failure),
            None => self.failure = None,
        }
        Ok(Some(report))
    }

    async fn remote(&mut self) -> Result<Option<Arc<dyn Remote>>, Failure> {
        match self.session.remote(&self.target.vault.row).await {
            Ok(remote) => Ok(Some(remote)),
            // The run that follows looks the vault up anew, and says what is wrong.
            Err(failure) => {
                self.tell(failure);
                Ok(None)
            }
        }
    }

    fn stands(&mut self, standing: Standing) {
        if standing == Standing::InStep {
            self.health.is_in_step(self.target.vault.row.id.as_str());
        }
    }
}
