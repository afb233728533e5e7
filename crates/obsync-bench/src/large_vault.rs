//! A vault of 100,000 files: mirrored completely, with nothing changed, and with one change.
//!
//! By the function, into S3 with the state in DynamoDB: one instance, which is warm from its second event on. By the
//! command, into a folder with the state in SQLite.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Result;
use crate::function::Function;
use crate::stage::{Place, Stage};
use crate::table::{Figure, Table};
use crate::{service, stores};

const VAULT: &str = "A large vault";

/// About the size of a file, in bytes.
const FILE: u64 = 1024;

/// Connections that are used unless more are asked for.
const CONNECTIONS: usize = 4;

/// The most memory for a complete mirror, in MiB.
const MEMORY: f64 = 128.0;

pub(crate) fn run(stage: &mut Stage, table: &mut Table) -> Result<()> {
    let files = stage.size.vault;
    table.section("large-vault", format!("{files} files of 1 KiB, no latency; bound: a raw pull of the same files"));
    stage.service.add_notes(VAULT, files, FILE)?;
    let bound = by_function(stage, table, files)?;
    by_command(stage, table, files, bound)
}

/// Gives the bound, which is the command's, too.
fn by_function(stage: &mut Stage, table: &mut Table, files: u64) -> Result<Duration> {
    let raw = stage.raw(VAULT)?;
    let (uids, cursor) = stage.runtime.block_on(raw.files())?;
    let bound = stage.size.least(|| stage.runtime.block_on(raw.time_pulls(&uids, cursor, CONNECTIONS)))?;
    let mut function = Function::start(stage, None, &[])?;
    let event = |kind: &str| json!({ "action": "sync", "sync_type": kind, "vault_id": raw.id() });
    let (answer, time) = function.invoke(stage, &event("complete"))?;
    expect(&answer, files)?;
    let usage = function.usage()?;
    table.add(Figure::seconds("function into S3, complete", time).bound(bound).usage(usage));
    table.add(Figure::memory("function into S3, complete, peak", usage.peak).at_most(MEMORY));

    take_costs(stage)?;
    let (answer, time) = function.invoke(stage, &event("incremental"))?;
    expect(&answer, 0)?;
    let costs = take_costs(stage)?;
    table.add(Figure::milliseconds("function, warm, nothing changed", time));
    let most = [Some(1.0), Some(1.0), Some(2.0), Some(0.0)];
    costs.into_figures("nothing changed", most).into_iter().for_each(|figure| table.add(figure));

    // The first one after a first mirror also divides the state among as many items as the vault has need of now.
    for change in ["the first change", "1 change"] {
        stage.service.edit(VAULT)?;
        take_costs(stage)?;
        let (answer, time) = function.invoke(stage, &event("incremental"))?;
        expect(&answer, 1)?;
        let costs = take_costs(stage)?;
        table.add(Figure::milliseconds(format!("function, warm, {change}"), time));
        costs.into_figures(change, [None; 4]).into_iter().for_each(|figure| table.add(figure));
    }
    Ok(bound)
}

fn by_command(stage: &mut Stage, table: &mut Table, files: u64, bound: Duration) -> Result<()> {
    let mirror = stage.mirror(VAULT, Place::Folder);
    let run = stage.sync(&mirror, files, &[])?;
    table.add(Figure::seconds("command into a folder, complete", run.time).bound(bound).usage(run.usage));
    table.add(Figure::memory("command into a folder, complete, peak", run.usage.peak).at_most(MEMORY));
    let again = stage.sync(&mirror, 0, &["--complete"])?;
    table.add(Figure::seconds("command, complete again, nothing changed", again.time).usage(again.usage));
    take_costs(stage)?;
    let unchanged = stage.sync(&mirror, 0, &[])?;
    let costs = take_costs(stage)?;
    table.add(Figure::seconds("command, nothing changed", unchanged.time).usage(unchanged.usage));
    let [calls, sockets, ..] = costs.into_figures("command, nothing changed", [None; 4]);
    table.add(calls);
    table.add(sockets);
    stage.service.edit(VAULT)?;
    let changed = stage.sync(&mirror, 1, &[])?;
    table.add(Figure::seconds("command, 1 change", changed.time).usage(changed.usage));
    Ok(())
}

/// Checks that the function wrote so many files.
fn expect(answer: &Value, files: u64) -> Result<()> {
    if answer["success"] == true && answer["files_count"] == files && answer["metadata"]["incomplete"] == "false" {
        return Ok(());
    }
    Err(format!("{files} files were to be written: {answer}").into())
}

/// What servers were asked for since this was last asked.
struct Costs {
    service: service::Asked,
    stores: stores::Asked,
}

fn take_costs(stage: &mut Stage) -> Result<Costs> {
    Ok(Costs { service: stage.service.take_asked()?, stores: stage.stores.take_asked()? })
}

impl Costs {
    /// API calls, WebSockets, requests to the table and to S3, and the bytes to each of the three services.
    fn into_figures(self, what: &str, most: [Option<f64>; 4]) -> [Figure; 7] {
        let Self { service, stores } = self;
        let requests = |name: &str, asked: &[(String, u64)], most: Option<f64>| {
            let figure = Figure::requests(format!("{what}: {name}"), asked.iter().map(|(_, count)| count).sum());
            let by_name: Vec<String> = asked.iter().map(|(name, count)| format!("{name} {count}")).collect();
            let figure = figure.note(by_name.join(", "));
            most.map_or(figure.clone(), |most| figure.at_most(most))
        };
        let bytes = |name: &str, bytes| Figure::bytes(format!("{what}: bytes to and from {name}"), bytes);
        let sockets = [("listings".to_owned(), service.listings), ("pulls".to_owned(), service.pulls)];
        let by_name: Vec<String> = sockets.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let connections = Figure::requests(format!("{what}: WebSockets"), service.sockets).note(by_name.join(", "));
        [
            requests("API calls", &service.calls, most[0]),
            most[1].map_or(connections.clone(), |most| connections.at_most(most)),
            requests("table requests", &stores.dynamo, most[2]),
            requests("S3 requests", &stores.s3, most[3]),
            bytes("the service", service.bytes),
            bytes("the table", stores.dynamo_bytes),
            bytes("S3", stores.s3_bytes),
        ]
    }
}
