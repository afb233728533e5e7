//! The running service, as a test holds it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use obsync_proto::wire::Record;
use obsync_proto::wire::socket::Push;
use obsync_proto::{Uid, VaultId};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::account::Account;
use crate::api::DEFAULT_REGION;
use crate::archive::Content;
use crate::config::Config;
use crate::counters::Counters;
use crate::error::{EmulatorError, PushError};
use crate::fault::Faults;
use crate::server::{self, Stop};
use crate::service::Service;
use crate::vault::{Author, NewVault, Pushed};

/// A running service. It ends when this is dropped.
#[derive(Debug)]
pub struct Emulator {
    address: SocketAddr,
    service: Arc<Service>,
    stop: watch::Sender<bool>,
    sockets: watch::Sender<u64>,
}

impl Emulator {
    /// Starts the service on the current tokio runtime.
    ///
    /// # Errors
    /// An address that is not loopback or not free; a data folder that cannot be used.
    pub async fn start(config: Config) -> Result<Self, EmulatorError> {
        if !config.listen.ip().is_loopback() {
            return Err(EmulatorError::NotLoopback(config.listen));
        }
        let failed = |error| EmulatorError::Listen(config.listen, error);
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let service = Service::open(config, address.to_string())?;
        let (stop, service_stop) = watch::channel(false);
        let (sockets, sockets_stop) = watch::channel(0);
        tokio::spawn(server::run(listener, service.clone(), Stop { service: service_stop, sockets: sockets_stop }));
        Ok(Self { address, service, stop, sockets })
    }

    /// Ends every connection and frees the port.
    pub async fn shutdown(&self) {
        let _ = self.stop.send(true);
        self.stop.closed().await;
    }

    /// The API's base address, `http://127.0.0.1:PORT`.
    pub fn api_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address as a vault row names it, `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was asked for.
    pub fn counters(&self) -> Counters {
        self.service.counters.clone()
    }

    /// What goes wrong.
    pub fn faults(&self) -> Faults {
        self.service.faults.clone()
    }

    /// Changes how it behaves, from the next request on.
    pub fn configure(&self, change: impl FnOnce(&mut Config)) {
        self.service.configure(change);
    }

    /// Makes an account.
    ///
    /// # Errors
    /// An address that is taken; a TOTP secret that is not Base32.
    pub fn create_account(&self, account: Account) -> Result<(), EmulatorError> {
        self.service.create_account(account)
    }

    /// Makes a vault that the account `owner` owns.
    ///
    /// # Errors
    /// No such account.
    pub fn create_vault(&self, owner: &str, new: NewVault) -> Result<VaultId, EmulatorError> {
        Ok(self.service.create_vault(owner, new, DEFAULT_REGION)?.details().id)
    }

    /// Lists the vault under `shared` of the account `with`.
    ///
    /// # Errors
    /// No such vault or account.
    pub fn share_vault(&self, vault: &VaultId, with: &str) -> Result<(), EmulatorError> {
        self.service.share_vault(vault, with)
    }

    /// Lets the vault's row name another host; `None` names the emulator itself again.
    ///
    /// # Errors
    /// No such vault.
    pub fn set_vault_host(&self, vault: &VaultId, host: Option<String>) -> Result<(), EmulatorError> {
        self.service.set_host(vault, host)
    }

    /// Replaces the vault by one of the same id under another key, with nothing in it yet: what a device does that
    /// encrypts it anew.
    ///
    /// # Errors
    /// No such vault; the data folder cannot be written.
    pub fn begin_vault_anew(&self, vault: &VaultId, new: NewVault) -> Result<(), EmulatorError> {
        self.service.begin_anew(vault, new)
    }

    /// Gives an account another password, and makes its tokens worthless. Open sessions go on.
    ///
    /// # Errors
    /// No such account; the data folder cannot be written.
    pub fn change_password(&self, email: &str, password: &str) -> Result<(), EmulatorError> {
        self.service.change_password(email, password)
    }

    /// Makes every token that was given out worthless. Open sessions go on.
    ///
    /// # Errors
    /// The data folder cannot be written.
    pub fn expire_tokens(&self) -> Result<(), EmulatorError> {
        self.service.expire_tokens()
    }

    /// Refuses every new session, or no longer.
    pub fn set_subscription_expired(&self, expired: bool) {
        self.configure(|config| config.subscription_expired = expired);
    }

    /// Ends every open WebSocket without a word.
    pub fn cut_connections(&self) {
        self.sockets.send_modify(|cuts| *cuts += 1);
    }

    /// Pushes as a device would, with the size and the pieces of `content`. Live connections are told.
    ///
    /// # Errors
    /// No such vault; what a device would be refused.
    pub fn push(&self, vault: &VaultId, push: Push, content: Bytes) -> Result<Uid, EmulatorError> {
        self.push_as("emulator", vault, push, content)
    }

    /// [`Emulator::push`] under a device's name.
    ///
    /// # Errors
    /// As [`Emulator::push`].
    pub fn push_as(&self, device: &str, vault: &VaultId, mut push: Push, content: Bytes) -> Result<Uid, EmulatorError> {
        let vault = self.service.vault(vault)?;
        let config = self.service.config();
        push.size = content.len() as u64;
        if push.size > config.per_file_max {
            return Err(PushError::TooLarge { size: push.size, limit: config.per_file_max }.into());
        }
        let author = Author { device: device.to_owned(), user: self.service.owner_number(&vault) };
        let uid = match vault.announce(&author, &push, config.rename)? {
            Pushed::Done(uid) => uid,
            Pushed::WantsContent => vault.store(&author, &push, content, config.rename)?,
        };
        self.service.counters.add(|counts| counts.pushes += 1);
        Ok(uid)
    }

    /// Adds a record as it is, however hostile: any path, any size. A `uid` of 0 becomes the next one. Live
    /// connections are told.
    ///
    /// # Errors
    /// No such vault; the data folder cannot be written.
    pub fn push_record_raw(
        &self,
        vault: &VaultId,
        record: Record,
        content: Option<Bytes>,
    ) -> Result<Uid, EmulatorError> {
        Ok(self.service.vault(vault)?.insert_raw(record, content)?)
    }

    /// Every record of the vault by uid.
    ///
    /// # Errors
    /// No such vault.
    pub fn records(&self, vault: &VaultId) -> Result<Vec<Arc<Record>>, EmulatorError> {
        Ok(self.service.vault(vault)?.records())
    }

    /// The newest record of each path that is not deleted, by uid.
    ///
    /// # Errors
    /// No such vault.
    pub fn live_records(&self, vault: &VaultId) -> Result<Vec<Arc<Record>>, EmulatorError> {
        Ok(self.service.vault(vault)?.live_records())
    }

    /// The ciphertext of a record; `None` for a folder, a deletion or an unknown uid.
    ///
    /// # Errors
    /// No such vault; the data folder cannot be read.
    pub async fn content(&self, vault: &VaultId, uid: Uid) -> Result<Option<Bytes>, EmulatorError> {
        let Some(found) = self.service.vault(vault)?.find(uid) else { return Ok(None) };
        match &found.content {
            Some(content) => Content::read(content).await.map(Some).map_err(|e| PushError::Store(e).into()),
            None => Ok(None),
        }
    }
}
