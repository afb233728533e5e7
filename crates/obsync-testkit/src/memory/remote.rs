//! [`MemoryVault`].

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use obsync_core::remote::{Connection, Remote, RemoteError, RemoteErrorKind};
use obsync_proto::crypto::{IV_LEN, VaultKeys};
use obsync_proto::session::Event;
use obsync_proto::wire::Record;
use obsync_proto::wire::limits::MAX_PIECE;
use obsync_proto::{ContentHash, Cursor, Uid};
use tokio::sync::watch;

use crate::lock;

/// A vault at a service that is neither reached by a socket nor waits for anything: for tests in virtual time. What is
/// told over the wire, and how, is the emulator's part; here are records, contents and their numbers, with real
/// encryption.
///
/// Devices push records one by one; which ones a device pushes for what its user does is the caller's part.
#[derive(Debug, Clone)]
pub struct MemoryVault {
    keys: Arc<VaultKeys>,
    shared: Arc<Mutex<Shared>>,
    /// Told of new records and of what happens to connections.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Shared {
    /// In the order in which they came. Two can have one number: both halves of a rename.
    records: Vec<Record>,
    contents: BTreeMap<Uid, Bytes>,
    /// Ciphertext by plaintext: equal contents are encrypted once.
    sealed: HashMap<Bytes, Bytes>,
    lost: HashSet<Uid>,
    /// An initial listing has the newest live record of each path alone.
    lists_newest: bool,
    pulls: Vec<Uid>,
    /// Connections that were opened before this one's number are cut.
    cut_before: u64,
    opened: u64,
    out_of_reach: bool,
}

/// A file, as a device pushes it.
#[derive(Debug, Clone, Copy)]
pub struct PushedFile<'a> {
    /// Plaintext.
    pub content: &'a [u8],
    /// Modification time, ms since 1970.
    pub mtime: i64,
    /// Creation time, ms since 1970.
    pub ctime: i64,
}

impl MemoryVault {
    /// An empty vault under these keys.
    pub fn new(keys: VaultKeys) -> Self {
        Self { keys: Arc::new(keys), shared: Arc::default(), changed: watch::Sender::new(()) }
    }

    /// Lists, to whoever asks for the whole vault, the newest live record of each path alone, and not every record that
    /// there ever was.
    #[must_use]
    pub fn listing_newest(self) -> Self {
        self.lock().lists_newest = true;
        self
    }

    /// The keys.
    pub fn keys(&self) -> Arc<VaultKeys> {
        self.keys.clone()
    }

    /// The number of the newest record.
    pub fn last(&self) -> Uid {
        self.lock().records.iter().map(|record| record.uid).max().unwrap_or_default()
    }

    /// Adds a file's record; `from` is the old path of a rename.
    pub fn push_file(&self, path: &str, file: PushedFile<'_>, from: Option<&str>) -> Uid {
        let PushedFile { content, mtime, ctime } = file;
        let hash = self.keys.strings.encode(&ContentHash::of(content).to_string());
        let ciphertext = self.seal(content);
        let size = ciphertext.len() as u64;
        self.push(Record { hash, size, mtime, ctime, ..self.record(path, from) }, Some(ciphertext))
    }

    /// Adds a folder's record; `from` is the old path of a rename.
    pub fn push_folder(&self, path: &str, from: Option<&str>) -> Uid {
        self.push(Record { folder: true, ..self.record(path, from) }, None)
    }

    /// Adds the record of a path that is no more, with the number `uid` of the other half of a rename, or its own.
    pub fn push_deleted(&self, path: &str, folder: bool, uid: Option<Uid>) -> Uid {
        let uid = uid.unwrap_or_default();
        self.push(Record { uid, folder, deleted: true, ..self.record(path, None) }, None)
    }

    /// Loses the content of a record: a pull finds that it is gone.
    pub fn lose(&self, uid: Uid) {
        self.lock().lost.insert(uid);
    }

    /// The records that were pulled since the last [`forget_pulls`](Self::forget_pulls).
    pub fn pulls(&self) -> Vec<Uid> {
        self.lock().pulls.clone()
    }

    /// Counts pulls from 0 again.
    pub fn forget_pulls(&self) {
        self.lock().pulls.clear();
    }

    /// Cuts all connections.
    pub fn cut_connections(&self) {
        let mut shared = self.lock();
        shared.cut_before = shared.opened;
        drop(shared);
        self.changed.send_replace(());
    }

    /// From now on, connections can be opened, or cannot.
    pub fn set_out_of_reach(&self, out_of_reach: bool) {
        self.lock().out_of_reach = out_of_reach;
    }

    fn record(&self, path: &str, from: Option<&str>) -> Record {
        let encode = |path: &str| self.keys.strings.encode(path);
        Record { path: encode(path), relatedpath: from.map(encode), device: "test".to_owned(), ..Record::default() }
    }

    fn push(&self, mut record: Record, content: Option<Bytes>) -> Uid {
        if record.uid == Uid::default() {
            record.uid = Uid(self.last().0 + 1);
        }
        let uid = record.uid;
        let mut shared = self.lock();
        shared.contents.extend(content.map(|content| (uid, content)));
        shared.records.push(record);
        drop(shared);
        self.changed.send_replace(());
        uid
    }

    fn seal(&self, content: &[u8]) -> Bytes {
        if content.is_empty() {
            return Bytes::new();
        }
        // One IV for one content; another content has another. Nobody but tests ever sees the key.
        let hash = ContentHash::of(content);
        let mut iv = [0; IV_LEN];
        iv.copy_from_slice(&hash.0[..IV_LEN]);
        let seal = || Bytes::from(self.keys.content.encrypt(&iv, content));
        self.lock().sealed.entry(Bytes::copy_from_slice(content)).or_insert_with(seal).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

impl Shared {
    /// What a connection hears first.
    fn listing(&self, cursor: Cursor) -> Vec<Record> {
        if cursor != Cursor::START || !self.lists_newest {
            return self.records.iter().filter(|record| record.uid.0 > cursor.0).cloned().collect();
        }
        let newest: HashMap<&str, usize> =
            self.records.iter().enumerate().map(|(n, record)| (record.path.as_str(), n)).collect();
        let is_listed = |n: usize, record: &Record| newest[record.path.as_str()] == n && !record.deleted;
        self.records.iter().enumerate().filter(|(n, record)| is_listed(*n, record)).map(|(_, r)| r.clone()).collect()
    }
}

#[async_trait]
impl Remote for MemoryVault {
    async fn open(&self, cursor: Cursor) -> Result<Box<dyn Connection>, RemoteError> {
        let reached = Cursor(self.last().0);
        let changed = self.changed.subscribe();
        let mut shared = self.lock();
        if shared.out_of_reach {
            return Err(RemoteError::new(RemoteErrorKind::Unreachable, "out of reach on request"));
        }
        shared.opened += 1;
        let (number, told) = (shared.opened, shared.records.len());
        let events = shared.listing(cursor).into_iter().map(Event::Record).chain([Event::Ready(reached)]).collect();
        Ok(Box::new(MemoryConnection { vault: self.clone(), events, number, told, changed }))
    }
}

/// Tells what there was to tell when it was opened, then what is asked for, and what is new.
struct MemoryConnection {
    vault: MemoryVault,
    events: VecDeque<Event>,
    /// Connections are counted from 1.
    number: u64,
    /// So many of the vault's records are told, or were when it was opened.
    told: usize,
    changed: watch::Receiver<()>,
}

impl MemoryConnection {
    fn next_event(&mut self) -> Result<Option<Event>, RemoteError> {
        let shared = self.vault.lock();
        if self.number <= shared.cut_before {
            return Err(RemoteError::new(RemoteErrorKind::Unreachable, "cut on request"));
        }
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(event));
        }
        let live = shared.records.get(self.told).cloned();
        self.told += usize::from(live.is_some());
        Ok(live.map(Event::Record))
    }
}

#[async_trait]
impl Connection for MemoryConnection {
    async fn pull(&mut self, uid: Uid) -> Result<(), RemoteError> {
        let mut shared = self.vault.lock();
        shared.pulls.push(uid);
        match shared.contents.get(&uid).filter(|_| !shared.lost.contains(&uid)) {
            Some(content) => {
                self.events.push_back(Event::Content(content.len() as u64));
                self.events.extend(content.chunks(MAX_PIECE).map(|piece| Event::Piece(BytesMut::from(piece))));
                self.events.push_back(Event::PullDone);
            }
            None => self.events.push_back(Event::PullGone),
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Event, RemoteError> {
        loop {
            self.changed.mark_unchanged();
            if let Some(event) = self.next_event()? {
                return Ok(event);
            }
            // The vault lives for as long as this connection does: it holds a handle on it.
            let _ = self.changed.changed().await;
        }
    }
}
