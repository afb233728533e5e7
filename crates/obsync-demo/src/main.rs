//! `cargo demo`: whole syncs, with nothing to set up.
//!
//! An Obsidian Sync service, S3 and DynamoDB run inside this program. The Lambda function's handler mirrors a vault into a
//! bucket; then the vault changes, and a second event brings the changes; then every object is compared with the vault.
//! At last the command line mirrors the same vault into a folder. The service's client, the handler and the command line
//! are the real ones, over the real protocols.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Instant;

use obsync_emulator::{Account, Config, Emulator};
use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::dynamodb::MemoryDynamo;
use obsync_testkit::generate::Shape;
use obsync_testkit::s3::MemoryS3;
use obsync_testkit::tree::{Tree, assert_same_tree};
use obsync_testkit::vault::TestVault;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const EMAIL: &str = "demo@example.com";
const PASSWORD: &str = "account password";
const VAULT: &str = "Demo vault";
const VAULT_PASSWORD: &str = "vault password";
const BUCKET: &str = "notes";
const TABLE: &str = "obsync-state";

/// Bytes of the video in the vault: many pieces of 2 MiB, and a part of one.
const VIDEO: usize = 12_345_678;

fn main() -> ExitCode {
    // With arguments this program is `obsync`: that is how it runs commands as a user would.
    if std::env::args_os().len() > 1 {
        return obsync::cli::main();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(demo())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the demo failed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn demo() -> Result<()> {
    let work = tempfile::Builder::new().prefix("obsync-demo-").tempdir()?.keep();
    println!("1. An Obsidian Sync service starts inside this program, with an end-to-end encrypted vault.");
    let emulator = Arc::new(Emulator::start(Config::default()).await?);
    emulator.create_account(Account::new(EMAIL, PASSWORD))?;
    let mut vault = TestVault::create(&emulator, EMAIL, VAULT, EncryptionVersion::V3, VAULT_PASSWORD);
    fill(&mut vault);
    let tree = vault.tree();
    println!("   {} files in {} folders, {:.1} MB.", tree.files.len(), tree.folders.len(), tree.bytes() as f64 / 1e6);

    println!("\n2. S3 and DynamoDB start, too. The Lambda function gets its first event.");
    let s3 = MemoryS3::start().await;
    s3.create_bucket(BUCKET);
    let dynamo = MemoryDynamo::start().await;
    dynamo.create_table(TABLE).await;
    let user = User { environment: environment(&emulator, &s3, &dynamo, &work) };
    let answer = user.invoke(&json!({ "action": "sync", "sync_type": "complete" })).await?;
    expect(answer["files_count"] == tree.files.len(), "every file was to be written")?;

    println!(
        "\n3. Someone edits, renames, deletes and adds notes on another device. The function gets its second event."
    );
    change(&mut vault);
    emulator.counters().reset();
    let answer = user.invoke(&json!({ "action": "sync" })).await?;
    let pulls = emulator.counters().get().pulls;
    println!("   Renamed files were copied within the bucket: {pulls} files came over the wire.");
    let downloaded = answer["metadata"]["downloaded"].as_str().unwrap_or_default();
    expect(answer["metadata"]["copied"] != "0" && downloaded == pulls.to_string(), "renames were to be copies")?;

    println!("\n4. Every object in the bucket is compared with the vault.");
    let objects = s3.objects(BUCKET).into_iter();
    let objects =
        objects.filter_map(|(key, o)| Some((key.strip_prefix(VAULT)?.get(1..)?.to_owned(), o.content.to_vec())));
    let bucket = Tree { files: objects.collect(), ..Tree::default() };
    assert_same_tree(&vault.tree().files_only(), &bucket);
    println!("   Exact: {} objects, byte for byte, from s3://{BUCKET}/{VAULT}/ on.", bucket.files.len());

    println!("\n5. The command line mirrors the same vault into a folder.");
    let folder = work.join("mirror");
    user.run(&["sync", VAULT, "--to", &folder.display().to_string()]).await?;
    user.run(&["verify", VAULT, "--to", &folder.display().to_string(), "--deep"]).await?;
    assert_same_tree(&vault.tree(), &Tree::read(&folder));
    println!("\nThe folder is {}", folder.display());
    println!("(state and token are beside it; delete {} when you are done)", work.display());
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

/// What a user sets once: on the function, or in a shell.
fn environment(
    emulator: &Emulator,
    s3: &MemoryS3,
    dynamo: &MemoryDynamo,
    work: &Path,
) -> BTreeMap<&'static str, String> {
    let own = [
        ("OBSIDIAN_EMAIL", EMAIL.to_owned()),
        ("OBSIDIAN_PASSWORD", PASSWORD.to_owned()),
        ("OBSIDIAN_VAULT_PASSWORD", VAULT_PASSWORD.to_owned()),
        ("OBSYNC_API_URL", emulator.api_url()),
        ("OBSYNC_HOME", work.join("home").display().to_string()),
        ("S3_BUCKET", BUCKET.to_owned()),
        ("STATE_TABLE_NAME", TABLE.to_owned()),
    ];
    own.into_iter().chain(s3.environment()).chain([dynamo.environment()]).collect()
}

/// Someone at a terminal.
struct User {
    environment: BTreeMap<&'static str, String>,
}

impl User {
    /// Hands an event to the function's handler, and shows both.
    async fn invoke(&self, event: &Value) -> Result<Value> {
        println!("   event   {event}");
        let started = Instant::now();
        let mut child = self.command(&["invoke", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().ok_or("no standard input")?;
        stdin.write_all(event.to_string().as_bytes()).await?;
        drop(stdin);
        let output = child.wait_with_output().await?;
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        println!("   answer  {answer}");
        println!("   in {:.2} s, from the start of the process on", started.elapsed().as_secs_f64());
        expect(answer["success"] == true, "the event was to succeed")?;
        Ok(answer)
    }

    /// Runs a command, which shows what it does.
    async fn run(&self, args: &[&str]) -> Result<()> {
        println!("   $ obsync {}", args.join(" ").replace(VAULT, &format!("'{VAULT}'")));
        expect(self.command(args).status().await?.success(), "the command was to succeed")
    }

    fn command(&self, args: &[&str]) -> Command {
        // There is always a path of the program that runs; where not, starting it says so.
        let mut command = Command::new(std::env::current_exe().unwrap_or_default());
        command.args(args).env_clear().envs(&self.environment).stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

fn expect(holds: bool, what: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(what.into()) }
}
