//! Vaults of 2,000 files, followed through changes.

use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::generate::Shape;
use obsync_testkit::tree::{Tree, assert_same_tree};
use obsync_testkit::vault::Change;

use crate::fixture::Fixture;

const LARGEST: usize = 6 << 20;

fn shape(seed: u64) -> Shape {
    Shape {
        seed,
        notes: 1940,
        attachments: 60,
        max_size: LARGEST,
        folders: 60,
        empty_folders: 5,
        edited: 120,
        deleted: 60,
        renamed: 40,
    }
}

/// Names and times of everything below a folder, to see whether anything was touched.
fn touched(dest: &std::path::Path) -> Vec<(std::path::PathBuf, std::time::SystemTime)> {
    let mut seen = Vec::new();
    let mut folders = vec![dest.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                folders.push(entry.path());
            }
            seen.push((entry.path(), metadata.modified().unwrap()));
        }
    }
    seen.sort();
    seen
}

async fn follow(version: EncryptionVersion) {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("Big", version);
    vault.fill(&shape(u64::from(u8::from(version)) + 1));
    let live = vault.tree().files.len() as u64;
    assert!(live >= 1_900, "{live}");

    let first = fixture.sync("Big", &[]).await;
    assert_eq!(first.exit, Some(0), "{}", first.stderr);
    assert_eq!(
        (first.vault()["downloaded"].as_u64(), first.vault()["failed"].as_array().unwrap().len()),
        (Some(live), 0)
    );
    assert_same_tree(&vault.tree(), &Tree::read(&fixture.dest()));
    for (path, mtime) in vault.mtimes() {
        let modified = std::fs::metadata(fixture.dest().join(&path)).unwrap().modified().unwrap();
        let ms = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        assert_eq!(i64::try_from(ms).unwrap(), mtime, "{path}");
    }

    fixture.emulator.counters().reset();
    let before = touched(&fixture.dest());
    let second = fixture.sync("Big", &[]).await;
    assert_eq!((second.exit, second.vault()["unchanged"].as_u64()), (Some(0), Some(live)));
    assert_eq!(fixture.emulator.counters().get().pulls, 0);
    assert_eq!(touched(&fixture.dest()), before, "a run with nothing to do wrote something");

    let changes = vault.random_changes(99, 10);
    let puts = changes.iter().filter(|change| matches!(change, Change::Put { .. })).count() as u64;
    let third = fixture.sync("Big", &[]).await;
    assert_eq!(third.exit, Some(0), "{}", third.stderr);
    let pulls = fixture.emulator.counters().get().pulls;
    assert!(pulls <= puts, "{pulls} pulls for {changes:?}");
    assert_same_tree(&vault.tree(), &Tree::read(&fixture.dest()));
    let verified = fixture.run(&["verify", "Big", "--to", fixture.dest().to_str().unwrap(), "--deep", "--json"]).await;
    assert_eq!((verified.exit, verified.json()["exact"].as_bool()), (Some(0), Some(true)), "{verified:?}");
}

/// Promise 1, in the oldest encryption version.
#[tokio::test(flavor = "multi_thread")]
async fn a_vault_of_2000_files_in_version_0_is_followed() {
    follow(EncryptionVersion::V0).await;
}

/// Promise 1, in the newest encryption version.
#[tokio::test(flavor = "multi_thread")]
async fn a_vault_of_2000_files_in_version_3_is_followed() {
    follow(EncryptionVersion::V3).await;
}
