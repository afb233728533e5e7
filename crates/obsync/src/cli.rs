//! The command line's grammar (`contract.md`), and its `main`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use obsync_core::plan::MaxDelete;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::command;
use crate::failure::{Exit, Failure};
use crate::log;
use crate::process;
use crate::settings::Settings;
use crate::text::say;

/// Mirrors Obsidian Sync vaults to where their owner needs them.
///
/// obsync goes one way: from the vault to the mirror. It never writes to a vault.
#[derive(Debug, Parser)]
#[command(name = "obsync", version, about, long_about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sign in, and keep the token for later runs.
    Login(Login),
    /// Forget the token, here and at the service.
    Logout,
    /// List the vaults of the account, shared ones too.
    Vaults(Vaults),
    /// Bring a vault, or several, to DEST.
    Sync(Box<Sync>),
    /// Compare DEST with the vault; change nothing.
    Verify(Verify),
    /// Show the mirrors of this machine and how far they are. Asks no server.
    Status(Status),
    /// Forget what is known of a mirror, so that its next run compares everything. Its files stay.
    Reset(Reset),
    /// Bring what is known of mirrors out of a store, into one, or from one to another.
    #[command(subcommand)]
    State(State),
    /// Run the Lambda function's handler on an event, here.
    Invoke {
        /// The event, as JSON; `-` reads it from standard input.
        file: PathBuf,
    },
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The account; asked for if it is not set anywhere.
    #[arg(long)]
    pub(crate) email: Option<String>,
    /// A code from your authenticator app; asked for if it is needed.
    #[arg(long, value_name = "CODE")]
    pub(crate) mfa: Option<String>,
    /// Read the password from standard input.
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Vaults {
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Sync {
    /// Vaults, by id or name.
    #[arg(value_name = "VAULT", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) vaults: Vec<String>,
    /// All vaults of the account, shared ones too.
    #[arg(long)]
    pub(crate) all: bool,
    /// A folder, or `s3://BUCKET/PREFIX`. `{vault}` and `{id}` in it are replaced; with several vaults `/{vault}` is added if neither is there.
    #[arg(long, value_name = "DEST")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) state: StateArg,
    /// Compare the whole vault with the mirror, instead of following what changed since the last run.
    #[arg(long)]
    pub(crate) complete: bool,
    /// Show what would be done; do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// Stay, and follow the vault as it changes.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) watch: bool,
    /// With --watch: answer HTTP here, 200 while every mirror is, or in the last 10 minutes was, what its vault is, else
    /// 503.
    #[arg(long, value_name = "ADDR:PORT", requires = "watch")]
    pub(crate) health: Option<SocketAddr>,
    /// With --watch: write this file anew every 5 s while --health would answer 200.
    #[arg(long, value_name = "FILE", requires = "watch")]
    pub(crate) heartbeat: Option<PathBuf>,
    /// Mirror only what a glob matches: `*.md` at any depth, `Notes/**` from the root.
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,
    /// Leave out what a glob matches, even if --include matches it too.
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Keep files in the mirror that the vault no longer has.
    #[arg(long)]
    pub(crate) keep_deleted: bool,
    /// Delete nothing if more than so many files, or so many percent of the mirror, would be. By default: half of a
    /// mirror that has over 100 files.
    #[arg(long, value_name = "N|N%")]
    pub(crate) max_delete: Option<MaxDelete>,
    /// The most connections to the service at once.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) jobs: u16,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The vault, by id or name.
    pub(crate) vault: String,
    /// Where its mirror is.
    #[arg(long, value_name = "DEST")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) state: StateArg,
    /// Read every file of the mirror, and compare contents.
    #[arg(long)]
    pub(crate) deep: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) state: StateArg,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// The vault, by id or name.
    pub(crate) vault: String,
    /// Where its mirror is.
    #[arg(long, value_name = "DEST")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) state: StateArg,
}

#[derive(Debug, Subcommand)]
pub(crate) enum State {
    /// Write the state of all mirrors to a file. No run may be at work on them.
    Export {
        /// Where to; `-` is standard output.
        #[arg(default_value = "-")]
        file: PathBuf,
        #[command(flatten)]
        state: StateArg,
    },
    /// Read the state of mirrors from a file, in place of what is known of them.
    Import {
        /// What `obsync state export` has written; `-` is standard input.
        file: PathBuf,
        #[command(flatten)]
        state: StateArg,
    },
    /// Bring the state of all mirrors from one store to another.
    Migrate {
        /// `sqlite:PATH` or `dynamodb:TABLE`.
        from: String,
        /// `sqlite:PATH` or `dynamodb:TABLE`.
        to: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct StateArg {
    /// Where the memory of earlier runs is: `sqlite:PATH` or `dynamodb:TABLE`. By default a file under OBSYNC_HOME.
    #[arg(long = "state", value_name = "STATE")]
    pub(crate) location: Option<String>,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` are such errors, too; nothing can be done where they cannot be printed.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    process::keep_memory_private();
    start_log();
    let json = cli.wants_json();
    let exit = match run(cli) {
        Ok(exit) => exit,
        Err(failure) => {
            if json {
                say(serde_json::json!({ "vaults": [], "error": failure.problem }));
            }
            eprintln!("obsync: {failure}");
            failure.exit
        }
    };
    exit.into()
}

impl Cli {
    fn wants_json(&self) -> bool {
        match &self.command {
            Command::Vaults(args) => args.json,
            Command::Sync(args) => args.json,
            Command::Verify(args) => args.json,
            Command::Status(args) => args.json,
            _ => false,
        }
    }
}

/// The log goes to standard error, as `LOG_LEVEL` asks for (`warn`, or `obsync_core=debug,warn`).
fn start_log() {
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(log.with_filter(log::filter("warn"))).init();
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Usage, format!("the program cannot start: {e}"), ""))?;
    let ended = runtime.block_on(async {
        let settings = || Settings::read(|name| std::env::var(name).ok());
        match cli.command {
            Command::Login(args) => command::login::run(settings()?, args).await,
            Command::Logout => command::logout::run(settings()?).await,
            Command::Vaults(args) => command::vaults::run(settings()?, &args).await,
            Command::Sync(args) => command::sync::run(settings()?, &args).await,
            Command::Verify(args) => command::verify::run(settings()?, &args).await,
            Command::Status(args) => command::status::run(&settings()?, &args).await,
            Command::Reset(args) => command::reset::run(&settings()?, &args).await,
            Command::State(command) => command::state::run(&settings()?, &command).await,
            // The function reads its own settings.
            Command::Invoke { file } => command::invoke::run(&file).await,
            Command::Completions { shell } => Ok(command::completions::run(shell)),
        }
    });
    // A thread that still looks up a name would keep the program for as long as that takes.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }
}
