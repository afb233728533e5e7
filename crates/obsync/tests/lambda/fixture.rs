//! Everything that the function needs, and the function.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use obsync_emulator::{Account, Config, Emulator};
use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::dynamodb::MemoryDynamo;
use obsync_testkit::s3::MemoryS3;
use obsync_testkit::vault::TestVault;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::runtime::{Answer, Runtime};

pub(crate) const EMAIL: &str = "someone@example.com";
pub(crate) const PASSWORD: &str = "account password";
pub(crate) const VAULT_PASSWORD: &str = "vault password";
pub(crate) const BUCKET: &str = "notes";
pub(crate) const TABLE: &str = "state";

/// The service, S3 and DynamoDB, with a function at work on them.
pub(crate) struct Fixture {
    pub(crate) emulator: Arc<Emulator>,
    pub(crate) s3: MemoryS3,
    pub(crate) dynamo: MemoryDynamo,
    pub(crate) function: Function,
}

/// An instance of the function.
pub(crate) struct Function {
    runtime: Runtime,
    process: Child,
    /// All that it wrote to standard output and standard error.
    pub(crate) said: Arc<Mutex<String>>,
}

impl Function {
    async fn start(environment: &[(String, String)]) -> Self {
        let runtime = Runtime::start().await;
        // `make test-lambda` names the one that is in the package.
        let program =
            std::env::var_os("OBSYNC_TEST_BOOTSTRAP").unwrap_or_else(|| env!("CARGO_BIN_EXE_bootstrap").into());
        let mut process = Command::new(program)
            .env_clear()
            .envs(environment.iter().cloned())
            .env("AWS_LAMBDA_RUNTIME_API", runtime.address())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = Arc::<Mutex<String>>::default();
        listen(process.stdout.take().unwrap(), said.clone());
        listen(process.stderr.take().unwrap(), said.clone());
        Self { runtime, process, said }
    }

    pub(crate) async fn send(&self, event: Value) -> Answer {
        self.send_within(event, Duration::from_secs(60)).await
    }

    pub(crate) async fn send_within(&self, event: Value, budget: Duration) -> Answer {
        self.runtime.invoke(event, budget).await
    }

    /// Sends an event that must be answered.
    pub(crate) async fn answer(&self, event: Value) -> Value {
        self.send(event).await.unwrap()
    }

    pub(crate) fn is_up(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// As the machine under it would when it goes away.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with_env(&[]).await
    }

    /// An empty value takes a variable away.
    pub(crate) async fn with_env(more: &[(&str, &str)]) -> Self {
        let emulator = Arc::new(Emulator::start(Config::default()).await.unwrap());
        emulator.create_account(Account::new(EMAIL, PASSWORD)).unwrap();
        let s3 = MemoryS3::start().await;
        s3.create_bucket(BUCKET);
        let dynamo = MemoryDynamo::start().await;
        dynamo.create_table(TABLE).await;
        let function = Function::start(&environment(&emulator, &s3, &dynamo, more)).await;
        Self { emulator, s3, dynamo, function }
    }

    /// One more instance, as Lambda starts it for an event that comes while the others are at work.
    pub(crate) async fn another_function(&self) -> Function {
        self.function_with(&[]).await
    }

    /// A function that is configured otherwise. An empty value takes a variable away.
    pub(crate) async fn function_with(&self, more: &[(&str, &str)]) -> Function {
        Function::start(&environment(&self.emulator, &self.s3, &self.dynamo, more)).await
    }

    pub(crate) fn vault(&self, name: &str) -> TestVault {
        TestVault::create(&self.emulator, EMAIL, name, EncryptionVersion::V3, VAULT_PASSWORD)
    }

    pub(crate) async fn answer(&self, event: Value) -> Value {
        self.function.answer(event).await
    }

    /// What a bucket has below a prefix, by the path behind it.
    pub(crate) fn objects(&self, bucket: &str, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        let objects = self.s3.objects(bucket).into_iter();
        objects.filter_map(|(key, o)| Some((key.strip_prefix(prefix)?.to_owned(), o.content.to_vec()))).collect()
    }

    /// Checks that a bucket has exactly what the vault has.
    pub(crate) fn assert_exact(&self, vault: &TestVault, bucket: &str, prefix: &str) {
        let objects = self.objects(bucket, prefix);
        let expected = vault.snapshot();
        assert_eq!(objects.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        assert!(objects == expected, "a content differs");
        assert!(self.s3.unfinished_uploads(bucket).is_empty());
    }
}

/// What a function finds in its environment. An empty value takes a variable away.
pub(crate) fn environment(
    emulator: &Emulator,
    s3: &MemoryS3,
    dynamo: &MemoryDynamo,
    more: &[(&str, &str)],
) -> Vec<(String, String)> {
    let service = emulator.api_url();
    let own = [
        ("AWS_LAMBDA_FUNCTION_NAME", "obsync"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "stream"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "group"),
        ("OBSYNC_API_URL", &service),
        ("OBSIDIAN_EMAIL", EMAIL),
        ("OBSIDIAN_PASSWORD", PASSWORD),
        ("OBSIDIAN_VAULT_PASSWORD", VAULT_PASSWORD),
        ("S3_BUCKET", BUCKET),
        ("S3_PREFIX", "vaults/"),
        ("STATE_TABLE_NAME", TABLE),
    ];
    let servers = s3.environment().into_iter().chain([dynamo.environment()]);
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    let all = own.iter().map(owned).chain(servers.map(|(name, value)| (name.to_owned(), value)));
    let last: BTreeMap<String, String> = all.chain(more.iter().map(owned)).collect();
    last.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

fn listen(output: impl AsyncRead + Unpin + Send + 'static, said: Arc<Mutex<String>>) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut said = said.lock().unwrap();
            said.push_str(&line);
            said.push('\n');
        }
    });
}
