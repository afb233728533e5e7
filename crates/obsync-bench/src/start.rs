//! The start of the function: to its first question for an event, and from there to its first request on the wire. The
//! package is what `make build-lambda` makes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::child::Usage;
use crate::function::Function;
use crate::stage::Stage;
use crate::table::{Figure, Table};
use crate::{Result, root};

const NEXT: &str = "start to /next";
const REQUEST: &str = "start to the first request to the service, without TLS";
const HELLO: &str = "start to the first byte to the service, with TLS";
const ZIP: &str = "zip";

pub(crate) fn run(stage: &mut Stage, table: &mut Table) -> Result<()> {
    let starts = stage.size.starts;
    table.section("start", format!("the function's package; median of {starts} starts"));
    let (program, zip) = (root().join("build/lambda/bootstrap"), root().join("build/obsync-lambda.zip"));
    if !program.exists() {
        for what in [NEXT, REQUEST, HELLO, ZIP] {
            table.add(Figure::missing(what, "not built: make build-lambda"));
        }
        return Ok(());
    }
    // The first start reads the program from the disk.
    time(stage, &program, "http")?;
    let times = |scheme| (0..starts).map(|_| time(stage, &program, scheme)).collect::<Result<Vec<_>>>();
    let (plain, tls) = (times("http")?, times("https")?);
    table.add(median(NEXT, plain.iter().chain(&tls).map(|start| start.next)).at_most(15.0));
    for (what, starts) in [(REQUEST, plain), (HELLO, tls)] {
        let figure = median(what, starts.iter().map(|start| start.request)).at_most(25.0);
        table.add(starts.last().map_or(figure.clone(), |start| figure.usage(start.usage)));
    }
    table.add(Figure::file(ZIP, fs::metadata(zip)?.len()).at_most(4.5));
    Ok(())
}

/// One start of the function.
struct Start {
    /// To `/next`.
    next: Duration,
    /// To the first byte that the service gets.
    request: Duration,
    /// What it had used by then.
    usage: Usage,
}

fn time(stage: &Stage, program: &Path, scheme: &str) -> Result<Start> {
    let listener = stage.runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    // With a token at hand the service is the first that is spoken to; the table would be asked for one.
    let environment = [("OBSYNC_API_URL", &*format!("{scheme}://{address}")), ("OBSIDIAN_AUTH_TOKEN", "token")];
    let mut function = Function::start(stage, Some(program), &environment)?;
    function.send(&json!({ "action": "sync" }))?;
    stage.runtime.block_on(async {
        let next = function.next().await?;
        let first = async { listener.accept().await?.0.read_u8().await };
        tokio::time::timeout(Duration::from_secs(10), first).await??;
        let request = function.started().elapsed();
        Ok(Start { next: next - function.started(), request, usage: function.usage()? })
    })
}

/// The middle of some times, with the shortest and the longest.
fn median(what: &str, times: impl Iterator<Item = Duration>) -> Figure {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    let ms = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    Figure::milliseconds(what, middle).note(format!("{:.1} to {:.1} ms", ms(times.first()), ms(times.last())))
}
