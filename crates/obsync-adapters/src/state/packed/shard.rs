//! A shard: the entries of those paths whose hash lies in one stretch of all hashes, packed into one item.
//!
//! The stretches are equal, and there are as many as there are shards: with twice as many shards, each old one falls
//! into exactly two new ones, so that a mirror grows shard by shard and never has to be in memory.

use std::collections::BTreeMap;

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use obsync_core::blob::Stamp;
use obsync_core::state::{Entry, FileEntry};
use obsync_proto::{ContentHash, Uid, VaultPath};
use sha2::{Digest, Sha256};

/// What a shard holds.
pub type Entries = BTreeMap<VaultPath, Entry>;

/// How hard to compress: more than this costs time and gains nothing.
const EFFORT: u8 = 6;

/// More than any item of 400 KB unpacks to, and less than what exhausts memory.
pub const MOST_UNPACKED: usize = 32 << 20;

/// Bytes of the SHA-256 over the rest, in front of everything that is packed.
const CHECK: usize = 8;

/// Where a path lies among all hashes.
pub fn place(path: &VaultPath) -> u64 {
    let hash = Sha256::digest(path.as_str());
    hash.iter().take(8).fold(0, |place, byte| place << 8 | u64::from(*byte))
}

/// The shard of a place.
pub fn shard_of(place: u64, shards: u32) -> u32 {
    let shard = (u128::from(place) * u128::from(shards)) >> 64;
    u32::try_from(shard).unwrap_or(u32::MAX)
}

/// The first place of a shard; behind the last one, 2⁶⁴.
pub fn first_place(shard: u32, shards: u32) -> u128 {
    (u128::from(shard) << 64).div_ceil(u128::from(shards.max(1)))
}

/// Packs entries: what compresses compressed, and the hashes, which do not, behind it.
pub fn pack(entries: &Entries) -> Vec<u8> {
    let (plain, hashes) = write(entries);
    let mut body = Vec::new();
    let packed = compress_to_vec(&plain, EFFORT);
    put_number(&mut body, packed.len() as u64);
    body.extend_from_slice(&packed);
    body.extend_from_slice(&hashes);
    seal(&body)
}

/// Unpacks a shard; `None` for anything that [`pack`] did not make of entries of this very shard.
pub fn unpack(bytes: &[u8], shard: u32, shards: u32) -> Option<Entries> {
    let mut body = unseal(bytes)?;
    let packed = usize::try_from(take_number(&mut body)?).ok()?;
    let plain = decompress_to_vec_with_limit(take(&mut body, packed)?, MOST_UNPACKED).ok()?;
    read(&plain, body, shard, shards)
}

/// Entries as bytes: what compresses, and the hashes.
pub fn write(entries: &Entries) -> (Vec<u8>, Vec<u8>) {
    let (mut plain, mut hashes) = (Vec::new(), Vec::new());
    put_number(&mut plain, entries.len() as u64);
    for path in entries.keys() {
        plain.extend_from_slice(path.as_bytes());
        // No path has one.
        plain.push(0);
    }
    for entry in entries.values() {
        match entry {
            Entry::Folder => plain.push(FOLDER),
            Entry::File(file) => put_file(&mut plain, &mut hashes, file),
        }
    }
    (plain, hashes)
}

/// The reverse of [`write()`].
pub fn read(mut plain: &[u8], mut hashes: &[u8], shard: u32, shards: u32) -> Option<Entries> {
    let count = take_number(&mut plain)?;
    let mut paths: Vec<VaultPath> = Vec::new();
    for _ in 0..count {
        let end = plain.iter().position(|byte| *byte == 0)?;
        let path = VaultPath::parse(std::str::from_utf8(take(&mut plain, end)?).ok()?).ok()?;
        take(&mut plain, 1)?;
        // In order, so that a few bytes that unpack to millions of the same path stop at the second one.
        if shard_of(place(&path), shards) != shard || paths.last().is_some_and(|last| *last >= path) {
            return None;
        }
        paths.push(path);
    }
    let mut entries = Entries::new();
    for path in paths {
        let entry = match take(&mut plain, 1)?[0] {
            FOLDER => Entry::Folder,
            kind => Entry::File(take_file(kind, &mut plain, &mut hashes)?),
        };
        entries.insert(path, entry);
    }
    (plain.is_empty() && hashes.is_empty()).then_some(entries)
}

/// Packs anything else.
pub fn pack_bytes(plain: &[u8]) -> Vec<u8> {
    seal(&compress_to_vec(plain, EFFORT))
}

/// The reverse of [`pack_bytes`]; `None` also for what unpacks to more than `most` bytes.
pub fn unpack_bytes(bytes: &[u8], most: usize) -> Option<Vec<u8>> {
    decompress_to_vec_with_limit(unseal(bytes)?, most).ok()
}

fn seal(body: &[u8]) -> Vec<u8> {
    let mut sealed = Sha256::digest(body)[..CHECK].to_vec();
    sealed.extend_from_slice(body);
    sealed
}

fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (check, body) = bytes.split_at_checked(CHECK)?;
    (Sha256::digest(body)[..CHECK] == *check).then_some(body)
}

const FOLDER: u8 = 0;
const FILE: u8 = 1;
/// A file whose stamp is what S3 calls most files: 32 hex digits. Kept as 16 bytes.
const FILE_WITH_MD5: u8 = 2;

fn put_file(plain: &mut Vec<u8>, hashes: &mut Vec<u8>, file: &FileEntry) {
    let md5 = md5(&file.stamp);
    plain.push(if md5.is_some() { FILE_WITH_MD5 } else { FILE });
    put_number(plain, file.uid.0);
    put_number(plain, file.size);
    put_number(plain, zigzag(file.mtime));
    put_number(plain, zigzag(file.ctime.wrapping_sub(file.mtime)));
    hashes.extend_from_slice(&file.hash.0);
    match md5 {
        Some(md5) => hashes.extend_from_slice(&md5),
        None => {
            put_number(plain, file.stamp.0.len() as u64);
            plain.extend_from_slice(file.stamp.0.as_bytes());
        }
    }
}

fn take_file(kind: u8, plain: &mut &[u8], hashes: &mut &[u8]) -> Option<FileEntry> {
    let (uid, size) = (Uid(take_number(plain)?), take_number(plain)?);
    let mtime = unzigzag(take_number(plain)?);
    let ctime = unzigzag(take_number(plain)?).wrapping_add(mtime);
    let hash = ContentHash(take(hashes, 32)?.try_into().ok()?);
    let stamp = match kind {
        FILE_WITH_MD5 => hex(take(hashes, 16)?),
        FILE => {
            let length = usize::try_from(take_number(plain)?).ok()?;
            std::str::from_utf8(take(plain, length)?).ok()?.to_owned()
        }
        _ => return None,
    };
    Some(FileEntry { uid, hash, size, mtime, ctime, stamp: Stamp(stamp.into()) })
}

fn md5(stamp: &Stamp) -> Option<[u8; 16]> {
    let hex = &stamp.0;
    let mut md5 = [0; 16];
    if hex.len() != 32 {
        return None;
    }
    for (byte, digits) in md5.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = digit(digits[0])? << 4 | digit(digits[1])?;
    }
    Some(md5)
}

/// Lower-case alone: what is kept comes back to the letter.
fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// Seven bits to a byte, the least significant first (LEB128).
pub(super) fn put_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    to.push(number.to_le_bytes()[0]);
}

pub(super) fn take_number(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(from, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(n: u32) -> VaultPath {
        VaultPath::parse(format!("folder {}/note {n}.md", n % 7)).expect("a path")
    }

    #[test]
    fn twice_the_shards_split_each_shard_in_two() {
        for n in 0..2_000 {
            let place = place(&path(n));
            for shards in [1, 2, 3, 7, 48, 1 << 20] {
                let shard = shard_of(place, shards);
                assert!(shard < shards);
                assert_eq!(shard_of(place, shards * 2) / 2, shard);
                assert_eq!(shard_of(place, shards * 8) / 8, shard);
                let here = first_place(shard, shards)..first_place(shard + 1, shards);
                assert!(here.contains(&u128::from(place)));
            }
        }
        assert_eq!(first_place(5, 5), 1 << 64);
    }

    #[test]
    fn every_byte_of_a_shard_counts() {
        let file = |n: u32, stamp: &str| {
            let (uid, hash) = (Uid(u64::from(n)), ContentHash::of(&n.to_be_bytes()));
            let (mtime, ctime) = (i64::MIN + i64::from(n), i64::MAX);
            Entry::File(FileEntry { uid, hash, size: u64::MAX, mtime, ctime, stamp: Stamp(stamp.into()) })
        };
        let stamps = ["0123456789abcdef0123456789abcdef", "0123456789ABCDEF0123456789ABCDEF", "", "\"\"", "x-1"];
        let mut entries: Entries = (0..).zip(stamps).map(|(n, stamp)| (path(n), file(n, stamp))).collect();
        entries.insert(path(99), Entry::Folder);
        let packed = pack(&entries);
        assert_eq!(unpack(&packed, 0, 1), Some(entries));
        for at in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged[at] ^= 1;
            assert_eq!(unpack(&damaged, 0, 1), None);
            assert_eq!(unpack(&packed[..at], 0, 1), None);
        }
        assert_eq!(unpack(&packed, 0, 64), None, "of another shard");
        assert_eq!(unpack(&pack(&Entries::new()), 3, 64), Some(Entries::new()));
    }
}
