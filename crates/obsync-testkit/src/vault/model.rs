//! What a vault holds, as a device sees it: files and folders by path, every file in a folder that is there.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::tree::Tree;

/// One file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A folder.
    Folder,
    /// A file.
    File {
        /// Its content.
        content: Bytes,
        /// Modification time, ms since 1970.
        mtime: i64,
        /// Creation time, ms since 1970.
        ctime: i64,
    },
}

/// Something that a device does to a vault.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// Makes a folder.
    Folder {
        /// Where.
        path: String,
    },
    /// Writes a file, new or not.
    Put {
        /// Where.
        path: String,
        /// What.
        content: Bytes,
        /// Modification time, ms since 1970.
        mtime: i64,
    },
    /// Deletes a file, or a folder with everything in it.
    Delete {
        /// What.
        path: String,
    },
    /// Renames a file, or a folder with everything in it.
    Rename {
        /// The old path.
        from: String,
        /// The new path.
        to: String,
    },
}

impl fmt::Debug for Change {
    /// Without the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder { path } => write!(f, "make folder {path:?}"),
            Self::Put { path, content, .. } => write!(f, "put {path:?} ({} bytes)", content.len()),
            Self::Delete { path } => write!(f, "delete {path:?}"),
            Self::Rename { from, to } => write!(f, "rename {from:?} to {to:?}"),
        }
    }
}

/// Files and folders by path. It panics where a device could not do what is asked: write below a file, delete what is
/// not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model(BTreeMap<String, Node>);

impl Model {
    /// What is at a path.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.0.get(path)
    }

    /// Path, content and modification time of every file.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Bytes, i64)> {
        self.0.iter().filter_map(|(path, node)| match node {
            Node::Folder => None,
            Node::File { content, mtime, .. } => Some((path.as_str(), content, *mtime)),
        })
    }

    /// The path of every folder.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, node)| **node == Node::Folder).map(|(path, _)| path.as_str())
    }

    /// The same to compare with a mirror.
    pub fn tree(&self) -> Tree {
        Tree {
            files: self.files().map(|(path, content, _)| (path.to_owned(), content.to_vec())).collect(),
            folders: self.folders().map(str::to_owned).collect(),
        }
    }

    /// Makes a change.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Folder { path } => self.mkdir(path),
            Change::Put { path, content, mtime } => self.put(path, content.clone(), *mtime),
            Change::Delete { path } => drop(self.delete(path)),
            Change::Rename { from, to } => drop(self.rename(from, to)),
        }
    }

    /// Modification and creation time of a file.
    pub(super) fn times(&self, path: &str) -> (i64, i64) {
        match self.get(path) {
            Some(Node::File { mtime, ctime, .. }) => (*mtime, *ctime),
            other => panic!("{path:?} is no file: {other:?}"),
        }
    }

    /// The folders that are not there on the way to `path`, outermost first.
    pub(super) fn missing_parents(&self, path: &str) -> Vec<String> {
        parents(path).filter(|folder| !self.0.contains_key(*folder)).map(str::to_owned).collect()
    }

    pub(super) fn mkdir(&mut self, path: &str) {
        for folder in parents(path).chain([path]) {
            let node = self.0.entry(folder.to_owned()).or_insert(Node::Folder);
            assert_eq!(*node, Node::Folder, "{folder:?} is a file");
        }
    }

    pub(super) fn put(&mut self, path: &str, content: Bytes, mtime: i64) {
        self.make_parents(path);
        let ctime = match self.0.get(path) {
            Some(Node::Folder) => panic!("{path:?} is a folder"),
            Some(Node::File { ctime, .. }) => *ctime,
            None => mtime,
        };
        self.0.insert(path.to_owned(), Node::File { content, mtime, ctime });
    }

    /// What it deleted, innermost first.
    pub(super) fn delete(&mut self, path: &str) -> Vec<(String, Node)> {
        let mut gone = self.within(path);
        gone.reverse();
        gone.into_iter().map(|path| self.0.remove_entry(&path).unwrap()).collect()
    }

    /// Old and new path of everything that it renamed, outermost first.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> Vec<(String, String)> {
        assert!(!self.0.contains_key(to), "{to:?} is there already");
        assert!(!to.starts_with(&format!("{from}/")), "{to:?} is in {from:?}");
        self.make_parents(to);
        let renamed: Vec<_> =
            self.within(from).into_iter().map(|old| (format!("{to}{}", &old[from.len()..]), old)).collect();
        renamed
            .into_iter()
            .map(|(new, old)| {
                let node = self.0.remove(&old).unwrap();
                self.0.insert(new.clone(), node);
                (old, new)
            })
            .collect()
    }

    fn make_parents(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.mkdir(parent);
        }
    }

    /// The path and everything in it, outermost first.
    fn within(&self, path: &str) -> Vec<String> {
        assert!(self.0.contains_key(path), "{path:?} is not there");
        let below = format!("{path}/");
        let inside = self.0.range(below.clone()..).take_while(|(inside, _)| inside.starts_with(&below));
        std::iter::once(path.to_owned()).chain(inside.map(|(inside, _)| inside.clone())).collect()
    }
}

/// The folders that hold `path`, outermost first.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(paths: &[&str]) -> Model {
        let mut model = Model::default();
        for path in paths {
            model.put(path, Bytes::copy_from_slice(path.as_bytes()), 1);
        }
        model
    }

    #[test]
    fn folder_is_renamed_with_everything_in_it() {
        let mut model = model(&["a/b/c.md", "a/d.md", "a b.md", "ab/e.md"]);
        let renamed = model.rename("a", "x/y");
        assert_eq!(renamed[0], ("a".to_owned(), "x/y".to_owned()));
        let files: Vec<_> = model.files().map(|(path, ..)| path).collect();
        assert_eq!(files, ["a b.md", "ab/e.md", "x/y/b/c.md", "x/y/d.md"]);
        assert_eq!(model.folders().collect::<Vec<_>>(), ["ab", "x", "x/y", "x/y/b"]);
    }

    #[test]
    fn folder_is_deleted_innermost_first() {
        let mut model = model(&["a/b/c.md", "a/d.md", "ab.md"]);
        let gone: Vec<_> = model.delete("a").into_iter().map(|(path, _)| path).collect();
        assert_eq!(gone, ["a/d.md", "a/b/c.md", "a/b", "a"]);
        assert_eq!(model.files().count(), 1);
    }
}
