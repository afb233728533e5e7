//! Promise 11 (discreet): no secret in anything that the program says or keeps, at its most talkative.

use obsync_emulator::Account;
use obsync_proto::crypto::EncryptionVersion;
use secrecy::ExposeSecret;

use crate::fixture::{EMAIL, Fixture, PASSWORD, TOTP_SECRET, VAULT_PASSWORD, end};

const NOTE: &str = "the content of a note, which is nobody's business";

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_said_or_kept() {
    let fixture = Fixture::with_account(Account::new(EMAIL, PASSWORD).with_totp(TOTP_SECRET)).await;
    let mut vault = fixture.vault("V", EncryptionVersion::V3);
    vault.put("note.md", NOTE, 1);
    vault.put_raw("../evil", NOTE.as_bytes(), 1);
    let keyhash = vault.keys().keyhash.expose_secret().to_owned();
    let mut said = String::new();
    for (vault_password, expire) in [(VAULT_PASSWORD, false), ("wrong-pass-1618", false), (VAULT_PASSWORD, true)] {
        if expire {
            fixture.emulator.expire_tokens().unwrap();
            fixture.emulator.set_subscription_expired(true);
        }
        let mut command = fixture.command(&Fixture::sync_args("V", &fixture.dest(), &[]));
        command
            .env("LOG_LEVEL", "trace")
            .env("OBSIDIAN_TOTP_SECRET", TOTP_SECRET)
            .env("OBSIDIAN_VAULT_PASSWORD", vault_password);
        let ended = end(command).await;
        said.push_str(&ended.stdout);
        said.push_str(&ended.stderr);
    }
    let token_file = std::fs::read_to_string(fixture.path("home").join("token.json")).unwrap();
    let token = serde_json::from_str::<serde_json::Value>(&token_file).unwrap()["token"].as_str().unwrap().to_owned();
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(fixture.path("home")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() != "token.json" {
            kept.extend(std::fs::read(&path).unwrap());
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{} can be read by others", path.display());
        }
    }
    let kept = String::from_utf8_lossy(&kept);
    for secret in [PASSWORD, VAULT_PASSWORD, "wrong-pass-1618", TOTP_SECRET, &token, &keyhash, NOTE] {
        assert!(!said.contains(secret), "said {secret:?}");
        assert!(!kept.contains(secret), "kept {secret:?}");
    }
    assert!(said.contains("TRACE") || said.contains("DEBUG"), "the log was not talkative: the test means little");
}
