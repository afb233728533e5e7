//! A vault, a mirror of it, and runs over them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use obsync_adapters::remote::{Api, ApiConfig, SocketConfig, SocketRemote};
use obsync_core::blob::BlobStore;
use obsync_core::clock::SystemClock;
use obsync_core::filter::Filter;
use obsync_core::mirror::{Mirror, Options, Report};
use obsync_core::plan::Rules;
use obsync_core::progress::Unobserved;
use obsync_core::retry::RetryPolicy;
use obsync_core::state::{Entry, Head, StateStore};
use obsync_core::stop::Stop;
use obsync_emulator::{Account, Config, Emulator};
use obsync_proto::ContentHash;
use obsync_proto::crypto::EncryptionVersion;
use obsync_proto::host::SessionHost;
use obsync_proto::session::SessionLimits;
use obsync_proto::wire::api::SignIn;
use secrecy::SecretString;

use super::{Pair, Pairs};
use crate::tree::{Tree, assert_same_tree};
use crate::vault::TestVault;

const EMAIL: &str = "someone@example.com";
const PASSWORD: &str = "password";

/// A vault at an emulator of its own, and a pair for its mirror.
pub struct Fixture {
    /// The service.
    pub emulator: Arc<Emulator>,
    /// The vault.
    pub vault: TestVault,
    /// How runs are to work, unless said otherwise.
    pub options: Options,
    /// How long a run waits for an answer of the service. A busy machine needs some time for it; a test that keeps
    /// the service silent does not want to wait so long.
    pub patience: Duration,
    /// The destination and the state store.
    pub pair: Pair,
    /// The destination as runs have it open.
    pub blobs: Arc<dyn BlobStore>,
    /// The state store as runs have it open.
    pub state: Arc<dyn StateStore>,
    token: SecretString,
}

impl Fixture {
    /// An empty vault, and no mirror yet.
    pub async fn new(pair: Pair, version: EncryptionVersion) -> Self {
        let emulator = Arc::new(Emulator::start(Config::default()).await.unwrap());
        emulator.create_account(Account::new(EMAIL, PASSWORD)).unwrap();
        let vault = TestVault::create(&emulator, EMAIL, "Notes", version, "vault password");
        let api = Api::new(&ApiConfig { base: emulator.api_url(), ..ApiConfig::new("obsync-test") }).unwrap();
        let sign_in = SignIn { email: EMAIL.into(), password: PASSWORD.to_owned().into(), mfa: String::new().into() };
        let token = api.call(&sign_in).await.unwrap().token;
        emulator.counters().reset();
        let retry =
            RetryPolicy { tries: 3, first_pause: Duration::from_millis(5), longest_pause: Duration::from_millis(20) };
        let options = Options { retry, ..Options::default() };
        let (blobs, state) = (pair.destination.open(vault.id()), pair.state.open().await);
        Self { emulator, vault, options, patience: Duration::from_secs(20), pair, blobs, state, token }
    }

    /// What runs work on.
    pub fn mirror(&self) -> Mirror {
        self.mirror_on(self.blobs.clone(), self.state.clone())
    }

    /// The same mirror through other stores.
    pub fn mirror_on(&self, blobs: Arc<dyn BlobStore>, state: Arc<dyn StateStore>) -> Mirror {
        self.mirror_waiting(self.patience, blobs, state)
    }

    /// The same with another [`patience`](Self::patience).
    pub fn mirror_waiting(&self, patience: Duration, blobs: Arc<dyn BlobStore>, state: Arc<dyn StateStore>) -> Mirror {
        let keys = self.vault.keys();
        let limits = SessionLimits { answer: patience, ..SessionLimits::default() };
        let remote = SocketRemote::new(SocketConfig {
            host: SessionHost::parse(&self.emulator.host(), true).unwrap(),
            token: self.token.clone(),
            vault: self.vault.id().clone(),
            keyhash: keys.keyhash.clone(),
            version: keys.version.into(),
            device: "test".into(),
            user_agent: "obsync-test".into(),
            limits,
            connect_timeout: Duration::from_secs(2),
        });
        Mirror {
            vault: self.vault.id().clone(),
            vault_name: self.vault.name().into(),
            keys: Arc::new(keys.clone()),
            remote: Arc::new(remote),
            blobs,
            state,
            clock: Arc::new(SystemClock),
            observer: Arc::new(Unobserved),
        }
    }

    /// The same mirror as another process opens it.
    pub async fn mirror_of_another_process(&self) -> Mirror {
        self.mirror_on(self.pair.destination.open(self.vault.id()), self.pair.state.open().await)
    }

    /// Runs.
    pub async fn sync(&self) -> Report {
        self.sync_with(&self.options).await
    }

    /// Runs, and compares everything.
    pub async fn sync_complete(&self) -> Report {
        self.sync_with(&Options { complete: true, ..self.options.clone() }).await
    }

    /// Runs with another filter.
    pub async fn sync_filtered(&self, filter: Filter) -> Report {
        self.sync_with(&Options { filter, ..self.options.clone() }).await
    }

    /// Runs under other rules.
    pub async fn sync_ruled(&self, rules: Rules) -> Report {
        self.sync_with(&Options { rules, ..self.options.clone() }).await
    }

    /// Runs in another way.
    pub async fn sync_with(&self, options: &Options) -> Report {
        self.mirror().sync(options, &Stop::default()).await
    }

    /// Runs, and checks that the mirror is what the vault is.
    pub async fn sync_exact(&self) -> Report {
        let report = self.sync().await;
        assert!(report.is_success(), "{report:?}");
        self.assert_exact();
        report
    }

    /// Checks that the mirror is what the vault is, and that nothing is left unfinished.
    #[track_caller]
    pub fn assert_exact(&self) {
        let expected = self.vault.tree();
        let expected = if self.blobs.keeps_folders() { expected } else { expected.files_only() };
        assert_same_tree(&expected, &self.tree());
        assert_eq!(self.pair.destination.unfinished(), 0);
    }

    /// Checks that every file has the modification time that it has in the vault.
    #[track_caller]
    pub fn assert_times(&self) {
        for (path, mtime) in self.vault.mtimes() {
            assert_eq!(self.pair.destination.mtime(&path), Some(mtime), "{path}");
        }
    }

    /// Everything at the destination.
    pub fn tree(&self) -> Tree {
        self.pair.destination.tree()
    }

    /// The content of every file at the destination.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.tree().files
    }

    /// The path of every file at the destination.
    pub fn paths(&self) -> Vec<String> {
        self.files().into_keys().collect()
    }

    /// What the state knows of the mirror as a whole.
    pub async fn head(&self) -> Option<Head> {
        self.state.head(&self.mirror().id()).await.unwrap()
    }

    /// The files that the state knows of.
    pub async fn recorded(&self) -> BTreeMap<String, ContentHash> {
        let id = self.mirror().id();
        let entries: Vec<_> = self.state.scan(&id).try_collect().await.unwrap();
        let file = |(path, entry): (obsync_proto::VaultPath, Entry)| match entry {
            Entry::File(file) => Some((path.to_string(), file.hash)),
            Entry::Folder => None,
        };
        entries.into_iter().filter_map(file).collect()
    }

    /// Loses the state, and opens it again.
    pub async fn lose_state(&mut self) {
        self.pair.state.lose().await;
        self.reopen().await;
    }

    /// Opens the destination and the state store again, as the next process does.
    pub async fn reopen(&mut self) {
        self.blobs = self.pair.destination.open(self.vault.id());
        self.state = self.pair.state.open().await;
    }

    /// Lets go of the mirror, and takes a pair with nothing in it.
    pub async fn begin_anew(&mut self, pairs: &Pairs) {
        self.pair = pairs.make().await;
        self.reopen().await;
    }

    /// Pulls since the last call.
    pub fn pulls(&self) -> u64 {
        let pulls = self.emulator.counters().get().pulls;
        self.emulator.counters().reset();
        pulls
    }
}
