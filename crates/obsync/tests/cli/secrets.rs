//! Promise 11 (discreet): no secret in anything that the program says or keeps, at its most talkative, whatever befalls
//! it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use obsync_emulator::{Account, Fault, FaultRule, Place};
use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::generate::Shape;
use obsync_testkit::secrets::Secrets;
use obsync_testkit::vault::TestVault;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::cloud::{BUCKET, Cloud, TABLE};
use crate::fixture::{EMAIL, Ended, bare_command, end_with_input};
use crate::watch::{health, until};

// With all that one encoding or another writes differently.
const ACCOUNT: &str = "acc \"pass\"/2718+é=%&\\";
const VAULT: &str = "vault \"pass\"/3141+ü=%&\\";
const OTHER_VAULT: &str = "other 'pass'/112358+13";
const MANAGED: &str = "managed pass/1414+2135";
const TOTP: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
const NOTE: &str = "the \"content\" of a note,\nwhich is nobody's business";
// Given in place of right ones, and mostly near them.
const WRONG: &str = "wrong \"pass\"/1618+ß";
const WRONG_TOKEN: &str = "worthless-token-1618033";
const WRONG_AWS_SECRET: &str = "wrong/aws+secret/1618033988";

/// An account with three vaults, a bucket and a table; and what the runs of the program on them have said.
struct Stage {
    cloud: Cloud,
    vaults: Vec<TestVault>,
    began: u64,
    said: Vec<(String, Ended)>,
    tokens: BTreeSet<String>,
}

impl Stage {
    async fn new() -> Self {
        // The program sends a code of two-factor sign-in where it has a secret; that each serves once, with 30 s
        // between them, is not what this is about.
        let cloud = Cloud::with_account(Account::new(EMAIL, ACCOUNT)).await;
        let (emulator, version) = (&cloud.fixture.emulator, EncryptionVersion::V3);
        let mut vaults = vec![
            TestVault::create(emulator, EMAIL, "V", version, VAULT),
            TestVault::create(emulator, EMAIL, "Other", EncryptionVersion::V0, OTHER_VAULT),
            TestVault::create_managed(emulator, EMAIL, "Managed", version, MANAGED),
        ];
        for vault in &mut vaults {
            vault.put("note.md", NOTE, 1);
            vault.put("folder/copy.md", format!("{NOTE} once more"), 1);
        }
        vaults[1].put_raw("../evil", NOTE.as_bytes(), 1);
        for folder in ["cwd", "tmp", "control"] {
            fs::create_dir(cloud.fixture.path(folder)).unwrap();
        }
        Self { cloud, vaults, began: unix_seconds(), said: Vec::new(), tokens: BTreeSet::new() }
    }

    /// The program with all that it needs in its environment, run as carelessly as can be: it says all that it can,
    /// everyone may read what it makes, and the system keeps the memory of what crashes.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.cloud.command(args);
        let passwords = json!({ "Other": OTHER_VAULT }).to_string();
        command
            .env("OBSIDIAN_PASSWORD", ACCOUNT)
            .env("OBSIDIAN_TOTP_SECRET", TOTP)
            .env("OBSIDIAN_VAULT_PASSWORD", VAULT)
            .env("OBSIDIAN_VAULT_PASSWORDS", passwords);
        self.carelessly(&command)
    }

    fn carelessly(&self, command: &Command) -> Command {
        let command = command.as_std();
        let mut careless = Command::new("/bin/sh");
        careless
            .args(["-c", "umask 000; ulimit -c unlimited 2>/dev/null; exec \"$0\" \"$@\""])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .envs([("LOG_LEVEL", "trace"), ("RUST_LOG", "trace"), ("RUST_BACKTRACE", "full")])
            .env("TMPDIR", self.path("tmp"))
            .current_dir(self.path("cwd"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        careless
    }

    fn path(&self, name: &str) -> PathBuf {
        self.cloud.fixture.path(name)
    }

    /// Runs, and checks how it ends: a run that ends for another reason than the one that is meant shows little.
    async fn run(&mut self, exit: i32, args: &[&str], environment: &[(&str, &str)], input: &str) {
        let mut command = self.command(args);
        command.envs(environment.iter().copied());
        let ended = end_with_input(command, input).await;
        assert_eq!(ended.exit, Some(exit), "{args:?}: {ended:?}");
        self.said.push((format!("what {args:?} said"), ended));
        self.note_token();
    }

    fn note_token(&mut self) {
        if let Ok(file) = fs::read(self.path("home").join("token.json")) {
            let file: Value = serde_json::from_slice(&file).unwrap();
            self.tokens.insert(file["token"].as_str().unwrap().to_owned());
        }
    }

    fn fail(&self, place: Place, fault: Fault) {
        self.cloud.fixture.emulator.faults().add(FaultRule::new(place, fault));
    }

    /// Whoever may see something of them sees none of these; a file that holds the token is the only exception.
    fn secrets(&self) -> Secrets {
        let [_, (_, aws_secret), ..] = self.cloud.s3.environment();
        let wrong = [("a wrong password", WRONG), ("a wrong token", WRONG_TOKEN), ("a wrong key", WRONG_AWS_SECRET)];
        let secrets = Secrets::default()
            .with("the account's password", ACCOUNT)
            .with_totp(TOTP, self.began - 60..unix_seconds() + 60)
            .with("the AWS secret", aws_secret);
        let secrets = wrong.iter().fold(secrets, |secrets, (what, secret)| secrets.with(what, secret));
        self.vaults.iter().fold(secrets, Secrets::with_vault)
    }

    fn with_tokens(&self, secrets: Secrets) -> Secrets {
        self.tokens.iter().fold(secrets, |secrets, token| secrets.with("the token", token))
    }

    /// Searches everything that the runs have left.
    async fn assert_discreet(&self) {
        let tokenless = self.secrets();
        let noteless = self.with_tokens(tokenless.clone());
        let all = noteless.clone().with("a note", NOTE);
        for (what, ended) in &self.said {
            all.assert_absent(what, format!("{}{}", ended.stdout, ended.stderr).as_bytes());
        }
        for file in files(self.cloud.fixture.folder.path()) {
            let below = |folder: &str| file.starts_with(self.path(folder));
            let secrets = match file.file_name().unwrap().to_str().unwrap() {
                "token.json" => &tokenless,
                _ if below("dest") => &noteless,
                _ => &all,
            };
            secrets.assert_absent(&file.display().to_string(), &fs::read(&file).unwrap());
        }
        for (key, item) in self.cloud.dynamo.items(TABLE).await {
            let secrets = if key == "obsync#token" { &tokenless } else { &all };
            secrets.assert_absent(&format!("the item {key}"), format!("{item:?}").as_bytes());
        }
        for (key, object) in self.cloud.s3.objects(BUCKET) {
            noteless.assert_absent(&format!("the object {key}"), &object.content);
            let beside = format!("{:?} {:?} {:?}", object.metadata, object.content_type, object.tags);
            all.assert_absent(&format!("what goes with the object {key}"), beside.as_bytes());
        }
    }

    /// Starts a run that stays. What it says goes to a file, which has it when the run is dead, too.
    fn start(&self, mut command: Command) -> Child {
        let dest = self.path("dest");
        command.args(["sync", "V", "--to", dest.to_str().unwrap(), "--watch", "--health", "127.0.0.1:0"]);
        command.stdout(Stdio::null()).stderr(fs::File::create(self.path("said")).unwrap()).spawn().unwrap()
    }

    /// Whether the system does so with a program that does nothing against it: where it never does (a hard limit of
    /// nothing), that it has not done so with ours means nothing.
    async fn keeps_the_memory_of_what_crashes(&self) -> bool {
        let mut crashing = Command::new("/bin/sh");
        crashing.args(["-c", "kill -ABRT $$"]);
        let status = self.carelessly(&crashing).current_dir(self.path("control")).status().await.unwrap();
        assert!(status.signal().is_some(), "{status:?}");
        status.core_dumped()
    }

    /// Waits until the run that was started has nothing to do.
    async fn until_in_step(&self) {
        until("in step", async || {
            let said = fs::read_to_string(self.path("said")).unwrap();
            let address = said.lines().find_map(|line| Some(line.split_once("health at http://")?.1));
            match address {
                Some(address) => health(address).await.0 == 200,
                None => false,
            }
        })
        .await;
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn assert_private(path: &Path) {
    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "others may do something with {}: {mode:o}", path.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_said_or_kept() {
    let mut stage = Stage::new().await;
    let dest = stage.path("dest").join("{vault}").display().to_string();
    let export = stage.path("export.jsonl").display().to_string();
    let own = format!("sqlite:{}", stage.path("own.db").display());
    let login = ["login", "--email", EMAIL, "--password-stdin"];
    let all = ["sync", "--all", "--to", &dest];
    let one = ["sync", "V", "--to", &dest, "--json"];

    // What is refused.
    stage.run(3, &login, &[], &format!("{WRONG}\n")).await;
    stage.run(2, &["vaults"], &[("OBSIDIAN_TOTP_SECRET", &format!("{TOTP}189"))], "").await;
    stage.run(2, &["vaults"], &[("OBSIDIAN_VAULT_PASSWORDS", &format!("{{\"V\":{VAULT:?} {WRONG:?}"))], "").await;
    stage.run(3, &["vaults"], &[("OBSIDIAN_AUTH_TOKEN", WRONG_TOKEN), ("OBSIDIAN_PASSWORD", "")], "").await;
    // What is done, in part or in the end.
    stage.run(0, &login, &[], &format!("{ACCOUNT}\n")).await;
    stage.run(0, &["vaults", "--json"], &[], "").await;
    stage.run(3, &one, &[("OBSIDIAN_VAULT_PASSWORD", WRONG)], "").await;
    stage.fail(Place::Pull, Fault::FlipBit);
    stage.fail(Place::Http("/vault/list".into()), Fault::BadJson);
    stage.fail(Place::Listing, Fault::Raw(format!("{{\"res\":{NOTE:?}")));
    stage.run(1, &all, &[], "").await;
    stage.run(0, &["verify", "V", "--to", &dest, "--deep"], &[], "").await;
    stage.cloud.fixture.emulator.expire_tokens().unwrap();
    stage.vaults[0].put("new.md", NOTE, 2);
    stage.fail(Place::Pull, Fault::ShortPiece);
    stage.run(0, &one, &[], "").await;
    stage.fail(Place::Init, Fault::ExpiredToken);
    stage.run(0, &["sync", "V", "--to", &dest, "--complete", "--dry-run"], &[], "").await;
    // The state, out of one store and into others.
    stage.run(0, &["status"], &[], "").await;
    stage.run(0, &["state", "export", &export], &[], "").await;
    stage.run(0, &["state", "import", &export, "--state", &own], &[], "").await;
    stage.run(2, &["state", "import", "-"], &[], &format!("{{\"obsync_state\":1}}\n{NOTE}")).await;
    stage.run(0, &["state", "migrate", &own, "dynamodb:state"], &[], "").await;
    stage.run(0, &["reset", "V", "--to", &dest], &[], "").await;
    // AWS, and the function.
    let bucket = ["sync", "--all", "--to", "s3://notes/{vault}", "--state", "dynamodb:state"];
    stage.run(6, &bucket, &[("AWS_SECRET_ACCESS_KEY", WRONG_AWS_SECRET)], "").await;
    stage.run(1, &bucket, &[], "").await;
    stage.run(0, &["state", "export", "--state", "dynamodb:state"], &[], "").await;
    let event = json!({"action": "sync", "dest_prefix": "function/"}).to_string();
    stage.run(1, &["invoke", "-"], &[], &event).await;
    stage.run(1, &["invoke", "-"], &[("OBSIDIAN_VAULT_PASSWORD", WRONG)], &event).await;
    stage.run(1, &["invoke", "-"], &[], &json!({"action": "explode"}).to_string()).await;
    stage.fail(Place::Http("/user/signout".into()), Fault::BadJson);
    stage.run(0, &["logout"], &[], "").await;

    let kept = stage.cloud.dynamo.items(TABLE).await.remove("obsync#token").unwrap();
    stage.tokens.insert(kept["token"].as_s().unwrap().clone());
    assert!(stage.tokens.len() >= 3, "the program was to sign in over and over");
    let said = stage.said.iter().map(|(_, ended)| ended.stderr.as_str()).collect::<String>();
    assert!(said.contains("obsync_core") && said.contains("aws_"), "the log was not talkative: the test means little");
    stage.assert_discreet().await;

    // Whatever the umask, but for the mirror, which is the user's.
    let home = stage.path("home");
    files(&home).iter().chain(&[home, stage.path("own.db"), export.into()]).for_each(|path| assert_private(path));
    let note = stage.path("dest").join("V/note.md");
    assert_eq!(fs::metadata(note).unwrap().permissions().mode() & 0o777, 0o666);
}

/// Settings that are kept in a file.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_file_with_a_fault_is_not_quoted() {
    let mut stage = Stage::new().await;
    let home = stage.path("given home");
    fs::create_dir(&home).unwrap();
    for text in [
        format!("{{\"auth\":{{\"email\":{EMAIL:?},\"password\":{ACCOUNT:?},\"totp\":{TOTP:?}}}}}"),
        format!("{{\"auth\":{{\"password\":[{ACCOUNT:?}]}}}}"),
        format!("{{\"vaults\":{{\"V\":{VAULT:?}}}}}"),
    ] {
        fs::write(home.join("config.json"), text).unwrap();
        let ended = end_with_input(stage.carelessly(&bare_command(&home, &["vaults"])), "").await;
        ended.assert_refused(2, &["config.json"]);
        stage.said.push(("what was said of a configuration file".to_owned(), ended));
    }
    fs::remove_file(home.join("config.json")).unwrap();
    stage.assert_discreet().await;
}

/// In the midst of its work, and while it waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_crashes_leaves_no_secret_behind() {
    let mut stage = Stage::new().await;
    let keeps_memory = stage.keeps_the_memory_of_what_crashes().await;
    if !keeps_memory {
        eprintln!("not tried here: whether the system keeps the memory of a run that crashes (it keeps none at all)");
    }
    stage.vaults[0].fill(&Shape::notes(3, 60));
    let (note, home) = (stage.path("dest").join("note.md"), stage.path("home"));
    for latency in [Duration::from_millis(100), Duration::ZERO] {
        stage.cloud.fixture.emulator.configure(|config| config.latency = latency);
        let mut child = stage.start(stage.command(&[]));
        let id = child.id().unwrap().to_string();
        until("a mirror", async || note.exists()).await;
        if latency.is_zero() {
            stage.until_in_step().await;
        }
        files(&home).iter().for_each(|path| assert_private(path));
        assert!(Command::new("kill").args(["-ABRT", &id]).status().await.unwrap().success());
        let status = child.wait().await.unwrap();
        assert!(status.signal().is_some(), "{status:?}");
        assert!(!keeps_memory || !status.core_dumped(), "{status:?}");
        stage.note_token();
        stage.assert_discreet().await;
    }
    assert!(files(&stage.path("cwd")).is_empty(), "there is a core dump");
}

/// Of what is in the program's memory when it has started, one copy is left where it is used; the texts that it came
/// from and went out with are gone. (The environment is the system's: these secrets come from a file. The token comes
/// through memory of the HTTP library's.)
///
/// Proves something to root alone: the program lets nobody else look into its memory, its own user neither.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn what_secrets_came_from_is_cleared() {
    use secrecy::ExposeSecret;

    let stage = Stage::new().await;
    let home = stage.path("home");
    fs::create_dir(&home).unwrap();
    let vaults = json!({ "V": { "password": VAULT } });
    let config = json!({ "auth": { "email": EMAIL, "password": ACCOUNT, "totp_secret": TOTP }, "vaults": vaults });
    fs::write(home.join("config.json"), config.to_string()).unwrap();
    let mut command = bare_command(&home, &[]);
    command.env("OBSYNC_API_URL", stage.cloud.fixture.emulator.api_url());
    let child = stage.start(command);
    stage.until_in_step().await;
    let memory = match memory(child.id().unwrap()) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return eprintln!(
                "not tried here: whether what secrets came from is cleared (the memory is root's to see)"
            );
        }
        memory => memory.unwrap(),
    };
    let keyhash = stage.vaults[0].keys().keyhash.expose_secret();
    for (what, secret) in [("password", ACCOUNT), ("password", VAULT), ("secret", TOTP), ("key", keyhash)] {
        // In the JSON that it came or went in it is quoted; what is left of such a text begins anywhere.
        let quoted = Secrets::default().with(what, format!("\":{}", json!(secret)));
        quoted.assert_absent("memory", &memory);
        assert!(!Secrets::default().with(what, secret).find(&memory).is_empty(), "this is not the memory");
    }
}

/// What a process can write to.
#[cfg(target_os = "linux")]
fn memory(process: u32) -> std::io::Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;

    let file = fs::File::open(format!("/proc/{process}/mem"))?;
    let mut memory = Vec::new();
    for line in fs::read_to_string(format!("/proc/{process}/maps"))?.lines() {
        let mut words = line.split(' ');
        let (from, to) = words.next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|address| u64::from_str_radix(address, 16).unwrap());
        if words.next().unwrap().starts_with("rw") {
            let mut part = vec![0; (to - from) as usize];
            // A thread's stack can go away meanwhile.
            if file.read_exact_at(&mut part, from).is_ok() {
                memory.extend(part);
            }
        }
    }
    Ok(memory)
}
