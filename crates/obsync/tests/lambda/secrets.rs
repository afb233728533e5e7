//! Promise 11 (discreet): no secret in anything that the function says, answers or keeps, at its most talkative.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use obsync_emulator::{Fault, FaultRule, Place};
use obsync_testkit::secrets::Secrets;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crate::fixture::{BUCKET, EMAIL, Fixture, PASSWORD, TABLE, VAULT_PASSWORD};

const NOTE: &str = "the \"content\" of a note,\nwhich is nobody's business";
const WRONG: &str = "wrong \"pass\"/1618+ß";
const TOTP: &str = "JBSWY3DPEHPK3PXP";

/// AWS Secrets Manager with one secret. Without a text there is none.
#[derive(Clone, Default)]
struct SecretsManager(Arc<Mutex<String>>);

impl SecretsManager {
    /// Starts it; gives its address.
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let manager = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let manager = manager.clone();
                let service = service_fn(move |_: Request<Incoming>| {
                    let answer = manager.answer();
                    async move { Ok::<_, Infallible>(answer) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
        format!("http://{address}")
    }

    fn set(&self, text: &impl ToString) {
        *self.0.lock().unwrap() = text.to_string();
    }

    fn answer(&self) -> Response<Full<Bytes>> {
        let text = self.0.lock().unwrap().clone();
        let (status, body) = match text.as_str() {
            "" => (400, json!({ "__type": "ResourceNotFoundException", "Message": "there is no such secret" })),
            text => (200, json!({ "ARN": "arn:aws:secretsmanager:secret", "Name": "secret", "SecretString": text })),
        };
        Response::builder().status(status).body(Full::from(body.to_string())).unwrap()
    }
}

fn secret(password: &str, vault_password: &str) -> Value {
    let vaults = json!({ "V": { "password": vault_password } });
    json!({ "auth": { "email": EMAIL, "password": password, "totp_secret": TOTP }, "vaults": vaults })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_said_answered_or_kept() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V");
    vault.put("note.md", NOTE, 1);
    vault.put_raw("../evil", NOTE.as_bytes(), 1);
    let manager = SecretsManager::default();
    let address = manager.start().await;
    let function = fixture
        .function_with(&[
            ("OBSIDIAN_PASSWORD", ""),
            ("OBSIDIAN_VAULT_PASSWORD", ""),
            ("OBSYNC_SECRET_NAME", "secret"),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &address),
            ("LOG_LEVEL", "trace"),
            ("RUST_LOG", "trace"),
            ("RUST_BACKTRACE", "full"),
        ])
        .await;
    let mut answers = Vec::new();
    let mut send = async |event: &Value, said: &str| {
        let (Ok(answer) | Err(answer)) = function.send(event.clone()).await;
        let answer = answer.to_string();
        assert!(answer.contains(said), "{answer}");
        answers.push(answer);
    };
    let sync = json!({ "action": "sync" });
    let http = json!({ "requestContext": {}, "body": sync.to_string() });
    let bus = json!({ "detail-type": "", "detail": sync });
    send(&sync, "no such secret").await;
    manager.set(&format!("{} and more", secret(PASSWORD, VAULT_PASSWORD)));
    send(&sync, "not of the expected form").await;
    manager.set(&json!({ "auth": { "password": [PASSWORD] } }));
    send(&http, "not of the expected form").await;
    manager.set(&secret(WRONG, VAULT_PASSWORD));
    send(&bus, "sign-in refused").await;
    manager.set(&secret(PASSWORD, WRONG));
    send(&http, "password was refused").await;
    manager.set(&secret(PASSWORD, VAULT_PASSWORD));
    fixture.emulator.faults().add(FaultRule::new(Place::Pull, Fault::FlipBit));
    send(&sync, "evil").await;
    fixture.emulator.faults().add(FaultRule::new(Place::Listing, Fault::Raw(format!("{{\"res\":{NOTE:?}"))));
    fixture.emulator.faults().add(FaultRule::new(Place::Http("/vault/list".into()), Fault::BadJson));
    send(&bus, "").await;
    send(&json!({ "Records": [{ "messageId": "1", "body": "{" }] }), "itemIdentifier").await;
    send(&json!({ "action": "explode" }), "explode").await;

    let mut items = fixture.dynamo.items(TABLE).await;
    let kept = items.remove("obsync#token").unwrap();
    let [_, (_, aws_secret), ..] = fixture.s3.environment();
    let tokenless = Secrets::default()
        .with("the account's password", PASSWORD)
        .with("the two-factor secret", TOTP)
        .with("a wrong password", WRONG)
        .with("the AWS secret", aws_secret)
        .with("a note", NOTE)
        .with_vault(&vault);
    tokenless.assert_absent("the token's item", format!("{kept:?}").as_bytes());
    let secrets = tokenless.with("the token", kept["token"].as_s().unwrap());
    // What it says in the end takes a moment to arrive: the last is one line of metrics for each event.
    let said = || function.said.lock().unwrap().clone();
    let all_has_arrived = timeout(Duration::from_secs(30), async {
        while said().lines().filter(|line| line.contains("\"_aws\"")).count() < answers.len() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    all_has_arrived.await.expect("a line of metrics for each event");
    let said = said();
    // The most that is logged of libraries; the program itself logs nothing below that.
    for whose in ["obsync_", "aws_"] {
        let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut debug = lines.filter(|line| line["level"] == "DEBUG");
        let is_theirs = |line: Value| line["target"].as_str().is_some_and(|target| target.starts_with(whose));
        assert!(debug.any(is_theirs), "the log was not talkative: the test means little");
    }
    secrets.assert_absent("what the function said", said.as_bytes());
    secrets.assert_absent("its answers", answers.join("\n").as_bytes());
    secrets.assert_absent("the table", format!("{items:?}").as_bytes());
    for (key, object) in fixture.s3.objects(BUCKET) {
        let beside = format!("{:?} {:?} {:?}", object.metadata, object.content_type, object.tags);
        secrets.assert_absent(&format!("what goes with the object {key}"), beside.as_bytes());
    }
}

/// A function that cannot write its metrics panics, with everything in memory that there is.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_tells_no_secret() {
    use std::process::Stdio;

    use tokio::io::AsyncReadExt;
    use tokio::process::Command;

    use crate::fixture::environment;
    use crate::runtime::Runtime;

    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V");
    vault.put("note.md", NOTE, 1);
    let runtime = Runtime::start().await;
    let mut function = Command::new(env!("CARGO_BIN_EXE_bootstrap"))
        .env_clear()
        .envs(environment(&fixture.emulator, &fixture.s3, &fixture.dynamo, &[("LOG_LEVEL", "trace")]))
        .envs([("AWS_LAMBDA_RUNTIME_API", runtime.address()), ("RUST_BACKTRACE", "full")])
        .stdin(Stdio::null())
        .stdout(std::fs::File::options().write(true).open("/dev/full").unwrap())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stderr = function.stderr.take().unwrap();
    let said = tokio::spawn(async move {
        let mut said = String::new();
        stderr.read_to_string(&mut said).await.map(|_| said)
    });
    let answer = runtime.invoke(json!({ "action": "sync" }), Duration::from_secs(60)).await.unwrap_err();
    assert!(!fixture.objects(BUCKET, "vaults/V/").is_empty(), "it was to end after its work");
    function.kill().await.unwrap();
    let told = format!("{answer} {}", said.await.unwrap().unwrap());
    assert!(told.contains("panicked") && told.contains("bootstrap"), "no panic, or no backtrace: {told}");
    let token = fixture.dynamo.items(TABLE).await.remove("obsync#token").unwrap()["token"].as_s().unwrap().clone();
    let secrets = Secrets::default().with("the account's password", PASSWORD).with("a note", NOTE);
    secrets.with("the token", token).with_vault(&vault).assert_absent("a panic", told.as_bytes());
}
