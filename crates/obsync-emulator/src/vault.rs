//! One vault: who may open it, and what is in it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use obsync_proto::wire::Record;
use obsync_proto::wire::api::VaultRow;
use obsync_proto::wire::socket::Push;
use obsync_proto::{Cursor, Uid, VaultId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::archive::{Archive, Content};
use crate::config::{ListingShape, RenameShape};
use crate::error::{EmulatorError, PushError};
use crate::refusal;

mod ledger;

pub(crate) use ledger::Found;
use ledger::Ledger;

/// A vault to be made by a test.
#[derive(Debug, Clone)]
pub struct NewVault {
    /// Its name.
    pub name: String,
    /// 0, 2 or 3.
    pub encryption_version: u8,
    /// The salt of its keys.
    pub salt: String,
    /// Its key.
    pub key: VaultKey,
    /// What its row names as host, if not the emulator itself.
    pub host: Option<String>,
}

/// How a vault knows its key.
#[derive(Debug, Clone)]
pub enum VaultKey {
    /// Only the user has the password.
    EndToEnd {
        /// Stands for the key.
        keyhash: String,
    },
    /// The service has the password, and puts it into the row.
    Managed {
        /// The encryption password.
        password: String,
        /// Stands for the key. The emulator cannot compute it: with `None` the first one presented is kept.
        keyhash: Option<String>,
    },
}

impl NewVault {
    /// A vault under end-to-end encryption.
    pub fn end_to_end(
        name: impl Into<String>,
        encryption_version: u8,
        salt: impl Into<String>,
        keyhash: impl Into<String>,
    ) -> Self {
        let key = VaultKey::EndToEnd { keyhash: keyhash.into() };
        Self { name: name.into(), encryption_version, salt: salt.into(), key, host: None }
    }

    /// A vault under managed encryption.
    pub fn managed(
        name: impl Into<String>,
        encryption_version: u8,
        salt: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        let key = VaultKey::Managed { password: password.into(), keyhash: None };
        Self { name: name.into(), encryption_version, salt: salt.into(), key, host: None }
    }

    /// Its row names this host.
    #[must_use]
    pub fn at_host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }
}

/// What the service knows of a vault besides its content.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Details {
    pub(crate) id: VaultId,
    pub(crate) owner: String,
    pub(crate) shared_with: BTreeSet<String>,
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) host: Option<String>,
    pub(crate) salt: String,
    pub(crate) encryption_version: u8,
    pub(crate) password: Option<String>,
    pub(crate) keyhash: Option<String>,
}

impl Details {
    pub(crate) fn new(id: VaultId, owner: String, region: String, new: NewVault) -> Self {
        let (password, keyhash) = match new.key {
            VaultKey::EndToEnd { keyhash } => (None, Some(keyhash)),
            VaultKey::Managed { password, keyhash } => (Some(password), keyhash),
        };
        Self {
            id,
            owner,
            shared_with: BTreeSet::new(),
            name: new.name,
            region,
            host: new.host,
            salt: new.salt,
            encryption_version: new.encryption_version,
            password,
            keyhash,
        }
    }
}

/// Who makes a record.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    pub(crate) device: String,
    pub(crate) user: u64,
}

/// What a push needs.
pub(crate) enum Pushed {
    /// Nothing more: the record is made.
    Done(Uid),
    /// The content.
    WantsContent,
}

/// One vault.
#[derive(Debug)]
pub(crate) struct Vault {
    details: Mutex<Details>,
    ledger: Mutex<Ledger>,
}

impl Vault {
    /// Opens the vault, with what `folder` holds of it.
    pub(crate) fn open(details: Details, folder: Option<&Path>) -> Result<Arc<Self>, EmulatorError> {
        let ledger = match folder {
            None => Ledger::new(Archive::Memory),
            Some(folder) => {
                let (archive, lines) = Archive::open(&folder.join(details.id.as_str()))?;
                Ledger::restore(archive, lines)
            }
        };
        Ok(Arc::new(Self { details: Mutex::new(details), ledger: Mutex::new(ledger) }))
    }

    pub(crate) fn details(&self) -> Details {
        self.details.lock().clone()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Details)) {
        change(&mut self.details.lock());
    }

    /// Takes another key, salt and version, and forgets everything that was encrypted under the old ones.
    pub(crate) fn begin_anew(&self, key: NewVault) -> Result<(), EmulatorError> {
        let mut ledger = self.ledger.lock();
        let mut details = self.details.lock();
        let Details { id, owner, region, .. } = details.clone();
        let shared_with = std::mem::take(&mut details.shared_with);
        *details = Details { shared_with, ..Details::new(id, owner, region, key) };
        ledger.clear().map_err(|e| EmulatorError::Data(details.id.as_str().into(), e))
    }

    pub(crate) fn is_owned_by(&self, email: &str) -> bool {
        self.details.lock().owner == email
    }

    pub(crate) fn is_shared_with(&self, email: &str) -> bool {
        self.details.lock().shared_with.contains(email)
    }

    /// The row as `own_host` would show it.
    pub(crate) fn row(&self, own_host: &str) -> VaultRow {
        let size = self.ledger.lock().stored();
        let details = self.details();
        VaultRow {
            id: details.id,
            name: details.name,
            host: details.host.unwrap_or_else(|| own_host.to_owned()),
            region: details.region,
            salt: details.salt,
            encryption_version: details.encryption_version,
            password: details.password.map(Into::into),
            size,
        }
    }

    /// Checks a key. A managed vault that has not seen one keeps it; then the result is true.
    pub(crate) fn admit(&self, keyhash: &str, encryption_version: u8) -> Result<bool, &'static str> {
        let mut details = self.details.lock();
        if details.encryption_version != encryption_version {
            return Err(refusal::WRONG_VERSION);
        }
        match &details.keyhash {
            Some(known) if known == keyhash => Ok(false),
            Some(_) => Err(refusal::WRONG_KEY),
            None if keyhash.is_empty() => Err(refusal::WRONG_KEY),
            None => {
                details.keyhash = Some(keyhash.to_owned());
                Ok(true)
            }
        }
    }

    /// The records of a listing, and what comes after them. Nothing is lost or doubled in between.
    pub(crate) fn subscribe(&self, cursor: Cursor, initial: bool, shape: ListingShape) -> Subscription {
        let (sender, live) = mpsc::unbounded_channel();
        let mut ledger = self.ledger.lock();
        let records = if initial && cursor == Cursor::START { ledger.whole(shape) } else { ledger.after(cursor) };
        let reached = Cursor(ledger.last().0.max(cursor.0));
        ledger.listen(sender);
        Subscription { records, reached, live }
    }

    /// Takes a push that needs no content: a folder, a deletion, an empty file, or content known already.
    pub(crate) fn announce(&self, author: &Author, push: &Push, shape: RenameShape) -> Result<Pushed, PushError> {
        let mut ledger = self.ledger.lock();
        let content = if push.folder || push.deleted {
            None
        } else if push.size == 0 {
            Some(ledger.keep(Bytes::new())?)
        } else {
            match ledger.known(push.hash.as_deref().unwrap_or_default()) {
                Some(content) => Some(content),
                None => return Ok(Pushed::WantsContent),
            }
        };
        ledger.push(author, push, content, shape).map(Pushed::Done)
    }

    /// Takes a push together with its content.
    pub(crate) fn store(
        &self,
        author: &Author,
        push: &Push,
        content: Bytes,
        shape: RenameShape,
    ) -> Result<Uid, PushError> {
        let mut ledger = self.ledger.lock();
        let content = ledger.keep(content)?;
        ledger.push(author, push, Some(content), shape)
    }

    /// Takes a record as it is; only a `uid` of 0 is replaced by the next one.
    pub(crate) fn insert_raw(&self, record: Record, content: Option<Bytes>) -> Result<Uid, PushError> {
        let mut ledger = self.ledger.lock();
        let content = content.map(|bytes| ledger.keep(bytes)).transpose()?;
        ledger.insert(record, content, false)
    }

    pub(crate) fn restore(&self, author: &Author, uid: Uid) -> Result<Option<Uid>, PushError> {
        self.ledger.lock().restore_record(author, uid)
    }

    pub(crate) fn find(&self, uid: Uid) -> Option<Found> {
        self.ledger.lock().find(uid)
    }

    pub(crate) fn records(&self) -> Vec<Arc<Record>> {
        self.ledger.lock().after(Cursor::START)
    }

    pub(crate) fn live_records(&self) -> Vec<Arc<Record>> {
        self.ledger.lock().whole(ListingShape::default())
    }

    pub(crate) fn deleted(&self, suppress_renames: bool) -> Vec<Record> {
        self.ledger.lock().deleted(suppress_renames)
    }

    pub(crate) fn history(&self, path: &str, before: Option<u64>, page: usize) -> (Vec<Record>, bool) {
        self.ledger.lock().history(path, before, page)
    }

    pub(crate) fn stored(&self) -> u64 {
        self.ledger.lock().stored()
    }
}

/// A listing, and the line for what comes later.
pub(crate) struct Subscription {
    pub(crate) records: Vec<Arc<Record>>,
    pub(crate) reached: Cursor,
    pub(crate) live: mpsc::UnboundedReceiver<Arc<Record>>,
}

/// The content of `found`, for a test.
pub(crate) async fn read(found: &Found) -> Option<std::io::Result<Bytes>> {
    match &found.content {
        Some(content) => Some(Content::read(content).await),
        None => None,
    }
}
