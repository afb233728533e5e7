//! Comparing what the state believes with what the vault says and what the destination has.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt};
use obsync_proto::{ContentHash, Uid, VaultPath};

use crate::blob::{BlobError, BlobErrorKind, BlobStore, Digest, ListedKind};
use crate::item::{Item, ItemKind};
use crate::listing::Items;
use crate::mirror::RunError;
use crate::state::{Entry, FileEntry, MirrorId, StateStore};
use crate::stop::Stop;

/// Destination files that are looked at at once to find out what they are: in a bucket, each is a request that takes some
/// 20 ms.
const DIGESTS_AT_ONCE: usize = 32;

/// What a plan is made of.
#[derive(Debug, Default)]
pub struct Survey {
    /// What the vault says of the paths that may need something done; paths that it no longer has count as deleted.
    pub items: Items,
    /// What the mirror has of them.
    pub known: HashMap<VaultPath, Entry>,
    /// Where the state was wrong about the destination: the path, what it believed, and what is there.
    pub corrections: Vec<(VaultPath, Option<Entry>, Option<Entry>)>,
    /// Files that the vault does not have and that could not be looked at: whether they are obsync's is not known.
    pub unread: Vec<(VaultPath, BlobError)>,
    /// Files that the state believes in, where all of it was read.
    pub files: Option<u64>,
    /// The time to stop came before everything was looked at: nothing but the corrections is of use.
    pub cut_short: bool,
}

impl Survey {
    /// For the records since the last run: looks up their paths alone.
    ///
    /// # Errors
    /// Of the state store.
    pub async fn of_changes(items: Items, state: &dyn StateStore, mirror: &MirrorId) -> Result<Self, RunError> {
        let paths: Vec<VaultPath> = items.keys().cloned().collect();
        let known = if paths.is_empty() { HashMap::new() } else { state.entries(mirror, &paths).await? };
        Ok(Self { items, known, ..Self::default() })
    }

    /// For the whole vault, believing the state. What needs nothing is dropped as the entries go by, so that memory
    /// holds the vault once.
    ///
    /// # Errors
    /// Of the state store.
    pub async fn of_vault(items: Items, state: &dyn StateStore, mirror: &MirrorId) -> Result<Self, RunError> {
        let mut survey = Self { items, ..Self::default() };
        let mut entries = state.scan(mirror);
        survey.files = Some(0);
        while let Some((path, entry)) = entries.try_next().await? {
            survey.count(&entry);
            survey.weigh(path, entry);
        }
        Ok(survey)
    }

    /// For the whole vault, believing nothing: every entry must be confirmed by the destination, and what the
    /// destination has of the vault without an entry is taken over. `None` where the time to stop came before anything
    /// was found out.
    ///
    /// # Errors
    /// Of the state store and the destination.
    pub async fn of_vault_and_destination(
        items: Items,
        state: &dyn StateStore,
        mirror: &MirrorId,
        blobs: &dyn BlobStore,
        stop: &Stop,
    ) -> Result<Option<Self>, RunError> {
        let mut survey = Self { items, files: Some(0), ..Self::default() };
        let Some(suspects) = stop.or(survey.compare(state, mirror, blobs)).await.transpose()? else {
            return Ok(None);
        };
        survey.examine(suspects, blobs, stop).await?;
        Ok(Some(survey))
    }

    /// Holds the entries against a listing of the destination; gives the files that have to be looked at.
    async fn compare(
        &mut self,
        state: &dyn StateStore,
        mirror: &MirrorId,
        blobs: &dyn BlobStore,
    ) -> Result<Vec<(VaultPath, Option<FileEntry>)>, RunError> {
        let mut found = found(blobs).await?;
        let mut suspects = Vec::new();
        let mut entries = state.scan(mirror);
        while let Some((path, entry)) = entries.try_next().await? {
            self.count(&entry);
            match (entry, found.remove(&path)) {
                (Entry::File(file), Some(ListedKind::File { stamp, .. })) if stamp == file.stamp => {
                    self.weigh(path, Entry::File(file));
                }
                (Entry::File(file), Some(ListedKind::File { .. })) => suspects.push((path, Some(file))),
                // What the vault does not have either would be forgotten for good, and a bucket's listing can lag. (A
                // folder's cannot, and may find a file by a name in which it was not listed.)
                (Entry::File(file), None) if !blobs.keeps_folders() && !self.is_wanted(&path) => {
                    suspects.push((path, Some(file)));
                }
                (Entry::Folder, Some(ListedKind::Folder)) => self.weigh(path, Entry::Folder),
                (Entry::Folder, None) if !blobs.keeps_folders() => self.weigh(path, Entry::Folder),
                (entry, other) => {
                    found.extend(other.map(|kind| (path.clone(), kind)));
                    self.corrections.push((path, Some(entry), None));
                }
            }
        }
        self.add_unknown(found, &mut suspects);
        Ok(suspects)
    }

    /// Files that there are once the corrections are noted.
    pub fn corrected_files(&self) -> Option<u64> {
        let is_file = |entry: &Option<Entry>| u64::from(matches!(entry, Some(Entry::File(_))));
        let (gained, lost) = self
            .corrections
            .iter()
            .fold((0, 0), |(gained, lost), (_, was, is)| (gained + is_file(is), lost + is_file(was)));
        Some((self.files? + gained).saturating_sub(lost))
    }

    /// Whether the vault has a file there.
    fn is_wanted(&self, path: &VaultPath) -> bool {
        matches!(self.items.get(path), Some(Item { kind: ItemKind::File(_), .. }))
    }

    /// Whether the vault has something there that is left as it is.
    fn is_unreadable(&self, path: &VaultPath) -> bool {
        matches!(self.items.get(path), Some(Item { kind: ItemKind::Unreadable, .. }))
    }

    fn count(&mut self, entry: &Entry) {
        self.files = self.files.map(|files| files + u64::from(matches!(entry, Entry::File(_))));
    }

    /// Takes what the destination has without an entry: what the vault has there too, and what may be a leftover of an
    /// earlier run.
    fn add_unknown(
        &mut self,
        found: HashMap<VaultPath, ListedKind>,
        suspects: &mut Vec<(VaultPath, Option<FileEntry>)>,
    ) {
        for (path, kind) in found {
            let wanted = self.items.get(&path).map(|item| &item.kind);
            match (kind, wanted) {
                (ListedKind::Folder, Some(ItemKind::Folder)) => {
                    self.corrections.push((path.clone(), None, Some(Entry::Folder)));
                    self.known.insert(path, Entry::Folder);
                }
                // In the way, as is what is in it; what is empty is removed.
                (ListedKind::Folder, Some(ItemKind::File(_))) => _ = self.known.insert(path, Entry::Folder),
                (ListedKind::Folder, _) if path.ancestors().any(|above| self.is_wanted(&above)) => {
                    self.items.entry(path.clone()).or_insert(Item { uid: Uid::default(), kind: ItemKind::Deleted });
                    self.known.insert(path, Entry::Folder);
                }
                (ListedKind::File { size, .. }, Some(ItemKind::File(file))) if file.size() != size => {}
                (ListedKind::File { .. }, _) => suspects.push((path, None)),
                _ => {}
            }
        }
    }

    /// Finds out what the suspect files are, as far as the time allows.
    async fn examine(
        &mut self,
        suspects: Vec<(VaultPath, Option<FileEntry>)>,
        blobs: &dyn BlobStore,
        stop: &Stop,
    ) -> Result<(), RunError> {
        let suspects: Vec<_> = suspects
            .into_iter()
            .map(|(path, believed)| (self.origin(&path, believed.as_ref()), path, believed))
            .collect();
        let mut recognised = futures_util::stream::iter(suspects)
            .map(async |(origin, path, believed)| (recognise(blobs, &path, origin).await, path, believed))
            .buffer_unordered(DIGESTS_AT_ONCE);
        loop {
            let Some(next) = stop.or(recognised.next()).await else {
                self.cut_short = true;
                return Ok(());
            };
            let Some((is, path, believed)) = next else { return Ok(()) };
            let is = match is {
                Err(error) if error.kind == BlobErrorKind::Unusable => return Err(error.into()),
                // Another program put something else in its place.
                Err(error) if matches!(error.kind, BlobErrorKind::Unfit | BlobErrorKind::NotFound) => None,
                Err(_) if self.is_unreadable(&path) => continue,
                Err(error) if !self.is_wanted(&path) && (believed.is_some() || error.leaves_doubt()) => {
                    self.unread.push((path, error));
                    continue;
                }
                // A file that cannot be read proves nothing.
                Err(error) => {
                    tracing::warn!(%path, %error, "not recognised");
                    None
                }
                Ok(is) => is.map(Entry::File),
            };
            let was = believed.map(Entry::File);
            if is != was {
                self.corrections.push((path.clone(), was, is.clone()));
            }
            if let Some(entry) = is {
                self.weigh(path, entry);
            }
        }
    }

    /// Where the file at `path` may come from.
    fn origin(&self, path: &VaultPath, believed: Option<&FileEntry>) -> Origin {
        let item = match self.items.get(path) {
            Some(Item { uid, kind: ItemKind::File(file) }) => {
                file.hash.map(|hash| Noted { hash, uid: *uid, ctime: file.ctime })
            }
            _ => None,
        };
        let believed = believed.map(|file| Noted { hash: file.hash, uid: file.uid, ctime: file.ctime });
        Origin { believed, item }
    }

    /// Takes an entry that holds: drops the item that it fulfils, or keeps both for the plan.
    fn weigh(&mut self, path: VaultPath, entry: Entry) {
        match self.items.get(&path) {
            Some(item) if item.is_applied(Some(&entry)) => {
                self.items.swap_remove(&path);
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

/// What is known of a content that a file may have.
struct Noted {
    hash: ContentHash,
    uid: Uid,
    ctime: i64,
}

/// Where a file at the destination may come from.
struct Origin {
    /// The state says so.
    believed: Option<Noted>,
    /// The vault has it.
    item: Option<Noted>,
}

/// The entry that a file at the destination deserves: for what the state believed, for what the vault has, or, where
/// it is neither, for what an earlier run noted with it. `None` for a file that is not obsync's.
async fn recognise(blobs: &dyn BlobStore, path: &VaultPath, origin: Origin) -> Result<Option<FileEntry>, BlobError> {
    let Origin { believed, item } = origin;
    let candidates: Vec<Noted> = believed.into_iter().chain(item).collect();
    let is_unknown = candidates.is_empty();
    let by_note = async || Ok(blobs.noted_hash(path).await?.map(|hash| Noted { hash, uid: Uid::default(), ctime: 0 }));
    let mut noted = if is_unknown { by_note().await? } else { None };
    if is_unknown && noted.is_none() {
        return Ok(None);
    }
    let Some(Digest { hash, size, mtime, stamp }) = blobs.digest(path, false).await? else { return Ok(None) };
    let mut origin = candidates.into_iter().find(|candidate| candidate.hash == hash);
    if origin.is_none() && !is_unknown {
        // The state may be older than the file: obsync may have written it all the same.
        noted = by_note().await?;
    }
    origin = origin.or(noted.filter(|noted| noted.hash == hash));
    Ok(origin.map(|Noted { uid, ctime, .. }| FileEntry { uid, hash, size, mtime, ctime, stamp }))
}

/// What a destination has, path by path.
///
/// # Errors
/// Of the destination.
pub async fn found(blobs: &dyn BlobStore) -> Result<HashMap<VaultPath, ListedKind>, BlobError> {
    blobs.list().map_ok(|listed| (listed.path, listed.kind)).try_collect().await
}
