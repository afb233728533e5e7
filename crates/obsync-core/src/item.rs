//! A record, decoded: what the vault last said of one path.

use obsync_proto::crypto::{StringCipher, StringError, encrypted_size, plaintext_size};
use obsync_proto::path::PathError;
use obsync_proto::wire::Record;
use obsync_proto::{ContentHash, Uid, VaultPath};

use crate::blob::BlobMeta;
use crate::state::{Entry, FileEntry};

/// What the vault last said of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The record's number.
    pub uid: Uid,
    /// What there is.
    pub kind: ItemKind,
}

/// What the vault has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemKind {
    /// A file.
    File(FileItem),
    /// A folder, empty or not.
    Folder,
    /// Nothing any more.
    Deleted,
    /// Something whose record cannot be applied: what the mirror has there is left as it is.
    Unreadable,
}

/// A file as its record describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileItem {
    /// SHA-256 of the plaintext; `None` for the few old records that have none.
    pub hash: Option<ContentHash>,
    /// Bytes of ciphertext.
    pub encrypted_size: u64,
    /// Modification time, ms since 1970.
    pub mtime: i64,
    /// Creation time, ms since 1970.
    pub ctime: i64,
}

impl FileItem {
    /// Bytes of plaintext.
    pub fn size(&self) -> u64 {
        // An impossible size never gets past `Item::decode`.
        plaintext_size(self.encrypted_size).unwrap_or(0)
    }

    /// The file that an entry was made from.
    pub fn of_entry(entry: &FileEntry) -> Self {
        let FileEntry { hash, size, mtime, ctime, .. } = *entry;
        Self { hash: Some(hash), encrypted_size: encrypted_size(size), mtime, ctime }
    }

    /// What the destination is to know of it.
    pub fn meta(&self) -> BlobMeta {
        BlobMeta { hash: self.hash, size: self.size(), mtime: self.mtime, ctime: self.ctime }
    }

    /// Whether `entry` holds this content.
    pub fn has_content_of(&self, uid: Uid, entry: &FileEntry) -> bool {
        self.hash.map_or(entry.uid == uid, |hash| hash == entry.hash)
    }
}

impl Item {
    /// Whether the vault has a file or a folder there that can be mirrored.
    pub fn is_live(&self) -> bool {
        matches!(self.kind, ItemKind::File(_) | ItemKind::Folder)
    }

    /// Whether the mirror already has what this item says.
    pub fn is_applied(&self, entry: Option<&Entry>) -> bool {
        match (&self.kind, entry) {
            (ItemKind::Unreadable, _) | (ItemKind::Deleted, None) | (ItemKind::Folder, Some(Entry::Folder)) => true,
            (ItemKind::File(file), Some(Entry::File(entry))) => {
                file.has_content_of(self.uid, entry) && file.mtime == entry.mtime && file.ctime == entry.ctime
            }
            _ => false,
        }
    }
}

/// Why a record cannot be applied, whatever the destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The path does not decode.
    #[error(transparent)]
    Name(#[from] StringError),
    /// The path leads out of the vault, or is no path.
    #[error("refused: {0}")]
    Path(#[from] PathError),
    /// The content hash is none.
    #[error("refused: its content hash cannot be read")]
    Hash,
    /// No content has that many bytes of ciphertext.
    #[error("refused: {0} bytes cannot be an encrypted file")]
    Size(u64),
}

/// A record that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its path, where that can be read and is one.
    pub path: Option<VaultPath>,
    /// What to call it: its path, or, where that cannot be read, the start of its code.
    pub name: String,
    /// Why.
    pub reason: Unusable,
}

impl Item {
    /// Decodes a record.
    ///
    /// # Errors
    /// [`Refused`], with a name that people can recognise.
    pub fn decode(record: &Record, strings: &StringCipher) -> Result<(VaultPath, Item), Refused> {
        let path = strings.decode(&record.path).map_err(|reason| Refused {
            path: None,
            name: code_name(&record.path),
            reason: reason.into(),
        })?;
        let kind = decode_kind(record, strings);
        match (VaultPath::parse(path.as_str()), kind) {
            (Ok(path), Ok(kind)) => Ok((path, Item { uid: record.uid, kind })),
            (Err(reason), _) => Err(Refused { path: None, name: shown(&path), reason: reason.into() }),
            (Ok(valid), Err(reason)) => Err(Refused { path: Some(valid), name: path, reason }),
        }
    }
}

fn decode_kind(record: &Record, strings: &StringCipher) -> Result<ItemKind, Unusable> {
    if record.deleted {
        return Ok(ItemKind::Deleted);
    }
    if record.folder {
        return Ok(ItemKind::Folder);
    }
    plaintext_size(record.size).ok_or(Unusable::Size(record.size))?;
    let hash = match record.hash.as_str() {
        "" => None,
        code => match strings.decode(code).map_err(|_| Unusable::Hash)?.as_str() {
            "" => None,
            hex => Some(hex.parse().map_err(|_| Unusable::Hash)?),
        },
    };
    Ok(ItemKind::File(FileItem { hash, encrypted_size: record.size, mtime: record.mtime, ctime: record.ctime }))
}

/// A name for a path that does not decode.
fn code_name(code: &str) -> String {
    let start: String = code.chars().take(32).collect();
    if start.is_empty() { "(a record without a path)".to_owned() } else { format!("(undecodable) {start}…") }
}

/// A path that is none, cut to a length that fits into a message. It may be empty.
fn shown(path: &str) -> String {
    match path.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &path[..end]),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use obsync_proto::crypto::{EncryptionVersion, VaultKeys};

    use super::*;

    fn strings() -> StringCipher {
        VaultKeys::from_password(&"p".to_owned().into(), "s", EncryptionVersion::V3).strings
    }

    #[test]
    fn hostile_records_are_refused_by_name() {
        let strings = strings();
        let hash = strings.encode(&ContentHash::of(b"x").to_string());
        for (path, hash, size, name) in [
            ("../escape.md", hash.as_str(), 29, "../escape.md"),
            ("", &hash, 29, ""),
            ("a.md", "abcd", 29, "a.md"),
            ("a.md", &strings.encode("nohash"), 29, "a.md"),
            ("a.md", &hash, 5, "a.md"),
        ] {
            let record = Record { path: strings.encode(path), hash: hash.to_owned(), size, ..Record::default() };
            assert_eq!(Item::decode(&record, &strings).unwrap_err().name, name);
        }
        let garbled = Record { path: "00".repeat(60), ..Record::default() };
        assert!(Item::decode(&garbled, &strings).unwrap_err().name.starts_with("(undecodable) 0000"));
    }

    #[test]
    fn a_deletion_needs_no_hash_and_no_size() {
        let strings = strings();
        let record =
            Record { path: strings.encode("a"), deleted: true, hash: "zz".into(), size: 3, ..Record::default() };
        assert_eq!(Item::decode(&record, &strings).unwrap().1.kind, ItemKind::Deleted);
    }
}
