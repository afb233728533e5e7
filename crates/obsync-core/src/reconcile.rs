//! Comparing what the state believes with what the vault says and what the destination has.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt};
use obsync_proto::{Uid, VaultPath};

use crate::blob::{BlobError, BlobStore, Digest, ListedKind};
use crate::filter::Filter;
use crate::item::{Item, ItemKind};
use crate::mirror::RunError;
use crate::state::{Entry, FileEntry, MirrorId, StateStore};

/// Destination files that are read at once to find out what they are.
const DIGESTS_AT_ONCE: usize = 8;

/// What a plan is made of.
#[derive(Debug, Default)]
pub struct Survey {
    /// What the vault says of the paths that may need something done; paths that it no longer has count as deleted.
    pub items: HashMap<VaultPath, Item>,
    /// What the mirror has of them.
    pub known: HashMap<VaultPath, Entry>,
    /// Where the state was wrong about the destination: the path, what it believed, and what is there.
    pub corrections: Vec<(VaultPath, Option<Entry>, Option<Entry>)>,
    /// Files that the state believes in, where all of it was read.
    pub files: Option<u64>,
}

impl Survey {
    /// For the records since the last run: looks up their paths alone.
    ///
    /// # Errors
    /// Of the state store.
    pub async fn of_changes(
        items: HashMap<VaultPath, Item>,
        state: &dyn StateStore,
        mirror: &MirrorId,
    ) -> Result<Self, RunError> {
        let paths: Vec<VaultPath> = items.keys().cloned().collect();
        let known = if paths.is_empty() { HashMap::new() } else { state.entries(mirror, &paths).await? };
        Ok(Self { items, known, ..Self::default() })
    }

    /// For the whole vault, believing the state. What needs nothing is dropped as the entries go by, so that memory
    /// holds the vault once.
    ///
    /// # Errors
    /// Of the state store.
    pub async fn of_vault(
        items: HashMap<VaultPath, Item>,
        state: &dyn StateStore,
        mirror: &MirrorId,
        filter: &Filter,
    ) -> Result<Self, RunError> {
        let mut survey = Self { items, ..Self::default() };
        let mut entries = state.scan(mirror);
        survey.files = Some(0);
        while let Some((path, entry)) = entries.try_next().await? {
            survey.count(&entry);
            survey.weigh(path, entry, filter);
        }
        Ok(survey)
    }

    /// For the whole vault, believing nothing: every entry must be confirmed by the destination, and what the
    /// destination has of the vault without an entry is taken over.
    ///
    /// # Errors
    /// Of the state store and the destination.
    pub async fn of_vault_and_destination(
        items: HashMap<VaultPath, Item>,
        state: &dyn StateStore,
        mirror: &MirrorId,
        blobs: &dyn BlobStore,
        filter: &Filter,
    ) -> Result<Self, RunError> {
        let mut survey = Self { items, ..Self::default() };
        let mut found = found(blobs).await?;
        let mut suspects = Vec::new();
        let mut entries = state.scan(mirror);
        survey.files = Some(0);
        while let Some((path, entry)) = entries.try_next().await? {
            survey.count(&entry);
            match (entry, found.remove(&path)) {
                (Entry::File(file), Some(ListedKind::File { stamp, .. })) if stamp == file.stamp => {
                    survey.weigh(path, Entry::File(file), filter);
                }
                (Entry::File(file), Some(ListedKind::File { .. })) => suspects.push((path, Some(file))),
                (Entry::Folder, Some(ListedKind::Folder)) => survey.weigh(path, Entry::Folder, filter),
                (Entry::Folder, None) if !blobs.keeps_folders() => survey.weigh(path, Entry::Folder, filter),
                (entry, other) => {
                    found.extend(other.map(|kind| (path.clone(), kind)));
                    survey.corrections.push((path, Some(entry), None));
                }
            }
        }
        survey.add_unknown(found, &mut suspects);
        survey.examine(suspects, blobs, filter).await?;
        Ok(survey)
    }

    fn count(&mut self, entry: &Entry) {
        self.files = self.files.map(|files| files + u64::from(matches!(entry, Entry::File(_))));
    }

    /// Takes what the destination has without an entry, where the vault has something of that kind there.
    fn add_unknown(
        &mut self,
        found: HashMap<VaultPath, ListedKind>,
        suspects: &mut Vec<(VaultPath, Option<FileEntry>)>,
    ) {
        for (path, kind) in found {
            match (kind, self.items.get(&path).map(|item| &item.kind)) {
                (ListedKind::Folder, Some(ItemKind::Folder)) => {
                    self.corrections.push((path.clone(), None, Some(Entry::Folder)));
                    self.known.insert(path, Entry::Folder);
                }
                (ListedKind::File { size, .. }, Some(ItemKind::File(file))) if file.size() == size => {
                    suspects.push((path, None));
                }
                _ => {}
            }
        }
    }

    /// Finds out what the suspect files are.
    async fn examine(
        &mut self,
        suspects: Vec<(VaultPath, Option<FileEntry>)>,
        blobs: &dyn BlobStore,
        filter: &Filter,
    ) -> Result<(), RunError> {
        let mut digests = futures_util::stream::iter(suspects)
            .map(async |(path, believed)| (blobs.digest(&path, false).await, path, believed))
            .buffer_unordered(DIGESTS_AT_ONCE);
        while let Some((digest, path, believed)) = digests.next().await {
            let is = self.recognise(&path, digest?, believed.as_ref());
            let was = believed.map(Entry::File);
            if is != was {
                self.corrections.push((path.clone(), was, is.clone()));
            }
            if let Some(entry) = is {
                self.weigh(path, entry, filter);
            }
        }
        Ok(())
    }

    /// The entry that a file at the destination deserves: what the state believed, or what the vault has.
    fn recognise(&self, path: &VaultPath, digest: Option<Digest>, believed: Option<&FileEntry>) -> Option<Entry> {
        let digest = digest?;
        let hash = digest.hash;
        let (uid, ctime) = match (believed, self.items.get(path)) {
            (Some(file), _) if file.hash == hash => (file.uid, file.ctime),
            (_, Some(Item { uid, kind: ItemKind::File(file) })) if file.hash == Some(hash) => (*uid, file.ctime),
            _ => return None,
        };
        let Digest { size, mtime, stamp, .. } = digest;
        Some(Entry::File(FileEntry { uid, hash, size, mtime, ctime, stamp }))
    }

    /// Takes an entry that holds: drops the item that it fulfils, or keeps both for the plan.
    fn weigh(&mut self, path: VaultPath, entry: Entry, filter: &Filter) {
        match self.items.get(&path) {
            Some(item) if filter.admits(&path) && item.is_applied(Some(&entry)) => {
                self.items.remove(&path);
                return;
            }
            Some(_) => {}
            None => {
                self.items.insert(path.clone(), Item { uid: Uid::default(), kind: ItemKind::Deleted });
            }
        }
        self.known.insert(path, entry);
    }
}

/// What a destination has, path by path.
///
/// # Errors
/// Of the destination.
pub async fn found(blobs: &dyn BlobStore) -> Result<HashMap<VaultPath, ListedKind>, BlobError> {
    blobs.list().map_ok(|listed| (listed.path, listed.kind)).try_collect().await
}
