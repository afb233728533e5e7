//! Signing in, and being refused.

use obsync_emulator::{Account, NewVault};
use obsync_proto::crypto::EncryptionVersion;

use crate::fixture::{EMAIL, Fixture, PASSWORD, TOTP_SECRET, bare_command, end, end_with_input};

/// Nothing was written for a run that was refused before it began.
fn assert_nothing_written(fixture: &Fixture) {
    assert!(!fixture.dest().exists(), "something was written to DEST");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_account_password_is_refused_with_advice() {
    let fixture = Fixture::new().await;
    let mut command = fixture.command(&Fixture::sync_args("V", &fixture.dest(), &[]));
    command.env("OBSIDIAN_PASSWORD", "wrong");
    let ended = end(command).await;
    ended.assert_refused(3, &["OBSIDIAN_PASSWORD"]);
    assert!(ended.json()["vaults"].as_array().unwrap().is_empty());
    assert_nothing_written(&fixture);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_vault_password_is_refused_with_advice() {
    let fixture = Fixture::new().await;
    fixture.vault("V", EncryptionVersion::V3).put("a.md", "a", 1);
    let mut command = fixture.command(&Fixture::sync_args("V", &fixture.dest(), &[]));
    command.env("OBSIDIAN_VAULT_PASSWORD", "wrong");
    end(command).await.assert_refused(3, &["\"V\"", "OBSIDIAN_VAULT_PASSWORD"]);
    assert_nothing_written(&fixture);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_settings_at_all_are_answered_with_what_to_set() {
    let fixture = Fixture::new().await;
    let mut command = bare_command(&fixture.path("home"), &["vaults"]);
    command.env("OBSYNC_API_URL", fixture.emulator.api_url());
    end(command).await.assert_refused(3, &["obsync login", "OBSIDIAN_EMAIL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_factor_sign_in_works_with_the_secret_and_is_refused_without() {
    let fixture = Fixture::with_account(Account::new(EMAIL, PASSWORD).with_totp(TOTP_SECRET)).await;
    let missing = fixture.run(&["vaults"]).await;
    missing.assert_refused(3, &["OBSIDIAN_TOTP_SECRET", "--mfa"]);
    let mut wrong = fixture.command(&["login", "--mfa", "000000"]);
    wrong.env("OBSIDIAN_EMAIL", EMAIL);
    end(wrong).await.assert_refused(3, &["code"]);
    let mut no_base32 = fixture.command(&["vaults"]);
    no_base32.env("OBSIDIAN_TOTP_SECRET", "0189");
    end(no_base32).await.assert_refused(2, &["OBSIDIAN_TOTP_SECRET"]);
    let mut right = fixture.command(&["vaults", "--json"]);
    right.env("OBSIDIAN_TOTP_SECRET", TOTP_SECRET);
    assert_eq!(end(right).await.exit, Some(0));
}

/// Trap: signing in on every run with the same code.
#[tokio::test(flavor = "multi_thread")]
async fn many_runs_sign_in_once() {
    let fixture = Fixture::with_account(Account::new(EMAIL, PASSWORD).with_totp(TOTP_SECRET)).await;
    for _ in 0..4 {
        let mut command = fixture.command(&["vaults"]);
        command.env("OBSIDIAN_TOTP_SECRET", TOTP_SECRET);
        assert_eq!(end(command).await.exit, Some(0));
    }
    assert_eq!(fixture.emulator.counters().get().sign_ins, 1);
    assert_eq!(fixture.emulator.counters().get().without_user_agent, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ran_out_is_replaced() {
    let fixture = Fixture::new().await;
    fixture.vault("V", EncryptionVersion::V2).put("a.md", "a", 1);
    assert_eq!(fixture.sync("V", &[]).await.exit, Some(0));
    fixture.emulator.expire_tokens().unwrap();
    assert_eq!(fixture.sync("V", &[]).await.exit, Some(0));
    assert_eq!(fixture.emulator.counters().get().sign_ins, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn login_keeps_a_token_that_later_runs_use_and_logout_ends_it() {
    let fixture = Fixture::new().await;
    let without_password = |args: &[&str]| {
        let mut command = bare_command(&fixture.path("home"), args);
        command.env("OBSYNC_API_URL", fixture.emulator.api_url());
        command
    };
    let login = ["login", "--email", EMAIL, "--password-stdin"];
    let ended = end_with_input(without_password(&login), &format!("{PASSWORD}\n")).await;
    assert_eq!((ended.exit, ended.stdout.contains(EMAIL)), (Some(0), true), "{ended:?}");
    assert_eq!(end(without_password(&["vaults"])).await.exit, Some(0));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(fixture.path("home").join("token.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(end(without_password(&["logout"])).await.exit, Some(0));
    end(without_password(&["vaults"])).await.assert_refused(3, &["obsync login"]);
    assert_eq!(end(without_password(&["logout"])).await.exit, Some(0), "signing out twice is no error");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_from_the_environment_serves_without_signing_in() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.run(&["vaults"]).await.exit, Some(0));
    let stored: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(fixture.path("home").join("token.json")).unwrap()).unwrap();
    let token = |token: &str| {
        let mut command = bare_command(&fixture.path("other home"), &["vaults"]);
        command.env("OBSYNC_API_URL", fixture.emulator.api_url()).env("OBSIDIAN_AUTH_TOKEN", token);
        command
    };
    assert_eq!(end(token(stored["token"].as_str().unwrap())).await.exit, Some(0));
    end(token("worthless")).await.assert_refused(3, &["token"]);
    assert_eq!(fixture.emulator.counters().get().sign_ins, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_ambiguous_vaults_are_refused_with_what_there_is() {
    let fixture = Fixture::new().await;
    let one = fixture.vault("Same", EncryptionVersion::V3);
    let twin = NewVault::end_to_end("Same", 3, "other salt", "00");
    let two = fixture.emulator.create_vault(EMAIL, twin).unwrap();
    fixture.sync("Nothing", &[]).await.assert_refused(4, &["\"Nothing\"", "\"Same\""]);
    fixture.sync("Same", &[]).await.assert_refused(2, &[one.id().as_str(), two.as_str()]);
    assert_nothing_written(&fixture);
    assert_eq!(fixture.sync(one.id().as_str(), &[]).await.exit, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_service_is_told_apart() {
    let fixture = Fixture::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = fixture.command(&Fixture::sync_args("V", &fixture.dest(), &[]));
    command.env("OBSYNC_API_URL", format!("http://{free}"));
    end(command).await.assert_refused(6, &["network"]);
    assert_nothing_written(&fixture);
}

/// Promise 11: a vault row cannot lead the token and the key to another host.
#[tokio::test(flavor = "multi_thread")]
async fn a_vault_on_a_foreign_host_is_refused() {
    let fixture = Fixture::new().await;
    let vault = fixture.vault("V", EncryptionVersion::V3);
    fixture.emulator.set_vault_host(vault.id(), Some("sync.evil.example".into())).unwrap();
    fixture.sync("V", &[]).await.assert_refused(6, &["sync.evil.example", "nothing was sent"]);
    assert_nothing_written(&fixture);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_subscription_is_told() {
    let fixture = Fixture::new().await;
    fixture.vault("V", EncryptionVersion::V3);
    fixture.emulator.set_subscription_expired(true);
    fixture.sync("V", &[]).await.assert_refused(3, &["subscription", "renew"]);
}
