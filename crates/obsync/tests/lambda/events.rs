//! Events and their answers.

use std::time::{Duration, Instant};

use obsync_emulator::{Fault, FaultRule, Place};
use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::generate::Shape;
use obsync_testkit::vault::TestVault;
use serde_json::{Value, json};

use crate::fixture::{BUCKET, EMAIL, Fixture, TABLE};

fn sync() -> Value {
    json!({"action": "sync"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_event_over_three_vaults_reports_the_one_that_fails() {
    let fixture = Fixture::new().await;
    let mut vaults = [fixture.vault("One"), fixture.vault("កំណត់ត្រា & %2F")];
    for (seed, vault) in vaults.iter_mut().enumerate() {
        vault.fill(&Shape::small(seed as u64));
        vault.put("large.bin", vec![1; 9 << 20], 1);
    }
    let bad = TestVault::create(&fixture.emulator, EMAIL, "Bad", EncryptionVersion::V3, "another password");
    let answer = fixture.answer(json!({"action": "sync", "sync_type": "complete"})).await;
    assert_eq!((&answer["success"], &answer["message"]), (&json!(false), &json!("Sync completed with 1 errors")));
    assert_eq!(answer["vaults_synced"].as_array().unwrap().len(), 2);
    assert!(answer["errors"][0].as_str().unwrap().starts_with(&format!("vault {}: ", bad.id())), "{answer}");
    let files: usize = vaults.iter().map(|vault| vault.snapshot().len()).sum();
    assert_eq!((&answer["files_count"], &answer["metadata"]["downloaded"]), (&json!(files), &json!(files.to_string())));
    assert_eq!(answer["metadata"]["sync_type"], "complete");
    for vault in &vaults {
        fixture.assert_exact(vault, BUCKET, &format!("vaults/{}/", vault.name()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_nothing_new_costs_next_to_nothing() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V");
    vault.fill(&Shape::small(1));
    let first = fixture.answer(sync()).await;
    assert_eq!(first["message"], format!("Synced 1 vaults with {} files", vault.snapshot().len()));
    let requests = fixture.s3.requests().len();
    fixture.dynamo.take_traffic();
    let calls = fixture.emulator.counters().get().http_total();
    let second = fixture.answer(json!({"action": "sync", "vault_id": vault.id()})).await;
    assert_eq!((&second["success"], &second["files_count"]), (&json!(true), &json!(0)));
    assert_eq!(fixture.s3.requests().len(), requests, "no S3 request");
    assert_eq!(fixture.emulator.counters().get().http_total(), calls + 1, "the list of vaults, and nothing else");
    let traffic = fixture.dynamo.take_traffic();
    assert!(traffic.count() <= 2, "{traffic:?}");
    vault.random_changes(3, 8);
    assert_eq!(fixture.answer(sync()).await["success"], true);
    fixture.assert_exact(&vault, BUCKET, "vaults/V/");
    assert_eq!(fixture.emulator.counters().get().sign_ins, 1, "signed in once for three events");
}

/// Trap: sign-in on every run. A token serves all instances for as long as it works.
#[tokio::test(flavor = "multi_thread")]
async fn the_token_outlives_the_instance_unless_that_is_switched_off() {
    let fixture = Fixture::new().await;
    fixture.vault("V").put("a.md", "a", 1);
    let sign_ins = || fixture.emulator.counters().get().sign_ins;
    fixture.answer(sync()).await;
    assert_eq!(fixture.another_function().await.answer(sync()).await["success"], true);
    assert_eq!(sign_ins(), 1, "the table has the token");
    fixture.emulator.expire_tokens().unwrap();
    assert_eq!(fixture.answer(sync()).await["success"], true);
    assert_eq!(sign_ins(), 2, "a refused token is replaced");
    let forgetful = fixture.function_with(&[("OBSYNC_TOKEN_IN_TABLE", "off")]).await;
    for _ in 0..2 {
        assert_eq!(forgetful.answer(sync()).await["success"], true);
    }
    assert_eq!(sign_ins(), 3, "once for the instance");
}

/// Sign-in codes serve once: of several instances whose token has ended, one signs in.
#[tokio::test(flavor = "multi_thread")]
async fn instances_share_the_token_that_one_of_them_has_renewed() {
    let fixture = Fixture::new().await;
    fixture.vault("V").put("a.md", "a", 1);
    let other = fixture.another_function().await;
    for function in [&fixture.function, &other] {
        assert_eq!(function.answer(sync()).await["success"], true);
    }
    fixture.emulator.expire_tokens().unwrap();
    for function in [&fixture.function, &other] {
        assert_eq!(function.answer(sync()).await["success"], true);
    }
    assert_eq!(fixture.emulator.counters().get().sign_ins, 2, "the first ever, and one for both");
}

/// A path that can never be mirrored is reported by every event, and no reason to send one again.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_try_would_not_mend_is_not_sent_again() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V");
    let long = format!("{}/a.md", ["x".repeat(250).as_str(); 5].join("/"));
    vault.put(&long, "too long for a key", 1);
    vault.put("a.md", "a", 1);
    let record = json!({"messageId": "1", "body": sync().to_string()});
    for _ in 0..2 {
        let answer = fixture.answer(json!({"Records": [record]})).await;
        assert_eq!(answer, json!({"batchItemFailures": []}));
        let bare = fixture.answer(sync()).await;
        assert_eq!(bare["success"], false);
        assert!(bare["errors"][0].as_str().unwrap().contains("xxx"), "{bare}");
    }
    assert_eq!(fixture.objects(BUCKET, "vaults/V/").into_keys().collect::<Vec<_>>(), ["a.md"]);
}

/// A record that ran out of time goes back to the queue, and the next try goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_out_of_time_is_sent_again() {
    let fixture = Fixture::new().await;
    let vault = slow_vault(&fixture);
    let event = json!({"Records": [{"messageId": "1", "body": sync().to_string()}]});
    let answer = fixture.function.send_within(event.clone(), Duration::from_secs(3)).await.unwrap();
    assert_eq!(answer, json!({"batchItemFailures": [{"itemIdentifier": "1"}]}));
    assert_eq!(fixture.answer(event).await, json!({"batchItemFailures": []}));
    fixture.assert_exact(&vault, BUCKET, "vaults/V/");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_vaults_of_one_name_neither_is_mirrored() {
    let fixture = Fixture::new().await;
    for name in ["Twin", "Twin", "Alone"] {
        fixture.vault(name).put("a.md", "a", 1);
    }
    let answer = fixture.answer(sync()).await;
    assert_eq!((&answer["files_count"], answer["errors"].as_array().unwrap().len()), (&json!(1), 2), "{answer}");
    assert_eq!(fixture.s3.objects(BUCKET).into_keys().collect::<Vec<_>>(), ["vaults/Alone/a.md"]);
}

/// Promise 9 in the function, where nobody can add an option to a command.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_deletions_are_none_until_the_configuration_allows_them() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V");
    for n in 0..120 {
        vault.put(&format!("{n}.md"), format!("note {n}"), 1);
    }
    fixture.answer(sync()).await;
    for n in 0..100 {
        vault.delete(&format!("{n}.md"));
    }
    let refused = fixture.answer(sync()).await;
    assert!(refused["errors"][0].as_str().unwrap().contains("OBSYNC_MAX_DELETE to 100"), "{refused}");
    assert_eq!(fixture.objects(BUCKET, "vaults/V/").len(), 120);
    let allowed = fixture.function_with(&[("OBSYNC_MAX_DELETE", "100")]).await.answer(sync()).await;
    assert_eq!((&allowed["success"], &allowed["metadata"]["deleted"]), (&json!(true), &json!("100")));
    fixture.assert_exact(&vault, BUCKET, "vaults/V/");
    let bad = fixture.function_with(&[("OBSYNC_MAX_DELETE", "lots")]).await.answer(sync()).await;
    assert!(bad["errors"][0].as_str().unwrap().contains("OBSYNC_MAX_DELETE is \"lots\""), "{bad}");
}

/// Trap: an override of the destination with the same state leaves the new bucket empty.
#[tokio::test(flavor = "multi_thread")]
async fn an_override_of_the_destination_is_a_mirror_of_its_own() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V");
    vault.fill(&Shape::small(2));
    fixture.answer(sync()).await;
    fixture.s3.create_bucket("other");
    let event = json!({"action": "sync", "dest_bucket": "other", "dest_prefix": "copy/"});
    assert_eq!(fixture.answer(event).await["success"], true);
    fixture.assert_exact(&vault, "other", "copy/V/");
    assert_eq!(fixture.answer(sync()).await["files_count"], 0, "the default mirror is where it was");
    let items = fixture.dynamo.items(TABLE).await;
    assert!(items.contains_key(vault.id().as_str()), "the head of the default mirror is named after the vault");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused() {
    let fixture = Fixture::new().await;
    for (event, message) in [
        (json!({"action": "explode"}), "Unknown action: explode"),
        (json!({"action": "sync", "sync_type": "full"}), "Unknown sync_type: full"),
        (json!("?"), "Unknown action: "),
    ] {
        let answer = fixture.answer(event).await;
        assert_eq!((&answer["success"], &answer["message"]), (&json!(false), &json!(message)));
    }
    let unknown = fixture.answer(json!({"action": "sync", "vault_id": "nothing"})).await;
    assert_eq!(unknown["message"], "Sync completed with 1 errors");
    assert!(fixture.s3.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_in_the_configuration_is_the_answer_and_the_function_stays_up() {
    let mut fixture = Fixture::with_env(&[("S3_BUCKET", "")]).await;
    for _ in 0..2 {
        let answer = fixture.answer(sync()).await;
        assert_eq!(answer["message"], "Failed to initialize handler");
        assert!(answer["errors"][0].as_str().unwrap().contains("S3_BUCKET is not set"), "{answer}");
    }
    assert!(fixture.function.is_up());
    let refused = Fixture::with_env(&[("OBSIDIAN_PASSWORD", "wrong")]).await;
    assert_eq!(refused.answer(sync()).await["message"], "Failed to list vaults");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sender_gets_the_answer_that_it_expects() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V");
    vault.put("a.md", "a", 1);
    let http = |body: &str| json!({"requestContext": {}, "body": body});
    let answer = fixture.answer(http(r#"{"action":"sync"}"#)).await;
    assert_eq!(answer["statusCode"], 200);
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["files_count"], 1);
    assert_eq!(fixture.answer(http("no JSON")).await["statusCode"], 400);

    let record = |id: &str, body: Value| json!({"messageId": id, "eventSource": "aws:sqs", "body": body.to_string()});
    let good = record("good", json!({"action": "sync", "vault_id": vault.id()}));
    let bad = record("bad", json!({"action": "sync", "vault_id": "nothing"}));
    let answer = fixture.answer(json!({"Records": [good, bad]})).await;
    assert_eq!(answer, json!({"batchItemFailures": [{"itemIdentifier": "bad"}]}));

    let bus = |detail: Value| json!({"detail-type": "sync", "source": "test", "detail": detail});
    assert_eq!(fixture.answer(bus(sync())).await["success"], true);
    let failed = fixture.function.send(bus(json!({"action": "sync", "vault_id": "nothing"}))).await.unwrap_err();
    assert!(failed["errorMessage"].as_str().unwrap().contains("no such vault"), "{failed}");
}

/// Files of the vault that one event has no time for.
const MANY: usize = 20_000;

/// Promise 4 (resumable): over several events no file is fetched twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_vault_is_finished_over_several_events_without_fetching_twice() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V");
    vault.fill(&Shape { folders: 200, ..Shape::notes(5, MANY) });
    let mut events = 0;
    loop {
        let answer = fixture.function.send_within(sync(), Duration::from_secs(5)).await.unwrap();
        assert_eq!((&answer["success"], answer.get("errors")), (&json!(true), None), "{answer}");
        events += 1;
        if answer["metadata"]["incomplete"] == "false" {
            break;
        }
        assert_ne!(answer["files_count"], 0, "an event without progress: {answer}");
    }
    assert!(events > 1, "one event was enough: the test means nothing");
    fixture.assert_exact(&vault, BUCKET, "vaults/V/");
    assert_eq!(fixture.emulator.counters().get().pulls, MANY as u64, "a file was fetched twice");
}

/// A vault that takes some seconds.
fn slow_vault(fixture: &Fixture) -> TestVault {
    let mut vault = fixture.vault("V");
    vault.fill(&Shape::notes(6, 150));
    fixture.emulator.configure(|config| config.latency = Duration::from_millis(150));
    vault
}

fn assert_held(answer: &Value) {
    assert_eq!(answer["success"], false, "{answer}");
    assert!(
        answer["errors"][0].as_str().unwrap().contains("another run is writing this mirror: Lambda request request-"),
        "{answer}"
    );
}

/// Promise 6 (one writer).
#[tokio::test(flavor = "multi_thread")]
async fn of_two_invocations_at_once_one_works_and_the_other_says_so() {
    let fixture = Fixture::new().await;
    let vault = slow_vault(&fixture);
    let other = fixture.another_function().await;
    let (a, b) = tokio::join!(fixture.answer(sync()), other.answer(sync()));
    let (done, held) = if a["success"] == true { (a, b) } else { (b, a) };
    assert_eq!(done["files_count"], 150);
    assert_held(&held);
    fixture.assert_exact(&vault, BUCKET, "vaults/V/");
}

/// Promise 6: a dead holder's lease expires, and not before its time.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_died_is_replaced_after_its_lease() {
    let mut fixture = Fixture::new().await;
    let vault = slow_vault(&fixture);
    let other = fixture.another_function().await;
    let first_objects = async {
        while fixture.s3.objects(BUCKET).is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        answer = fixture.answer(sync()) => panic!("{answer:?}"),
        () = first_objects => {}
    }
    let died = Instant::now();
    fixture.function.kill().await;
    loop {
        let answer = other.answer(sync()).await;
        if answer["success"] == true {
            break;
        }
        assert_held(&answer);
        assert!(died.elapsed() < Duration::from_secs(65), "the lease does not expire");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert!(died.elapsed() > Duration::from_secs(50), "the lease expired too early: {:?}", died.elapsed());
    fixture.assert_exact(&vault, BUCKET, "vaults/V/");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_json_with_the_requests_id_and_metrics_are_written() {
    let fixture = Fixture::new().await;
    fixture.vault("V").put("a.md", "a", 1);
    // A connection that is cut is opened again, which a task of the run tells.
    fixture.emulator.faults().add(FaultRule::new(Place::Pull, Fault::Cut).times(1));
    fixture.answer(sync()).await;
    fixture.answer(json!({"action": "explode"})).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let said = fixture.function.said.lock().unwrap().clone();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let metrics = lines.iter().find(|line| line.get("_aws").is_some()).unwrap();
    assert_eq!((&metrics["Files"], &metrics["Failures"], &metrics["VaultsSynced"]), (&json!(1), &json!(0), &json!(1)));
    assert_eq!(metrics["VaultLag"], 0);
    let refused = lines.iter().filter(|line| line.get("_aws").is_some()).nth(1).unwrap();
    assert_eq!((&refused["Failures"], &refused["VaultLag"]), (&json!(1), &json!(null)));
    assert!(lines.iter().any(|line| line["message"] == "trying again"), "{said}");
    for line in lines.iter().filter(|line| line.get("level").is_some()) {
        assert!(line["span"]["request_id"].as_str().unwrap().starts_with("request-"), "{line}");
    }
}
