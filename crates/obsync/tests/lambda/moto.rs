//! The function against AWS as others wrote it: `moto` is S3, DynamoDB, Secrets Manager and SQS, and has to give the
//! same results as the servers in this process.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, ResponseChecksumValidation, SharedCredentialsProvider};
use obsync_adapters::aws::http_client;
use obsync_adapters::tls::Roots;
use obsync_testkit::dynamodb::create_table;
use obsync_testkit::generate::Shape;
use obsync_testkit::vault::TestVault;
use serde_json::{Value, json};

use crate::fixture::{BUCKET, EMAIL, Fixture, Function, PASSWORD, TABLE, VAULT_PASSWORD};

const SECRET: &str = "obsync/account";

/// What moto holds.
struct Moto {
    url: String,
    secrets: aws_sdk_secretsmanager::Client,
    s3: aws_sdk_s3::Client,
    sqs: aws_sdk_sqs::Client,
    queue_url: String,
}

impl Moto {
    /// Makes a bucket, a table, a secret and a queue.
    async fn prepare(url: String) -> Self {
        let credentials = Credentials::new("test", "test", None, None, "test");
        let sdk = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http_client(Roots::Mozilla))
            .region(Region::new("us-east-1"))
            .endpoint_url(&url)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let s3 = aws_sdk_s3::config::Builder::from(&sdk)
            .force_path_style(true)
            // moto names the checksum of the parts' checksums as if it were that of the object.
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        let s3 = aws_sdk_s3::Client::from_conf(s3.build());
        for bucket in [BUCKET, "other"] {
            s3.create_bucket().bucket(bucket).send().await.unwrap();
        }
        create_table(&aws_sdk_dynamodb::Client::new(&sdk), TABLE).await;
        let secrets = aws_sdk_secretsmanager::Client::new(&sdk);
        secrets.create_secret().name(SECRET).secret_string(secret(PASSWORD)).send().await.unwrap();
        let sqs = aws_sdk_sqs::Client::new(&sdk);
        let queue = sqs.create_queue().queue_name("vaults").send().await.unwrap();
        Self { url, secrets, s3, sqs, queue_url: queue.queue_url.unwrap() }
    }

    /// A function that has everything from here, its account too.
    async fn function(&self, fixture: &Fixture, secret: &str) -> Function {
        let environment = [
            ("AWS_ENDPOINT_URL", self.url.as_str()),
            ("AWS_ENDPOINT_URL_S3", ""),
            ("AWS_ENDPOINT_URL_DYNAMODB", ""),
            ("OBSIDIAN_EMAIL", ""),
            ("OBSIDIAN_PASSWORD", ""),
            ("OBSIDIAN_VAULT_PASSWORD", ""),
            ("OBSYNC_SECRET_NAME", secret),
            ("OBSYNC_QUEUE_URL", &self.queue_url),
        ];
        fixture.function_with(&environment).await
    }

    async fn objects(&self, bucket: &str, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        let pages = self.s3.list_objects_v2().bucket(bucket).prefix(prefix).into_paginator().send();
        let pages = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
        let mut objects = BTreeMap::new();
        for object in pages.into_iter().flat_map(|page| page.contents.unwrap_or_default()) {
            let key = object.key.unwrap();
            let content =
                self.s3.get_object().bucket(bucket).key(&key).send().await.unwrap().body.collect().await.unwrap();
            objects.insert(key[prefix.len()..].to_owned(), content.to_vec());
        }
        objects
    }

    async fn assert_exact(&self, vault: &TestVault, bucket: &str, prefix: &str) {
        let objects = self.objects(bucket, prefix).await;
        let expected = vault.snapshot();
        assert_eq!(objects.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        assert!(objects == expected, "a content differs");
        let unfinished = self.s3.list_multipart_uploads().bucket(bucket).send().await.unwrap();
        assert!(unfinished.uploads().is_empty(), "{unfinished:?}");
    }

    /// Takes the messages on the queue, as the records of an event.
    async fn records(&self) -> Value {
        let taken =
            self.sqs.receive_message().queue_url(&self.queue_url).max_number_of_messages(10).send().await.unwrap();
        let record = |message: &aws_sdk_sqs::types::Message| json!({ "messageId": message.message_id(), "eventSource": "aws:sqs", "body": message.body() });
        json!({ "Records": taken.messages().iter().map(record).collect::<Vec<_>>() })
    }
}

/// What stands in the secret.
fn secret(password: &str) -> String {
    json!({
        "auth": { "email": EMAIL, "password": password },
        "vaults": { "V": { "password": VAULT_PASSWORD } },
    })
    .to_string()
}

/// An answer without what is different from run to run.
fn comparable(mut answer: Value) -> Value {
    answer["metadata"].as_object_mut().unwrap().remove("execution_time");
    answer
}

#[ignore = "needs moto, of PyPI: .ci/moto starts it and runs this"]
#[tokio::test(flavor = "multi_thread")]
async fn moto_gives_the_same_results() {
    let url = std::env::var("OBSYNC_MOTO_URL").expect("OBSYNC_MOTO_URL: where moto is; run .ci/moto");
    let moto = Moto::prepare(url).await;
    let fixture = Fixture::new().await;
    fixture.s3.create_bucket("other");
    let mut vault = fixture.vault("V");
    vault.fill(&Shape::small(77));
    for name in ["កំណត់ត្រា/ថ្ងៃ 1.md", "a+b %2F & ?#[]=.md", "Cafe\u{301}/\u{1f9e0}.md", "'quoted' \"twice\".md"]
    {
        vault.put(name, format!("# {name}"), 1_700_000_000_123);
    }
    vault.put("large.bin", (0..20_000_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>(), 1_700_000_000_123);
    let there = moto.function(&fixture, SECRET).await;
    let both = async |event: Value| {
        let here = comparable(fixture.answer(event.clone()).await);
        let answer = there.send_within(event, Duration::from_secs(120)).await.unwrap();
        assert_eq!(comparable(answer), here);
        here
    };
    let exact = async |vault: &TestVault| {
        fixture.assert_exact(vault, BUCKET, "vaults/V/");
        moto.assert_exact(vault, BUCKET, "vaults/V/").await;
    };

    let first = both(json!({ "action": "sync", "sync_type": "complete" })).await;
    assert_eq!((&first["success"], &first["files_count"]), (&json!(true), &json!(vault.snapshot().len())));
    exact(&vault).await;
    let head = moto.s3.head_object().bucket(BUCKET).key("vaults/V/large.bin").send().await.unwrap();
    assert_eq!(head.metadata().unwrap()["mtime"], "1700000000.123");

    assert_eq!(both(json!({ "action": "sync" })).await["files_count"], 0);
    vault.rename("large.bin", "moved.bin");
    for seed in 0..3 {
        vault.random_changes(seed, 15);
        assert_eq!(both(json!({ "action": "sync" })).await["success"], true);
        exact(&vault).await;
    }

    // Others change the bucket; a complete run mends it.
    let foreign = "vaults/V/foreign.txt";
    for key in ["vaults/V/moved.bin", "vaults/V/a+b %2F & ?#[]=.md"] {
        fixture.s3.remove(BUCKET, key);
        moto.s3.delete_object().bucket(BUCKET).key(key).send().await.unwrap();
    }
    fixture.s3.put(BUCKET, foreign, "not obsync's");
    moto.s3.put_object().bucket(BUCKET).key(foreign).body(b"not obsync's".to_vec().into()).send().await.unwrap();
    both(json!({ "action": "sync", "sync_type": "complete" })).await;
    assert!(moto.objects(BUCKET, foreign).await.contains_key(""), "an object of others is left alone");
    fixture.s3.remove(BUCKET, foreign);
    moto.s3.delete_object().bucket(BUCKET).key(foreign).send().await.unwrap();
    exact(&vault).await;

    both(json!({ "action": "sync", "dest_bucket": "other", "dest_prefix": "copy/" })).await;
    moto.assert_exact(&vault, "other", "copy/V/").await;

    // Many vaults: one message each, which the function then takes.
    vault.random_changes(9, 5);
    let sent = there.answer(json!({ "action": "dispatch" })).await;
    assert_eq!((&sent["success"], &sent["message"]), (&json!(true), &json!("Dispatched 1 vaults")));
    let records = moto.records().await;
    assert_eq!(records["Records"].as_array().map(Vec::len), Some(1));
    assert_eq!(there.answer(records).await, json!({ "batchItemFailures": [] }));
    moto.assert_exact(&vault, BUCKET, "vaults/V/").await;

    // A refused password is looked up again: nobody has to start the function anew.
    let put = |password: &str| moto.secrets.put_secret_value().secret_id(SECRET).secret_string(secret(password)).send();
    put("an old password").await.unwrap();
    fixture.emulator.expire_tokens().unwrap();
    let mistaken = moto.function(&fixture, SECRET).await;
    assert_eq!(mistaken.answer(json!({ "action": "sync" })).await["message"], "Failed to list vaults");
    put(PASSWORD).await.unwrap();
    assert_eq!(mistaken.answer(json!({ "action": "sync" })).await["success"], true);

    let lost = moto.function(&fixture, "obsync/nothing").await.answer(json!({ "action": "sync" })).await;
    assert_eq!(lost["message"], "Failed to initialize handler");
    assert!(lost["errors"][0].as_str().unwrap().contains("the secret \"obsync/nothing\""), "{lost}");
}
