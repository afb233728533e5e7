//! Reading a vault's records, and keeping the last of each path.

use std::collections::HashMap;

use indexmap::IndexMap;
use indexmap::map::Entry as Place;
use obsync_proto::crypto::StringCipher;
use obsync_proto::session::Event;
use obsync_proto::wire::Record;
use obsync_proto::{Cursor, Uid, VaultPath};

use crate::filter::Filter;
use crate::item::{Item, ItemKind, Refused};
use crate::mirror::{Failure, Mirror, Options, RunError};
use crate::progress::Progress;
use crate::remote::Connection;

/// What the vault last said, path by path. A vault can have a million of them: the entries lie close together, and
/// growing moves no more than a small index.
pub type Items = IndexMap<VaultPath, Item>;

/// Bytes that an item takes beside its path, and a refused record beside its texts: about twice what they are, as both
/// lie in tables that grow by doubling.
const ITEM: u64 = 200;
const REFUSED: u64 = 1000;

/// Folders around a file beyond which each of them is counted: a plan holds the path of each, which paths of thousands
/// of folders, with none in common, would make a thousand times what was listed.
const USUAL_DEPTH: usize = 16;

/// What the vault says, as a filter shows it: what that keeps out counts as deleted from here on.
#[derive(Debug, Default)]
pub struct Listing {
    filter: Filter,
    /// The last item of each path that can be read.
    pub items: Items,
    /// The last record of each path that cannot, by its encoded path.
    pub refused: HashMap<String, (Record, Refused)>,
    /// Records that broke a limit of the wire: their number and the limit.
    pub oversized: Vec<(Uid, &'static str)>,
    /// Where the listing ended.
    pub cursor: Cursor,
    records: u64,
    /// About how many bytes all that takes, or has taken: what gives way is not taken off.
    memory: u64,
}

impl Listing {
    /// Nothing yet.
    pub fn new(filter: &Filter) -> Self {
        Self { filter: filter.clone(), ..Self::default() }
    }

    /// Takes a record; an earlier one of the same path gives way.
    pub fn add(&mut self, record: Record, strings: &StringCipher) {
        match Item::decode(&record, strings) {
            Ok((path, item)) => {
                if self.refused.get(&record.path).is_some_and(|(other, _)| other.uid <= item.uid) {
                    self.refused.remove(&record.path);
                }
                self.add_item(path, item);
            }
            Err(refused) => {
                let known = self.refused.get(&record.path).is_some_and(|(other, _)| other.uid > record.uid);
                let newer = refused.path.as_ref().and_then(|path| self.items.get(path));
                if known || newer.is_some_and(|item| item.uid > record.uid) {
                    return;
                }
                let is_kept_out = refused.path.as_ref().is_some_and(|path| !self.filter.admits(path));
                if let Some(path) = &refused.path {
                    self.add_item(path.clone(), Item { uid: record.uid, kind: ItemKind::Unreadable });
                }
                if !is_kept_out {
                    let relatedpath = record.relatedpath.as_ref().map_or(0, String::len);
                    let texts = 2 * record.path.len() + record.hash.len() + record.device.len() + relatedpath;
                    // A listing that was cut brings what is here already once more.
                    if self.refused.insert(record.path.clone(), (record, refused)).is_none() {
                        self.memory += REFUSED + texts as u64;
                    }
                }
            }
        }
    }

    /// Takes an item; an earlier one of the same path gives way.
    pub fn add_item(&mut self, path: VaultPath, mut item: Item) {
        if item.kind != ItemKind::Deleted && !self.filter.admits(&path) {
            item.kind = ItemKind::Deleted;
        }
        match self.items.entry(path) {
            Place::Occupied(known) if known.get().uid > item.uid => {}
            Place::Occupied(mut known) => *known.get_mut() = item,
            Place::Vacant(place) => {
                let path = place.key().as_str();
                let (len, depth) = (path.len(), path.matches('/').count());
                self.memory += ITEM + (len * (1 + depth.saturating_sub(USUAL_DEPTH))) as u64;
                place.insert(item);
            }
        }
    }

    /// Opens a connection and reads all records after `cursor` from it, trying again what fails on the way: what a
    /// listing that was cut off has brought is kept, and the next try comes on top of it. Gives the connection, ready
    /// for pulls.
    ///
    /// # Errors
    /// [`RunError`]: that of the last try, or a listing that takes more memory than it may.
    pub async fn open(
        &mut self,
        mirror: &Mirror,
        cursor: Cursor,
        options: &Options,
    ) -> Result<Box<dyn Connection>, RunError> {
        let mut tries = options.retry.begin();
        loop {
            self.oversized.clear();
            let error = match mirror.remote.open(cursor).await {
                Ok(mut connection) => match self.read(connection.as_mut(), mirror, options.max_listing).await {
                    Ok(()) => return Ok(connection),
                    Err(RunError::Remote(error)) => error,
                    Err(error) => return Err(error),
                },
                Err(error) => error,
            };
            tries.pause_after(error).await?;
        }
    }

    /// Reads records from a fresh connection until the service says that it has sent them all.
    async fn read(&mut self, connection: &mut dyn Connection, mirror: &Mirror, most: u64) -> Result<(), RunError> {
        /// Records between two words to the observer.
        const TELL_EVERY: u64 = 500;
        let observer = mirror.observer.as_ref();
        loop {
            if self.memory > most {
                return Err(RunError::Listing { most });
            }
            match connection.next().await? {
                Event::Record(record) => {
                    self.add(record, &mirror.keys.strings);
                    self.records += 1;
                    if self.records.is_multiple_of(TELL_EVERY) {
                        observer.on(Progress::Listing { records: self.records });
                    }
                }
                Event::Oversized(uid, what) => {
                    self.memory += ITEM;
                    self.oversized.push((uid, what));
                }
                Event::Ready(cursor) => {
                    self.cursor = cursor;
                    // A deletion of something that could not be read leaves nothing to be done.
                    self.refused.retain(|_, (record, _)| !record.deleted);
                    observer.on(Progress::Listing { records: self.records });
                    return Ok(());
                }
                _ => {}
            }
        }
    }
}

/// What to say of records that broke a limit.
pub(crate) fn oversized(records: &[(Uid, &'static str)]) -> impl Iterator<Item = Failure> {
    records.iter().map(|(uid, what)| Failure {
        path: format!("(record {uid})"),
        error: format!("refused: its {what} is longer than any honest one"),
    })
}

#[cfg(test)]
mod tests {
    use obsync_proto::crypto::{EncryptionVersion, VaultKeys};

    use super::*;

    #[test]
    fn what_the_filter_keeps_out_counts_as_deleted_also_where_it_cannot_be_read() {
        let strings = VaultKeys::from_password(&"p".to_owned().into(), "s", EncryptionVersion::V3).strings;
        let mut listing = Listing::new(&Filter::new(&[], &["*.png".into()]).unwrap());
        for (uid, path) in [(1, "a.png"), (2, "b.md"), (3, "c.png"), (4, "d.md")] {
            // Of the last two the content hash is none.
            let hash = if uid > 2 { "zz".to_owned() } else { String::new() };
            let record = Record { uid: Uid(uid), path: strings.encode(path), hash, size: 28, ..Record::default() };
            listing.add(record, &strings);
        }
        let kinds = listing.items.iter().map(|(path, item)| (path.as_str(), item.is_live(), &item.kind));
        let kinds: Vec<_> = kinds.map(|(path, live, kind)| (path, live, *kind == ItemKind::Deleted)).collect();
        assert_eq!(
            kinds,
            [("a.png", false, true), ("b.md", true, false), ("c.png", false, true), ("d.md", false, false)]
        );
        assert_eq!(listing.refused.into_values().map(|(_, refused)| refused.name).collect::<Vec<_>>(), ["d.md"]);
    }
}
