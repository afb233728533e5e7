//! A device that writes into a vault at the emulator, with real encryption, and knows what is in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use obsync_emulator::{Emulator, NewVault, RenameShape, VaultKey};
use obsync_proto::crypto::{EncryptionVersion, IV_LEN, VaultKeys};
use obsync_proto::wire::Record;
use obsync_proto::wire::limits::MAX_PIECE;
use obsync_proto::wire::socket::Push;
use obsync_proto::{ContentHash, Uid, VaultId};
use secrecy::ExposeSecret;

use crate::generate::{self, Shape};
use crate::keys::vault_keys;
use crate::tree::Tree;

mod model;

pub use model::{Change, Model, Node};

/// A vault at the emulator, and the one device that writes into it.
///
/// The device behaves as the official client does: a folder has a record of its own, made before what is in it; a
/// rename is a record for the new path that names the old one, and a deleted record for the old one, which the service
/// makes by itself (under [`RenameShape::NewOnly`] the device makes it); a folder's rename is one rename for it and one
/// for each thing in it.
#[derive(Debug)]
pub struct TestVault {
    emulator: Arc<Emulator>,
    id: VaultId,
    name: String,
    password: String,
    keys: VaultKeys,
    rng: fastrand::Rng,
    model: Model,
    uids: BTreeMap<String, Uid>,
}

impl TestVault {
    /// Makes a vault under end-to-end encryption for the account `owner`. IVs are drawn at random from a seed, the
    /// vault's name; so is the salt, which makes the keys of equal names and passwords equal.
    pub fn create(
        emulator: &Arc<Emulator>,
        owner: &str,
        name: &str,
        version: EncryptionVersion,
        password: &str,
    ) -> Self {
        Self::with_key(emulator, owner, name, version, password, |keyhash| VaultKey::EndToEnd { keyhash })
    }

    /// Makes a vault under managed encryption: its row holds the password.
    pub fn create_managed(
        emulator: &Arc<Emulator>,
        owner: &str,
        name: &str,
        version: EncryptionVersion,
        password: &str,
    ) -> Self {
        Self::with_key(emulator, owner, name, version, password, |keyhash| VaultKey::Managed {
            password: password.to_owned(),
            keyhash: Some(keyhash),
        })
    }

    fn with_key(
        emulator: &Arc<Emulator>,
        owner: &str,
        name: &str,
        version: EncryptionVersion,
        password: &str,
        key: impl FnOnce(String) -> VaultKey,
    ) -> Self {
        let (keys, new) = keyed(name, &salt_of(name), version, password, key);
        let id = emulator.create_vault(owner, new).unwrap();
        let seed = name.bytes().fold(1, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        Self {
            emulator: Arc::clone(emulator),
            id,
            name: name.to_owned(),
            password: password.to_owned(),
            keys,
            rng: fastrand::Rng::with_seed(seed),
            model: Model::default(),
            uids: BTreeMap::new(),
        }
    }

    /// Encrypts the vault anew, with another salt: the service forgets what it had, and gets everything again.
    pub fn reencrypt(&mut self, version: EncryptionVersion, password: &str) {
        let salt = salt_of(&format!("{} anew", self.name));
        let (keys, new) = keyed(&self.name, &salt, version, password, |keyhash| VaultKey::EndToEnd { keyhash });
        self.emulator.begin_vault_anew(&self.id, new).unwrap();
        (self.keys, self.password) = (keys, password.to_owned());
        let (mtimes, Tree { folders, files }) = (self.mtimes(), self.tree());
        (self.model, self.uids) = (Model::default(), BTreeMap::new());
        folders.iter().for_each(|folder| _ = self.mkdir(folder));
        for (path, content) in files {
            self.put(&path, content, mtimes[&path]);
        }
    }

    /// Goes on at an emulator that was started again on the same data.
    pub fn attach(&mut self, emulator: &Arc<Emulator>) {
        self.emulator = Arc::clone(emulator);
    }

    /// The vault's id.
    pub fn id(&self) -> &VaultId {
        &self.id
    }

    /// The vault's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The encryption password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The salt of its keys.
    pub fn salt(&self) -> String {
        salt_of(&self.name)
    }

    /// The keys.
    pub fn keys(&self) -> &VaultKeys {
        &self.keys
    }

    /// What the vault holds live, as far as this device wrote it in the usual way.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What the vault holds live, to compare with a mirror.
    pub fn tree(&self) -> Tree {
        self.model.tree()
    }

    /// The content of every live file.
    pub fn snapshot(&self) -> BTreeMap<String, Vec<u8>> {
        self.model.tree().files
    }

    /// The modification time of every live file, ms since 1970.
    pub fn mtimes(&self) -> BTreeMap<String, i64> {
        self.model.files().map(|(path, _, mtime)| (path.to_owned(), mtime)).collect()
    }

    /// The newest record of a live path.
    pub fn uid(&self, path: &str) -> Uid {
        *self.uids.get(path).unwrap_or_else(|| panic!("{path:?} is not in the vault"))
    }

    /// Writes a file, after the folders on the way to it.
    pub fn put(&mut self, path: &str, content: impl Into<Bytes>, mtime: i64) -> Uid {
        let content = content.into();
        for folder in self.model.missing_parents(path) {
            self.push_folder(&folder, None);
        }
        self.model.put(path, content.clone(), mtime);
        self.push_file(path, &content, None)
    }

    /// Makes a folder, after those above it.
    pub fn mkdir(&mut self, path: &str) -> Uid {
        for folder in self.model.missing_parents(path) {
            self.push_folder(&folder, None);
        }
        self.model.mkdir(path);
        self.push_folder(path, None)
    }

    /// Deletes a file, or a folder with everything in it, innermost first.
    pub fn delete(&mut self, path: &str) -> Uid {
        let mut last = Uid(0);
        for (gone, node) in self.model.delete(path) {
            last = self.push_deleted(&gone, matches!(node, Node::Folder));
        }
        last
    }

    /// Renames a file, or a folder with everything in it, outermost first, after the folders on the way.
    pub fn rename(&mut self, from: &str, to: &str) -> Uid {
        for folder in self.model.missing_parents(to) {
            self.push_folder(&folder, None);
        }
        let mut last = Uid(0);
        for (old, new) in self.model.rename(from, to) {
            last = match self.model.get(&new).cloned() {
                Some(Node::File { content, .. }) => self.push_file(&new, &content, Some(&old)),
                _ => self.push_folder(&new, Some(&old)),
            };
            if self.leaves_old_paths() {
                self.push_deleted(&old, matches!(self.model.get(&new), Some(Node::Folder)));
            }
            self.uids.remove(&old);
        }
        last
    }

    /// Makes one change.
    pub fn apply(&mut self, change: &Change) -> Uid {
        match change {
            Change::Folder { path } => self.mkdir(path),
            Change::Put { path, content, mtime } => self.put(path, content.clone(), *mtime),
            Change::Delete { path } => self.delete(path),
            Change::Rename { from, to } => self.rename(from, to),
        }
    }

    /// Fills the vault with what the seed gives; see [`generate::vault`].
    pub fn fill(&mut self, shape: &Shape) {
        for change in generate::vault(shape) {
            self.apply(&change);
        }
    }

    /// Makes `count` changes at random and tells which; see [`generate::changes`].
    pub fn random_changes(&mut self, seed: u64, count: usize) -> Vec<Change> {
        let changes = generate::changes(seed, &self.model, count);
        for change in &changes {
            self.apply(change);
        }
        changes
    }

    /// Adds a file's record at a path that is not checked, however hostile. The model does not know it.
    pub fn put_raw(&mut self, path: &str, content: &[u8], mtime: i64) -> Uid {
        let (record, ciphertext) = self.sealed(path, content, mtime);
        self.push_record(record, Some(ciphertext))
    }

    /// The record and the ciphertext of a file, for a test to spoil and to [`push_record`](Self::push_record).
    pub fn sealed(&mut self, path: &str, content: &[u8], mtime: i64) -> (Record, Bytes) {
        let ciphertext = self.encrypt(content);
        let record = Record {
            path: self.encode(path),
            hash: self.encode(&ContentHash::of(content).to_string()),
            size: ciphertext.len() as u64,
            ctime: mtime,
            mtime,
            device: self.device(),
            ..Record::default()
        };
        (record, ciphertext)
    }

    /// Adds a record as it is; see [`Emulator::push_record_raw`]. The model does not know it.
    pub fn push_record(&self, record: Record, ciphertext: Option<Bytes>) -> Uid {
        self.emulator.push_record_raw(&self.id, record, ciphertext).unwrap()
    }

    /// A path or hash as the service has it.
    pub fn encode(&self, text: &str) -> String {
        self.keys.strings.encode(text)
    }

    /// A path or hash in plain text.
    pub fn decode(&self, encoded: &str) -> String {
        self.keys.strings.decode(encoded).unwrap()
    }

    /// Content as the service has it, under an IV of its own. Zero bytes stand for an empty file.
    pub fn encrypt(&mut self, content: &[u8]) -> Bytes {
        if content.is_empty() {
            return Bytes::new();
        }
        let mut iv = [0; IV_LEN];
        self.rng.fill(&mut iv);
        self.keys.content.encrypt(&iv, content).into()
    }

    /// Whether the service leaves it to the device to delete the old path of a rename.
    fn leaves_old_paths(&self) -> bool {
        let mut left = false;
        self.emulator.configure(|config| left = config.rename == RenameShape::NewOnly);
        left
    }

    fn device(&self) -> String {
        "test device".to_owned()
    }

    fn push_file(&mut self, path: &str, content: &[u8], from: Option<&str>) -> Uid {
        let (mtime, ctime) = self.model.times(path);
        let (record, ciphertext) = self.sealed(path, content, mtime);
        let name = path.rsplit('/').next().unwrap_or_default();
        let push = Push {
            path: record.path,
            relatedpath: from.map(|from| self.encode(from)),
            extension: name.rsplit_once('.').map(|(_, extension)| extension.to_owned()).unwrap_or_default(),
            hash: Some(record.hash),
            ctime,
            mtime,
            size: record.size,
            pieces: record.size.div_ceil(MAX_PIECE as u64),
            ..Push::default()
        };
        self.push(path, push, ciphertext)
    }

    fn push_folder(&mut self, path: &str, from: Option<&str>) -> Uid {
        let relatedpath = from.map(|from| self.encode(from));
        let push = Push { path: self.encode(path), relatedpath, folder: true, ..Push::default() };
        self.push(path, push, Bytes::new())
    }

    fn push_deleted(&mut self, path: &str, folder: bool) -> Uid {
        let push = Push { path: self.encode(path), folder, deleted: true, ..Push::default() };
        let uid = self.push(path, push, Bytes::new());
        self.uids.remove(path);
        uid
    }

    fn push(&mut self, path: &str, push: Push, ciphertext: Bytes) -> Uid {
        let uid = self.emulator.push_as(&self.device(), &self.id, push, ciphertext).unwrap();
        self.uids.insert(path.to_owned(), uid);
        uid
    }
}

/// The keys of a vault, and the vault.
fn keyed(
    name: &str,
    salt: &str,
    version: EncryptionVersion,
    password: &str,
    key: impl FnOnce(String) -> VaultKey,
) -> (VaultKeys, NewVault) {
    let keys = vault_keys(password, salt, version);
    let key = key(keys.keyhash.expose_secret().to_owned());
    let new =
        NewVault { name: name.to_owned(), encryption_version: version.into(), salt: salt.to_owned(), key, host: None };
    (keys, new)
}

fn salt_of(name: &str) -> String {
    format!("salt of {name}")
}
