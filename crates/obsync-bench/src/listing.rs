//! A listing with nothing to do: every record is a live file's, and the filter lets none of them through.
//!
//! A mirror that is up to date is sent no listing at all, so that the whole way of a record (frame, JSON, names, the map
//! of what the vault has, plan) can be measured without a million files by a first run only, which has nothing to fetch.
//! The filter's part in it is small: one glob that a name's end decides.

use crate::Result;
use crate::stage::{Place, Stage};
use crate::table::{Figure, Table};

pub(crate) fn run(stage: &mut Stage, table: &mut Table) -> Result<()> {
    table.section("listing", "nothing to do; bound: frames received and parsed, strings decoded, nothing kept");
    // Times the bound, and MiB.
    let targets = [(None, 64.0), (Some(1.5), 300.0)];
    for (records, (times, memory)) in stage.size.listings.into_iter().zip(targets) {
        let vault = format!("{records} records");
        stage.service.add_records(&vault, records)?;
        let (size, raw) = (stage.size, stage.raw(&vault)?);
        let (bound, read) = size.least(|| stage.runtime.block_on(raw.time_listing()))?;
        if read != records {
            return Err(format!("{read} records instead of {records}").into());
        }
        let run = size.least(|| {
            let mirror = stage.mirror(&vault, Place::Folder);
            stage.sync(&mirror, 0, &["--exclude", "*.md"])
        })?;
        let figure = Figure::seconds(format!("{records} records"), run.time).bound(bound).usage(run.usage);
        table.add(times.map_or(figure.clone(), |times| figure.at_most_times(times)));
        table.add(Figure::memory(format!("{records} records, peak"), run.usage.peak).at_most(memory));
    }
    Ok(())
}
