//! One large file, against the slowest of the stages that it goes through, each measured alone.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use obsync_proto::ContentHash;
use obsync_proto::crypto::{ContentDecryptor, ContentKey, IV_LEN};
use obsync_proto::wire::limits::MAX_PIECE;
use obsync_testkit::generate::noise;
use sha2::{Digest, Sha256};

use crate::Result;
use crate::stage::{Place, Stage};
use crate::table::{Figure, Table};

const VAULT: &str = "A large file";

/// What a run may hold in memory for the file, in MiB.
const MEMORY: f64 = 48.0;

pub(crate) fn run(stage: &mut Stage, table: &mut Table) -> Result<()> {
    let bytes = stage.size.file;
    table.section("large-file", format!("one of {} MiB; bound: the slowest stage by itself", bytes >> 20));
    stage.service.add_file(VAULT, bytes)?;
    let raw = stage.raw(VAULT)?;
    let (size, key) = (stage.size, &raw.keys().content);
    let (files, cursor) = stage.runtime.block_on(raw.files())?;
    let receive = size.least(|| stage.runtime.block_on(raw.time_pulls(&files, cursor, 1)))?;
    let (hash, decrypt) = size.least(|| time_decryption(key, usize::try_from(bytes)?))?;
    let write = size.least(|| time_write(stage.work(), bytes))?;
    let put = size.least(|| stage.stores.time_put(bytes))?;
    table.add(Figure::seconds("stage: receive", receive));
    table.add(Figure::seconds("stage: decrypt", decrypt));
    table.add(Figure::seconds("stage: SHA-256", hash));
    table.add(Figure::seconds("stage: write to disk, fsync and rename", write));
    table.add(Figure::seconds("stage: put into S3, in parts", put));
    for place in Place::ALL {
        let last = if place == Place::Folder { write } else { put };
        let bound = receive.max(decrypt).max(hash).max(last);
        let mut mirror = stage.mirror(VAULT, place);
        let run = size.least(|| {
            mirror = stage.mirror(VAULT, place);
            stage.sync(&mirror, 1, &[])
        })?;
        let idle = size.least(|| stage.sync(&mirror, 0, &[]))?;
        let above = run.usage.peak.saturating_sub(idle.usage.peak);
        table.add(Figure::seconds(place.name(), run.time).bound(bound).at_most_times(1.5).usage(run.usage));
        table.add(Figure::seconds(format!("{}, nothing to do", place.name()), idle.time).usage(idle.usage));
        table.add(Figure::memory(format!("{}, peak above that", place.name()), above).at_most(MEMORY));
    }
    Ok(())
}

/// The times for SHA-256 and for AES-GCM. The decryptor does both; what it takes beyond the hash is the decryption.
fn time_decryption(key: &ContentKey, bytes: usize) -> Result<(Duration, Duration)> {
    let plaintext = noise(bytes, 1);
    let started = Instant::now();
    let hash = ContentHash(Sha256::digest(&plaintext).into());
    let hashing = started.elapsed();
    let ciphertext = key.encrypt(&[1; IV_LEN], &plaintext);
    drop(plaintext);
    let mut decryptor = ContentDecryptor::new(key, ciphertext.len() as u64)?;
    // As they come off the wire: each in memory of its own, which the plaintext then takes.
    let pieces: Vec<BytesMut> = ciphertext.chunks(MAX_PIECE).map(BytesMut::from).collect();
    let started = Instant::now();
    for piece in pieces {
        decryptor.update(piece)?;
    }
    decryptor.finish(Some(hash))?;
    Ok((hashing, started.elapsed().saturating_sub(hashing)))
}

fn time_write(folder: &Path, bytes: u64) -> Result<Duration> {
    let content = noise(MAX_PIECE, 2);
    let (temporary, path) = (folder.join("raw.tmp"), folder.join("raw.bin"));
    rustix::fs::sync();
    let started = Instant::now();
    let mut file = File::create(&temporary)?;
    let mut left = usize::try_from(bytes)?;
    while left > 0 {
        let chunk = &content[..left.min(content.len())];
        file.write_all(chunk)?;
        left -= chunk.len();
    }
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    File::open(folder)?.sync_all()?;
    let time = started.elapsed();
    fs::remove_file(&path)?;
    Ok(time)
}
