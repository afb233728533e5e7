//! Several vaults, and the other commands.

use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::tree::{Tree, assert_same_tree};
use obsync_testkit::vault::TestVault;

use crate::fixture::{EMAIL, Fixture, end};

#[tokio::test(flavor = "multi_thread")]
async fn all_vaults_go_to_folders_of_their_own() {
    let fixture = Fixture::new().await;
    let mut own = fixture.vault("My Notes", EncryptionVersion::V0);
    own.put("a.md", "own", 1);
    let mut managed =
        TestVault::create_managed(&fixture.emulator, EMAIL, "Managed", EncryptionVersion::V3, "by the service");
    managed.put("a.md", "managed", 1);
    let other = obsync_emulator::Account::new("other@example.com", "x");
    fixture.emulator.create_account(other).unwrap();
    let mut shared =
        TestVault::create(&fixture.emulator, "other@example.com", "កំណត់ត្រា", EncryptionVersion::V3, "shared password");
    shared.put("a.md", "shared", 1);
    fixture.emulator.share_vault(shared.id(), EMAIL).unwrap();

    let dest = fixture.dest();
    let mut command = fixture.command(&["sync", "--all", "--to", dest.to_str().unwrap(), "--json"]);
    command.env("OBSIDIAN_VAULT_PASSWORDS", r#"{"កំណត់ត្រា":"shared password"}"#);
    let ended = end(command).await;
    assert_eq!(ended.exit, Some(0), "{ended:?}");
    assert_eq!(ended.json()["vaults"].as_array().unwrap().len(), 3);
    for vault in [&own, &managed, &shared] {
        assert_same_tree(&vault.tree(), &Tree::read(&dest.join(vault.name())));
    }
    let listed = fixture.run(&["vaults"]).await;
    for word in ["My Notes", "managed", "shared", own.id().as_str()] {
        assert!(listed.stdout.contains(word), "{word}: {}", listed.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_vaults_failure_does_not_stop_the_others() {
    let fixture = Fixture::new().await;
    let mut good = fixture.vault("Good", EncryptionVersion::V3);
    good.put("a.md", "a", 1);
    TestVault::create(&fixture.emulator, EMAIL, "Bad", EncryptionVersion::V3, "another password");
    let dest = fixture.dest();
    let ended = fixture.run(&["sync", "Bad", "Good", "--to", dest.to_str().unwrap(), "--json"]).await;
    ended.assert_refused(1, &["\"Bad\"", "OBSIDIAN_VAULT_PASSWORD"]);
    assert_same_tree(&good.tree(), &Tree::read(&dest.join("Good")));
}

#[tokio::test(flavor = "multi_thread")]
async fn vaults_that_would_land_in_one_place_are_refused_before_anything_is_written() {
    let fixture = Fixture::new().await;
    for name in ["A", "B"] {
        fixture.vault(name, EncryptionVersion::V3).put("a.md", "a", 1);
    }
    let to = format!("{}/{{vault}}", fixture.dest().display());
    let twin = TestVault::create(&fixture.emulator, EMAIL, "A", EncryptionVersion::V0, "x");
    fixture.run(&["sync", "--all", "--to", &to]).await.assert_refused(2, &[twin.id().as_str(), "{id}"]);
    assert!(!fixture.dest().exists());
}

/// Regression: the second vault's run took the first one's files for leftovers of its own.
#[tokio::test(flavor = "multi_thread")]
async fn another_vaults_place_is_refused_by_a_later_command_too() {
    let fixture = Fixture::new().await;
    let mut a = fixture.vault("A", EncryptionVersion::V3);
    a.put("a.md", "a", 1);
    fixture.vault("B", EncryptionVersion::V3).put("b.md", "b", 1);
    assert_eq!(fixture.sync("A", &[]).await.exit, Some(0));
    fixture.sync("B", &[]).await.assert_refused(2, &[a.id().as_str(), "{id}"]);
    assert_same_tree(&a.tree(), &Tree::read(&fixture.dest()));
    // With another state nobody knows of A's mirror, but its files carry its name.
    let state = format!("sqlite:{}", fixture.path("other.db").display());
    assert_eq!(fixture.sync("B", &["--state", &state]).await.exit, Some(0));
    assert!(fixture.dest().join("a.md").exists() && fixture.dest().join("b.md").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_destinations_of_one_vault_are_two_mirrors() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V", EncryptionVersion::V3);
    vault.put("a.md", "a", 1);
    assert_eq!(fixture.sync("V", &[]).await.exit, Some(0));
    let other = fixture.path("other");
    let ended = fixture.run(&Fixture::sync_args("V", &other, &[])).await;
    assert_eq!(ended.vault()["downloaded"].as_u64(), Some(1), "trap: the new place stays empty");
    let status = fixture.run(&["status", "--json"]).await;
    assert_eq!(status.json()["mirrors"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_nothing_and_tells_everything() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V", EncryptionVersion::V3);
    vault.put("a.md", "12345", 1);
    let ended = fixture.sync("V", &["--dry-run"]).await;
    assert_eq!((ended.exit, ended.vault()["downloaded"].as_u64()), (Some(0), Some(1)), "{ended:?}");
    assert!(ended.stderr.contains("a.md"), "{ended:?}");
    assert!(!fixture.dest().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_differences_and_reset_and_complete_mend_them() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V", EncryptionVersion::V3);
    vault.put("a.md", "a", 1);
    vault.put("b.md", "b", 1);
    fixture.sync("V", &[]).await;
    let dest = fixture.dest();
    let dest_arg = dest.to_str().unwrap();
    let verify = ["verify", "V", "--to", dest_arg];
    assert_eq!(fixture.run(&verify).await.exit, Some(0));
    std::fs::write(dest.join("a.md"), "X").unwrap();
    std::fs::remove_file(dest.join("b.md")).unwrap();
    let ended = fixture.run(&verify).await;
    assert_eq!(ended.exit, Some(1));
    assert!(ended.stdout.contains("different  \"a.md\"") && ended.stdout.contains("missing    \"b.md\""), "{ended:?}");
    assert_eq!(fixture.run(&["reset", "V", "--to", dest_arg]).await.exit, Some(0));
    fixture.run(&["reset", "V", "--to", dest_arg]).await.assert_refused(4, &["obsync status"]);
    let ended = fixture.sync("V", &[]).await;
    assert_eq!(ended.vault()["sync_type"], "complete");
    assert_same_tree(&vault.tree(), &Tree::read(&dest));
}

/// Filters, from the command line to the folder.
#[tokio::test(flavor = "multi_thread")]
async fn filters_apply_and_a_widened_one_is_followed() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V", EncryptionVersion::V3);
    for path in ["a.md", "b.png", "private/c.md"] {
        vault.put(path, path.to_owned(), 1);
    }
    let files = || Tree::read(&fixture.dest()).files.into_keys().collect::<Vec<_>>();
    assert_eq!(fixture.sync("V", &["--include", "*.md", "--exclude", "private"]).await.exit, Some(0));
    assert_eq!(files(), ["a.md"]);
    let verified = fixture.run(&["verify", "V", "--to", fixture.dest().to_str().unwrap()]).await;
    assert_eq!(verified.exit, Some(0), "compared with what it was asked to hold: {verified:?}");
    assert_eq!(fixture.sync("V", &[]).await.exit, Some(0));
    assert_eq!(files(), ["a.md", "b.png", "private/c.md"]);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_records_what_it_did_and_ends_with_130() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V", EncryptionVersion::V3);
    for n in 0..300 {
        vault.put(&format!("{n}.md"), format!("note {n}"), 1);
    }
    fixture.emulator.configure(|config| config.latency = std::time::Duration::from_millis(40));
    let dest = fixture.dest();
    let mut command = fixture.command(&Fixture::sync_args("V", &dest, &[]));
    let child = command.spawn().unwrap();
    let pid = child.id().unwrap().to_string();
    while !dest.join("50.md").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let ended: crate::fixture::Ended = child.wait_with_output().await.unwrap().into();
    assert_eq!((ended.exit, ended.vault()["incomplete"].as_bool()), (Some(130), Some(true)), "{ended:?}");
    let written = Tree::read(&dest).files.len() as u64;
    assert_eq!(ended.vault()["downloaded"].as_u64(), Some(written));
    fixture.emulator.counters().reset();
    fixture.emulator.configure(|config| config.latency = std::time::Duration::ZERO);
    assert_eq!(fixture.sync("V", &[]).await.exit, Some(0));
    assert_eq!(fixture.emulator.counters().get().pulls, 300 - written);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_one_works_and_one_says_so() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V", EncryptionVersion::V3);
    for n in 0..100 {
        vault.put(&format!("{n}.md"), format!("note {n}"), 1);
    }
    // The first run takes some 4 s: longer than it takes the second to start, on a busy machine too.
    fixture.emulator.configure(|config| config.latency = std::time::Duration::from_millis(150));
    let dest = fixture.dest();
    let first = fixture.command(&Fixture::sync_args("V", &dest, &[])).spawn().unwrap();
    while !dest.join("5.md").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    fixture.sync("V", &[]).await.assert_refused(5, &["another run"]);
    assert!(first.wait_with_output().await.unwrap().status.success());
    assert_same_tree(&vault.tree(), &Tree::read(&dest));
}
