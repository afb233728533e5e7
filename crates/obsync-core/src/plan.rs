//! What to do, from what the vault says and what the mirror has: a pure function.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use obsync_proto::{ContentHash, Uid, VaultPath};

use crate::item::{FileItem, Item, ItemKind};
use crate::progress::Planned;
use crate::state::{Entry, FileEntry};

/// The most files that a run may delete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MaxDelete {
    /// Half of a mirror that has over 100 files; a smaller one may be emptied.
    #[default]
    Default,
    /// So many files.
    Count(u64),
    /// So many percent of the mirror's files.
    Percent(u8),
}

impl MaxDelete {
    /// The limit for a mirror of so many files.
    pub fn of(self, files: u64) -> u64 {
        match self {
            MaxDelete::Default if files <= 100 => files,
            MaxDelete::Default => files / 2,
            MaxDelete::Count(count) => count,
            MaxDelete::Percent(percent) => (u128::from(files) * u128::from(percent) / 100) as u64,
        }
    }
}

/// A text that is no [`MaxDelete`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("give a number of files, or a percentage from 0% to 100%")]
pub struct InvalidMaxDelete;

impl FromStr for MaxDelete {
    type Err = InvalidMaxDelete;

    /// `10` or `10%`.
    fn from_str(text: &str) -> Result<Self, InvalidMaxDelete> {
        let parsed = match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().filter(|p| *p <= 100).map(Self::Percent),
            None => text.parse().ok().map(Self::Count),
        };
        parsed.ok_or(InvalidMaxDelete)
    }
}

/// What may be deleted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// Leave files in the mirror that the vault no longer has.
    pub keep_deleted: bool,
    /// How many files may be deleted.
    pub max_delete: MaxDelete,
}

/// A file to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Where it goes.
    pub path: VaultPath,
    /// The record to pull.
    pub uid: Uid,
    /// What its record says.
    pub file: FileItem,
}

/// A file that the destination has under another path, or whose times only are new (`from == to`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// What is there.
    pub from: VaultPath,
    /// As it was written.
    pub source: FileEntry,
    /// What to make, and what to fetch where the source turns out to be another.
    pub to: Fetch,
}

/// Something to take away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// What.
    pub path: VaultPath,
    /// A folder is removed only if nothing is left in it.
    pub folder: bool,
}

/// More would be deleted than is allowed, so nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guarded {
    /// Files that would be deleted.
    pub deletes: u64,
    /// Files that may be.
    pub limit: u64,
}

/// What to do, in this order. Nothing within one step depends on the order there.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Deletions that make room: a file where a folder is to be, or the other way round.
    pub clears: Vec<Delete>,
    /// Folders to make.
    pub folders: Vec<VaultPath>,
    /// Files to copy.
    pub copies: Vec<Copy>,
    /// Files to fetch.
    pub fetches: Vec<Fetch>,
    /// The other deletions.
    pub deletes: Vec<Delete>,
    /// Paths that the mirror is to forget but not to touch.
    pub forgets: Vec<VaultPath>,
    /// Set when deletions were left out because there are too many.
    pub guarded: Option<Guarded>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Plan::default()
    }

    /// Leaves out everything that takes something away.
    pub fn spare_deletions(&mut self) {
        self.spare_files();
        self.forgets.clear();
    }

    /// Leaves out all deletions, and the folders that were to come in the place of files: where any two paths go
    /// together, such a folder would be recorded, and the file that is still there forgotten.
    fn spare_files(&mut self) {
        self.deletes.clear();
        let spared: HashSet<VaultPath> = self.clears.drain(..).map(|delete| delete.path).collect();
        self.folders.retain(|folder| !spared.contains(folder));
    }

    /// Files of the mirror that stay as they are, out of `files` that it has, with `known` what was planned with.
    pub fn unchanged(&self, files: u64, known: &HashMap<VaultPath, Entry>) -> u64 {
        let targets = self.fetches.iter().chain(self.copies.iter().map(|copy| &copy.to));
        let overwritten = targets.filter(|to| matches!(known.get(&to.path), Some(Entry::File(_)))).count() as u64;
        files.saturating_sub(overwritten + self.size().deletes + self.forgets.len() as u64)
    }

    /// How much there is to do.
    pub fn size(&self) -> Planned {
        Planned {
            fetches: self.fetches.len() as u64,
            fetch_bytes: self.fetches.iter().map(|f| f.file.size()).sum(),
            copies: self.copies.len() as u64,
            deletes: self.clears.iter().chain(&self.deletes).filter(|d| !d.folder).count() as u64,
        }
    }
}

/// Decides what to do with `items`, given what the mirror has of their paths (`known`) and how many files it has in
/// all (`files`).
///
/// Only `items` are acted on: entries of `known` beside them serve as sources of copies.
pub fn plan(
    items: impl IntoIterator<Item = (VaultPath, Item)>,
    known: &HashMap<VaultPath, Entry>,
    files: u64,
    rules: Rules,
) -> Plan {
    let mut plan = Plan::default();
    let mut fetches = Vec::new();
    for (path, item) in items {
        let entry = known.get(&path);
        if item.is_applied(entry) {
            continue;
        }
        match item.kind {
            ItemKind::File(file) => fetches.push(Fetch { path, uid: item.uid, file }),
            ItemKind::Folder => plan.folders.push(path),
            ItemKind::Deleted => match entry {
                Some(Entry::File(_)) if rules.keep_deleted => plan.forgets.push(path),
                Some(entry) => plan.deletes.push(Delete { path, folder: matches!(entry, Entry::Folder) }),
                None => {}
            },
            // Always applied.
            ItemKind::Unreadable => {}
        }
    }
    plan.replace_changed_kinds(&fetches, known);
    plan.part_clears(&fetches);
    plan.part_copies(&fetches, known);
    plan.guard(known, files, rules);
    plan.sort();
    plan
}

impl Plan {
    /// A path that was a folder and becomes a file, or the other way round: the old one goes first.
    fn replace_changed_kinds(&mut self, fetches: &[Fetch], known: &HashMap<VaultPath, Entry>) {
        for fetch in fetches {
            if matches!(known.get(&fetch.path), Some(Entry::Folder)) {
                self.clears.push(Delete { path: fetch.path.clone(), folder: true });
            }
        }
        for folder in &self.folders {
            if matches!(known.get(folder), Some(Entry::File(_))) {
                self.clears.push(Delete { path: folder.clone(), folder: false });
            }
        }
    }

    /// Moves the deletions to the front that stand in the way of something new: a file that becomes a folder, files
    /// in a folder that becomes a file, and names that differ in case only, which some file systems take for one; with a
    /// folder, what is in it.
    fn part_clears(&mut self, fetches: &[Fetch]) {
        let targets = || fetches.iter().map(|f| &f.path).chain(&self.folders);
        let files: HashSet<&VaultPath> = fetches.iter().map(|f| &f.path).collect();
        let folders: HashSet<VaultPath> =
            targets().flat_map(VaultPath::ancestors).chain(self.folders.iter().cloned()).collect();
        let folded: HashSet<String> = targets().map(|path| path.to_lowercase()).collect();
        let is_folded = |path: &VaultPath| folded.contains(&path.to_lowercase());
        let early: HashSet<VaultPath> =
            self.deletes.iter().filter(|d| d.folder && is_folded(&d.path)).map(|d| d.path.clone()).collect();
        let in_the_way = |delete: &Delete| {
            (!delete.folder && folders.contains(&delete.path))
                || delete.path.ancestors().any(|folder| files.contains(&folder) || early.contains(&folder))
                || is_folded(&delete.path)
        };
        let (clears, deletes) = std::mem::take(&mut self.deletes).into_iter().partition(in_the_way);
        self.deletes = deletes;
        self.clears.extend::<Vec<_>>(clears);
    }

    /// Turns fetches into copies where the mirror has the content under a path that stays as it is until the copies
    /// are done.
    fn part_copies(&mut self, fetches: &[Fetch], known: &HashMap<VaultPath, Entry>) {
        let changing: HashSet<&VaultPath> =
            fetches.iter().map(|f| &f.path).chain(self.clears.iter().map(|d| &d.path)).collect();
        let sources: HashMap<ContentHash, (&VaultPath, &FileEntry)> = known
            .iter()
            .filter_map(|(path, entry)| match entry {
                Entry::File(file) if !changing.contains(path) => Some((file.hash, (path, file))),
                _ => None,
            })
            .collect();
        let source_of = |fetch: &Fetch| match known.get(&fetch.path) {
            Some(Entry::File(entry)) if fetch.file.has_content_of(fetch.uid, entry) => {
                Some((fetch.path.clone(), entry.clone()))
            }
            _ => fetch
                .file
                .hash
                .and_then(|hash| sources.get(&hash))
                .map(|(path, file)| ((*path).clone(), (*file).clone())),
        };
        for fetch in fetches {
            match source_of(fetch) {
                Some((from, source)) => self.copies.push(Copy { from, source, to: fetch.clone() }),
                None => self.fetches.push(fetch.clone()),
            }
        }
    }

    /// Takes all deletions out if there are too many. The old path of a renamed file is no loss and does not count, be it
    /// copied or, because it is in the way of something new and has to go before, fetched.
    fn guard(&mut self, known: &HashMap<VaultPath, Entry>, files: u64, rules: Rules) {
        let copied: HashSet<&VaultPath> = self.copies.iter().map(|c| &c.from).collect();
        let fetched: HashSet<ContentHash> = self.fetches.iter().filter_map(|fetch| fetch.file.hash).collect();
        let is_renamed = |path: &VaultPath| match known.get(path) {
            Some(Entry::File(file)) => copied.contains(path) || fetched.contains(&file.hash),
            _ => false,
        };
        let lost = |d: &&Delete| !d.folder && !is_renamed(&d.path);
        let deletes = self.clears.iter().chain(&self.deletes).filter(lost).count() as u64;
        let limit = rules.max_delete.of(files);
        if deletes > limit {
            self.guarded = Some(Guarded { deletes, limit });
            self.spare_files();
        }
    }

    /// Files before the folders that they are in, inner folders before outer ones; new folders the other way round.
    fn sort(&mut self) {
        for deletes in [&mut self.clears, &mut self.deletes] {
            deletes.sort_by(|a, b| a.folder.cmp(&b.folder).then_with(|| b.path.cmp(&a.path)));
        }
        self.folders.sort();
        self.fetches.sort_by_key(|fetch| fetch.uid);
    }
}

#[cfg(test)]
mod tests;
