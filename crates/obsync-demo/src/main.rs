//! `cargo demo`: a whole sync, with nothing to set up.
//!
//! An Obsidian Sync service runs inside this program, with an account and an end-to-end encrypted vault in it. The
//! real client, over the real protocol, mirrors that vault into a folder; then the vault changes and is mirrored
//! again; then everything is compared, byte for byte.

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use obsync::destination::Template;
use obsync::memory::Location;
use obsync::progress::Display;
use obsync::session::{Session, find};
use obsync::settings::Settings;
use obsync_core::filter::Filter;
use obsync_core::mirror::{Mirror, Options, Report};
use obsync_core::stop::Stop;
use obsync_emulator::{Account, Config, Emulator};
use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::generate::Shape;
use obsync_testkit::tree::{Tree, assert_same_tree};
use obsync_testkit::vault::TestVault;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const EMAIL: &str = "demo@example.com";
const PASSWORD: &str = "account password";
const VAULT: &str = "Demo vault";
const VAULT_PASSWORD: &str = "vault password";

/// Bytes of the video in the vault: many pieces of 2 MiB, and a part of one.
const VIDEO: usize = 12_345_678;

#[tokio::main]
async fn main() -> Result<()> {
    let work = tempfile::Builder::new().prefix("obsync-demo-").tempdir()?.keep();
    println!("1. An Obsidian Sync service starts inside this program, with an end-to-end encrypted vault.");
    let emulator = Arc::new(Emulator::start(Config::default()).await?);
    emulator.create_account(Account::new(EMAIL, PASSWORD))?;
    let mut vault = TestVault::create(&emulator, EMAIL, VAULT, EncryptionVersion::V3, VAULT_PASSWORD);
    fill(&mut vault);
    let tree = vault.tree();
    println!("   {} files in {} folders, {:.1} MB.", tree.files.len(), tree.folders.len(), tree.bytes() as f64 / 1e6);

    println!("\n2. obsync signs in and mirrors the vault for the first time.");
    let (mirror, display) = connect(&emulator, &work).await?;
    sync(&mirror, &display).await?;

    println!("\n3. Someone edits, renames, deletes and adds notes on another device; obsync follows.");
    change(&mut vault);
    emulator.counters().reset();
    let report = sync(&mirror, &display).await?;
    let pulls = emulator.counters().get().pulls;
    println!("   Renamed files were copied where they lie: {pulls} files came over the wire.");
    if report.copied == 0 || pulls != report.downloaded {
        return Err(format!("expected copies and as many pulls as downloads: {report:?}, {pulls} pulls").into());
    }

    println!("\n4. Every file of the folder is read and compared with the vault.");
    let result = mirror.verify(&Filter::default(), true, &Options::default()).await?;
    display.end();
    if !result.is_exact() {
        return Err(format!("the mirror is not exact: {result:?}").into());
    }
    let folder = work.join("mirror");
    assert_same_tree(&vault.tree(), &Tree::read(&folder));
    println!("   Exact: {} files, byte for byte.\n", result.same);
    println!("The mirror is at {}", folder.display());
    println!("(its state and token are beside it; delete {} when you are done)", work.display());
    Ok(())
}

fn fill(vault: &mut TestVault) {
    let shape =
        Shape { notes: 400, attachments: 40, max_size: 400_000, folders: 24, empty_folders: 3, ..Shape::small(2026) };
    vault.fill(&shape);
    vault.mkdir("Attachments");
    vault.put("Attachments/holiday video.mp4", vec![7; VIDEO], 1_790_000_000_000);
    vault.mkdir("Drafts");
    for number in 0..12 {
        vault.put(&format!("Drafts/draft {number}.md"), format!("# Draft {number}\n"), 1_790_000_000_000);
    }
    vault.put("Welcome.md", "# Welcome\n\nThis note came from an encrypted vault.\n", 1_790_000_000_000);
    vault.put("កំណត់ចំណាំ.md", "# សួស្តី\n", 1_790_000_000_000);
}

fn change(vault: &mut TestVault) {
    vault.put("Welcome.md", "# Welcome\n\nEdited on another device.\n", 1_790_000_100_000);
    vault.rename("Drafts", "Finished");
    vault.rename("Attachments/holiday video.mp4", "Attachments/Holiday 2026.mp4");
    vault.delete("Finished/draft 3.md");
    vault.put("Finished/final.md", "# Final\n", 1_790_000_100_000);
    vault.random_changes(7, 20);
}

/// What a user does by setting environment variables, and `obsync sync` does with them.
async fn connect(emulator: &Emulator, work: &Path) -> Result<(Mirror, Arc<Display>)> {
    let home: PathBuf = work.join("home");
    let environment = HashMap::from([
        ("OBSYNC_HOME", home.display().to_string()),
        ("OBSYNC_API_URL", emulator.api_url()),
        ("OBSIDIAN_EMAIL", EMAIL.to_owned()),
        ("OBSIDIAN_PASSWORD", PASSWORD.to_owned()),
        ("OBSIDIAN_VAULT_PASSWORD", VAULT_PASSWORD.to_owned()),
    ]);
    let settings = Settings::read(|name| environment.get(name).cloned())?;
    let state = Location::parse(None, &settings.home)?;
    let destination = Template::parse(&work.join("mirror").display().to_string(), false)?;
    let session = Session::new(settings)?;
    let vaults = session.vaults().await?;
    let row = &find(&vaults, VAULT)?.row;
    let keys = session.keys(row).await?;
    let blobs = destination.fill(row.id.as_str(), &row.name)?.open()?;
    let state = state.open().await?;
    let display = Arc::new(Display::start(VAULT, false));
    let mirror = session.mirror(row, keys, blobs, state, display.clone()).await?;
    Ok((mirror, display))
}

async fn sync(mirror: &Mirror, display: &Display) -> Result<Report> {
    let report = mirror.sync(&Options::default(), &Stop::default()).await;
    display.end();
    if !report.is_success() {
        return Err(format!("the run did not succeed: {report:?}").into());
    }
    println!(
        "   {} downloaded ({:.1} MB), {} copied, {} deleted, {} unchanged, in {:.2} s.",
        report.downloaded,
        report.bytes as f64 / 1e6,
        report.copied,
        report.deleted,
        report.unchanged,
        report.elapsed.as_secs_f64(),
    );
    Ok(report)
}
