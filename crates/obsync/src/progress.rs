//! Progress for people: bars on a terminal, a line now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use obsync_core::progress::{Action, Observer, Planned, Progress};

use crate::text::{bytes, count};

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows one run's progress on standard error.
pub struct Display {
    name: String,
    /// A dry run tells each action instead of counting.
    dry_run: bool,
    bar: Option<ProgressBar>,
    counts: Mutex<Counts>,
}

struct Counts {
    planned: Planned,
    files: u64,
    received: u64,
    last_line: Instant,
}

impl Display {
    /// Starts to show.
    pub fn start(name: &str, dry_run: bool) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            bar.set_style(style("{spinner} {prefix}  {msg}"));
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let counts = Counts { planned: Planned::default(), files: 0, received: 0, last_line: Instant::now() };
        Self { name: name.to_owned(), dry_run, bar, counts: Mutex::new(counts) }
    }

    /// Clears what is shown.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Writes a line above the bar.
    fn tell(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| write_line(line)),
            None => write_line(line),
        }
    }

    fn show_listing(&self, records: u64) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("listing: {}", count(records, "record")));
        }
    }

    fn show_plan(&self, planned: Planned) {
        self.lock().planned = planned;
        let Some(bar) = &self.bar else { return };
        if planned.fetches > 0 {
            bar.set_length(planned.fetch_bytes.max(1));
            bar.set_style(style("{prefix}  [{bar:30}] {msg}  {eta}"));
        }
    }

    fn show_counts(&self) {
        let mut counts = self.lock();
        if self.bar.is_none() && counts.last_line.elapsed() < LINE_EVERY {
            return;
        }
        let Counts { planned, files, received, last_line } = &mut *counts;
        let message =
            format!("{files}/{} files, {} of {}", planned.fetches, bytes(*received), bytes(planned.fetch_bytes));
        if let Some(bar) = &self.bar {
            bar.set_position((*received).min(planned.fetch_bytes));
            bar.set_message(message);
        } else {
            *last_line = Instant::now();
            write_line(&format!("{}: {message}", self.name));
        }
    }

    fn on_action(&self, action: Action<'_>) {
        if self.dry_run {
            return self.tell(&match action {
                Action::Fetch { path, size } => format!("fetch   {path:?} ({})", bytes(size)),
                Action::Copy { from, to } if from == to => format!("touch   {to:?}"),
                Action::Copy { from, to } => format!("copy    {from:?} to {to:?}"),
                Action::Delete { path } => format!("delete  {path:?}"),
                Action::Folder { path } => format!("folder  {path:?}"),
            });
        }
        if let Action::Fetch { .. } = action {
            self.lock().files += 1;
            self.show_counts();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Observer for Display {
    fn on(&self, progress: Progress<'_>) {
        match progress {
            Progress::Listing { records } => self.show_listing(records),
            Progress::Planned(planned) => self.show_plan(*planned),
            Progress::Received { bytes } => {
                self.lock().received += bytes;
                self.show_counts();
            }
            Progress::Done(action) => self.on_action(action),
            Progress::Failed { path, error } => self.tell(&format!("{}: {path:?}: {error}", self.name)),
            Progress::Retrying { path, error } => tracing::info!(%path, error, "trying again"),
        }
    }
}

pub(crate) fn write_line(line: &str) {
    // Where nobody can read it, the run goes on all the same.
    let _ = writeln!(io::stderr(), "{line}");
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
