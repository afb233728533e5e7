//! What a bench works with: servers of its own, a folder, and the programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::Result;
use crate::child::{self, Run};
use crate::raw::{self, Raw};
use crate::service::{Service, VAULT_PASSWORD};
use crate::size::Size;
use crate::stores::{BUCKET, Stores};

/// What a bench works with.
pub(crate) struct Stage {
    pub(crate) size: Size,
    pub(crate) service: Service,
    pub(crate) stores: Stores,
    /// For the clients that bounds are measured with.
    pub(crate) runtime: Runtime,
    obsync: Option<PathBuf>,
    token: SecretString,
    work: TempDir,
    mirrors: u32,
}

/// A mirror at its place, and with the state of its own.
#[derive(Debug, Clone)]
pub(crate) struct Mirror {
    vault: String,
    to: String,
    state: String,
}

/// Where a mirror goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Folder,
    Bucket,
}

impl Place {
    pub(crate) const ALL: [Self; 2] = [Self::Folder, Self::Bucket];

    /// What to call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Bucket => "S3",
        }
    }
}

/// What `obsync sync --json` says of a vault, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Answer {
    downloaded: u64,
    failed: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Answers {
    vaults: Vec<Answer>,
}

impl Stage {
    /// Starts the servers.
    pub(crate) fn set(size: Size, obsync: Option<PathBuf>, work: Option<&Path>) -> Result<Self> {
        let (service, stores) = (Service::start()?, Stores::start()?);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let token = runtime.block_on(raw::sign_in(&service.url))?;
        let mut folder = tempfile::Builder::new();
        folder.prefix("obsync-bench-");
        let work = work.map_or_else(|| folder.tempdir(), |work| folder.tempdir_in(work))?;
        Ok(Self { size, service, stores, runtime, obsync, token, work, mirrors: 0 })
    }

    /// Ends the servers, and leaves the folder.
    pub(crate) fn into_work(self) -> TempDir {
        self.work
    }

    /// A folder for files of the bench.
    pub(crate) fn work(&self) -> &Path {
        self.work.path()
    }

    /// A vault, for the clients that bounds are measured with.
    pub(crate) fn raw(&self, vault: &str) -> Result<Raw> {
        self.runtime.block_on(Raw::find(&self.service.url, &self.token, vault))
    }

    /// A mirror of a vault where nothing is yet.
    pub(crate) fn mirror(&mut self, vault: &str, place: Place) -> Mirror {
        self.mirrors += 1;
        let name = format!("mirror-{}", self.mirrors);
        let to = match place {
            Place::Folder => self.work().join(&name).display().to_string(),
            Place::Bucket => format!("s3://{BUCKET}/{name}"),
        };
        let state = format!("sqlite:{}", self.work().join(format!("{name}.db")).display());
        Mirror { vault: vault.to_owned(), to, state }
    }

    /// Runs `obsync sync`, which has to download so many files.
    pub(crate) fn sync(&self, mirror: &Mirror, files: u64, more: &[&str]) -> Result<Run> {
        // What earlier runs wrote is not to be brought to the disk on this one's time.
        rustix::fs::sync();
        let mut command = self.command()?;
        command.args(["sync", &mirror.vault, "--to", &mirror.to, "--state", &mirror.state, "--json"]).args(more);
        let run = child::run(command, &self.work().join("obsync.err"))?;
        let answers: Answers = serde_json::from_slice(&run.output)?;
        match &answers.vaults[..] {
            [answer] if answer.failed.is_empty() && answer.downloaded == files => Ok(run),
            other => Err(format!("{files} files were to be downloaded: {other:?}").into()),
        }
    }

    /// The command under test, as someone has it who is signed in.
    fn command(&self) -> Result<Command> {
        let mut command = match &self.obsync {
            Some(program) => Command::new(program),
            None => child::this_program("obsync")?,
        };
        command.env_clear().envs(&self.stores.environment);
        command.env("OBSYNC_API_URL", &self.service.url).env("OBSYNC_HOME", self.work().join("home"));
        command.env("OBSIDIAN_AUTH_TOKEN", self.token.expose_secret()).env("OBSIDIAN_VAULT_PASSWORD", VAULT_PASSWORD);
        Ok(command)
    }
}
