//! The vault as its devices know it, beside the records that they push.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use obsync_proto::Uid;
use obsync_testkit::memory::{MemoryVault, PushedFile};

use crate::step::{Renames, Setup};

/// How many contents there are: few, so that many files have the same.
pub(crate) const CONTENTS: u8 = 7;

static CONTENT: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let text = |n: u8| format!("content {n}").into_bytes();
    let mut all: Vec<_> = (0..CONTENTS).map(text).collect();
    all[0].clear();
    // Of the size of another, so that size alone tells nothing.
    all[2] = all[1].iter().rev().copied().collect();
    // Handed on piece by piece.
    all.push(vec![7; (4 << 20) + 1]);
    all
});

/// The content of this number; number 0 is empty, number [`CONTENTS`] is larger than what is handed on as a whole.
pub(crate) fn content(number: u8) -> &'static [u8] {
    &CONTENT[usize::from(number)]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) content: u8,
    pub(crate) mtime: i64,
    pub(crate) ctime: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Folder,
    File(File),
}

/// What is in the vault, by the last word on each path. Two devices can make what one cannot: a file with something
/// below it, a file in a folder that has no record.
pub(crate) struct Vault {
    pub(crate) service: MemoryVault,
    renames: Renames,
    pub(crate) live: BTreeMap<String, Node>,
    /// The last record of each path, deleted ones too.
    pub(crate) uids: BTreeMap<String, Uid>,
    /// Every content that a path ever had.
    pub(crate) history: BTreeMap<String, BTreeSet<u8>>,
    /// Records whose content the service lost.
    pub(crate) lost: BTreeSet<Uid>,
}

impl Vault {
    pub(crate) fn new(service: MemoryVault, setup: &Setup) -> Self {
        Self {
            service,
            renames: setup.renames,
            live: BTreeMap::new(),
            uids: BTreeMap::new(),
            history: BTreeMap::new(),
            lost: BTreeSet::new(),
        }
    }

    pub(crate) fn put(&mut self, path: &str, content: u8, mtime: i64) {
        if self.live.get(path) == Some(&Node::Folder) {
            self.delete(path);
        }
        self.make_way(path);
        self.stale_put(path, content, mtime);
    }

    pub(crate) fn stale_put(&mut self, path: &str, content: u8, mtime: i64) {
        let ctime = match self.live.get(path) {
            Some(Node::File(file)) => file.ctime,
            _ => mtime,
        };
        self.push_file(path, File { content, mtime, ctime }, None);
    }

    pub(crate) fn folder(&mut self, path: &str) {
        if self.live.get(path) != Some(&Node::Folder) {
            self.make_way(path);
            self.stale_folder(path);
        }
    }

    pub(crate) fn stale_folder(&mut self, path: &str) {
        self.push_folder(path, None);
    }

    /// Innermost first.
    pub(crate) fn delete(&mut self, path: &str) {
        for gone in self.within(path).into_iter().rev() {
            self.push_deleted(&gone, None);
        }
    }

    pub(crate) fn stale_delete(&mut self, path: &str) {
        if self.uids.contains_key(path) {
            self.push_deleted(path, None);
        }
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        let is_within = |inner: &str, outer: &str| inner == outer || inner.starts_with(&format!("{outer}/"));
        if !self.live.contains_key(from) || is_within(to, from) || is_within(from, to) {
            return;
        }
        self.delete(to);
        self.make_way(to);
        for old in self.within(from) {
            let new = format!("{to}{}", &old[from.len()..]);
            self.rename_one(&old, &new);
        }
    }

    pub(crate) fn swap(&mut self, one: &str, other: &str) {
        let between = "for a moment";
        if self.live.contains_key(one) && self.live.contains_key(other) {
            self.rename(one, between);
            self.rename(other, one);
            self.rename(between, other);
        }
    }

    pub(crate) fn lose_content(&mut self, path: &str) {
        if matches!(self.live.get(path), Some(Node::File(_))) {
            let uid = self.uids[path];
            self.service.lose(uid);
            self.lost.insert(uid);
        }
    }

    fn rename_one(&mut self, old: &str, new: &str) {
        let Some(node) = self.live.get(old).copied() else { return };
        if self.renames == Renames::OldThenNew {
            self.push_deleted(old, None);
        }
        let uid = match node {
            Node::File(file) => self.push_file(new, file, Some(old)),
            Node::Folder => self.push_folder(new, Some(old)),
        };
        match self.renames {
            Renames::OldThenNew => {}
            Renames::NewThenOld => self.push_deleted(old, None),
            Renames::OneNumber => self.push_deleted(old, Some(uid)),
        }
    }

    /// Makes the folders on the way to a path; a file there goes.
    fn make_way(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            self.folder(&path[..at]);
        }
    }

    /// What is live at a path and below it, outermost first.
    fn within(&self, path: &str) -> Vec<String> {
        let below = format!("{path}/");
        self.live.keys().filter(|p| *p == path || p.starts_with(&below)).cloned().collect()
    }

    fn push_file(&mut self, path: &str, file: File, from: Option<&str>) -> Uid {
        let File { content: number, mtime, ctime } = file;
        let uid = self.service.push_file(path, PushedFile { content: content(number), mtime, ctime }, from);
        self.history.entry(path.to_owned()).or_default().insert(number);
        self.live.insert(path.to_owned(), Node::File(file));
        self.uids.insert(path.to_owned(), uid);
        uid
    }

    fn push_folder(&mut self, path: &str, from: Option<&str>) -> Uid {
        let uid = self.service.push_folder(path, from);
        self.live.insert(path.to_owned(), Node::Folder);
        self.uids.insert(path.to_owned(), uid);
        uid
    }

    fn push_deleted(&mut self, path: &str, uid: Option<Uid>) {
        let was_folder = self.live.remove(path) == Some(Node::Folder);
        let uid = self.service.push_deleted(path, was_folder, uid);
        self.uids.insert(path.to_owned(), uid);
    }
}
