//! Deletions, leases, lost state, and destinations that others changed.

use std::sync::Arc;
use std::time::Duration;

use obsync_core::mirror::{Options, RunError};
use obsync_core::plan::{MaxDelete, Rules};
use obsync_core::state::{StateError, StateStore};
use obsync_testkit::generate::Shape;

use crate::fixture::Fixture;

/// Promise 9 (careful with deletion).
#[tokio::test]
async fn too_many_deletions_are_none_until_they_are_allowed() {
    let mut fixture = Fixture::new().await;
    for n in 0..150 {
        fixture.vault.put(&format!("{n}.md"), format!("note {n}"), 1);
    }
    fixture.sync_exact().await;
    for n in 0..100 {
        fixture.vault.delete(&format!("{n}.md"));
    }
    fixture.vault.put("new.md", "new", 1);
    for _ in 0..2 {
        let report = fixture.sync().await;
        assert_eq!(report.guarded.map(|g| (g.deletes, g.limit)), Some((100, 75)));
        assert!(!report.is_success() && report.deleted == 0);
        assert_eq!(fixture.blobs.files().len(), 151, "the rest went on");
    }
    let allowed = fixture.sync_ruled(Rules { max_delete: MaxDelete::Count(100), ..Rules::default() }).await;
    assert_eq!((allowed.deleted, allowed.guarded), (100, None));
    fixture.assert_exact();
}

/// Promise 9: what obsync did not write is left alone.
#[tokio::test]
async fn foreign_files_are_left_alone() {
    let mut fixture = Fixture::new().await;
    fixture.vault.put("notes/a.md", "a", 1);
    fixture.blobs.put("notes/foreign.txt", b"not ours");
    fixture.sync().await;
    fixture.vault.delete("notes/a.md");
    fixture.vault.delete("notes");
    assert!(fixture.sync_complete().await.is_success());
    assert_eq!(fixture.blobs.files().into_keys().collect::<Vec<_>>(), ["notes/foreign.txt"]);
}

/// Promise 12 (state is a cache): what the destination provably has is not fetched again.
#[tokio::test]
async fn with_the_state_lost_nothing_is_fetched_twice() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::small(11));
    fixture.sync_exact().await;
    fixture.pulls();
    fixture.state.lose_everything();
    let report = fixture.sync_exact().await;
    assert_eq!((report.downloaded, fixture.pulls()), (0, 0));
    assert!(report.complete);
}

#[tokio::test]
async fn with_the_state_lost_in_part_a_complete_run_comes_out_right() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::small(12));
    fixture.sync_exact().await;
    fixture.pulls();
    let id = fixture.mirror().id();
    assert!(fixture.state.lose_entries(&id, |path, _| path.len().is_multiple_of(3)) > 0);
    fixture.vault.random_changes(1, 5);
    let report = fixture.sync_complete().await;
    assert!(report.is_success(), "{report:?}");
    fixture.assert_exact();
    assert_eq!(fixture.state.head_of(&id).unwrap().files, fixture.blobs.files().len() as u64);
}

#[tokio::test]
async fn a_complete_run_repairs_what_others_changed() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::small(13));
    fixture.sync_exact().await;
    fixture.pulls();
    let paths: Vec<String> = fixture.blobs.files().into_keys().collect();
    fixture.blobs.put(&paths[0], b"something else");
    fixture.blobs.remove(&paths[1]);
    let same = fixture.blobs.files()[&paths[2]].clone();
    fixture.blobs.put(&paths[2], &same);
    let report = fixture.sync_complete().await;
    assert!(report.is_success(), "{report:?}");
    fixture.assert_exact();
    assert_eq!(fixture.pulls(), 2, "the touched file has the right content");
}

/// Promise 6 (one writer).
#[tokio::test]
async fn a_run_whose_lease_is_held_does_nothing() {
    let mut fixture = Fixture::new().await;
    fixture.vault.put("a", "a", 1);
    let id = fixture.mirror().id();
    let (lease, _) = fixture.state.lock(&id, "the other", Duration::from_secs(60)).await.unwrap();
    let report = fixture.sync().await;
    assert!(matches!(&report.error, Some(RunError::State(StateError::Held { holder })) if holder == "the other"));
    assert_eq!(fixture.blobs.counts().requests(), 0);
    fixture.state.unlock(lease).await.unwrap();
    fixture.sync_exact().await;
}

/// Promise 6: whoever lost the lease writes nothing more, and the new holder's work stands.
#[tokio::test]
async fn a_run_that_loses_its_lease_stops() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::notes(1, 80));
    fixture.emulator.configure(|config| config.latency = Duration::from_millis(20));
    let options = Options { lease_ttl: Duration::from_millis(90), ..fixture.options.clone() };
    let mirror = fixture.mirror();
    let id = mirror.id();
    let run = tokio::spawn(async move { mirror.sync(&options, &Default::default()).await });
    while fixture.state.holder_of(&id).is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(120)).await;
    let thief = fixture.state.steal(&id, "thief", Duration::from_secs(60));
    let recorded = fixture.state.entries_of(&id);
    let report = run.await.unwrap();
    assert!(matches!(report.error, Some(RunError::State(StateError::Lost))), "{report:?}");
    let written = fixture.blobs.files().len();
    assert!(written < 80, "it went on after the loss: {written}");
    assert_eq!(fixture.state.entries_of(&id), recorded, "it recorded something after the loss");
    fixture.state.unlock(thief).await.unwrap();
    fixture.sync_exact().await;
}

#[tokio::test]
async fn two_runs_at_once_make_one_mirror() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::small(14));
    fixture.emulator.configure(|config| config.latency = Duration::from_millis(2));
    let (a, b) = tokio::join!(fixture.sync(), fixture.sync());
    let held =
        |report: &obsync_core::mirror::Report| matches!(report.error, Some(RunError::State(StateError::Held { .. })));
    assert!(held(&a) != held(&b), "{a:?} {b:?}");
    fixture.assert_exact();
}

#[tokio::test]
async fn a_reset_mirror_is_compared_anew_and_keeps_its_files() {
    let mut fixture = Fixture::new().await;
    fixture.vault.fill(&Shape::small(15));
    fixture.sync_exact().await;
    fixture.pulls();
    let mirror = fixture.mirror();
    let state: Arc<dyn StateStore> = mirror.state.clone();
    obsync_core::mirror::Mirror::reset(state.as_ref(), &mirror.id(), &fixture.options).await.unwrap();
    assert_eq!(fixture.state.head_of(&mirror.id()), None);
    let report = fixture.sync_exact().await;
    assert_eq!((report.complete, fixture.pulls()), (true, 0));
}
