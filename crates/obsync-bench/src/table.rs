//! The table: each figure beside its bound, their ratio, and what was to be reached.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::Result;
use crate::child::Usage;
use crate::size::Size;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Seconds,
    Milliseconds,
    /// 2^20 bytes, for memory.
    Mebibytes,
    /// 10^6 bytes, for files.
    Megabytes,
    Requests,
    Bytes,
}

/// What a figure may be at most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Target {
    /// So many times its bound.
    TimesBound(f64),
    /// So much, in its own unit.
    AtMost(f64),
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    what: String,
    unit: Unit,
    measured: Option<f64>,
    bound: Option<f64>,
    ratio: Option<f64>,
    target: Option<Target>,
    reached: Option<bool>,
    peak_bytes: Option<u64>,
    cpu_seconds: Option<f64>,
    note: String,
}

impl Figure {
    fn new(what: impl Into<String>, unit: Unit, measured: Option<f64>) -> Self {
        Self {
            what: what.into(),
            unit,
            measured,
            bound: None,
            ratio: None,
            target: None,
            reached: None,
            peak_bytes: None,
            cpu_seconds: None,
            note: String::new(),
        }
    }

    /// A time of some seconds.
    pub(crate) fn seconds(what: impl Into<String>, time: Duration) -> Self {
        Self::new(what, Unit::Seconds, Some(time.as_secs_f64()))
    }

    /// A time of some milliseconds.
    pub(crate) fn milliseconds(what: impl Into<String>, time: Duration) -> Self {
        Self::new(what, Unit::Milliseconds, Some(time.as_secs_f64() * 1e3))
    }

    /// Memory.
    pub(crate) fn memory(what: impl Into<String>, bytes: u64) -> Self {
        Self::new(what, Unit::Mebibytes, Some(mebibytes(bytes)))
    }

    /// The size of a file.
    pub(crate) fn file(what: impl Into<String>, bytes: u64) -> Self {
        Self::new(what, Unit::Megabytes, Some(bytes as f64 / 1e6))
    }

    /// Requests.
    pub(crate) fn requests(what: impl Into<String>, requests: u64) -> Self {
        Self::new(what, Unit::Requests, Some(requests as f64))
    }

    /// Bytes on a wire.
    pub(crate) fn bytes(what: impl Into<String>, bytes: u64) -> Self {
        Self::new(what, Unit::Bytes, Some(bytes as f64))
    }

    /// Something that could not be measured here.
    pub(crate) fn missing(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(what, Unit::Seconds, None).note(why)
    }

    /// Less than this time it cannot take.
    pub(crate) fn bound(self, bound: Duration) -> Self {
        let factor = if self.unit == Unit::Milliseconds { 1e3 } else { 1.0 };
        let bound = bound.as_secs_f64() * factor;
        let ratio = self.measured.map(|measured| measured / bound);
        Self { bound: Some(bound), ratio, ..self }.judged()
    }

    /// It is to be at most so many times its bound.
    pub(crate) fn at_most_times(self, target: f64) -> Self {
        Self { target: Some(Target::TimesBound(target)), ..self }.judged()
    }

    /// It is to be at most so much, in its unit.
    pub(crate) fn at_most(self, target: f64) -> Self {
        Self { target: Some(Target::AtMost(target)), ..self }.judged()
    }

    fn judged(self) -> Self {
        let reached = match self.target {
            Some(Target::TimesBound(target)) => self.ratio.map(|ratio| ratio <= target),
            Some(Target::AtMost(target)) => self.measured.map(|measured| measured <= target),
            None => None,
        };
        Self { reached, ..self }
    }

    /// What the process used meanwhile.
    pub(crate) fn usage(self, usage: Usage) -> Self {
        Self { peak_bytes: Some(usage.peak), cpu_seconds: Some(usage.cpu.as_secs_f64()), ..self }
    }

    /// Whatever is worth knowing beside it.
    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    fn row(&self) -> [String; 8] {
        let value = |value: Option<f64>| value.map_or_else(String::new, |value| shown(value, self.unit));
        let target = match self.target {
            Some(Target::TimesBound(times)) => format!("{times:.2} ×"),
            Some(Target::AtMost(most)) => shown(most, self.unit),
            None => String::new(),
        };
        let reached = match (self.target, self.reached) {
            (None, _) => "",
            (_, Some(true)) => "yes",
            (_, Some(false)) => "NO",
            (_, None) => "?",
        };
        [
            format!("  {}", self.what),
            self.measured.map_or_else(|| "–".to_owned(), |measured| shown(measured, self.unit)),
            value(self.bound),
            self.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            target,
            reached.to_owned(),
            self.peak_bytes.map_or_else(String::new, |peak| format!("{:.1} MiB", mebibytes(peak))),
            self.cpu_seconds.map_or_else(String::new, |cpu| format!("{cpu:.2} s")),
        ]
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds => format!("{value:.2} s"),
        Unit::Milliseconds => format!("{value:.1} ms"),
        Unit::Mebibytes => format!("{value:.1} MiB"),
        Unit::Megabytes => format!("{value:.2} MB"),
        Unit::Requests => format!("{value}"),
        Unit::Bytes => format!("{value} B"),
    }
}

/// The figures of one bench.
#[derive(Debug, Serialize)]
struct Section {
    bench: &'static str,
    about: String,
    figures: Vec<Figure>,
}

/// All figures of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    /// s since 1970.
    began: u64,
    sizes: &'static str,
    /// Of what is short, the least of so many measurements.
    tries: usize,
    cores: usize,
    sections: Vec<Section>,
}

/// The heads of the columns. What a row is about stands to the left, everything else to the right.
const HEADS: [&str; 8] = ["", "measured", "bound", "ratio", "at most", "reached", "peak", "cpu"];

impl Table {
    pub(crate) fn new(size: &Size) -> Self {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        Self { began, sizes: size.name, tries: size.tries, cores, sections: Vec::new() }
    }

    /// Begins the figures of a bench; `about` says what bounds them.
    pub(crate) fn section(&mut self, bench: &'static str, about: impl Into<String>) {
        self.sections.push(Section { bench, about: about.into(), figures: Vec::new() });
        eprintln!("{bench}");
    }

    /// Adds a figure, and says so to whoever waits for the table.
    pub(crate) fn add(&mut self, figure: Figure) {
        let row = figure.row();
        eprintln!("{}  {}  {}", row[0], row[1], figure.note);
        if let Some(section) = self.sections.last_mut() {
            section.figures.push(figure);
        }
    }

    pub(crate) fn print(&self) {
        let Self { sizes, tries, cores, .. } = self;
        println!("\nobsync-bench, {sizes} sizes, {cores} cores; of what is short, the least of {tries}");
        let rows: Vec<[String; 8]> = self.sections.iter().flat_map(|s| &s.figures).map(Figure::row).collect();
        let widths: [usize; 8] = std::array::from_fn(|column| {
            let widest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            widest.max(HEADS[column].chars().count())
        });
        println!("{}", line(&HEADS.map(str::to_owned), &widths, ""));
        for section in &self.sections {
            println!("{}: {}", section.bench, section.about);
            for figure in &section.figures {
                println!("{}", line(&figure.row(), &widths, &figure.note));
            }
        }
        let judged: Vec<bool> = self.sections.iter().flat_map(|s| &s.figures).filter_map(|f| f.reached).collect();
        let reached = judged.iter().filter(|reached| **reached).count();
        println!("\n{reached} of {} targets reached", judged.len());
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(file, serde_json::to_string_pretty(self)?)?)
    }
}

fn line(cells: &[String; 8], widths: &[usize; 8], note: &str) -> String {
    let mut line = format!("{:<width$}", cells[0], width = widths[0]);
    for (cell, width) in cells.iter().zip(widths).skip(1) {
        line.push_str(&format!("  {cell:>width$}"));
    }
    if !note.is_empty() {
        line.push_str("  ");
        line.push_str(note);
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_judged_by_its_bound_or_by_itself() {
        let bounded = Figure::seconds("x", Duration::from_secs(3)).bound(Duration::from_secs(2));
        assert_eq!((bounded.ratio, bounded.reached), (Some(1.5), None));
        assert_eq!(bounded.clone().at_most_times(1.5).reached, Some(true));
        assert_eq!(bounded.at_most_times(1.4).reached, Some(false));
        assert_eq!(Figure::requests("x", 3).at_most(2.0).reached, Some(false));
        assert_eq!(Figure::missing("x", "not there").at_most(2.0).reached, None);
        let quick = Figure::milliseconds("x", Duration::from_millis(30)).bound(Duration::from_millis(20));
        assert_eq!((quick.bound, quick.ratio), (Some(20.0), Some(1.5)));
    }
}
