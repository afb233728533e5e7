//! Shards of a state in a table.
//!
//! An input is a byte that says of which shard of how many it is, two that say how many bytes of hashes there are in the
//! end, and what is otherwise compressed. The checksum and the compression around it would keep arbitrary bytes from
//! everything behind them.
//!
//! Or, for what is written before it is read, it is a line for each entry: a path, and for a file a tab and its stamp.

use obsync_adapters::state::packed::shard::{self, Entries};
use obsync_core::blob::Stamp;
use obsync_core::state::{Entry, FileEntry};
use obsync_proto::{ContentHash, Uid, VaultPath};

/// What is packed is unpacked, and what is unpacked is of its shard; bytes that were never packed are refused, or are read
/// as what they would have been packed from.
pub fn check(input: &[u8]) {
    let entries: Entries = String::from_utf8_lossy(input).lines().filter_map(entry).collect();
    assert_eq!(shard::unpack(&shard::pack(&entries), 0, 1), Some(entries));

    if let Some(entries) = shard::unpack(input, 0, 1) {
        assert_eq!(shard::unpack(&shard::pack(&entries), 0, 1), Some(entries));
    }
    let most = 1 << 20;
    if let Some(plain) = shard::unpack_bytes(input, most) {
        assert!(plain.len() <= most);
    }
    assert_eq!(shard::unpack_bytes(&shard::pack_bytes(input), input.len()).as_deref(), Some(input));

    let Some(([which, low, high], rest)) = input.split_first_chunk() else { return };
    let shards = u32::from(which >> 4) + 1;
    let number = u32::from(which & 0xf) % shards;
    let hashes = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
    let (plain, hashes) = rest.split_at(rest.len() - hashes);
    let Some(entries) = shard::read(plain, hashes, number, shards) else { return };
    assert!(entries.keys().all(|path| shard::shard_of(shard::place(path), shards) == number));
    let (plain, hashes) = shard::write(&entries);
    assert_eq!(shard::read(&plain, &hashes, number, shards).as_ref(), Some(&entries));
    let packed = shard::pack(&entries);
    assert_eq!(shard::unpack(&packed, number, shards).as_ref(), Some(&entries));
    assert_eq!(shard::unpack(&packed[..packed.len() - 1], number, shards), None);
}

/// With numbers of all sizes: parts of the path's place among all hashes.
fn entry(line: &str) -> Option<(VaultPath, Entry)> {
    let (path, stamp) = line.split_once('\t').map_or((line, None), |(path, stamp)| (path, Some(stamp)));
    let path = VaultPath::parse(path).ok()?;
    let number = shard::place(&path) >> (line.len() % 64);
    let file = |stamp: &str| FileEntry {
        uid: Uid(number),
        hash: ContentHash::of(line.as_bytes()),
        size: number.rotate_left(8),
        mtime: number.cast_signed(),
        ctime: number.cast_signed().wrapping_neg(),
        stamp: Stamp(stamp.into()),
    };
    Some((path, stamp.map_or(Entry::Folder, |stamp| Entry::File(file(stamp)))))
}
