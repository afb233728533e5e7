//! The official client on the same vault, where it is at hand: it is proprietary, and no part of this project.
//! `.ci/interop` installs it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child::{self, Run};
use crate::service::{EMAIL, PASSWORD, VAULT_PASSWORD};
use crate::stage::{Place, Stage};
use crate::table::{Figure, Table};
use crate::{Result, root};

const VAULT: &str = "Notes for both";

/// About the size of a note, in bytes.
const NOTE: u64 = 4096;

/// As `.ci/interop` has it.
const VERSION: &str = "0.0.14";

pub(crate) fn run(stage: &mut Stage, table: &mut Table) -> Result<()> {
    let notes = stage.size.official;
    table.section(
        "official",
        format!("{notes} notes of 4 KiB, no latency, into a folder; bound: obsync, 4 connections"),
    );
    stage.service.add_notes(VAULT, notes, NOTE)?;
    let mirror = stage.mirror(VAULT, Place::Folder);
    let ours = stage.sync(&mirror, notes, &[])?;
    table.add(Figure::seconds("obsync", ours.time).usage(ours.usage));
    let what = format!("official client {VERSION}");
    let Some(client) = Client::find(stage)? else {
        table.add(Figure::missing(what, "not here: .ci/interop installs it, and ../shared/interop runs it"));
        return Ok(());
    };
    client.set_up()?;
    let theirs = client.run(&["sync", "--path"], &[])?;
    let fetched = files(&client.folder)?;
    if fetched != notes {
        return Err(format!("the official client fetched {fetched} of {notes} notes").into());
    }
    table.add(Figure::seconds(what, theirs.time).bound(ours.time).usage(theirs.usage));
    Ok(())
}

/// The official client as one device.
struct Client {
    program: PathBuf,
    installed: PathBuf,
    home: PathBuf,
    folder: PathBuf,
    url: String,
}

impl Client {
    /// `None` where it is not at hand.
    fn find(stage: &Stage) -> Result<Option<Self>> {
        let program = root().join("../shared/interop/ob");
        let home = PathBuf::from(env::var_os("HOME").unwrap_or_default());
        let caches = env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
        let cache = env::var_os("OBSYNC_CACHE").map_or_else(|| caches.join("obsync"), PathBuf::from);
        let installed = cache.join(format!("official-client-{VERSION}"));
        let has_node = Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success());
        if !(program.exists() && installed.exists() && has_node) {
            return Ok(None);
        }
        let (home, folder) = (stage.work().join("official-home"), stage.work().join("official"));
        fs::create_dir_all(&home)?;
        fs::create_dir_all(&folder)?;
        Ok(Some(Self { program, installed, home, folder, url: stage.service.url.clone() }))
    }

    fn set_up(&self) -> Result<()> {
        self.command(&["login", "--email", EMAIL, "--password", PASSWORD])?;
        self.run(
            &["sync-setup", "--vault", VAULT, "--path"],
            &["--password", VAULT_PASSWORD, "--device-name", "bench"],
        )?;
        let types = "image,audio,video,pdf,unsupported";
        self.run(&["sync-config", "--path"], &["--mode", "mirror-remote", "--file-types", types])?;
        Ok(())
    }

    /// Runs a command on the folder, whose path goes in between.
    fn run(&self, before: &[&str], after: &[&str]) -> Result<Run> {
        let folder = self.folder.display().to_string();
        self.command(&[before, &[folder.as_str()], after].concat())
    }

    fn command(&self, args: &[&str]) -> Result<Run> {
        let mut command = Command::new(&self.program);
        command.args(args).env("HOME", &self.home).env("OB_HOME", &self.installed);
        command.env("OBSIDIAN_API_URL", &self.url);
        for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
            command.env_remove(name);
        }
        child::run(command, &self.home.join("client.err"))
    }
}

/// Notes in a folder and those below it.
fn files(folder: &Path) -> Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            count += files(&entry.path())?;
        } else if entry.path().extension().is_some_and(|extension| extension == "md") {
            count += 1;
        }
    }
    Ok(count)
}
