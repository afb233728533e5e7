//! `--watch`: the program stays, follows, says how it stands, and ends when it is told to.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use obsync_emulator::{Account, Config, Emulator, Fault, FaultRule, Place};
use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::tree::{Tree, assert_same_tree};
use obsync_testkit::vault::TestVault;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::fixture::{EMAIL, Ended, Fixture, PASSWORD, end};
use crate::line::Line;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !holds().await {
            sleep(Duration::from_millis(50)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"));
}

/// Starts the program; gives the address of its health port.
async fn started(mut command: Command) -> (Child, String) {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    loop {
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().expect("the program ended");
        if let Some((_, address)) = line.split_once("health at http://") {
            // Read on, or the program would have nowhere to write to.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (child, address.to_owned());
        }
    }
}

async fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([name, &id]).status().await.unwrap().success());
}

async fn terminate(child: Child) -> Ended {
    signal(&child, "-TERM").await;
    timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap().into()
}

/// Status and body.
pub(crate) async fn health(address: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

fn args<'a>(dest: &'a Path, heartbeat: &'a Path) -> Vec<&'a str> {
    let more = ["--watch", "--health", "127.0.0.1:0", "--heartbeat", heartbeat.to_str().unwrap()];
    Fixture::sync_args("V", dest, &[]).into_iter().chain(more).collect()
}

/// A vault, and a run that follows it.
struct Followed {
    fixture: Fixture,
    vault: TestVault,
    child: Child,
    /// Of the health port.
    address: String,
}

impl Followed {
    /// A vault with one note, at `host` if one is given, and a run that is in step with it.
    async fn begin(fixture: Fixture, host: Option<String>, environment: &[(&str, &str)]) -> Self {
        let mut vault = fixture.vault("V", EncryptionVersion::V3);
        vault.put("a.md", "a", 1);
        fixture.emulator.set_vault_host(vault.id(), host).unwrap();
        let mut command = fixture.command(&args(&fixture.dest(), &fixture.path("heartbeat")));
        command.envs(environment.iter().copied());
        let (child, address) = started(command).await;
        until("healthy", async || health(&address).await.0 == 200).await;
        Self { fixture, vault, child, address }
    }

    /// Waits for a file.
    async fn brings(&self, name: &str) {
        until("the change", async || self.fixture.dest().join(name).exists()).await;
    }

    /// Has the run end, and checks that it has left what the vault has; gives what there was for it.
    async fn ends_in_step(self) -> Fixture {
        assert_eq!(terminate(self.child).await.exit, Some(0));
        assert_same_tree(&self.vault.tree(), &Tree::read(&self.fixture.dest()));
        self.fixture
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_arrive_over_cuts_and_a_restarted_service_until_it_is_told_to_end() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V", EncryptionVersion::V3);
    vault.put("a.md", "first", 1);
    let (dest, heartbeat) = (fixture.dest(), fixture.path("heartbeat"));
    let (child, address) = started(fixture.command(&args(&dest, &heartbeat))).await;
    until("healthy", async || health(&address).await.0 == 200).await;
    assert_same_tree(&vault.tree(), &Tree::read(&dest));
    until("a heartbeat", async || heartbeat.exists()).await;
    for round in 0..3 {
        vault.put("a.md", format!("round {round}"), 2 + round);
        vault.put(&format!("នៅ {round}.md"), "new", 1);
        let tree = vault.tree();
        until("the change", async || Tree::read(&dest) == tree).await;
        fixture.emulator.cut_connections();
    }
    // Nothing waits in silence for a connection that is gone.
    vault.delete("a.md");
    let tree = vault.tree();
    until("a deletion after a cut", async || Tree::read(&dest) == tree).await;
    let (status, body) = health(&address).await;
    assert_eq!(status, 200, "{body}");
    assert!(body["last_success_seconds_ago"].as_u64().unwrap() < 60, "{body}");
    let ended = terminate(child).await;
    assert_eq!(ended.exit, Some(0), "{ended:?}");
    let answer = ended.vault();
    assert_eq!((answer["downloaded"].as_u64(), answer["deleted"].as_u64()), (Some(7), Some(1)), "{answer}");
}

/// What no later run can mend ends the program, with the code that it has elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_wrong_is_no_reason_to_stay() {
    let fixture = Fixture::new().await;
    fixture.vault("V", EncryptionVersion::V3).put("a.md", "a", 1);
    let dest = fixture.dest();
    let mut command = fixture.command(&Fixture::sync_args("V", &dest, &["--watch"]));
    command.env("OBSIDIAN_VAULT_PASSWORD", "wrong");
    let ended: Ended = timeout(PATIENCE, command.output()).await.unwrap().unwrap().into();
    ended.assert_refused(3, &["encryption password"]);
}

/// The token that ends while nothing happens is replaced by one from a new sign-in.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_is_replaced() {
    let mut followed = Followed::begin(Fixture::new().await, None, &[]).await;
    followed.fixture.emulator.expire_tokens().unwrap();
    followed.fixture.emulator.cut_connections();
    followed.vault.put("b.md", "b", 1);
    followed.brings("b.md").await;
    let fixture = followed.ends_in_step().await;
    assert_eq!(fixture.emulator.counters().get().sign_ins, 2);
}

/// What systemd is told (`sd_notify(3)`): that it is up, that it is not stuck, that it is going.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_what_it_asks_for() {
    let fixture = Fixture::new().await;
    fixture.vault("V", EncryptionVersion::V3).put("a.md", "a", 1);
    let place = fixture.path("notify");
    let socket = tokio::net::UnixDatagram::bind(&place).unwrap();
    let (dest, heartbeat) = (fixture.dest(), fixture.path("heartbeat"));
    let mut command = fixture.command(&args(&dest, &heartbeat));
    command.env("NOTIFY_SOCKET", &place).env("WATCHDOG_USEC", "200000");
    let (child, address) = started(command).await;
    let mut buffer = [0; 256];
    for expected in ["READY=1", "WATCHDOG=1", "WATCHDOG=1"] {
        let len = timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
        assert!(std::str::from_utf8(&buffer[..len]).unwrap().starts_with(expected), "{expected}");
    }
    until("healthy", async || health(&address).await.0 == 200).await;
    let ending = tokio::spawn(terminate(child));
    until("STOPPING=1", async || {
        let len = socket.recv(&mut buffer).await.unwrap();
        buffer[..len].starts_with(b"STOPPING=1")
    })
    .await;
    assert_eq!(ending.await.unwrap().exit, Some(0));
}

/// Seconds since the mirror was last known to be what the vault is.
async fn age(address: &str) -> u64 {
    health(address).await.1["last_success_seconds_ago"].as_u64().unwrap()
}

/// The service ends, and is back after a while, with the same vaults and without the tokens that it gave out.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_started_anew_is_followed_again() {
    let data = tempfile::tempdir().unwrap();
    let config = Config { data: Some(data.path().to_owned()), ..Config::default() };
    let fixture = Fixture::with_service(config.clone(), Account::new(EMAIL, PASSWORD)).await;
    let mut followed = Followed::begin(fixture, None, &[]).await;
    let listen = followed.fixture.emulator.address();
    followed.fixture.emulator.shutdown().await;
    // Taken without listening, so that nobody answers there and none of the tests beside this one is given the port.
    let taken = TcpSocket::new_v4().unwrap();
    taken.set_reuseaddr(true).unwrap();
    taken.bind(listen).unwrap();
    sleep(Duration::from_secs(3)).await;
    assert!(age(&followed.address).await >= 2, "the service is gone, and health says that all is well");
    drop(taken);
    let emulator = Arc::new(Emulator::start(Config { listen, ..config }).await.unwrap());
    emulator.expire_tokens().unwrap();
    followed.vault.attach(&emulator);
    followed.fixture.emulator = emulator;
    followed.vault.put("b.md", "b", 1);
    followed.brings("b.md").await;
    until("in step", async || age(&followed.address).await < 2).await;
    let fixture = followed.ends_in_step().await;
    assert_eq!(fixture.emulator.counters().get().sign_ins, 1);
}

/// The row names another host, and where the vault was nobody listens any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_moves_to_another_host_is_followed_there() {
    let fixture = Fixture::new().await;
    let (old, new) = (Line::to(fixture.emulator.address()).await, Line::to(fixture.emulator.address()).await);
    let mut followed = Followed::begin(fixture, Some(old.host()), &[]).await;
    followed.fixture.emulator.set_vault_host(followed.vault.id(), Some(new.host())).unwrap();
    drop(old);
    followed.vault.put("b.md", "b", 1);
    followed.brings("b.md").await;
    followed.ends_in_step().await;
}

/// The machine sleeps for longer than any limit, and wakes up with connections whose other end is long gone and never
/// said so.
#[tokio::test(flavor = "multi_thread")]
async fn changes_arrive_after_a_sleep() {
    let fixture = Fixture::new().await;
    let line = Line::to(fixture.emulator.address()).await;
    let mut followed = Followed::begin(fixture, Some(line.host()), &[("OBSYNC_TIMEOUT", "1")]).await;
    signal(&followed.child, "-STOP").await;
    line.goes_dead();
    followed.vault.put("b.md", "b", 1);
    sleep(Duration::from_secs(3)).await;
    line.works_again();
    signal(&followed.child, "-CONT").await;
    followed.brings("b.md").await;
    followed.ends_in_step().await;
}

/// Wherever the service falls silent, it is given up within the limit and asked again, more and more rarely, until it
/// speaks.
#[tokio::test(flavor = "multi_thread")]
async fn silence_anywhere_ends_in_another_try() {
    let places = [Place::AnyHttp, Place::Connect, Place::Init, Place::Listing, Place::Pull, Place::Ping];
    futures_util::future::join_all(places.map(|place| async move {
        let mut followed = Followed::begin(Fixture::new().await, None, &[("OBSYNC_TIMEOUT", "1")]).await;
        let emulator = followed.fixture.emulator.clone();
        let fault = emulator.faults().add(FaultRule::new(place.clone(), Fault::Silence).always());
        if place == Place::AnyHttp {
            // Only who has lost the token asks.
            emulator.expire_tokens().unwrap();
        }
        emulator.cut_connections();
        if place != Place::Ping {
            followed.vault.put("b.md", "b", 1);
        }
        until(&format!("{place:?}: asked again"), async || emulator.faults().struck(fault) >= 2).await;
        let asked = emulator.faults().struck(fault);
        sleep(Duration::from_secs(2)).await;
        assert!(emulator.faults().struck(fault) < asked + 4, "{place:?}: asked on and on");
        emulator.faults().clear();
        followed.vault.put("c.md", "c", 1);
        until(&format!("{place:?}: the change"), async || followed.fixture.dest().join("c.md").exists()).await;
        followed.ends_in_step().await;
    }))
    .await;
}

/// The same of a line on which nothing passes any more, not even what TCP says.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_goes_dead_is_given_up() {
    let fixture = Fixture::new().await;
    let line = Line::to(fixture.emulator.address()).await;
    let api = format!("http://{}", line.host());
    let environment = [("OBSYNC_API_URL", api.as_str()), ("OBSYNC_TIMEOUT", "1")];
    let mut followed = Followed::begin(fixture, Some(line.host()), &environment).await;
    line.goes_dead();
    followed.vault.put("b.md", "b", 1);
    until("known to be behind", async || age(&followed.address).await >= 3).await;
    line.works_again();
    followed.brings("b.md").await;
    followed.ends_in_step().await;
}

/// Far from the minute that an answer may take, and enough for ten programs that end at the same time.
const AT_ONCE: Duration = Duration::from_secs(15);

/// No answer is waited for: each takes up to a minute.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_to_end_before_it_began_ends_at_once() {
    let http = |path: &str| Place::Http(path.to_owned());
    let places = [http("/user/signin"), http("/vault/list"), http("/vault/access"), Place::Connect, Place::Listing];
    let cases = places.into_iter().flat_map(|place| [(place.clone(), "--complete"), (place, "--watch")]);
    futures_util::future::join_all(cases.map(|(place, how)| async move {
        let fixture = Fixture::new().await;
        fixture.vault("V", EncryptionVersion::V3).put("a.md", "a", 1);
        let fault = fixture.emulator.faults().add(FaultRule::new(place.clone(), Fault::Silence).always());
        let child = fixture.command(&Fixture::sync_args("V", &fixture.dest(), &[how])).spawn().unwrap();
        until("asked", async || fixture.emulator.faults().struck(fault) > 0).await;
        let told = Instant::now();
        let ended = terminate(child).await;
        ended.assert_refused(130, &["interrupted"]);
        assert!(told.elapsed() < AT_ONCE, "{place:?} {how}: {:?}", told.elapsed());
        fixture.emulator.faults().clear();
        assert_eq!(end(fixture.command(&Fixture::sync_args("V", &fixture.dest(), &[]))).await.exit, Some(0));
    }))
    .await;
}

/// A large file on its way is waited for as long as what is in flight may take, and then given up; what is done is
/// recorded.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_on_its_way_is_finished_or_given_up() {
    const MIB: usize = 1 << 20;
    // At 2 MiB/s, the smaller takes 4.5 s: long enough to be told in its midst, and less than the 5 s that it has.
    let cases =
        [(9 * MIB, true), (60 * MIB, false)].into_iter().flat_map(|case| [(case, "--complete"), (case, "--watch")]);
    futures_util::future::join_all(cases.map(|((size, is_finished), how)| async move {
        let fixture = Fixture::new().await;
        let mut vault = fixture.vault("V", EncryptionVersion::V3);
        (0..10).for_each(|n| _ = vault.put(&format!("{n}.md"), format!("small {n}"), 1));
        let large = vault.put("large.bin", vec![7; size], 1);
        fixture.emulator.configure(|config| config.bandwidth = std::num::NonZeroU64::new(2 << 20));
        let child = fixture.command(&Fixture::sync_args("V", &fixture.dest(), &[how])).spawn().unwrap();
        until("under way", async || {
            let pulled = fixture.emulator.counters().get().pulls_by_uid.contains_key(&large);
            pulled && (0..10).all(|n| fixture.dest().join(format!("{n}.md")).exists())
        })
        .await;
        let told = Instant::now();
        let ended = terminate(child).await;
        assert!(told.elapsed() < Duration::from_secs(12), "{how}, {size}: {:?}", told.elapsed());
        let files = if is_finished { 11 } else { 10 };
        assert_eq!(ended.exit, Some(130), "{how}, {size}: {ended:?}");
        assert_eq!(ended.vault()["downloaded"].as_u64(), Some(files), "{how}, {size}: {ended:?}");
        fixture.emulator.configure(|config| config.bandwidth = None);
        let next = fixture.sync("V", &[]).await;
        assert_eq!(next.vault()["downloaded"].as_u64(), Some(11 - files), "{how}, {size}: {next:?}");
        assert_same_tree(&vault.tree(), &Tree::read(&fixture.dest()));
    }))
    .await;
}
