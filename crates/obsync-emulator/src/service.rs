//! Accounts, tokens and vaults: what all connections share.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use obsync_proto::VaultId;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use crate::account::{Account, Member};
use crate::archive;
use crate::config::Config;
use crate::counters::Counters;
use crate::error::EmulatorError;
use crate::fault::Faults;
use crate::refusal;
use crate::vault::{Details, NewVault, Vault};

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Service {
    config: RwLock<Arc<Config>>,
    /// The address of this service, as a vault row's host.
    pub(crate) host: String,
    pub(crate) faults: Faults,
    pub(crate) counters: Counters,
    state: Mutex<State>,
    data: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct State {
    /// By address.
    members: BTreeMap<String, Member>,
    /// Token to address.
    tokens: HashMap<String, String>,
    vaults: BTreeMap<VaultId, Arc<Vault>>,
    /// Open WebSockets.
    sessions: HashMap<VaultId, usize>,
}

/// `service.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Saved {
    accounts: Vec<(u64, Account)>,
    tokens: HashMap<String, String>,
    vaults: Vec<Details>,
}

/// Who a token stands for.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) number: u64,
}

impl Service {
    /// Takes the time that every request takes. A thread sleeps it to a tenth of a millisecond; a task's timer would be
    /// late by one to two, which is much of a short latency, and benchmarks would take it for the client's.
    pub(crate) async fn take_time(&self) {
        let latency = self.config().latency;
        if !latency.is_zero() {
            // It fails only where the runtime ends.
            let _ = tokio::task::spawn_blocking(move || std::thread::sleep(latency)).await;
        }
    }

    pub(crate) fn open(config: Config, host: String) -> Result<Arc<Self>, EmulatorError> {
        let data = config.data.clone();
        let state = match &data {
            Some(folder) => State::restore(folder)?,
            None => State::default(),
        };
        Ok(Arc::new(Self {
            config: RwLock::new(Arc::new(config)),
            host,
            faults: Faults::default(),
            counters: Counters::default(),
            state: Mutex::new(state),
            data,
        }))
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.read().clone()
    }

    pub(crate) fn configure(&self, change: impl FnOnce(&mut Config)) {
        change(Arc::make_mut(&mut self.config.write()));
    }

    pub(crate) fn create_account(&self, account: Account) -> Result<(), EmulatorError> {
        account.check()?;
        let mut state = self.state.lock();
        if state.members.contains_key(&account.email) {
            return Err(EmulatorError::AccountExists(account.email));
        }
        let number = state.members.values().map(|m| m.number).max().unwrap_or(0) + 1;
        state.members.insert(account.email.clone(), Member::new(account, number));
        self.save(&state)
    }

    pub(crate) fn create_vault(&self, owner: &str, new: NewVault, region: &str) -> Result<Arc<Vault>, EmulatorError> {
        let id: VaultId = random_vault_id()?;
        let mut state = self.state.lock();
        state.member(owner)?;
        let details = Details::new(id.clone(), owner.to_owned(), region.to_owned(), new);
        let vault = Vault::open(details, self.data.as_deref())?;
        state.vaults.insert(id, vault.clone());
        self.save(&state)?;
        Ok(vault)
    }

    pub(crate) fn share_vault(&self, id: &VaultId, with: &str) -> Result<(), EmulatorError> {
        let state = self.state.lock();
        state.member(with)?;
        state.vault(id)?.change(|details| {
            details.shared_with.insert(with.to_owned());
        });
        self.save(&state)
    }

    pub(crate) fn set_host(&self, id: &VaultId, host: Option<String>) -> Result<(), EmulatorError> {
        let state = self.state.lock();
        state.vault(id)?.change(|details| details.host = host);
        self.save(&state)
    }

    pub(crate) fn begin_anew(&self, id: &VaultId, new: NewVault) -> Result<(), EmulatorError> {
        let state = self.state.lock();
        state.vault(id)?.begin_anew(new)?;
        self.save(&state)
    }

    pub(crate) fn change_password(&self, email: &str, password: &str) -> Result<(), EmulatorError> {
        let mut state = self.state.lock();
        state.member(email)?;
        if let Some(member) = state.members.get_mut(email) {
            password.clone_into(&mut member.account.password);
        }
        state.tokens.retain(|_, of| of != email);
        self.save(&state)
    }

    pub(crate) fn vault(&self, id: &VaultId) -> Result<Arc<Vault>, EmulatorError> {
        self.state.lock().vault(id).cloned()
    }

    pub(crate) fn sign_in(&self, email: &str, password: &str, code: &str) -> Result<(String, Caller), &'static str> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let once = self.config().refuse_replayed_codes;
        let mut state = self.state.lock();
        let member = state.members.get_mut(email).ok_or(refusal::SIGN_IN_FAILED)?;
        member.sign_in(password, code, now, once)?;
        let caller = caller(member);
        let token = random_hex(20).map_err(|_| refusal::INTERNAL)?;
        state.tokens.insert(token.clone(), email.to_owned());
        self.save(&state).map_err(|_| refusal::INTERNAL)?;
        self.counters.add(|c| c.sign_ins += 1);
        Ok((token, caller))
    }

    pub(crate) fn sign_out(&self, token: &str) -> Result<(), EmulatorError> {
        let mut state = self.state.lock();
        state.tokens.remove(token);
        self.save(&state)
    }

    pub(crate) fn expire_tokens(&self) -> Result<(), EmulatorError> {
        let mut state = self.state.lock();
        state.tokens.clear();
        self.save(&state)
    }

    /// Who a token stands for, if anyone.
    pub(crate) fn caller(&self, token: &str) -> Option<Caller> {
        let state = self.state.lock();
        state.members.get(state.tokens.get(token)?).map(caller)
    }

    /// The vaults that a caller owns, and those shared with it.
    pub(crate) fn vaults_of(&self, caller: &Caller) -> (Vec<Arc<Vault>>, Vec<Arc<Vault>>) {
        let state = self.state.lock();
        let own = state.vaults.values().filter(|v| v.is_owned_by(&caller.email)).cloned().collect();
        let shared = state.vaults.values().filter(|v| v.is_shared_with(&caller.email)).cloned().collect();
        (own, shared)
    }

    /// The vault, if the caller may see it and its key is right.
    pub(crate) fn open_vault(
        &self,
        caller: &Caller,
        id: &VaultId,
        keyhash: &str,
        encryption_version: u8,
    ) -> Result<Arc<Vault>, &'static str> {
        let state = self.state.lock();
        let visible = |v: &&Arc<Vault>| v.is_owned_by(&caller.email) || v.is_shared_with(&caller.email);
        let vault = state.vaults.get(id).filter(visible).ok_or(refusal::NO_VAULT)?;
        if vault.admit(keyhash, encryption_version)? {
            self.save(&state).map_err(|_| refusal::INTERNAL)?;
        }
        Ok(vault.clone())
    }

    /// The users of a vault, by number.
    pub(crate) fn user_names(&self, vault: &Vault) -> BTreeMap<u64, String> {
        let details = vault.details();
        let state = self.state.lock();
        let emails = std::iter::once(&details.owner).chain(&details.shared_with);
        emails.filter_map(|email| state.members.get(email)).map(|m| (m.number, m.account.name.clone())).collect()
    }

    pub(crate) fn owner_number(&self, vault: &Vault) -> u64 {
        let owner = vault.details().owner;
        self.state.lock().members.get(&owner).map_or(0, |member| member.number)
    }

    /// Counts a session of a vault for as long as the result lives; `None` if `most` are open already.
    pub(crate) fn enter(self: &Arc<Self>, id: &VaultId, most: Option<usize>) -> Option<Entered> {
        let mut state = self.state.lock();
        let open = state.sessions.entry(id.clone()).or_default();
        if most.is_some_and(|most| *open >= most) {
            return None;
        }
        *open += 1;
        Some(Entered { service: self.clone(), id: id.clone() })
    }

    fn save(&self, state: &State) -> Result<(), EmulatorError> {
        let Some(folder) = &self.data else { return Ok(()) };
        archive::write_json(&folder.join("service.json"), &state.saved())
    }
}

impl State {
    fn restore(folder: &std::path::Path) -> Result<Self, EmulatorError> {
        std::fs::create_dir_all(folder).map_err(|e| EmulatorError::Data(folder.to_owned(), e))?;
        let saved: Saved = archive::read_json(&folder.join("service.json"))?;
        let mut state = Self { tokens: saved.tokens, ..Self::default() };
        for (number, account) in saved.accounts {
            state.members.insert(account.email.clone(), Member::new(account, number));
        }
        for details in saved.vaults {
            state.vaults.insert(details.id.clone(), Vault::open(details, Some(folder))?);
        }
        Ok(state)
    }

    fn saved(&self) -> Saved {
        Saved {
            accounts: self.members.values().map(|m| (m.number, m.account.clone())).collect(),
            tokens: self.tokens.clone(),
            vaults: self.vaults.values().map(|v| v.details()).collect(),
        }
    }

    fn member(&self, email: &str) -> Result<&Member, EmulatorError> {
        self.members.get(email).ok_or_else(|| EmulatorError::NoSuchAccount(email.to_owned()))
    }

    fn vault(&self, id: &VaultId) -> Result<&Arc<Vault>, EmulatorError> {
        self.vaults.get(id).ok_or_else(|| EmulatorError::NoSuchVault(id.clone()))
    }
}

fn caller(member: &Member) -> Caller {
    Caller { email: member.account.email.clone(), name: member.account.name.clone(), number: member.number }
}

/// One open session of a vault.
#[derive(Debug)]
pub(crate) struct Entered {
    service: Arc<Service>,
    id: VaultId,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(open) = self.service.state.lock().sessions.get_mut(&self.id) {
            *open -= 1;
        }
    }
}

fn random_vault_id() -> Result<VaultId, EmulatorError> {
    Ok(random_hex(16)?.parse().expect("hex digits are a vault id"))
}

/// `bytes` random bytes in hex.
pub(crate) fn random_hex(bytes: usize) -> Result<String, EmulatorError> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(EmulatorError::Randomness)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
