//! [`Tree`]: files and folders side by side, so that a vault and its mirror can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::fs;
use std::path::Path;

/// Files with their content, and folders. Times are not part of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// Content by path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Every folder, those that hold something too.
    pub folders: BTreeSet<String>,
}

impl fmt::Debug for Tree {
    /// Names and sizes only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: BTreeMap<_, _> = self.files.iter().map(|(path, content)| (path, content.len())).collect();
        f.debug_struct("Tree").field("files", &sizes).field("folders", &self.folders).finish()
    }
}

impl Tree {
    /// Reads a folder on disk. A symbolic link counts as a file whose content is `-> ` and its target.
    pub fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        tree.read_folder(root, "");
        tree
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) {
        for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap_or_else(|name| panic!("{name:?} is not UTF-8"));
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                self.read_folder(&entry.path(), &format!("{path}/"));
                self.folders.insert(path);
            } else if kind.is_symlink() {
                let target = fs::read_link(entry.path()).unwrap();
                self.files.insert(path, format!("-> {}", target.display()).into_bytes());
            } else {
                self.files.insert(path, fs::read(entry.path()).unwrap());
            }
        }
    }

    /// Only the files and folders whose path `keep` lets through.
    #[must_use]
    pub fn filtered(mut self, keep: impl Fn(&str) -> bool) -> Self {
        self.files.retain(|path, _| keep(path));
        self.folders.retain(|path| keep(path));
        self
    }

    /// Without the folders, as a bucket has it.
    #[must_use]
    pub fn files_only(mut self) -> Self {
        self.folders.clear();
        self
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|content| content.len() as u64).sum()
    }

    /// What is different in `actual`, one line each, without contents.
    pub fn differences(&self, actual: &Tree) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, content) in &self.files {
            match actual.files.get(path) {
                None => lines.push(format!("missing file     {path:?} ({} bytes)", content.len())),
                Some(found) if found != content => {
                    let at = content.iter().zip(found).take_while(|(a, b)| a == b).count();
                    let (expected, found) = (content.len(), found.len());
                    lines.push(format!(
                        "different file   {path:?} (expected {expected} bytes, found {found}; from byte {at})"
                    ));
                }
                Some(_) => {}
            }
        }
        for (path, content) in actual.files.iter().filter(|(path, _)| !self.files.contains_key(*path)) {
            lines.push(format!("unexpected file  {path:?} ({} bytes)", content.len()));
        }
        lines.extend(self.folders.difference(&actual.folders).map(|path| format!("missing folder   {path:?}")));
        lines.extend(actual.folders.difference(&self.folders).map(|path| format!("unexpected folder {path:?}")));
        lines
    }
}

/// Panics with a list of the differences, if there are any.
#[track_caller]
pub fn assert_same_tree(expected: &Tree, actual: &Tree) {
    /// Lines shown; more are only counted.
    const SHOWN: usize = 40;
    let differences = expected.differences(actual);
    if differences.is_empty() {
        return;
    }
    let mut message = format!("{} differences:", differences.len());
    for line in differences.iter().take(SHOWN) {
        let _ = write!(message, "\n  {line}");
    }
    if differences.len() > SHOWN {
        let _ = write!(message, "\n  and {} more", differences.len() - SHOWN);
    }
    panic!("{message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)], folders: &[&str]) -> Tree {
        Tree {
            files: files.iter().map(|(path, content)| ((*path).to_owned(), content.as_bytes().to_vec())).collect(),
            folders: folders.iter().map(|&path| path.to_owned()).collect(),
        }
    }

    #[test]
    fn every_difference_has_a_line() {
        let expected = tree(&[("a", "1"), ("b", "22"), ("c", "33")], &["f", "g"]);
        let actual = tree(&[("a", "1"), ("b", "23"), ("d", "4")], &["g", "h"]);
        assert!(expected.differences(&expected).is_empty());
        assert_eq!(
            expected.differences(&actual),
            [
                r#"different file   "b" (expected 2 bytes, found 2; from byte 1)"#,
                r#"missing file     "c" (2 bytes)"#,
                r#"unexpected file  "d" (1 bytes)"#,
                r#"missing folder   "f""#,
                r#"unexpected folder "h""#,
            ]
        );
    }

    #[test]
    #[should_panic(expected = "missing file     \"a\"")]
    fn different_trees_fail() {
        assert_same_tree(&tree(&[("a", "1")], &[]), &tree(&[], &[]));
    }

    #[test]
    fn folder_on_disk_is_read_whole() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("f/empty")).unwrap();
        fs::write(root.path().join("f/\u{e9}.md"), "x").unwrap();
        fs::write(root.path().join("top"), "").unwrap();
        assert_same_tree(&tree(&[("f/\u{e9}.md", "x"), ("top", "")], &["f", "f/empty"]), &Tree::read(root.path()));
    }
}
