//! Comparing a destination with its vault, without changing either.

use futures_util::StreamExt;
use obsync_proto::{Cursor, VaultPath};

use crate::blob::{BlobErrorKind, ListedKind};
use crate::filter::Filter;
use crate::item::{FileItem, ItemKind};
use crate::listing::{Items, Listing, oversized};
use crate::mirror::{Failure, Mirror, Options, RunError};
use crate::reconcile::found;
use crate::state::Entry;

/// Files that are read at once.
const READS_AT_ONCE: usize = 8;

/// Entries that are looked up at once.
const ENTRIES_AT_ONCE: usize = 1000;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Files that are as the vault has them.
    pub same: u64,
    /// Files and folders that the vault has and the destination lacks.
    pub missing: Vec<String>,
    /// Files that are not as the vault has them, and how.
    pub different: Vec<Failure>,
    /// Files that obsync wrote and the vault no longer has.
    pub extra: Vec<String>,
    /// Records of the vault that cannot be mirrored at all, and why.
    pub refused: Vec<Failure>,
    /// Files that obsync did not write and that the vault does not have. They are no difference.
    pub foreign: u64,
}

impl Verification {
    /// Whether the destination is what the vault is.
    pub fn is_exact(&self) -> bool {
        self.missing.is_empty() && self.different.is_empty() && self.extra.is_empty() && self.refused.is_empty()
    }
}

/// A file whose content has to be looked at.
struct Doubt {
    path: VaultPath,
    file: FileItem,
}

impl Mirror {
    /// Compares every file of the vault that the filter lets through with the destination. Without `deep`, a file is
    /// taken to be right if the destination still has the version that obsync wrote; with it, every file is read.
    ///
    /// # Errors
    /// [`RunError`] where the vault, the destination or the state cannot be read.
    pub async fn verify(&self, filter: &Filter, deep: bool, options: &Options) -> Result<Verification, RunError> {
        let mut listing = Listing::new(filter);
        listing.open(self, Cursor::START, options).await?;
        let mut result = Verification::default();
        result
            .refused
            .extend(listing.refused.into_values().map(|(_, r)| Failure { path: r.name, error: r.reason.to_string() }));
        result.refused.extend(oversized(&listing.oversized));
        let doubts = self.compare(listing.items, deep, &mut result).await?;
        self.resolve(doubts, deep, &mut result).await?;
        result.missing.sort();
        result.extra.sort();
        result.different.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(result)
    }

    /// Compares names, kinds, sizes and versions; gives the files that have to be read.
    async fn compare(&self, items: Items, deep: bool, result: &mut Verification) -> Result<Vec<Doubt>, RunError> {
        let mut found = found(self.blobs.as_ref()).await?;
        let mut doubts = Vec::new();
        let mut unread = Vec::new();
        // Told of by name already.
        items.iter().filter(|(_, item)| item.kind == ItemKind::Unreadable).for_each(|(path, _)| _ = found.remove(path));
        let live = items.into_iter().filter(|(_, item)| item.is_live());
        for (path, item) in live {
            match (&item.kind, found.remove(&path)) {
                (ItemKind::File(file), Some(ListedKind::File { size, .. })) if size != file.size() => {
                    let error = format!("has {size} bytes, the vault's file has {}", file.size());
                    result.different.push(Failure { path: path.to_string(), error });
                }
                (ItemKind::File(file), Some(ListedKind::File { .. })) if deep => {
                    doubts.push(Doubt { path, file: *file })
                }
                (ItemKind::File(_), Some(ListedKind::File { stamp, .. })) => unread.push((path, item, stamp)),
                (ItemKind::Folder, Some(ListedKind::Folder)) => {}
                (ItemKind::Folder, None) if !self.blobs.keeps_folders() => {}
                (_, None) => result.missing.push(path.to_string()),
                (_, Some(_)) => {
                    let error = "is a file in one and a folder in the other".to_owned();
                    result.different.push(Failure { path: path.to_string(), error });
                }
            }
        }
        for chunk in unread.chunks(ENTRIES_AT_ONCE) {
            let paths: Vec<VaultPath> = chunk.iter().map(|(path, ..)| path.clone()).collect();
            let entries = self.state.entries(&self.id(), &paths).await?;
            for (path, item, stamp) in chunk {
                let ItemKind::File(file) = item.kind else { continue };
                match entries.get(path) {
                    Some(Entry::File(entry)) if entry.stamp == *stamp && file.has_content_of(item.uid, entry) => {
                        result.same += 1;
                    }
                    _ => doubts.push(Doubt { path: path.clone(), file }),
                }
            }
        }
        self.sort_out_extra(found, result).await?;
        Ok(doubts)
    }

    /// Tells what obsync wrote from what is not its own, among files that the vault does not have.
    async fn sort_out_extra(
        &self,
        found: std::collections::HashMap<VaultPath, ListedKind>,
        result: &mut Verification,
    ) -> Result<(), RunError> {
        let paths: Vec<VaultPath> =
            found.into_iter().filter(|(_, kind)| *kind != ListedKind::Folder).map(|(path, _)| path).collect();
        for chunk in paths.chunks(ENTRIES_AT_ONCE) {
            let entries = self.state.entries(&self.id(), chunk).await?;
            for path in chunk {
                if entries.contains_key(path) {
                    result.extra.push(path.to_string());
                } else {
                    result.foreign += 1;
                }
            }
        }
        Ok(())
    }

    /// Reads files, or asks the destination for what it recorded of them.
    async fn resolve(&self, doubts: Vec<Doubt>, deep: bool, result: &mut Verification) -> Result<(), RunError> {
        let mut digests = futures_util::stream::iter(doubts)
            .map(async |doubt| (self.blobs.digest(&doubt.path, deep).await, doubt))
            .buffer_unordered(READS_AT_ONCE);
        while let Some((digest, doubt)) = digests.next().await {
            let path = doubt.path.to_string();
            let digest = match digest {
                Err(error) if error.kind == BlobErrorKind::Unusable => return Err(error.into()),
                Err(error) => {
                    result.different.push(Failure { path, error: format!("cannot be read: {error}") });
                    continue;
                }
                Ok(digest) => digest,
            };
            match digest {
                None => result.missing.push(path),
                Some(digest) if doubt.file.hash.is_none_or(|hash| hash == digest.hash) => result.same += 1,
                Some(_) => {
                    let error = "has other content than the vault's file".to_owned();
                    result.different.push(Failure { path, error });
                }
            }
        }
        Ok(())
    }
}
