//! The reference: what the mirror of a vault is, in plain words and without the engine's.

use std::collections::{BTreeMap, BTreeSet};

use crate::step::Show;
use crate::vault::{File, Node, content};
use crate::world::Look;

/// What a destination is to have.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Files.
    pub(crate) files: BTreeMap<String, File>,
    /// Folders: those of the vault, and those that files are in. A bucket has none.
    pub(crate) folders: BTreeSet<String>,
    /// Paths that the vault has as folders by themselves: a file there has become a folder.
    pub(crate) named: BTreeSet<String>,
    /// Files that cannot be there, because the vault has something below them.
    pub(crate) refused: BTreeSet<String>,
}

impl Wanted {
    /// The part of a vault that `show` lets through.
    pub(crate) fn of(live: &BTreeMap<String, Node>, show: Show, bucket: bool) -> Self {
        let mut wanted = Self::default();
        for (path, node) in live.iter().filter(|(path, _)| show.admits(path)) {
            wanted.folders.extend(path.match_indices('/').map(|(at, _)| path[..at].to_owned()));
            match node {
                Node::Folder => _ = wanted.named.insert(path.clone()),
                Node::File(file) => _ = wanted.files.insert(path.clone(), *file),
            }
        }
        wanted.folders.extend(wanted.named.iter().cloned());
        if bucket {
            wanted.folders.clear();
        }
        wanted.refused = wanted.files.keys().filter(|path| wanted.folders.contains(*path)).cloned().collect();
        wanted.files.retain(|path, _| !wanted.refused.contains(path));
        wanted
    }

    /// Whether this file is wanted and is as it is to be: content and modification time.
    pub(crate) fn has(&self, path: &str, look: &Look) -> bool {
        match (self.files.get(path), look.files.get(path)) {
            (Some(file), Some(stored)) => stored.content == content(file.content) && stored.mtime == file.mtime,
            _ => false,
        }
    }
}
