//! The HTTP API and the account, against the emulator and against servers that misbehave.
#![cfg(feature = "remote")]
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use obsync_adapters::remote::{
    Account, AccountError, Api, ApiConfig, ApiError, Credentials, StoredToken, TokenFile, TokenInMemory, TokenStore,
};
use obsync_core::clock::Clock;
use obsync_core::retry::RetryPolicy;
use obsync_emulator::{Account as Member, Config, Emulator, Fault, FaultRule, NewVault, Place};
use obsync_proto::totp::TotpSecret;
use obsync_proto::wire::api::{ListVaults, SignIn, SignOut, UserInfo};
use secrecy::{ExposeSecret, SecretString};
use support::{Scripted, answer};
use tempfile::TempDir;

const EMAIL: &str = "me@example.com";
const PASSWORD: &str = "correct horse";
const TOTP: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const KEYHASH: &str = "00ff";
const AGENT: &str = "obsync-test/1";

fn config(base: &str) -> ApiConfig {
    let pause = Duration::from_millis(20);
    ApiConfig {
        base: base.to_owned(),
        connect_timeout: Duration::from_secs(2),
        answer_timeout: Duration::from_millis(700),
        retries: RetryPolicy { tries: 4, first_pause: pause, longest_pause: pause * 4 },
        ..ApiConfig::new(AGENT)
    }
}

fn api(base: &str) -> Api {
    Api::new(&config(base)).unwrap()
}

fn credentials(password: &str) -> Credentials {
    Credentials { email: EMAIL.to_owned(), password: password.to_owned().into(), totp: None, mfa: None }
}

fn with_totp() -> Credentials {
    Credentials { totp: Some(Arc::new(TotpSecret::parse(TOTP).unwrap())), ..credentials(PASSWORD) }
}

fn list(token: &str) -> ListVaults {
    ListVaults { token: token.to_owned().into(), supported_encryption_version: 3 }
}

fn sign_in() -> SignIn {
    SignIn { email: EMAIL.to_owned(), password: PASSWORD.to_owned().into(), mfa: "123456".to_owned().into() }
}

/// A service with one account that owns one vault and has another shared with it.
struct Service {
    emulator: Emulator,
    tokens: Arc<TokenInMemory>,
}

impl Service {
    async fn start() -> Self {
        Self::with(Member::new(EMAIL, PASSWORD)).await
    }

    async fn with(member: Member) -> Self {
        let emulator = Emulator::start(Config::default()).await.unwrap();
        emulator.create_account(member).unwrap();
        emulator.create_account(Member::new("other@example.com", "x")).unwrap();
        emulator.create_vault(EMAIL, NewVault::end_to_end("Notes", 3, "salt", KEYHASH)).unwrap();
        let shared = emulator.create_vault("other@example.com", NewVault::managed("Team", 3, "salt", "pw")).unwrap();
        emulator.share_vault(&shared, EMAIL).unwrap();
        Self { emulator, tokens: Arc::default() }
    }

    fn account(&self, credentials: Option<Credentials>) -> Account {
        Account::new(api(&self.emulator.api_url()), credentials, self.tokens.clone())
    }

    fn calls(&self, path: &str) -> u64 {
        self.emulator.counters().get().http.get(path).copied().unwrap_or(0)
    }

    fn sign_ins(&self) -> u64 {
        self.emulator.counters().get().sign_ins
    }
}

#[tokio::test]
async fn many_calls_sign_in_once() {
    let service = Service::start().await;
    let account = service.account(Some(credentials(PASSWORD)));
    for _ in 0..5 {
        let list = account.vaults().await.unwrap();
        assert_eq!((list.vaults[0].name.as_str(), list.shared[0].name.as_str()), ("Notes", "Team"));
    }
    // The next run has the token from the store.
    service.account(Some(credentials(PASSWORD))).vaults().await.unwrap();
    service.account(None).vaults().await.unwrap();
    assert_eq!((service.sign_ins(), service.calls("/user/signin"), service.calls("/vault/list")), (1, 1, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_start_at_once_sign_in_once() {
    let service = Service::start().await;
    let account = Arc::new(service.account(Some(credentials(PASSWORD))));
    for round in 1..=2 {
        let calls = (0..8).map(|_| {
            let account = account.clone();
            tokio::spawn(async move { account.vaults().await.map(drop) })
        });
        futures_util::future::try_join_all(calls).await.unwrap().into_iter().collect::<Result<(), _>>().unwrap();
        assert_eq!(service.sign_ins(), round);
        service.emulator.expire_tokens().unwrap();
    }
}

#[tokio::test]
async fn refused_token_is_replaced_by_one_sign_in() {
    let service = Service::start().await;
    let account = service.account(Some(credentials(PASSWORD)));
    account.vaults().await.unwrap();
    service.emulator.expire_tokens().unwrap();
    account.vaults().await.unwrap();
    assert_eq!(service.sign_ins(), 2);
    // In the store there is the new one.
    service.account(None).vaults().await.unwrap();
}

#[tokio::test]
async fn token_refused_again_after_the_sign_in_is_an_error() {
    let service = Service::start().await;
    service.emulator.faults().add(FaultRule::new(Place::Http("/vault/list".into()), Fault::ExpiredToken).always());
    let error = service.account(Some(credentials(PASSWORD))).vaults().await.unwrap_err();
    assert!(matches!(error, AccountError::TokenRefused(_)), "{error}");
    assert_eq!(service.calls("/vault/list"), 2);
    assert!(service.sign_ins() <= 2);
}

#[tokio::test]
async fn refused_token_without_credentials_is_an_error() {
    let service = Service::start().await;
    assert!(matches!(service.account(None).vaults().await, Err(AccountError::NoCredentials)));
    service.tokens.save(&StoredToken { email: None, token: "stale".to_owned().into() }).await.unwrap();
    assert!(matches!(service.account(None).vaults().await, Err(AccountError::TokenRefused(_))));
    assert_eq!(service.calls("/user/signin"), 0);
}

#[tokio::test]
async fn refusal_for_another_reason_signs_in_no_second_time() {
    let service = Service::start().await;
    let text = "Your subscription to Obsidian Sync has expired.";
    service
        .emulator
        .faults()
        .add(FaultRule::new(Place::Http("/vault/list".into()), Fault::Refuse(text.into())).always());
    let error = service.account(Some(credentials(PASSWORD))).vaults().await.unwrap_err();
    assert!(matches!(&error, AccountError::Refused(t) if t == text), "{error}");
    assert_eq!((service.sign_ins(), service.calls("/vault/list")), (1, 1));
}

#[tokio::test]
async fn token_of_another_account_is_not_used() {
    let service = Service::start().await;
    let other = Credentials { email: "other@example.com".into(), password: "x".to_owned().into(), ..credentials("") };
    service.account(Some(other)).vaults().await.unwrap();
    let list = service.account(Some(credentials(PASSWORD))).vaults().await.unwrap();
    assert_eq!(list.vaults[0].name, "Notes");
    assert_eq!(service.sign_ins(), 2);
    let shouted = Credentials { email: " ME@example.com".into(), ..credentials(PASSWORD) };
    service.account(Some(shouted)).vaults().await.unwrap();
    assert_eq!(service.sign_ins(), 2, "the same account in other letters");
}

#[tokio::test]
async fn wrong_password_is_refused_once_and_named() {
    let service = Service::start().await;
    let error = service.account(Some(credentials("wrong"))).vaults().await.unwrap_err();
    assert!(matches!(&error, AccountError::WrongCredentials(text) if text.contains("password")), "{error}");
    assert_eq!(service.calls("/user/signin"), 1);
}

#[tokio::test]
async fn missing_and_wrong_codes_are_told_apart() {
    let service = Service::with(Member::new(EMAIL, PASSWORD).with_totp(TOTP)).await;
    let missing = service.account(Some(credentials(PASSWORD))).vaults().await.unwrap_err();
    assert!(matches!(missing, AccountError::MfaRequired), "{missing}");
    let typed = Credentials { mfa: Some("000000".to_owned().into()), ..with_totp() };
    let wrong = service.account(Some(typed)).vaults().await.unwrap_err();
    assert!(matches!(wrong, AccountError::MfaWrong), "{wrong}");
    assert_eq!(service.calls("/user/signin"), 2, "a typed code is not tried twice");
}

/// A clock that jumps ahead with each look at it.
struct Jumping {
    now: AtomicI64,
    jump: i64,
}

impl Jumping {
    fn from_now(jump: i64) -> Arc<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        Arc::new(Self { now: AtomicI64::new(i64::try_from(now).unwrap()), jump })
    }
}

impl Clock for Jumping {
    fn unix_ms(&self) -> i64 {
        self.now.fetch_add(self.jump, Ordering::Relaxed)
    }
}

#[tokio::test]
async fn used_code_is_followed_by_that_of_the_next_step() {
    let service = Service::with(Member::new(EMAIL, PASSWORD).with_totp(TOTP)).await;
    // Another device has used the code of this step.
    service.account(Some(with_totp())).sign_in().await.unwrap();
    service.tokens.clear().await.unwrap();
    let account = service.account(Some(with_totp())).with_clock(Jumping::from_now(30_000));
    account.vaults().await.unwrap();
    assert_eq!((service.sign_ins(), service.calls("/user/signin")), (2, 3));
}

#[tokio::test]
async fn wrong_secret_is_tried_twice_and_no_more() {
    let service = Service::with(Member::new(EMAIL, PASSWORD).with_totp(TOTP)).await;
    let other = Some(Arc::new(TotpSecret::parse("JBSWY3DPEHPK3PXP").unwrap()));
    let credentials = Credentials { totp: other, ..credentials(PASSWORD) };
    let account = service.account(Some(credentials)).with_clock(Jumping::from_now(30_000));
    assert!(matches!(account.vaults().await, Err(AccountError::MfaWrong)));
    assert_eq!(service.calls("/user/signin"), 2);
}

#[tokio::test]
async fn key_of_a_vault_is_checked() {
    let service = Service::start().await;
    let account = service.account(Some(credentials(PASSWORD)));
    let row = account.vaults().await.unwrap().vaults.remove(0);
    account.check_access(&row, &KEYHASH.to_owned().into()).await.unwrap();
    let wrong = account.check_access(&row, &"beef".to_owned().into()).await.unwrap_err();
    assert!(matches!(wrong, AccountError::PasswordWrong(_)), "{wrong}");
    assert!(!wrong.to_string().contains("beef"));
    service.emulator.expire_tokens().unwrap();
    account.check_access(&row, &KEYHASH.to_owned().into()).await.unwrap();
    assert_eq!(service.sign_ins(), 2);
}

#[tokio::test]
async fn signed_out_token_is_worth_nothing() {
    let service = Service::start().await;
    let account = service.account(Some(credentials(PASSWORD)));
    let signed_in = account.sign_in().await.unwrap();
    assert_eq!(signed_in.email, EMAIL);
    account.sign_out().await.unwrap();
    account.sign_out().await.unwrap();
    assert!(service.tokens.load().await.unwrap().is_none());
    let error = account.api().call(&UserInfo { token: signed_in.token }).await.unwrap_err();
    assert!(matches!(error, ApiError::Refused { .. }), "{error}");
    account.api().call(&SignOut { token: SecretString::default() }).await.unwrap_err();
}

#[tokio::test]
async fn service_out_of_reach_forgets_the_token_all_the_same() {
    let service = Service::start().await;
    let account = service.account(Some(credentials(PASSWORD)));
    account.vaults().await.unwrap();
    service.emulator.faults().add(FaultRule::new(Place::AnyHttp, Fault::Status(503)).always());
    assert!(matches!(account.sign_out().await, Err(AccountError::Unreachable(_))));
    assert!(service.tokens.load().await.unwrap().is_none());
}

#[tokio::test]
async fn every_request_has_a_user_agent_and_sign_in_its_origin() {
    let refused = answer("200 OK", "", r#"{"error":"no"}"#);
    let server = Scripted::answering(vec![answer("204 No Content", "", ""), refused]).await;
    let api = api(&server.url());
    api.call(&sign_in()).await.unwrap_err();
    api.call(&list("t")).await.unwrap_err();
    let requests: Vec<String> = server.requests().iter().map(|r| r.to_ascii_lowercase()).collect();
    let starts: Vec<&str> = requests.iter().map(|r| r.split(" http/").next().unwrap()).collect();
    assert_eq!(starts, ["options /user/signin", "post /user/signin", "post /vault/list"]);
    for (request, origin) in requests.iter().zip([true, true, false]) {
        assert!(request.contains(&format!("user-agent: {AGENT}\r\n")), "{request}");
        assert_eq!(request.contains("origin: https://obsidian.md\r\n"), origin, "{request}");
        assert_eq!(request.starts_with("post"), request.contains("content-type: application/json\r\n"), "{request}");
    }
    let service = Service::start().await;
    service.account(Some(credentials(PASSWORD))).vaults().await.unwrap();
    assert_eq!(service.emulator.counters().get().without_user_agent, 0);
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let elsewhere = Scripted::answering(vec![answer("200 OK", "", "{}")]).await;
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = format!("location: {}/vault/list\r\n", elsewhere.url());
        let server = Scripted::answering(vec![answer(status, &location, "")]).await;
        let error = api(&server.url()).call(&list("secret-token")).await.unwrap_err();
        assert!(matches!(&error, ApiError::Unexpected(text) if text.contains("redirect")), "{error}");
        assert!(!error.to_string().contains("secret-token"));
        let error = api(&server.url()).call(&sign_in()).await.unwrap_err();
        assert!(matches!(&error, ApiError::Unexpected(_)), "{error}");
    }
    assert_eq!(elsewhere.requests(), [""; 0]);
}

#[tokio::test]
async fn passing_faults_are_tried_again() {
    let faults = [
        Fault::Status(503),
        Fault::Status(500),
        Fault::Status(429),
        Fault::Status(520),
        Fault::Overloaded,
        Fault::Cut,
        Fault::CutAfterBytes(20),
        Fault::BadJson,
        Fault::Raw(String::new()),
        Fault::Silence,
        Fault::Delay(Duration::from_secs(60)),
        Fault::Trickle(1),
    ];
    let service = Service::start().await;
    let account = service.account(Some(credentials(PASSWORD)));
    account.vaults().await.unwrap();
    for fault in faults {
        service.emulator.counters().reset();
        service.emulator.faults().add(FaultRule::new(Place::Http("/vault/list".into()), fault.clone()).times(2));
        account.vaults().await.unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        assert_eq!(service.calls("/vault/list"), 3, "{fault:?}");
    }
}

#[tokio::test]
async fn lasting_faults_end_in_an_error_in_bounded_time() {
    let service = Service::start().await;
    let account = service.account(Some(credentials(PASSWORD)));
    account.vaults().await.unwrap();
    for fault in [Fault::Status(503), Fault::Overloaded, Fault::Cut, Fault::BadJson, Fault::Silence] {
        let start = Instant::now();
        service.emulator.counters().reset();
        let id = service.emulator.faults().add(FaultRule::new(Place::AnyHttp, fault.clone()).always());
        let error = account.vaults().await.unwrap_err();
        assert!(matches!(error, AccountError::Unreachable(_)), "{fault:?}: {error}");
        assert_eq!(service.calls("/vault/list"), 4, "{fault:?}");
        assert!(start.elapsed() < Duration::from_secs(6), "{fault:?}");
        service.emulator.faults().remove(id);
    }
}

#[tokio::test]
async fn answers_that_another_try_would_bring_again_are_asked_for_once() {
    let service = Service::start().await;
    let account = service.account(Some(credentials(PASSWORD)));
    account.vaults().await.unwrap();
    for fault in [Fault::Status(404), Fault::Status(400), Fault::Status(302), Fault::Raw("[]".into())] {
        service.emulator.counters().reset();
        service.emulator.faults().add(FaultRule::new(Place::Http("/vault/list".into()), fault.clone()));
        let error = account.vaults().await.unwrap_err();
        assert!(matches!(error, AccountError::Unreachable(_)), "{fault:?}: {error}");
        assert_eq!(service.calls("/vault/list"), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn sign_in_that_may_have_used_up_its_code_is_not_repeated() {
    let service = Service::with(Member::new(EMAIL, PASSWORD).with_totp(TOTP)).await;
    let at = || Place::Http("/user/signin".into());
    for (fault, calls) in [
        (Fault::Cut, 1),
        (Fault::Silence, 1),
        (Fault::Status(500), 1),
        (Fault::BadJson, 1),
        (Fault::Overloaded, 1),
        (Fault::Status(503), 2),
        (Fault::Status(429), 2),
    ] {
        service.emulator.counters().reset();
        service.emulator.faults().add(FaultRule::new(at(), fault.clone()));
        service.emulator.configure(|config| config.refuse_replayed_codes = false);
        let signed_in = service.account(Some(with_totp())).sign_in().await;
        assert_eq!(service.calls("/user/signin"), calls, "{fault:?}");
        assert_eq!(signed_in.is_ok(), calls == 2, "{fault:?}");
    }
}

#[tokio::test]
async fn pause_that_the_service_asks_for_is_kept_up_to_the_longest() {
    let busy = |seconds: u32| answer("503 Service Unavailable", &format!("retry-after: {seconds}\r\n"), "");
    let ok = answer("200 OK", "", r#"{"vaults":[],"shared":[]}"#);
    let server = Scripted::answering(vec![busy(3_600), ok]).await;
    let mut config = config(&server.url());
    config.retries.longest_pause = Duration::from_millis(300);
    let start = Instant::now();
    Api::new(&config).unwrap().call(&list("t")).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(300) && start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn answer_without_end_is_not_taken_into_memory() {
    let body = format!(r#"{{"vaults":[],"shared":[],"x":"{}"}}"#, "x".repeat(9 << 20));
    let server = Scripted::answering(vec![answer("200 OK", "", &body)]).await;
    let mut config = config(&server.url());
    config.answer_timeout = Duration::from_secs(10);
    let error = Api::new(&config).unwrap().call(&list("t")).await.unwrap_err();
    assert!(matches!(&error, ApiError::Unexpected(text) if text.contains("8388608")), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn port_where_nobody_listens_is_unreachable() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let error = api(&format!("http://{address}")).call(&sign_in()).await.unwrap_err();
    assert!(matches!(&error, ApiError::Unreachable(text) if text.contains("no connection")), "{error}");
}

#[tokio::test]
async fn https_to_a_server_without_tls_is_unreachable() {
    let server = Scripted::answering(vec!["hello, this is no TLS at all\r\n\r\n".to_owned()]).await;
    let api = api(&format!("https://{}", server.address));
    assert!(api.allows_loopback());
    let error = api.call(&list("secret-token")).await.unwrap_err();
    assert!(matches!(&error, ApiError::Unreachable(_)), "{error}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!server.requests().concat().contains("secret-token"));
}

#[tokio::test]
async fn base_that_nothing_is_to_be_sent_to_is_refused() {
    for base in ["http://api.obsidian.md", "http://10.0.0.1", "ws://127.0.0.1", "nonsense"] {
        let error = Api::new(&config(base)).unwrap_err();
        assert!(error.to_string().contains(base), "{error}");
    }
    assert!(Api::new(&ApiConfig { user_agent: String::new(), ..config("https://api.obsidian.md") }).is_err());
    assert!(!api("https://api.obsidian.md").allows_loopback());
}

#[tokio::test]
async fn nothing_shows_a_secret() {
    let service = Service::start().await;
    let account = service.account(Some(with_totp()));
    let signed_in = account.sign_in().await.unwrap();
    let stored = service.tokens.load().await.unwrap();
    let shown = format!("{account:?} {:?} {stored:?} {:?}", with_totp(), service.tokens);
    for secret in [PASSWORD, TOTP, signed_in.token.expose_secret()] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn token_file_is_the_owners_alone_and_whole() {
    let dir = TempDir::new().unwrap();
    let store = TokenFile::new(dir.path().join("home/token.json"));
    assert!(store.load().await.unwrap().is_none());
    store.clear().await.unwrap();
    for token in ["first", "second"] {
        let kept = StoredToken { email: Some(EMAIL.to_owned()), token: token.to_owned().into() };
        store.save(&kept).await.unwrap();
        let loaded = store.load().await.unwrap().unwrap();
        assert_eq!((loaded.token.expose_secret(), loaded.email.as_deref()), (token, Some(EMAIL)));
        let names: Vec<_> =
            std::fs::read_dir(dir.path().join("home")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["token.json"]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(store.path()), mode(&dir.path().join("home"))), (0o600, 0o700));
        }
    }
    std::fs::write(store.path(), "{\"tok").unwrap();
    assert!(store.load().await.unwrap().is_none(), "a damaged token is none");
    store.clear().await.unwrap();
    assert!(!store.path().exists());
}

#[tokio::test]
async fn token_that_cannot_be_kept_fails_a_login_and_not_a_run() {
    let service = Service::start().await;
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    let tokens = Arc::new(TokenFile::new(dir.path().join("file/token.json")));
    let account = Account::new(api(&service.emulator.api_url()), Some(credentials(PASSWORD)), tokens);
    account.vaults().await.unwrap();
    assert!(matches!(account.sign_in().await, Err(AccountError::TokenStore(_))));
}
