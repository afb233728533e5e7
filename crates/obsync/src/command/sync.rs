//! `obsync sync`: brings vaults to DEST.

use std::sync::Arc;
use std::time::Duration;

use obsync_core::blob::BlobStore;
use obsync_core::filter::Filter;
use obsync_core::mirror::{Options, Report};
use obsync_core::plan::Rules;
use obsync_core::state::StateStore;
use obsync_core::stop::Stop;
use serde_json::{Value, json};

use super::watch;
use crate::cli::Sync;
use crate::destination::{Placed, Template, check_apart};
use crate::failure::{Exit, Failure, combined, of_report};
use crate::memory;
use crate::progress::{Display, write_line};
use crate::session::{Session, Vault, select};
use crate::settings::Settings;
use crate::text::{bytes, count, say};

/// A vault and where it goes.
pub(super) struct Target {
    pub(super) vault: Vault,
    blobs: Arc<dyn BlobStore>,
}

impl Target {
    /// Says on standard error what went wrong.
    pub(super) fn complain(&self, failure: &Failure) {
        write_line(&format!("obsync: {:?}: {failure}", self.vault.row.name));
    }
}

pub(crate) async fn run(settings: Settings, args: &Sync) -> Result<Exit, Failure> {
    let stop = stop_on_signals();
    let template = Template::parse(&args.to, args.all || args.vaults.len() > 1)?;
    let state = memory::Location::parse(args.state.location.as_deref(), &settings.home)?;
    let session = Session::new(settings)?;
    let options = options(args, session.options())?;
    let prepare = async || -> Result<_, Failure> {
        let targets = targets(&session, args, &template).await?;
        let state = state.open(session.cloud()).await?;
        check_apart(&placed(&targets), &written_before(state.as_ref()).await?)?;
        Ok((targets, state))
    };
    let Some((targets, state)) = stop.or(prepare()).await.transpose()? else {
        return Err(not_begun());
    };
    let ended = if args.watch {
        watch::run(&session, targets, &state, &options, &stop, args).await?
    } else {
        once(&session, targets, &state, &options, &stop).await
    };
    let mut exits = Vec::new();
    let mut answers = Vec::new();
    for (target, report, failure) in ended {
        exits.push(failure.as_ref().map_or(Exit::Done, |failure| failure.exit));
        answers.push(answer(&target, &report, failure.as_ref(), args));
    }
    if args.json {
        let vaults: Vec<Value> = answers.into_iter().map(|(json, _)| json).collect();
        say(json!({ "vaults": vaults }));
    } else {
        answers.iter().for_each(|(_, line)| say(line));
    }
    Ok(combined(&exits))
}

/// Of a vault that nothing was done for.
fn not_begun() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted before it began", "run again")
}

/// Brings one vault after the other to its place, until told to stop.
async fn once(
    session: &Session,
    targets: Vec<Target>,
    state: &Arc<dyn StateStore>,
    options: &Options,
    stop: &Stop,
) -> Vec<(Target, Report, Option<Failure>)> {
    let mut ended = Vec::new();
    for target in targets {
        if stop.has_come() {
            let failure = not_begun();
            let report = Report { complete: options.complete, incomplete: true, ..Report::default() };
            ended.push((target, report, Some(failure)));
            continue;
        }
        let (report, failure) = sync(session, &target, state, options, stop).await;
        if let Some(failure) = &failure {
            target.complain(failure);
        }
        ended.push((target, report, failure));
    }
    ended
}

fn options(args: &Sync, configured: Options) -> Result<Options, Failure> {
    let filter = Filter::new(&args.include, &args.exclude)
        .map_err(|e| Failure::usage(e.to_string(), "see `obsync sync --help` for the form of globs"))?;
    Ok(Options {
        complete: args.complete,
        dry_run: args.dry_run,
        filter,
        rules: Rules { keep_deleted: args.keep_deleted, max_delete: args.max_delete.unwrap_or_default() },
        jobs: usize::from(args.jobs),
        ..configured
    })
}

/// Finds the vaults and opens their places, before anything is written.
async fn targets(session: &Session, args: &Sync, template: &Template) -> Result<Vec<Target>, Failure> {
    let all = session.vaults().await?;
    let vaults = if args.all { all } else { select(&all, &args.vaults)? };
    let mut targets = Vec::new();
    for vault in vaults {
        let blobs = template.fill(vault.row.id.as_str(), &vault.row.name)?.open(session.cloud()).await?;
        targets.push(Target { vault, blobs });
    }
    check_apart(&placed(&targets), &[])?;
    Ok(targets)
}

fn placed(targets: &[Target]) -> Vec<Placed> {
    let placed = |Target { vault, blobs }: &Target| Placed {
        id: vault.row.id.to_string(),
        name: vault.row.name.clone(),
        place: blobs.location(),
    };
    targets.iter().map(placed).collect()
}

/// Where earlier runs wrote.
async fn written_before(state: &dyn StateStore) -> Result<Vec<Placed>, Failure> {
    let mirrors = state.mirrors().await?.into_iter();
    Ok(mirrors.map(|(id, head)| Placed { id: id.vault.into(), name: head.vault_name, place: id.destination }).collect())
}

/// Stops on Ctrl-C and SIGTERM; a second Ctrl-C ends the program at once.
fn stop_on_signals() -> Stop {
    let stop = Stop { grace: Duration::from_secs(5), ..Stop::default() };
    let request = stop.request.clone();
    tokio::spawn(async move {
        interrupted().await;
        request.cancel();
        eprintln!("obsync: stopping; what is done is being recorded (Ctrl-C again to leave at once)");
        interrupted().await;
        std::process::exit(i32::from(Exit::Interrupted as u8));
    });
    stop
}

async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Without a handler the signal ends the program in the system's own way.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Brings one vault to its place.
pub(super) async fn sync(
    session: &Session,
    target: &Target,
    state: &Arc<dyn StateStore>,
    options: &Options,
    stop: &Stop,
) -> (Report, Option<Failure>) {
    let display = Arc::new(Display::start(&target.vault.row.name, options.dry_run));
    let (row, blobs, state) = (&target.vault.row, target.blobs.clone(), state.clone());
    let result = session.sync(row, blobs, state, display.clone(), options, stop).await;
    display.end();
    match result {
        Ok(report) => {
            let failure = of_report(&report, stop.request.is_cancelled());
            (report, failure)
        }
        Err(failure) => (Report { complete: options.complete, ..Report::default() }, Some(failure)),
    }
}

/// The answer about one vault, as JSON and as a line.
pub(super) fn answer(target: &Target, report: &Report, failure: Option<&Failure>, args: &Sync) -> (Value, String) {
    let row = &target.vault.row;
    let failed: Vec<Value> = report.failed.iter().map(|f| json!({ "path": f.path, "error": f.error })).collect();
    let mut json = json!({
        "id": row.id,
        "name": row.name,
        "destination": target.blobs.location(),
        "sync_type": if report.complete { "complete" } else { "incremental" },
        "cursor": report.cursor,
        "downloaded": report.downloaded,
        "copied": report.copied,
        "deleted": report.deleted,
        "unchanged": report.unchanged,
        "failed": failed,
        "bytes": report.bytes,
        "seconds": report.elapsed.as_secs_f64(),
        "incomplete": report.incomplete,
    });
    if let Some(failure) = failure {
        json["error"] = failure.problem.clone().into();
    }
    let would = if args.dry_run { "would be: " } else { "" };
    let failed = if report.failed.is_empty() { String::new() } else { format!(", {} failed", report.failed.len()) };
    let line = format!(
        "{} → {}: {would}{} downloaded ({}), {} copied, {} deleted, {} unchanged{failed} in {:.1} s",
        row.name,
        target.blobs.location(),
        count(report.downloaded, "file"),
        bytes(report.bytes),
        report.copied,
        report.deleted,
        report.unchanged,
        report.elapsed.as_secs_f64(),
    );
    (json, line)
}
