//! Records that lie, and content that is not what it should be.

use obsync_core::mirror::Failure;
use obsync_emulator::{Fault, FaultRule, Place};
use obsync_proto::wire::Record;
use obsync_testkit::generate::Shape;

use crate::fixture::Fixture;

const BAD_PATHS: [&str; 9] =
    ["../escape.md", "/abs.md", "a/../../up.md", "x/./y.md", "nul\0byte.md", "", "a//b.md", "trailing/", ".."];

fn names(failed: &[Failure]) -> Vec<&str> {
    failed.iter().map(|f| f.path.as_str()).collect()
}

/// Promise 10 (contained): refused by name, every time, and the rest goes on.
#[tokio::test]
async fn records_that_lead_outside_are_refused_by_name() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::small(1));
    for path in BAD_PATHS {
        fixture.vault.put_raw(path, b"evil", 1);
    }
    let long = format!("{}.md", "n".repeat(297));
    fixture.vault.put_raw(&long, b"long", 1);
    let mut expected: Vec<&str> = BAD_PATHS.into_iter().chain([long.as_str()]).collect();
    expected.sort_unstable();
    for _ in 0..3 {
        let report = fixture.sync().await;
        assert_eq!(names(&report.failed), expected);
        fixture.assert_exact();
    }
    let head = fixture.state.head_of(&fixture.mirror().id()).unwrap();
    assert_eq!(head.pending.len(), expected.len());
    assert!(head.cursor.0 > 0, "noted by name, so that the cursor can go on");
}

#[tokio::test]
async fn a_refused_record_is_forgotten_once_the_vault_takes_it_back() {
    let mut fixture = Fixture::new().await;
    fixture.vault.put_raw("../x", b"evil", 1);
    fixture.vault.put("a", "a", 1);
    assert_eq!(fixture.sync().await.failed.len(), 1);
    let deletion = Record { path: fixture.vault.encode("../x"), deleted: true, ..Record::default() };
    fixture.vault.push_record(deletion, None);
    assert!(fixture.sync_exact().await.failed.is_empty());
}

#[tokio::test]
async fn names_and_hashes_of_another_key_are_refused() {
    let mut fixture = Fixture::new().await;
    fixture.vault.put("good", "good", 1);
    let (mut garbled, content) = fixture.vault.sealed("garbled", b"x", 1);
    garbled.path = "00".repeat(40);
    fixture.vault.push_record(garbled, Some(content));
    let (mut unhashed, content) = fixture.vault.sealed("unhashed", b"x", 1);
    unhashed.hash = "11".repeat(80);
    fixture.vault.push_record(unhashed, Some(content));
    let report = fixture.sync().await;
    assert_eq!(report.failed.len(), 2, "{report:?}");
    assert!(report.failed[0].path.starts_with("(undecodable)") && report.failed[1].path == "unhashed");
    fixture.assert_exact();
}

/// An old record without a hash: the tag alone vouches for it.
#[tokio::test]
async fn a_record_without_a_hash_is_mirrored() {
    let mut fixture = Fixture::new().await;
    let (mut record, content) = fixture.vault.sealed("old.md", b"old content", 1);
    record.hash = String::new();
    fixture.vault.push_record(record, Some(content));
    assert!(fixture.sync().await.is_success());
    assert_eq!(fixture.blobs.files()["old.md"], b"old content");
    fixture.pulls();
    assert!(fixture.sync_complete().await.is_success());
    assert_eq!(fixture.pulls(), 0);
}

/// Promise 2 (verified): authentic content of another file is no substitute.
#[tokio::test]
async fn content_of_another_file_is_refused() {
    let mut fixture = Fixture::new().await;
    fixture.vault.put("good", "good", 1);
    let (record, _) = fixture.vault.sealed("a.md", b"what it should be", 1);
    let other = fixture.vault.encrypt(b"what is sent here");
    fixture.vault.push_record(record, Some(other));
    let report = fixture.sync().await;
    assert_eq!(names(&report.failed), ["a.md"]);
    assert!(report.failed[0].error.contains("SHA-256"), "{report:?}");
    fixture.assert_exact();
}

/// Regression, found with the official client: it replaces a file by a folder and never deletes the file's record.
/// What is in the folder wins, in every kind of run, and the file is reported for as long as it is there.
#[tokio::test]
async fn a_file_with_something_below_it_gives_way_and_is_reported() {
    for listed_at_once in [true, false] {
        let mut fixture = Fixture::new().await;
        fixture.vault.put("good", "good", 1);
        fixture.vault.put_raw("a", b"a file", 1);
        if !listed_at_once {
            assert!(fixture.sync().await.is_success());
            assert_eq!(fixture.blobs.files().len(), 2);
        }
        fixture.vault.put_raw("a/b.md", b"inside the file", 1);
        for complete in [false, false, true] {
            let report = if complete { fixture.sync_complete().await } else { fixture.sync().await };
            assert_eq!(names(&report.failed), ["a"], "{report:?}");
            assert_eq!(fixture.blobs.files().into_keys().collect::<Vec<_>>(), ["a/b.md", "good"]);
        }
        let deletion = Record { path: fixture.vault.encode("a"), deleted: true, ..Record::default() };
        fixture.vault.push_record(deletion, None);
        assert!(fixture.sync().await.is_success());
        assert_eq!(fixture.blobs.files().len(), 2);
    }
}

#[tokio::test]
async fn sizes_that_cannot_be_are_refused_before_anything_is_pulled() {
    let mut fixture = Fixture::new().await;
    for (name, size) in [("tiny", 5), ("huge", 1 << 60)] {
        let (record, content) = fixture.vault.sealed(name, b"x", 1);
        fixture.vault.push_record(Record { size, ..record }, Some(content));
    }
    let report = fixture.sync().await;
    assert_eq!((names(&report.failed), fixture.pulls()), (vec!["huge", "tiny"], 0));
}

#[tokio::test]
async fn a_head_that_announces_more_than_the_record_is_refused() {
    let mut fixture = Fixture::new().await;
    let uid = fixture.vault.put("a.md", "content", 1);
    fixture.emulator.faults().add(FaultRule::new(Place::PullOf(uid), Fault::WrongSize(1 << 40)).always());
    let report = fixture.sync().await;
    assert_eq!(names(&report.failed), ["a.md"]);
    fixture.emulator.faults().clear();
    fixture.sync_exact().await;
}

/// Regression: reported for ever, although the vault had a good version again.
#[tokio::test]
async fn a_refused_version_gives_way_to_a_good_one() {
    let mut fixture = Fixture::new().await;
    let (mut record, content) = fixture.vault.sealed("a.md", b"x", 1);
    record.hash = "11".repeat(80);
    fixture.vault.push_record(record, Some(content));
    assert_eq!(names(&fixture.sync().await.failed), ["a.md"]);
    fixture.vault.put("a.md", "good again", 2);
    fixture.sync_exact().await;
    fixture.sync_exact().await;
}

/// Regression: the vault has the file, so a complete run must not delete what it has of it.
#[tokio::test]
async fn a_file_whose_newest_version_is_refused_is_not_deleted() {
    let mut fixture = Fixture::new().await;
    fixture.vault.put("a.md", "first", 1);
    fixture.sync_exact().await;
    let (mut record, content) = fixture.vault.sealed("a.md", b"second", 2);
    record.hash = "11".repeat(80);
    fixture.vault.push_record(record, Some(content));
    for report in [fixture.sync_complete().await, fixture.sync().await] {
        assert_eq!((names(&report.failed), report.deleted), (vec!["a.md"], 0));
    }
    assert_eq!(fixture.blobs.files()["a.md"], b"first");
}
