//! Reading files: for a caller, for their hash, for a copy.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use obsync_core::blob::{BlobError, BlobErrorKind, BlobMeta, Digest, Stamp};
use obsync_proto::{ContentHash, VaultPath};
use sha2::{Digest as _, Sha256};

use super::fault::{changed, fault, not_found};
use super::fill;
use super::folder::{Folder, file_stamp, mtime, set_mtime};
use super::note;

/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;

/// The next bytes of the file, and the file for more; `None` at its end.
pub(super) fn read_chunk(mut file: File, path: &VaultPath) -> Result<Option<(Bytes, File)>, BlobError> {
    let mut chunk = vec![0; CHUNK];
    let filled = fill(&mut file, &mut chunk).map_err(|e| fault(path, "read", &e))?;
    chunk.truncate(filled);
    Ok((filled > 0).then(|| (chunk.into(), file)))
}

/// Reads a file and tells what it is. `None` where there is none.
pub(super) fn digest(folder: &Folder, path: &VaultPath) -> Result<Option<Digest>, BlobError> {
    let Some(mut file) = folder.open_file(path)? else { return Ok(None) };
    let read = |e: io::Error| fault(path, "read", &e);
    let before = file_stamp(&file).map_err(read)?;
    let (hash, size) = pour(&mut file, &mut io::sink()).map_err(|e| fault(path, "read", &e.error))?;
    let stamp = file_stamp(&file).map_err(read)?;
    if stamp != before {
        let message = format!("{path:?} was changed by another program while it was read");
        return Err(BlobError::new(BlobErrorKind::Changed, message));
    }
    let mtime = mtime(&file.metadata().map_err(read)?);
    Ok(Some(Digest { hash, size, mtime, stamp }))
}

/// See [`BlobStore::noted_hash`](obsync_core::blob::BlobStore::noted_hash).
pub(super) fn noted_hash(folder: &Folder, path: &VaultPath) -> Result<Option<ContentHash>, BlobError> {
    Ok(folder.open_file(path)?.and_then(|file| note::read(&file, folder.vault(), path)))
}

/// See [`BlobStore::copy`](obsync_core::blob::BlobStore::copy). The copy is hashed on its way: what is published is
/// what the vault has, whatever became of `from` since it was written.
pub(super) fn copy(
    folder: &Arc<Folder>,
    from: &VaultPath,
    stamp: &Stamp,
    to: &VaultPath,
    meta: &BlobMeta,
) -> Result<Stamp, BlobError> {
    let mut source = folder.open_file(from)?.ok_or_else(|| not_found(from))?;
    if from == to {
        return retouch(source, from, stamp, meta);
    }
    folder.check_target(to)?;
    let is_expected = |source: &File| Ok(file_stamp(source).map_err(|e| fault(from, "look at", &e))? == *stamp);
    if meta.hash.is_none() && !is_expected(&source)? {
        return Err(changed(from));
    }
    let mut temp = folder.temp()?;
    let (hash, _) = pour(&mut source, &mut temp.file).map_err(|e| e.of(from, to))?;
    let proven = match meta.hash {
        Some(expected) => hash == expected,
        // Nothing to compare with but that nobody wrote to it meanwhile.
        None => is_expected(&source)?,
    };
    if proven { folder.publish(temp, to, hash, meta.mtime) } else { Err(changed(from)) }
}

/// Gives a file that is what it should be another time.
fn retouch(mut file: File, path: &VaultPath, stamp: &Stamp, meta: &BlobMeta) -> Result<Stamp, BlobError> {
    let found = file_stamp(&file).map_err(|e| fault(path, "look at", &e))?;
    if found != *stamp {
        let (hash, _) = pour(&mut file, &mut io::sink()).map_err(|e| fault(path, "read", &e.error))?;
        if meta.hash != Some(hash) {
            return Err(changed(path));
        }
    }
    let set = set_mtime(&file, meta.mtime).and_then(|()| file.sync_all()).and_then(|()| file_stamp(&file));
    set.map_err(|e| fault(path, "set the time of", &e))
}

/// A fault on one side of a copy.
struct PourError {
    reading: bool,
    error: io::Error,
}

impl PourError {
    fn of(&self, from: &VaultPath, to: &VaultPath) -> BlobError {
        if self.reading { fault(from, "read", &self.error) } else { fault(to, "write", &self.error) }
    }
}

/// Copies all of `source` and tells the hash and the size of what was copied.
fn pour(source: &mut File, target: &mut impl Write) -> Result<(ContentHash, u64), PourError> {
    let mut buffer = vec![0; CHUNK];
    let (mut hash, mut size) = (Sha256::new(), 0);
    loop {
        let filled = fill(source, &mut buffer).map_err(|error| PourError { reading: true, error })?;
        if filled == 0 {
            return Ok((ContentHash(hash.finalize().into()), size));
        }
        hash.update(&buffer[..filled]);
        target.write_all(&buffer[..filled]).map_err(|error| PourError { reading: false, error })?;
        size += filled as u64;
    }
}
