//! A vault, a mirror of it in memory, and runs over them.

use std::sync::Arc;
use std::time::Duration;

use obsync_adapters::remote::{Api, ApiConfig, SocketConfig, SocketRemote};
use obsync_core::blob::BlobStore;
use obsync_core::clock::SystemClock;
use obsync_core::mirror::{Mirror, Options, Report};
use obsync_core::plan::Rules;
use obsync_core::progress::Unobserved;
use obsync_core::retry::RetryPolicy;
use obsync_core::state::StateStore;
use obsync_core::stop::Stop;
use obsync_emulator::{Account, Config, Emulator};
use obsync_proto::crypto::EncryptionVersion;
use obsync_proto::host::SessionHost;
use obsync_proto::session::SessionLimits;
use obsync_proto::wire::api::SignIn;
use obsync_testkit::memory::{MemoryBlobs, MemoryState};
use obsync_testkit::tree::{Tree, assert_same_tree};
use obsync_testkit::vault::TestVault;
use secrecy::SecretString;

pub(crate) const EMAIL: &str = "someone@example.com";
const PASSWORD: &str = "password";

pub(crate) struct Fixture {
    pub(crate) emulator: Arc<Emulator>,
    pub(crate) vault: TestVault,
    pub(crate) blobs: MemoryBlobs,
    pub(crate) state: MemoryState,
    pub(crate) options: Options,
    token: SecretString,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(EncryptionVersion::V3, MemoryBlobs::folder()).await
    }

    pub(crate) async fn with(version: EncryptionVersion, blobs: MemoryBlobs) -> Self {
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
        Self { emulator, vault, blobs, state: MemoryState::new(), options, token }
    }

    pub(crate) fn mirror(&self) -> Mirror {
        self.mirror_on(Arc::new(self.blobs.clone()), Arc::new(self.state.clone()))
    }

    /// The same mirror through other stores: wrappers of this fixture's.
    pub(crate) fn mirror_on(&self, blobs: Arc<dyn BlobStore>, state: Arc<dyn StateStore>) -> Mirror {
        let keys = self.vault.keys();
        let limits = SessionLimits { answer: Duration::from_millis(400), ..SessionLimits::default() };
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

    pub(crate) async fn sync(&self) -> Report {
        self.sync_with(&self.options).await
    }

    pub(crate) async fn sync_complete(&self) -> Report {
        self.sync_with(&Options { complete: true, ..self.options.clone() }).await
    }

    pub(crate) async fn sync_ruled(&self, rules: Rules) -> Report {
        self.sync_with(&Options { rules, ..self.options.clone() }).await
    }

    pub(crate) async fn sync_with(&self, options: &Options) -> Report {
        self.mirror().sync(options, &Stop::default()).await
    }

    /// Runs, and checks that the mirror is what the vault is.
    pub(crate) async fn sync_exact(&self) -> Report {
        let report = self.sync().await;
        assert!(report.is_success(), "{report:?}");
        self.assert_exact();
        report
    }

    pub(crate) fn assert_exact(&self) {
        assert_same_tree(&self.expected(), &self.blobs.tree());
        assert_eq!(self.blobs.unfinished(), 0);
    }

    fn expected(&self) -> Tree {
        if self.blobs.keeps_folders() { self.vault.tree() } else { self.vault.tree().files_only() }
    }

    /// Pulls since the last call.
    pub(crate) fn pulls(&self) -> u64 {
        let pulls = self.emulator.counters().get().pulls;
        self.emulator.counters().reset();
        pulls
    }
}
