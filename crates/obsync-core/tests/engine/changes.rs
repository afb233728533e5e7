//! Changes of a vault, followed by incremental runs.

use obsync_core::filter::Filter;
use obsync_core::plan::Rules;
use obsync_emulator::{Fault, FaultRule, Place};
use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::generate::Shape;
use obsync_testkit::memory::MemoryBlobs;
use obsync_testkit::tree::assert_same_tree;
use obsync_testkit::vault::Change;

use crate::fixture::Fixture;

fn filter(include: &[&str], exclude: &[&str]) -> Rules {
    let owned = |globs: &[&str]| globs.iter().map(|g| (*g).to_owned()).collect::<Vec<_>>();
    Rules { filter: Filter::new(&owned(include), &owned(exclude)).unwrap(), ..Rules::default() }
}

/// Promise 7: a run pulls at most what changed.
#[tokio::test]
async fn random_changes_are_followed_and_cost_what_changed() {
    for (seed, blobs) in [(1, MemoryBlobs::folder()), (2, MemoryBlobs::bucket()), (3, MemoryBlobs::folder())] {
        let mut fixture = Fixture::with(EncryptionVersion::V3, blobs).await;
        fixture.vault.fill(&Shape::small(seed));
        fixture.sync_exact().await;
        for round in 0..12 {
            fixture.pulls();
            let changes = fixture.vault.random_changes(seed * 100 + round, 10);
            let puts = changes.iter().filter(|c| matches!(c, Change::Put { .. })).count() as u64;
            fixture.sync_exact().await;
            assert!(fixture.pulls() <= puts, "seed {seed}, round {round}: {changes:?}");
        }
    }
}

#[tokio::test]
async fn a_rename_is_copied_and_not_pulled() {
    let mut fixture = Fixture::new().await;
    fixture.vault.mkdir("d");
    fixture.vault.put("d/old.md", "content", 1);
    fixture.sync_exact().await;
    fixture.pulls();
    fixture.vault.rename("d/old.md", "d/new.md");
    fixture.vault.rename("d", "e");
    let report = fixture.sync_exact().await;
    assert_eq!((report.copied, report.deleted, report.downloaded, fixture.pulls()), (1, 1, 0, 0));
}

#[tokio::test]
async fn swapped_names_and_names_renamed_over_are_right() {
    let mut fixture = Fixture::new().await;
    for name in ["a", "b", "c", "d"] {
        fixture.vault.put(name, format!("content of {name}"), 1);
    }
    fixture.sync_exact().await;
    fixture.vault.rename("a", "t");
    fixture.vault.rename("b", "a");
    fixture.vault.rename("t", "b");
    fixture.vault.delete("d");
    fixture.vault.rename("c", "d");
    fixture.sync_exact().await;
}

#[tokio::test]
async fn a_file_becomes_a_folder_and_a_folder_a_file() {
    let mut fixture = Fixture::new().await;
    fixture.vault.put("x", "file", 1);
    fixture.vault.mkdir("y");
    fixture.vault.put("y/in.md", "in", 1);
    fixture.sync_exact().await;
    fixture.vault.delete("x");
    fixture.vault.mkdir("x");
    fixture.vault.put("x/in.md", "now in x", 1);
    fixture.vault.delete("y");
    fixture.vault.put("y", "now a file", 1);
    fixture.sync_exact().await;
    // Regression: the file that became a folder was taken from the count twice.
    let head = fixture.state.head_of(&fixture.mirror().id()).unwrap();
    assert_eq!(head.files, fixture.blobs.files().len() as u64);
}

#[tokio::test]
async fn a_new_time_alone_is_no_pull() {
    let mut fixture = Fixture::new().await;
    fixture.vault.put("a", "same", 1_000);
    fixture.sync_exact().await;
    fixture.pulls();
    fixture.vault.put("a", "same", 2_000);
    let report = fixture.sync_exact().await;
    assert_eq!((report.copied, fixture.pulls()), (1, 0));
    assert_eq!(fixture.blobs.times("a").unwrap().0, 2_000);
}

/// Trap: widening a filter deletes or forgets.
#[tokio::test]
async fn a_widened_filter_fetches_what_it_newly_lets_through() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::small(5));
    let notes = fixture.sync_ruled(filter(&["*.md"], &[])).await;
    assert!(notes.is_success() && fixture.blobs.files().keys().all(|path| path.ends_with(".md")));
    let written = fixture.blobs.files().len() as u64;
    fixture.pulls();
    let report = fixture.sync_exact().await;
    assert_eq!((report.downloaded, report.deleted), (fixture.pulls(), 0));
    assert_eq!(fixture.blobs.files().len() as u64, written + report.downloaded);
}

#[tokio::test]
async fn a_narrowed_filter_removes_what_it_keeps_out() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::small(6));
    fixture.sync_exact().await;
    fixture.pulls();
    let report = fixture.sync_ruled(filter(&[], &["*.md"])).await;
    assert!(report.is_success(), "{report:?}");
    assert_eq!(fixture.pulls(), 0);
    let expected = fixture.vault.tree().filtered(|path| !path.ends_with(".md"));
    assert_same_tree(&expected.files_only(), &fixture.blobs.tree().files_only());
}

#[tokio::test]
async fn deleted_files_are_kept_on_request() {
    let mut fixture = Fixture::new().await;
    fixture.vault.put("a", "a", 1);
    fixture.sync_exact().await;
    fixture.vault.delete("a");
    let report = fixture.sync_ruled(Rules { keep_deleted: true, ..Rules::default() }).await;
    assert!(report.is_success() && report.deleted == 0);
    assert_eq!(fixture.blobs.files().len(), 1);
    // Until a run compares everything and is not asked to keep it.
    assert!(fixture.sync().await.is_success());
    assert_eq!(fixture.blobs.files().len(), 1);
    assert!(fixture.sync_complete().await.is_success());
    fixture.assert_exact();
}

/// The vault's history was begun anew, with lower numbers.
#[tokio::test]
async fn a_vault_whose_history_begins_anew_is_listed_anew() {
    let mut fixture = Fixture::new().await;
    fixture.vault.put("a", "a", 1);
    fixture.sync_exact().await;
    fixture.vault.put("b", "b", 1);
    let anew = Fault::Raw(r#"{"op":"ready","version":0}"#.into());
    fixture.emulator.faults().add(FaultRule::new(Place::Listing, anew).times(1));
    fixture.sync_exact().await;
}
