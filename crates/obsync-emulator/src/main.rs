//! `obsync-emulator`: an Obsidian Sync service on loopback.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use obsync_emulator::{Account, Config, Emulator, EmulatorError};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// An Obsidian Sync service on loopback, for tests, the demo and benchmarks
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Listen here; loopback only, port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Keep everything in this folder instead of in memory
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The account that can sign in
    #[arg(long, default_value = "demo@example.com")]
    email: String,
    /// Its password
    #[arg(long, default_value = "demo")]
    password: String,
    /// Its two-factor secret in Base32
    #[arg(long, value_name = "BASE32")]
    totp_secret: Option<String>,
    /// Wait so long before each answer
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// Send at most so many bytes a second on each connection
    #[arg(long, value_name = "BYTES_PER_S")]
    bandwidth: Option<NonZeroU64>,
    /// Refuse more WebSockets than this at once
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,
    /// Write each message to standard error
    #[arg(long)]
    trace: bool,
}

impl Args {
    fn config(&self) -> Config {
        Config {
            listen: self.listen,
            data: self.data.clone(),
            latency: Duration::from_millis(self.latency),
            bandwidth: self.bandwidth,
            max_connections: self.max_connections,
            ..Config::default()
        }
    }

    fn account(&self) -> Account {
        let account = Account::new(&self.email, &self.password);
        match &self.totp_secret {
            Some(secret) => account.with_totp(secret),
            None => account,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if args.trace {
        let ours = Targets::new().with_target("obsync_emulator", LevelFilter::TRACE);
        let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
        tracing_subscriber::registry().with(ours).with(stderr).init();
    }
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<(), EmulatorError> {
    let emulator = Emulator::start(args.config()).await?;
    match emulator.create_account(args.account()) {
        // From the data folder of an earlier run.
        Ok(()) | Err(EmulatorError::AccountExists(_)) => {}
        Err(error) => return Err(error),
    }
    let mut out = std::io::stdout();
    let _ = writeln!(out, "listening on {}", emulator.api_url()).and_then(|()| out.flush());
    let _ = tokio::signal::ctrl_c().await;
    emulator.shutdown().await;
    Ok(())
}

fn report(error: &EmulatorError) {
    eprint!("obsync-emulator: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprint!(": {cause}");
        source = cause.source();
    }
    eprintln!();
}
