//! First mirrors of notes, over latencies, connections and destinations.
//!
//! The service answers one pull at a time on each connection, so files × latency ÷ connections is the least that a
//! first mirror takes. Without latency it is what a client takes that pulls the same files over as many connections and
//! throws the bytes away.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::stage::{Place, Stage};
use crate::table::{Figure, Table};

/// About the size of a note, in bytes.
const NOTE: u64 = 4096;

const LATENCIES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(80)];
const CONNECTIONS: [u64; 3] = [1, 4, 16];

/// What S3 takes for a request.
const S3_LATENCY: Duration = Duration::from_millis(20);

/// Pulls that are timed one after the other, to see what a latency comes to.
const PROBES: usize = 25;

pub(crate) fn run(stage: &mut Stage, table: &mut Table) -> Result<()> {
    let about = format!(
        "notes of 4 KiB, S3 with {} ms a request; bound: files × latency ÷ connections, at 0 ms a raw pull of the same files",
        S3_LATENCY.as_millis()
    );
    table.section("first-mirror", about);
    stage.stores.set_latency(S3_LATENCY)?;
    for latency in LATENCIES {
        if !latency.is_zero() {
            probe(stage, table, latency)?;
        }
        for place in Place::ALL {
            for connections in CONNECTIONS {
                cell(stage, table, &Cell { latency, place, connections })?;
            }
        }
    }
    let notes = stage.size.notes;
    let mut folder = 0;
    for (fsync, what) in [(true, "written, fsynced and renamed"), (false, "written and renamed")] {
        let time = stage.size.least(|| {
            folder += 1;
            time_writes(&stage.work().join(format!("raw-{folder}")), notes, fsync)
        })?;
        table.add(Figure::seconds(format!("{notes} files {what} by 16 threads"), time).note("this disk, nothing else"));
    }
    Ok(())
}

struct Cell {
    latency: Duration,
    place: Place,
    connections: u64,
}

fn cell(stage: &mut Stage, table: &mut Table, cell: &Cell) -> Result<()> {
    let Cell { latency, place, connections } = *cell;
    let notes = stage.size.notes(latency, connections);
    let vault = vault(stage, notes)?;
    let jobs = connections.to_string();
    let mirror = |stage: &mut Stage| {
        let mirror = stage.mirror(&vault, place);
        stage.sync(&mirror, notes, &["--jobs", &jobs])
    };
    let (bound, run) = if latency.is_zero() {
        let (size, connections) = (stage.size, usize::try_from(connections)?);
        let bound = size.least(|| time_pulls(stage, &vault, connections, usize::MAX))?;
        (bound, size.least(|| mirror(stage))?)
    } else {
        stage.service.set_latency(latency)?;
        let run = mirror(stage)?;
        stage.service.set_latency(Duration::ZERO)?;
        (latency.mul_f64(notes as f64 / connections as f64), run)
    };
    let what = format!("{}, {} ms, --jobs {connections}, {notes} notes", place.name(), latency.as_millis());
    let figure = Figure::seconds(what, run.time).bound(bound).usage(run.usage);
    table.add(match (latency.is_zero(), connections, place) {
        (false, 4, _) => figure.at_most_times(1.1),
        (true, 16, Place::Folder) => figure.at_most_times(2.0),
        _ => figure,
    });
    Ok(())
}

/// A vault of so many notes; cells with as many notes share it.
fn vault(stage: &mut Stage, notes: u64) -> Result<String> {
    let vault = format!("{notes} notes");
    if stage.raw(&vault).is_err() {
        stage.service.add_notes(&vault, notes, NOTE)?;
    }
    Ok(vault)
}

fn time_pulls(stage: &Stage, vault: &str, connections: usize, most: usize) -> Result<Duration> {
    let raw = stage.raw(vault)?;
    stage.runtime.block_on(async {
        let (files, cursor) = raw.files().await?;
        raw.time_pulls(&files[..files.len().min(most)], cursor, connections).await
    })
}

/// The timers of a machine are late by something, which is no fault of obsync's.
fn probe(stage: &mut Stage, table: &mut Table, latency: Duration) -> Result<()> {
    let notes = stage.size.notes;
    let vault = vault(stage, notes)?;
    stage.service.set_latency(latency)?;
    let time = time_pulls(stage, &vault, 1, PROBES);
    stage.service.set_latency(Duration::ZERO)?;
    let one = time? / u32::try_from(PROBES)?;
    table.add(Figure::milliseconds(format!("one raw pull at {} ms", latency.as_millis()), one).bound(latency));
    Ok(())
}

/// What a folder takes to hold so many notes, each under its name at once or not at all; with `fsync`, for good.
fn time_writes(folder: &Path, notes: u64, fsync: bool) -> Result<Duration> {
    const THREADS: usize = 16;
    fs::create_dir(folder)?;
    rustix::fs::sync();
    let content = vec![7; usize::try_from(NOTE)?];
    let next = AtomicU64::new(0);
    let write = || -> std::io::Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= notes {
                return Ok(());
            }
            let temporary = folder.join(format!("{number}.tmp"));
            let mut file = File::create(&temporary)?;
            file.write_all(&content)?;
            if fsync {
                file.sync_all()?;
            }
            fs::rename(&temporary, folder.join(format!("{number}.md")))?;
        }
    };
    let started = Instant::now();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS).map(|_| scope.spawn(write)).collect();
        writers.into_iter().try_for_each(|writer| writer.join().unwrap_or(Ok(())))
    })?;
    Ok(started.elapsed())
}
