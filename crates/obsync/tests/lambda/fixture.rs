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
const PASSWORD: &str = "account password";
pub(crate) const VAULT_PASSWORD: &str = "vault password";
pub(crate) const BUCKET: &str = "notes";
pub(crate) const TABLE: &str = "state";

pub(crate) struct Fixture {
    pub(crate) emulator: Arc<Emulator>,
    pub(crate) s3: MemoryS3,
    pub(crate) dynamo: MemoryDynamo,
    runtime: Runtime,
    function: Child,
    /// All that the function wrote to standard output and standard error.
    pub(crate) said: Arc<Mutex<String>>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with_env(&[]).await
    }

    pub(crate) async fn with_env(more: &[(&str, &str)]) -> Self {
        let emulator = Arc::new(Emulator::start(Config::default()).await.unwrap());
        emulator.create_account(Account::new(EMAIL, PASSWORD)).unwrap();
        let s3 = MemoryS3::start().await;
        s3.create_bucket(BUCKET);
        let dynamo = MemoryDynamo::start().await;
        dynamo.create_table(TABLE).await;
        let runtime = Runtime::start().await;
        let (key, secret) = s3.credentials();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", runtime.address())
            .env("AWS_LAMBDA_FUNCTION_NAME", "obsync")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "stream")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "group")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", key)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env("AWS_ENDPOINT_URL_S3", s3.endpoint())
            .env("AWS_ENDPOINT_URL_DYNAMODB", dynamo.endpoint())
            .env("OBSYNC_API_URL", emulator.api_url())
            .env("OBSIDIAN_EMAIL", EMAIL)
            .env("OBSIDIAN_PASSWORD", PASSWORD)
            .env("OBSIDIAN_VAULT_PASSWORD", VAULT_PASSWORD)
            .env("S3_BUCKET", BUCKET)
            .env("S3_PREFIX", "vaults/")
            .env("STATE_TABLE_NAME", TABLE);
        for (name, value) in more {
            if value.is_empty() {
                command.env_remove(name)
            } else {
                command.env(name, value)
            };
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut function = command.spawn().unwrap();
        let said = Arc::<Mutex<String>>::default();
        listen(function.stdout.take().unwrap(), said.clone());
        listen(function.stderr.take().unwrap(), said.clone());
        Self { emulator, s3, dynamo, runtime, function, said }
    }

    pub(crate) fn vault(&self, name: &str) -> TestVault {
        TestVault::create(&self.emulator, EMAIL, name, EncryptionVersion::V3, VAULT_PASSWORD)
    }

    pub(crate) async fn send(&self, event: Value) -> Answer {
        self.runtime.invoke(event, Duration::from_secs(60)).await
    }

    pub(crate) async fn send_within(&self, event: Value, budget: Duration) -> Answer {
        self.runtime.invoke(event, budget).await
    }

    /// Sends an event that must be answered.
    pub(crate) async fn answer(&self, event: Value) -> Value {
        self.send(event).await.unwrap()
    }

    pub(crate) fn is_up(&mut self) -> bool {
        self.function.try_wait().unwrap().is_none()
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
