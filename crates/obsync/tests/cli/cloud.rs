//! Buckets and tables from the command line, and the Lambda function without Lambda.

use std::collections::BTreeMap;

use obsync_emulator::Account;
use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::dynamodb::MemoryDynamo;
use obsync_testkit::generate::Shape;
use obsync_testkit::s3::MemoryS3;
use obsync_testkit::tree::{Tree, assert_same_tree};
use serde_json::{Value, json};

use crate::fixture::{EMAIL, Ended, Fixture, PASSWORD, end, end_with_input};

pub(crate) const BUCKET: &str = "notes";
pub(crate) const TABLE: &str = "state";

/// A service and an account, with a bucket and a table.
pub(crate) struct Cloud {
    pub(crate) fixture: Fixture,
    pub(crate) s3: MemoryS3,
    pub(crate) dynamo: MemoryDynamo,
}

impl Cloud {
    pub(crate) async fn new() -> Self {
        Self::with_account(Account::new(EMAIL, PASSWORD)).await
    }

    pub(crate) async fn with_account(account: Account) -> Self {
        let s3 = MemoryS3::start().await;
        s3.create_bucket(BUCKET);
        let dynamo = MemoryDynamo::start().await;
        dynamo.create_table(TABLE).await;
        Self { fixture: Fixture::with_account(account).await, s3, dynamo }
    }

    pub(crate) fn command(&self, args: &[&str]) -> tokio::process::Command {
        let mut command = self.fixture.command(args);
        command.envs(self.s3.environment()).envs([self.dynamo.environment()]);
        command.env("S3_BUCKET", BUCKET).env("STATE_TABLE_NAME", TABLE);
        command
    }

    async fn run(&self, args: &[&str]) -> Ended {
        end(self.command(args)).await
    }

    /// Runs a command that has to succeed.
    async fn done(&self, args: &[&str]) -> Ended {
        let ended = self.run(args).await;
        assert_eq!(ended.exit, Some(0), "{args:?}: {ended:?}");
        ended
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.fixture.path(name).display().to_string()
    }

    /// What the bucket has below a prefix.
    pub(crate) fn objects(&self, prefix: &str) -> Tree {
        let objects = self.s3.objects(BUCKET).into_iter();
        let below = |(key, object): (String, obsync_testkit::s3::Object)| {
            Some((key.strip_prefix(prefix)?.to_owned(), object.content.to_vec()))
        };
        Tree { files: objects.filter_map(below).collect::<BTreeMap<_, _>>(), ..Tree::default() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_destination_goes_with_every_state() {
    let cloud = Cloud::new().await;
    const NAME: &str = "កំណត់ត្រា 1";
    let mut vault = cloud.fixture.vault(NAME, EncryptionVersion::V3);
    vault.fill(&Shape::small(31));
    let sqlite = format!("sqlite:{}", cloud.path("own.db"));
    for (n, state) in [sqlite.as_str(), "dynamodb:state"].into_iter().enumerate() {
        for kind in ["folder", "bucket"] {
            let name = format!("{kind} {n}");
            let dest = if kind == "bucket" { format!("s3://{BUCKET}/{name}") } else { cloud.path(&name) };
            let sync = ["sync", NAME, "--to", &dest, "--state", state, "--json"];
            let first = cloud.done(&sync).await.vault();
            assert_eq!((&first["sync_type"], &first["failed"]), (&json!("complete"), &json!([])));
            vault.random_changes(n as u64, 8);
            assert_eq!(cloud.done(&sync).await.vault()["sync_type"], "incremental");
            let actual =
                || if kind == "bucket" { cloud.objects(&format!("{name}/")) } else { Tree::read(name_of(&dest)) };
            assert_same_tree(&vault.tree().files_only(), &actual().files_only());
            cloud.done(&["verify", NAME, "--to", &dest, "--state", state, "--deep"]).await;
            let status = cloud.done(&["status", "--state", state]).await;
            assert!(status.stdout.contains(&dest), "{status:?}");
            cloud.done(&["reset", NAME, "--to", &dest, "--state", state]).await;
            let again = cloud.done(&sync).await.vault();
            assert_eq!((&again["sync_type"], &again["downloaded"]), (&json!("complete"), &json!(0)));
        }
    }
}

fn name_of(dest: &str) -> &std::path::Path {
    std::path::Path::new(dest)
}

#[tokio::test(flavor = "multi_thread")]
async fn several_vaults_go_below_their_names_in_a_bucket() {
    let cloud = Cloud::new().await;
    let mut vaults = ["One", "Two"].map(|name| cloud.fixture.vault(name, EncryptionVersion::V3));
    for vault in &mut vaults {
        let name = vault.name().to_owned();
        vault.put("a.md", name, 1);
    }
    cloud.done(&["sync", "--all", "--to", "s3://notes/backup"]).await;
    for vault in &vaults {
        assert_same_tree(&vault.tree(), &cloud.objects(&format!("backup/{}/", vault.name())));
    }
    let inside = ["sync", "Two", "--to", "s3://notes/backup/One"];
    cloud.run(&inside).await.assert_refused(2, &["would both go to"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_is_named() {
    let cloud = Cloud::new().await;
    cloud.fixture.vault("V", EncryptionVersion::V3).put("a.md", "a", 1);
    let sync = |dest, state| ["sync", "V", "--to", dest, "--state", state];
    cloud.run(&sync("s3://nowhere/x", "dynamodb:state")).await.assert_refused(6, &["s3://nowhere/x/", "NoSuchBucket"]);
    cloud.run(&sync("s3://notes", "dynamodb:none")).await.assert_refused(6, &["dynamodb:none"]);
    cloud.run(&sync("s3://", "dynamodb:state")).await.assert_refused(2, &["s3://BUCKET/PREFIX"]);
    cloud.run(&["sync", "--all", "--to", "s3://"]).await.assert_refused(2, &["s3://BUCKET/PREFIX"]);
    let nowhere = format!("sqlite:{}", cloud.path("nowhere.db"));
    cloud.run(&["state", "export", "--state", &nowhere]).await.assert_refused(2, &["nowhere.db is not there"]);
    cloud.run(&["state", "migrate", &nowhere, "dynamodb:state"]).await.assert_refused(2, &["nowhere.db is not there"]);
    for url in ["", "localhost:4566", "http://", "ftp://host", "http://a b"] {
        let mut odd = cloud.command(&sync("s3://notes", "dynamodb:state"));
        odd.env("AWS_ENDPOINT_URL_S3", url);
        end(odd).await.assert_refused(2, &["AWS_ENDPOINT_URL_S3", "no URL"]);
    }
    let mut without_region = cloud.command(&sync("s3://notes", "dynamodb:state"));
    without_region.env_remove("AWS_REGION");
    without_region.env("AWS_EC2_METADATA_DISABLED", "true");
    end(without_region).await.assert_refused(2, &["no AWS region", "AWS_REGION"]);
    let mut without_credentials = cloud.command(&sync("s3://notes", "dynamodb:state"));
    without_credentials.env_remove("AWS_ACCESS_KEY_ID").env("AWS_EC2_METADATA_DISABLED", "true");
    end(without_credentials).await.assert_refused(6, &["dynamodb:state", "credentials"]);
}

/// The state is the same thing wherever it is: in SQLite, in DynamoDB and in a file.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_exported_imported_and_migrated() {
    let cloud = Cloud::new().await;
    let mut vault = cloud.fixture.vault("V", EncryptionVersion::V3);
    vault.fill(&Shape::notes(4, 300));
    let sqlite = |name: &str| format!("sqlite:{}", cloud.path(name));
    let (first, second) = (sqlite("first.db"), sqlite("second.db"));
    let sync = async |state: &str| {
        cloud.done(&["sync", "V", "--to", "s3://notes/v", "--state", state, "--json"]).await.vault()
    };
    assert_eq!(sync(&first).await["downloaded"], 300);

    let migrated = cloud.done(&["state", "migrate", &first, "dynamodb:state"]).await;
    assert!(migrated.stderr.contains("1 mirror"), "{migrated:?}");
    let nothing_new = async |state: &str| {
        let ran = sync(state).await;
        assert_eq!(
            (&ran["sync_type"], &ran["downloaded"], &ran["unchanged"]),
            (&json!("incremental"), &json!(0), &json!(300))
        );
    };
    nothing_new("dynamodb:state").await;

    let file = cloud.path("state.jsonl");
    cloud.done(&["state", "export", &file, "--state", "dynamodb:state"]).await;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    cloud.done(&["state", "import", &file, "--state", &second]).await;
    nothing_new(&second).await;
    let lines = |text: &str| {
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        // The head tells when the last run was; stores have their entries in orders of their own.
        lines.retain(|line| line.get("mirror").is_none());
        lines.sort_by_key(Value::to_string);
        lines
    };
    let exported = cloud.done(&["state", "export", "--state", &second]).await;
    assert_eq!(lines(&exported.stdout), lines(&std::fs::read_to_string(&file).unwrap()));
}

/// A file that lost its end on the way must not make a state that is believed.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_export_is_refused_and_the_next_run_compares_everything() {
    let cloud = Cloud::new().await;
    let mut vault = cloud.fixture.vault("V", EncryptionVersion::V3);
    vault.fill(&Shape::notes(4, 50));
    let dest = cloud.path("dest");
    let sync = ["sync", "V", "--to", &dest, "--json"];
    cloud.done(&sync).await;
    let exported = cloud.done(&["state", "export"]).await.stdout;
    let whole: Vec<&str> = exported.lines().collect();
    let cut = whole[..20].join("\n");
    let swapped = exported.replace("\"end\":{\"entries\":5", "\"end\":{\"entries\":4");
    let other_form = exported.replacen("{\"obsync_state\":1}", "{\"obsync_state\":2}", 1);
    let cases = [
        (cut.as_str(), "line 20: "),
        (swapped.as_str(), "entries instead of"),
        (other_form.as_str(), "another version"),
        ("", "empty"),
        ("{}", "line 1: "),
        ("{\"obsync_state\":1}\n{\"entry\":{\"path\":\"a\",\"entry\":\"Folder\"}}", "belongs to no mirror"),
        ("{\"obsync_state\":1}\n{\"entry\":{\"path\":\"../a\",\"entry\":\"Folder\"}}", "line 2: "),
    ];
    for (text, word) in cases {
        let ended = end_with_input(cloud.command(&["state", "import", "-"]), text).await;
        ended.assert_refused(2, &[word]);
    }
    let again = cloud.done(&sync).await.vault();
    assert_eq!((&again["sync_type"], &again["downloaded"]), (&json!("complete"), &json!(0)));
    assert_same_tree(&vault.tree(), &Tree::read(name_of(&dest)));
}

#[tokio::test(flavor = "multi_thread")]
async fn invoke_answers_as_the_function_does() {
    let cloud = Cloud::new().await;
    let mut vault = cloud.fixture.vault("V", EncryptionVersion::V3);
    vault.put("a.md", "a", 1);
    let file = cloud.path("event.json");
    std::fs::write(&file, json!({"action": "sync"}).to_string()).unwrap();
    let answer = cloud.done(&["invoke", &file]).await.json();
    assert_eq!(
        (&answer["message"], &answer["vaults_synced"]),
        (&json!("Synced 1 vaults with 1 files"), &json!([vault.id()]))
    );
    assert_same_tree(&vault.tree(), &cloud.objects("V/"));
    // The command line goes on with what the function has begun.
    vault.put("b.md", "b", 2);
    let sync = ["sync", "V", "--to", "s3://notes/{vault}", "--state", "dynamodb:state", "--json"];
    let ran = cloud.done(&sync).await.vault();
    assert_eq!((&ran["sync_type"], &ran["downloaded"]), (&json!("incremental"), &json!(1)));
    for (event, exit, said) in [("{\"action\":\"x\"}", 1, "Unknown action: x"), ("?", 2, "no JSON")] {
        let ended = end_with_input(cloud.command(&["invoke", "-"]), event).await;
        assert_eq!(ended.exit, Some(exit), "{ended:?}");
        assert!(format!("{}{}", ended.stdout, ended.stderr).contains(said), "{ended:?}");
    }
    let record = json!({"messageId": "1", "body": "{}"});
    let envelopes = [
        json!({"requestContext": {}, "body": "{\"action\":\"x\"}"}),
        json!({"Records": [{"messageId": "1", "body": "{\"action\":\"sync\",\"vault_id\":\"none\"}"}]}),
        json!({"Records": [record]}),
    ];
    for envelope in envelopes {
        let ended = end_with_input(cloud.command(&["invoke", "-"]), &envelope.to_string()).await;
        assert_eq!(ended.exit, Some(1), "{envelope}: {ended:?}");
    }
    cloud.run(&["invoke", "/nowhere.json"]).await.assert_refused(2, &["/nowhere.json"]);
}
