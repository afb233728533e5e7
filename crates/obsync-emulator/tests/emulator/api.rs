//! The HTTP API.

use std::time::{SystemTime, UNIX_EPOCH};

use obsync_emulator::{Account, Config, Emulator, NewVault};
use serde_json::json;
use totp_rs::{Builder, Secret};

use crate::client::{EMAIL, KEYHASH, PASSWORD, Stage, call, exchange, post};

#[tokio::test]
async fn wrong_password_and_unknown_account_are_refused_alike() {
    let stage = Stage::new(Config::default()).await;
    let wrong = json!({"email":EMAIL,"password":"no","mfa":""});
    let unknown = json!({"email":"x@y","password":"no","mfa":""});
    let wrong = call(&stage.emulator, "/user/signin", wrong).await;
    assert!(wrong["error"].is_string());
    assert_eq!(call(&stage.emulator, "/user/signin", unknown).await, wrong);
    assert_eq!(stage.emulator.counters().get().sign_ins, 1);
}

#[tokio::test]
async fn second_factor_is_asked_for_and_a_code_is_good_once() {
    const SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
    let emulator = Emulator::start(Config::default()).await.unwrap();
    emulator.create_account(Account::new("2fa@x", "p").with_totp(SECRET)).unwrap();
    let signin =
        async |mfa: &str| call(&emulator, "/user/signin", json!({"email":"2fa@x","password":"p","mfa":mfa})).await;
    let totp = Builder::new().with_secret(Secret::try_from_base32(SECRET).unwrap()).build_noncompliant();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let code = totp.generate(now).to_string();

    let missing = signin("").await["error"].as_str().unwrap().to_owned();
    assert!(missing.contains("2FA code") && !missing.contains("incorrect"), "{missing}");
    assert_eq!(signin("abcdef").await["error"], "2FA code is incorrect");
    assert!(signin(&code).await["token"].is_string());
    assert_eq!(signin(&code).await["error"], "2FA code is incorrect", "a replay");
    emulator.configure(|config| config.refuse_replayed_codes = false);
    assert!(signin(&code).await["token"].is_string());
}

#[tokio::test]
async fn token_opens_the_account_until_it_is_signed_out_or_expired() {
    let stage = Stage::new(Config::default()).await;
    let info = json!({"token":stage.token});
    assert_eq!(call(&stage.emulator, "/user/info", info.clone()).await["email"], EMAIL);
    call(&stage.emulator, "/user/signout", info.clone()).await;
    assert_eq!(call(&stage.emulator, "/user/info", info).await["error"], "Not logged in");

    let token = crate::client::sign_in(&stage.emulator).await;
    stage.emulator.expire_tokens().unwrap();
    let list = json!({"token":token,"supported_encryption_version":3});
    assert_eq!(call(&stage.emulator, "/vault/list", list).await["error"], "Not logged in");
}

#[tokio::test]
async fn list_holds_own_and_shared_vaults_with_the_host_and_a_managed_password() {
    let stage = Stage::new(Config::default()).await;
    let emulator = &stage.emulator;
    emulator.create_account(Account::new("other@x", "p")).unwrap();
    let shared = emulator.create_vault("other@x", NewVault::managed("Theirs", 2, "s", "given away")).unwrap();
    emulator.create_vault("other@x", NewVault::end_to_end("Private", 3, "s", "k")).unwrap();
    emulator.share_vault(&shared, EMAIL).unwrap();
    emulator.set_vault_host(&stage.vault, Some("evil.example.com".into())).unwrap();
    let list = call(emulator, "/vault/list", json!({"token":stage.token,"supported_encryption_version":3})).await;
    assert_eq!((list["vaults"].as_array().unwrap().len(), list["shared"].as_array().unwrap().len()), (1, 1));
    assert_eq!(list["vaults"][0]["host"], "evil.example.com");
    assert!(list["vaults"][0].get("password").is_none());
    assert_eq!(list["shared"][0]["host"], emulator.host());
    assert_eq!(list["shared"][0]["password"], "given away");
}

#[tokio::test]
async fn access_is_granted_to_the_right_key_only() {
    let stage = Stage::new(Config::default()).await;
    let access = async |vault: &str, keyhash: &str, version: u8| {
        let body =
            json!({"token":stage.token,"vault_uid":vault,"keyhash":keyhash,"host":"x","encryption_version":version});
        call(&stage.emulator, "/vault/access", body).await
    };
    let vault = stage.vault.as_str();
    assert!(access(vault, KEYHASH, 3).await.get("error").is_none());
    assert!(access(vault, "wrong", 3).await["error"].is_string());
    assert!(access(vault, KEYHASH, 2).await["error"].is_string());
    assert_eq!(access("nothing", KEYHASH, 3).await["error"], "Vault not found");
}

#[tokio::test]
async fn created_vault_is_managed_without_a_key_and_keeps_the_first_one_presented() {
    let stage = Stage::new(Config::default()).await;
    let create = json!({"token":stage.token,"name":"M","keyhash":null,"region":"","encryption_version":3});
    let row = call(&stage.emulator, "/vault/create", create).await;
    assert!(!row["password"].as_str().unwrap().is_empty() && !row["salt"].as_str().unwrap().is_empty());
    let access = async |keyhash: &str| {
        let body =
            json!({"token":stage.token,"vault_uid":row["id"],"keyhash":keyhash,"host":"x","encryption_version":3});
        call(&stage.emulator, "/vault/access", body).await
    };
    assert!(access("first").await.get("error").is_none());
    assert!(access("second").await["error"].is_string());
    assert!(access("first").await.get("error").is_none());

    let create = json!({"token":stage.token,"name":"E","keyhash":"k","salt":"s","region":"","encryption_version":3});
    let row = call(&stage.emulator, "/vault/create", create).await;
    assert_eq!((row["salt"].as_str(), row.get("password")), (Some("s"), None));
}

#[tokio::test]
async fn call_without_user_agent_is_taken_for_an_attack() {
    let stage = Stage::new(Config::default()).await;
    stage.emulator.counters().reset();
    let (status, body) = post(&stage.emulator, "/user/info", &json!({"token":stage.token}), false).await.unwrap();
    assert_eq!(status, 200);
    assert!(body.starts_with("<html>") && body.contains("overloaded"));
    let counts = stage.emulator.counters().get();
    assert_eq!((counts.without_user_agent, counts.http["/user/info"], counts.http_total()), (1, 1, 1));
}

#[tokio::test]
async fn nothing_that_a_client_sends_upsets_it() {
    let stage = Stage::new(Config::default()).await;
    for body in [json!([]), json!("x"), json!({"email":7}), json!({}), json!(null)] {
        assert!(call(&stage.emulator, "/user/signin", body).await["error"].is_string());
    }
    assert_eq!(post(&stage.emulator, "/no/such", &json!({}), true).await.unwrap().0, 404);
    let options = "OPTIONS /user/signin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(&stage.emulator, options).await.unwrap().0, 204);
    let bare_upgrade = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(&stage.emulator, bare_upgrade).await.unwrap().0, 400);
    assert!(
        post(&stage.emulator, "/user/signin", &json!({"email":EMAIL,"password":PASSWORD,"mfa":""}), true)
            .await
            .is_some()
    );
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let config = Config { listen: "0.0.0.0:0".parse().unwrap(), ..Config::default() };
    assert!(Emulator::start(config).await.is_err());
}
