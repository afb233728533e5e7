//! `obsync-bench`: measures obsync against what bounds it, in one run, and prints one table.
//!
//! ```text
//! obsync-bench ──┬── service      the emulator                 ┐
//!                ├── stores       S3 and DynamoDB              ├ each a process of its own, all from this program
//!                ├── obsync       the command under test       │
//!                └── bootstrap    the function under test      ┘
//! ```
//! This program measures times and peaks, and measures the bounds itself, with clients that do nothing but what the
//! bound is made of. Requests are counted by the servers.
//!
//! | module | what it is |
//! |---|---|
//! | `first_mirror`, `large_file`, `listing`, `large_vault`, `start`, `official` | one bench each |
//! | `stage` | what a bench works with: servers, a folder, the programs under test |
//! | `service`, `stores` | the servers, and how they are spoken to |
//! | `raw` | the service's clients that bounds are measured with |
//! | `function` | an instance of the function, and the Runtime API that it asks for events |
//! | `child` | processes: servers on a leash, and runs that are measured |
//! | `size` | how much of everything |
//! | `table` | the table |

// The futures of the SDKs nest deeply.
#![recursion_limit = "256"]

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

mod child;
mod first_mirror;
mod function;
mod large_file;
mod large_vault;
mod listing;
mod official;
mod raw;
mod service;
mod size;
mod stage;
mod start;
mod stores;
mod table;

use size::Size;
use stage::Stage;
use table::Table;

/// As the Lambda runtime has it.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// Measures obsync against what bounds it, and prints one table.
#[derive(Debug, Parser)]
#[command(name = "obsync-bench", max_term_width = 100)]
struct Args {
    /// Only these; all of them by default.
    #[arg(value_name = "BENCH")]
    benches: Vec<Bench>,
    /// Small sizes, to see in a minute that everything works. What it measures says little.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// 10,000 notes in every first mirror, also where their bound is minutes. Takes about an hour.
    #[arg(long)]
    full: bool,
    /// Write the table here, too, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure this `obsync` instead of the one that is built into this program.
    #[arg(long, value_name = "PROGRAM")]
    obsync: Option<PathBuf>,
    /// Put mirrors and states into a folder in this one. By default in that for temporary files.
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// First mirrors of notes, over latencies, connections and destinations.
    FirstMirror,
    /// One large file.
    LargeFile,
    /// A listing with nothing to do.
    Listing,
    /// A vault of 100,000 files: complete, unchanged, with one change.
    LargeVault,
    /// The start of the function.
    Start,
    /// The official client.
    Official,
}

impl Bench {
    fn run(self, stage: &mut Stage, table: &mut Table) -> Result<()> {
        match self {
            Self::FirstMirror => first_mirror::run(stage, table),
            Self::LargeFile => large_file::run(stage, table),
            Self::Listing => listing::run(stage, table),
            Self::LargeVault => large_vault::run(stage, table),
            Self::Start => start::run(stage, table),
            Self::Official => official::run(stage, table),
        }
    }
}

/// The part that this process plays is in the name that it was started under: the programs under test must get their
/// own arguments.
fn main() -> ExitCode {
    let name = env::args_os().next().unwrap_or_default();
    let played = match Path::new(&name).file_name().and_then(|name| name.to_str()) {
        Some("obsync") => return obsync::cli::main(),
        Some("bootstrap") => bootstrap(),
        Some(service::NAME) => service::serve(),
        Some(stores::NAME) => stores::serve(),
        _ => measure(&Args::parse()),
    };
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", name.display());
            ExitCode::FAILURE
        }
    }
}

/// The function, as its own program runs it.
fn bootstrap() -> Result<()> {
    obsync::lambda::start();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(obsync::lambda::serve())
}

/// Runs the benches, one after the other, each with servers of its own.
fn measure(args: &Args) -> Result<()> {
    let size = match (args.quick, args.full) {
        (true, _) => Size::quick(),
        (_, true) => Size::full(),
        _ => Size::usual(),
    };
    let json = args.json.clone().unwrap_or_else(|| root().join("target/obsync-bench.json"));
    let mut table = Table::new(&size);
    let mut failed = Vec::new();
    // Removed at the end: ext4 is slow to make files where many were removed in the last minutes.
    let mut used = Vec::new();
    for &bench in if args.benches.is_empty() { Bench::value_variants() } else { &args.benches } {
        let measured = Stage::set(size, args.obsync.clone(), args.work.as_deref()).and_then(|mut stage| {
            let measured = bench.run(&mut stage, &mut table);
            used.push(stage.into_work());
            measured
        });
        if let Err(error) = measured {
            eprintln!("{bench:?} failed: {error}");
            failed.push(format!("{bench:?}"));
        }
    }
    table.print();
    table.write(&json)?;
    println!("\nwritten to {}", json.display());
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", ")).into()) }
}

/// The clone that this program was built from.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned()
}
