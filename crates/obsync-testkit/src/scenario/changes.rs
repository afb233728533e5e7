//! Changes of a vault, followed by incremental runs.

use obsync_core::filter::Filter;
use obsync_core::plan::Rules;
use obsync_emulator::{Fault, FaultRule, Place};
use obsync_proto::VaultPath;
use obsync_proto::crypto::EncryptionVersion;

use super::Pairs;
use crate::conformance::names;
use crate::generate::{self, Shape};
use crate::tree::assert_same_tree;
use crate::vault::Change;

fn filter(include: &[&str], exclude: &[&str]) -> Filter {
    let owned = |globs: &[&str]| globs.iter().map(|g| (*g).to_owned()).collect::<Vec<_>>();
    Filter::new(&owned(include), &owned(exclude)).unwrap()
}

/// Promise 7: a run pulls at most what changed.
pub async fn random_changes_are_followed_and_cost_what_changed(pairs: &Pairs) {
    for seed in 1..=3 {
        let mut fixture = pairs.fixture().await;
        fixture.vault.fill(&Shape::small(seed));
        fixture.sync_exact().await;
        for round in 0..12 {
            fixture.pulls();
            let changes = fixture.vault.random_changes(seed * 100 + round, 10);
            let puts = changes.iter().filter(|c| matches!(c, Change::Put { .. })).count() as u64;
            fixture.sync_exact().await;
            assert!(fixture.pulls() <= puts, "seed {seed}, round {round}: {changes:?}");
        }
        fixture.assert_times();
    }
}

/// Promise 7: no content comes from the service again.
pub async fn a_rename_is_copied_and_not_pulled(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.mkdir("d");
    fixture.vault.put("d/old.md", "content", 1);
    fixture.sync_exact().await;
    fixture.pulls();
    fixture.vault.rename("d/old.md", "d/new.md");
    fixture.vault.rename("d", "e");
    let report = fixture.sync_exact().await;
    assert_eq!((report.copied, report.deleted, report.downloaded, fixture.pulls()), (1, 1, 0, 0));
}

/// Names that were given to other files in one go.
pub async fn swapped_names_and_names_renamed_over_are_right(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
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

/// What is in the way goes first.
pub async fn a_file_becomes_a_folder_and_a_folder_a_file(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
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
    assert_eq!(fixture.head().await.unwrap().files, fixture.paths().len() as u64);
}

/// The content is at the destination already.
pub async fn a_new_time_alone_is_no_pull(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.put("a", "same", 1_000);
    fixture.sync_exact().await;
    fixture.pulls();
    fixture.vault.put("a", "same", 2_000);
    let report = fixture.sync_exact().await;
    assert_eq!((report.copied, fixture.pulls()), (1, 0));
    assert_eq!(fixture.pair.destination.mtime("a"), Some(2_000));
}

/// Names that stores get wrong, one of them of a file that is uploaded in parts: written, found again without a state,
/// given to other files, deleted.
pub async fn hard_names_are_kept_through_every_kind_of_change(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    let names = hard_names();
    for (n, name) in (1..).zip(&names) {
        fixture.vault.put(name, format!("content of {name}"), 1_700_000_000_000 + n);
    }
    let large = "ឯកសារធំ/🎞 a+b & c%2Fd cafe\u{301}.bin";
    fixture.vault.put(large, generate::noise((9 << 20) + 1, 5), 1);
    fixture.sync_exact().await;
    fixture.assert_times();

    fixture.pulls();
    fixture.lose_state().await;
    assert_eq!((fixture.sync_exact().await.downloaded, fixture.pulls()), (0, 0));

    fixture.vault.rename(large, &format!("{large} + moved & renamed %2F"));
    for name in names.iter().step_by(2) {
        fixture.vault.rename(name, "for a moment");
        fixture.vault.rename("for a moment", &format!("moved/{name}"));
    }
    let report = fixture.sync_exact().await;
    assert_eq!((report.copied, fixture.pulls()), (1 + names.len().div_ceil(2) as u64, 0));
    fixture.assert_times();

    for name in names.iter().skip(1).step_by(2) {
        fixture.vault.delete(name);
    }
    assert_eq!(fixture.sync_exact().await.deleted, names.len() as u64 / 2);
}

/// Those that every store takes, and one that is as long as a folder on disk and a bucket let it be.
fn hard_names() -> Vec<String> {
    let segments = ["ក".repeat(80), "é".repeat(120), "🧠".repeat(60)];
    let long = format!("{}/long.md", segments.join("/"));
    let names: Vec<String> = names::HARD.iter().map(|&name| name.to_owned()).chain([long]).collect();
    assert!(names.iter().all(|name| VaultPath::parse(name.as_str()).is_ok()));
    names
}

/// Trap: widening a filter deletes or forgets.
pub async fn a_widened_filter_fetches_what_it_newly_lets_through(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.fill(&Shape::small(5));
    let notes = fixture.sync_filtered(filter(&["*.md"], &[])).await;
    assert!(notes.is_success() && fixture.paths().iter().all(|path| path.ends_with(".md")));
    let written = fixture.paths().len() as u64;
    fixture.pulls();
    let report = fixture.sync_exact().await;
    assert_eq!((report.downloaded, report.deleted), (fixture.pulls(), 0));
    assert_eq!(fixture.paths().len() as u64, written + report.downloaded);
}

/// The mirror is the vault as the filter shows it.
pub async fn a_narrowed_filter_removes_what_it_keeps_out(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.fill(&Shape::small(6));
    fixture.sync_exact().await;
    fixture.pulls();
    let report = fixture.sync_filtered(filter(&[], &["*.md"])).await;
    assert!(report.is_success(), "{report:?}");
    assert_eq!(fixture.pulls(), 0);
    let expected = fixture.vault.tree().filtered(|path| !path.ends_with(".md"));
    assert_same_tree(&expected.files_only(), &fixture.tree().files_only());
}

/// `--keep-deleted`.
pub async fn deleted_files_are_kept_on_request(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.put("a", "a", 1);
    fixture.sync_exact().await;
    fixture.vault.delete("a");
    let report = fixture.sync_ruled(Rules { keep_deleted: true, ..Rules::default() }).await;
    assert!(report.is_success() && report.deleted == 0);
    assert_eq!(fixture.paths().len(), 1);
    // Until a run compares everything and is not asked to keep it.
    assert!(fixture.sync().await.is_success());
    assert_eq!(fixture.paths().len(), 1);
    let keeps_notes = fixture.blobs.noted_hash(&VaultPath::parse("a").unwrap()).await.unwrap().is_some();
    assert!(fixture.sync_complete().await.is_success());
    if keeps_notes {
        fixture.assert_exact();
    } else {
        assert_eq!(fixture.paths().len(), 1, "not known to be obsync's");
    }
}

/// The vault's history was begun anew, with lower numbers.
pub async fn a_vault_whose_history_begins_anew_is_listed_anew(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.put("a", "a", 1);
    fixture.sync_exact().await;
    fixture.vault.put("b", "b", 1);
    let anew = Fault::Raw(r#"{"op":"ready","version":0}"#.into());
    fixture.emulator.faults().add(FaultRule::new(Place::Listing, anew).times(1));
    fixture.sync_exact().await;
}

/// A vault that was encrypted anew has all of its records anew, and none of what was deleted before.
pub async fn a_vault_encrypted_anew_is_listed_anew(pairs: &Pairs) {
    for (from, to) in [(EncryptionVersion::V0, EncryptionVersion::V3), (EncryptionVersion::V3, EncryptionVersion::V3)] {
        let mut fixture = pairs.fixture_under(from).await;
        fixture.vault.fill(&Shape::notes(16, 8));
        fixture.vault.put("goes.md", "goes", 1);
        fixture.sync_exact().await;
        fixture.pulls();
        fixture.vault.delete("goes.md");
        fixture.vault.reencrypt(to, "another password");
        fixture.sync_exact().await;
        assert_eq!(fixture.pulls(), 0, "the content is what it was");
    }
}
