//! A vault's records in the order of their numbers, with the newest of each path at hand.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use obsync_proto::wire::Record;
use obsync_proto::wire::socket::Push;
use obsync_proto::{Cursor, Uid};
use tokio::sync::mpsc::UnboundedSender;

use super::Author;
use crate::archive::{Archive, Content, Line};
use crate::config::{ListingShape, RenameShape};
use crate::error::PushError;

/// A record's place. Two records can carry one uid (both halves of a rename), so the order of arrival decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(Uid, u64);

#[derive(Debug)]
struct Entry {
    record: Arc<Record>,
    /// The path's record before this one.
    previous: Option<Key>,
    /// The path has a later record.
    superseded: bool,
    /// The path is gone because it was renamed.
    renamed: bool,
    content: Option<Content>,
}

/// A record as a key of the map by path, so that the path is held once.
#[derive(Debug)]
struct ByPath(Arc<Record>);

impl Borrow<str> for ByPath {
    fn borrow(&self) -> &str {
        &self.0.path
    }
}

impl Hash for ByPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.path.hash(state);
    }
}

impl PartialEq for ByPath {
    fn eq(&self, other: &Self) -> bool {
        self.0.path == other.0.path
    }
}

impl Eq for ByPath {}

/// A record with its content.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) record: Arc<Record>,
    pub(crate) content: Option<Content>,
}

/// A vault's records.
#[derive(Debug)]
pub(super) struct Ledger {
    archive: Archive,
    entries: BTreeMap<Key, Entry>,
    newest: HashMap<ByPath, Key>,
    by_hash: HashMap<String, Content>,
    listeners: Vec<UnboundedSender<Arc<Record>>>,
    stored: u64,
    /// The highest uid that a record had which is gone.
    gone: Uid,
}

impl Ledger {
    pub(super) fn new(archive: Archive) -> Self {
        Self {
            archive,
            entries: BTreeMap::new(),
            newest: HashMap::new(),
            by_hash: HashMap::new(),
            listeners: Vec::new(),
            stored: 0,
            gone: Uid(0),
        }
    }

    /// Forgets all records and contents. Numbers go on from where they were.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.archive.clear()?;
        self.gone = self.last();
        self.entries.clear();
        self.newest.clear();
        self.by_hash.clear();
        self.stored = 0;
        Ok(())
    }

    pub(super) fn restore(archive: Archive, lines: Vec<Line>) -> Self {
        let mut ledger = Self::new(archive);
        for line in lines {
            let content = line.content.and_then(|(number, len)| ledger.archive.content(number, len));
            ledger.file(line.record, content, line.renamed);
        }
        ledger
    }

    /// The highest uid.
    pub(super) fn last(&self) -> Uid {
        self.entries.last_key_value().map_or(self.gone, |(key, _)| key.0)
    }

    /// Bytes of content, every version counted once.
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    pub(super) fn listen(&mut self, listener: UnboundedSender<Arc<Record>>) {
        self.listeners.retain(|other| !other.is_closed());
        self.listeners.push(listener);
    }

    pub(super) fn keep(&mut self, content: Bytes) -> io::Result<Content> {
        self.archive.keep(content)
    }

    pub(super) fn known(&self, hash: &str) -> Option<Content> {
        if hash.is_empty() { None } else { self.by_hash.get(hash).cloned() }
    }

    /// Numbers a push and takes it in, with a deleted record for the path that it renames.
    pub(super) fn push(
        &mut self,
        author: &Author,
        push: &Push,
        content: Option<Content>,
        shape: RenameShape,
    ) -> Result<Uid, PushError> {
        if push.path.is_empty() {
            return Err(PushError::NoPath);
        }
        let new = pushed(author, push);
        let Some(old) = self.renamed_from(push).filter(|_| shape != RenameShape::NewOnly) else {
            return self.insert(new, content, false);
        };
        let old = Record { uid: Uid(0), deleted: true, relatedpath: None, ..by(author, &old) };
        if shape == RenameShape::OldThenNew {
            self.insert(old, None, true)?;
            return self.insert(new, content, false);
        }
        let uid = self.insert(new, content, false)?;
        let old_uid = if shape == RenameShape::OneUid { uid } else { Uid(0) };
        self.insert(Record { uid: old_uid, ..old }, None, true)?;
        Ok(uid)
    }

    fn next(&self) -> Uid {
        Uid(self.last().0.saturating_add(1))
    }

    /// The live record whose path a push gives a new name.
    fn renamed_from(&self, push: &Push) -> Option<Arc<Record>> {
        let old = push.relatedpath.as_deref().filter(|old| *old != push.path)?;
        let entry = self.entries.get(self.newest.get(old)?)?;
        (!push.deleted && !entry.record.deleted).then(|| entry.record.clone())
    }

    /// Takes a record in, for good and for everyone who listens. Its uid, if 0, is the next one.
    pub(super) fn insert(
        &mut self,
        mut record: Record,
        content: Option<Content>,
        renamed: bool,
    ) -> Result<Uid, PushError> {
        if record.uid == Uid(0) {
            record.uid = self.next();
        }
        self.archive.note(&record, renamed, content.as_ref())?;
        let record = self.file(record, content, renamed);
        self.listeners.retain(|listener| listener.send(record.clone()).is_ok());
        Ok(record.uid)
    }

    fn file(&mut self, record: Record, content: Option<Content>, renamed: bool) -> Arc<Record> {
        let record = Arc::new(record);
        let key = Key(record.uid, self.entries.len() as u64);
        if let Some(content) = &content {
            self.remember(&record.hash, content);
        }
        let previous = self.newest.get(record.path.as_str()).copied();
        // A raw record can carry a uid below its path's newest one: then it is itself the earlier one.
        let superseded = previous.is_some_and(|previous| previous > key);
        if !superseded {
            if let Some(entry) = previous.and_then(|previous| self.entries.get_mut(&previous)) {
                entry.superseded = true;
            }
            self.newest.insert(ByPath(record.clone()), key);
        }
        let previous = previous.filter(|_| !superseded);
        self.entries.insert(key, Entry { record: record.clone(), previous, superseded, renamed, content });
        record
    }

    fn remember(&mut self, hash: &str, content: &Content) {
        if hash.is_empty() {
            self.stored += content.len();
        } else if !self.by_hash.contains_key(hash) {
            self.stored += content.len();
            self.by_hash.insert(hash.to_owned(), content.clone());
        }
    }

    /// An initial listing.
    pub(super) fn whole(&self, shape: ListingShape) -> Vec<Arc<Record>> {
        let listed = |entry: &&Entry| (shape.earlier || !entry.superseded) && (shape.deleted || !entry.record.deleted);
        let times = if shape.twice { 2 } else { 1 };
        self.entries.values().filter(listed).flat_map(|e| std::iter::repeat_n(e.record.clone(), times)).collect()
    }

    /// Every record behind `cursor`.
    pub(super) fn after(&self, cursor: Cursor) -> Vec<Arc<Record>> {
        let Some(first) = cursor.0.checked_add(1) else { return Vec::new() };
        self.entries.range(Key(Uid(first), 0)..).map(|(_, entry)| entry.record.clone()).collect()
    }

    /// The record of a uid; of two with one uid, the one that has content.
    pub(super) fn find(&self, uid: Uid) -> Option<Found> {
        let found = self.entries.range(Key(uid, 0)..=Key(uid, u64::MAX)).map(|(_, entry)| entry);
        let entry = found.max_by_key(|entry| (entry.content.is_some(), !entry.record.deleted))?;
        Some(Found { record: entry.record.clone(), content: entry.content.clone() })
    }

    pub(super) fn deleted(&self, suppress_renames: bool) -> Vec<Record> {
        let gone = |entry: &&Entry| entry.record.deleted && !entry.superseded && !(suppress_renames && entry.renamed);
        self.entries.values().filter(gone).map(|entry| (*entry.record).clone()).collect()
    }

    /// One page of a path's records before `before`, newest first, and whether there are more.
    pub(super) fn history(&self, path: &str, before: Option<u64>, page: usize) -> (Vec<Record>, bool) {
        let mut next = self.newest.get(path).copied();
        let mut items = Vec::new();
        while let Some(entry) = next.and_then(|key| self.entries.get(&key)) {
            next = entry.previous;
            if before.is_some_and(|before| entry.record.uid.0 >= before) {
                continue;
            }
            if items.len() == page {
                return (items, true);
            }
            items.push((*entry.record).clone());
        }
        (items, false)
    }

    /// Makes an earlier record the newest of its path; `None` if there is no such record.
    pub(super) fn restore_record(&mut self, author: &Author, uid: Uid) -> Result<Option<Uid>, PushError> {
        let Some(found) = self.find(uid) else { return Ok(None) };
        let record = Record { uid: self.next(), relatedpath: None, deleted: false, ..by(author, &found.record) };
        self.insert(record, found.content, false).map(Some)
    }
}

fn by(author: &Author, record: &Record) -> Record {
    Record { device: author.device.clone(), user: author.user, ..record.clone() }
}

fn pushed(author: &Author, push: &Push) -> Record {
    Record {
        uid: Uid(0),
        path: push.path.clone(),
        hash: push.hash.clone().unwrap_or_default(),
        size: push.size,
        ctime: push.ctime,
        mtime: push.mtime,
        folder: push.folder,
        deleted: push.deleted,
        device: author.device.clone(),
        user: author.user,
        relatedpath: push.relatedpath.clone(),
    }
}
