//! A service, an account, and the program.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use obsync_emulator::{Account, Config, Emulator};
use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::vault::TestVault;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

pub(crate) const EMAIL: &str = "someone@example.com";
pub(crate) const PASSWORD: &str = "account-pass-2718";
pub(crate) const VAULT_PASSWORD: &str = "vault-pass-3141";
/// RFC 6238's secret, in Base32.
pub(crate) const TOTP_SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

pub(crate) struct Fixture {
    pub(crate) emulator: Arc<Emulator>,
    pub(crate) folder: TempDir,
}

/// How the program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The answer about the only vault.
    pub(crate) fn vault(&self) -> Value {
        let json = self.json();
        assert_eq!(json["vaults"].as_array().map(Vec::len), Some(1), "{self:?}");
        json["vaults"][0].clone()
    }

    /// Checks the exit code, and that the message helps: it says each of `words`.
    pub(crate) fn assert_refused(&self, exit: i32, words: &[&str]) {
        assert_eq!(self.exit, Some(exit), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {}", self.stderr);
        }
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { exit: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with_account(Account::new(EMAIL, PASSWORD)).await
    }

    pub(crate) async fn with_account(account: Account) -> Self {
        Self::with_service(Config::default(), account).await
    }

    pub(crate) async fn with_service(config: Config, account: Account) -> Self {
        let emulator = Arc::new(Emulator::start(config).await.unwrap());
        emulator.create_account(account).unwrap();
        Self { emulator, folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn vault(&self, name: &str, version: EncryptionVersion) -> TestVault {
        TestVault::create(&self.emulator, EMAIL, name, version, VAULT_PASSWORD)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where `obsync` mirrors to.
    pub(crate) fn dest(&self) -> PathBuf {
        self.path("dest")
    }

    /// The program with the account's settings in its environment, and none of this process's own.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = bare_command(&self.path("home"), args);
        command
            .env("OBSYNC_API_URL", self.emulator.api_url())
            .env("OBSIDIAN_EMAIL", EMAIL)
            .env("OBSIDIAN_PASSWORD", PASSWORD)
            .env("OBSIDIAN_VAULT_PASSWORD", VAULT_PASSWORD);
        command
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Ended {
        end(self.command(args)).await
    }

    /// `obsync sync VAULT --to DEST --json`, and further arguments.
    pub(crate) fn sync_args<'a>(vault: &'a str, dest: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["sync", vault, "--to", dest.to_str().unwrap(), "--json"];
        args.extend(more);
        args
    }

    pub(crate) async fn sync(&self, vault: &str, more: &[&str]) -> Ended {
        self.run(&Self::sync_args(vault, &self.dest(), more)).await
    }
}

pub(crate) fn bare_command(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_obsync"));
    command
        .args(args)
        .env_clear()
        .env("OBSYNC_HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

pub(crate) async fn end(mut command: Command) -> Ended {
    command.output().await.unwrap().into()
}

/// Runs with something on standard input.
pub(crate) async fn end_with_input(mut command: Command, input: &str) -> Ended {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    child.wait_with_output().await.unwrap().into()
}
