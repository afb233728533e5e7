//! Deletions, leases, lost state, and destinations that others changed.

use std::time::Duration;

use obsync_core::mirror::{Mirror, Report, RunError};
use obsync_core::plan::{MaxDelete, Rules};
use obsync_core::state::StateError;

use super::Pairs;
use crate::generate::Shape;

/// Promise 9 (careful with deletion).
pub async fn too_many_deletions_are_none_until_they_are_allowed(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
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
        assert_eq!(fixture.paths().len(), 151, "the rest went on");
    }
    let allowed = fixture.sync_ruled(Rules { max_delete: MaxDelete::Count(100), ..Rules::default() }).await;
    assert_eq!((allowed.deleted, allowed.guarded), (100, None));
    fixture.assert_exact();
}

/// Promise 9: what obsync did not write is left alone.
pub async fn foreign_files_are_left_alone(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.put("notes/a.md", "a", 1);
    fixture.pair.destination.put("notes/foreign.txt", b"not ours");
    fixture.sync().await;
    fixture.vault.delete("notes/a.md");
    fixture.vault.delete("notes");
    assert!(fixture.sync_complete().await.is_success());
    assert_eq!(fixture.paths(), ["notes/foreign.txt"]);
}

/// Promise 12 (state is a cache): what the destination provably has is not fetched again.
pub async fn with_the_state_lost_nothing_is_fetched_twice(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.fill(&Shape::small(11));
    fixture.sync_exact().await;
    fixture.pulls();
    fixture.lose_state().await;
    let report = fixture.sync_exact().await;
    assert_eq!((report.downloaded, fixture.pulls()), (0, 0));
    assert!(report.complete);
}

/// DEST is obsync's.
pub async fn a_complete_run_repairs_what_others_changed(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.fill(&Shape::small(13));
    fixture.sync_exact().await;
    fixture.pulls();
    let files: Vec<(String, Vec<u8>)> = fixture.files().into_iter().take(3).collect();
    let destination = &fixture.pair.destination;
    destination.put(&files[0].0, b"something else");
    destination.remove(&files[1].0);
    destination.put(&files[2].0, &files[2].1);
    let report = fixture.sync_complete().await;
    assert!(report.is_success(), "{report:?}");
    fixture.assert_exact();
    assert_eq!(fixture.pulls(), 2, "the touched file has the right content");
}

/// Promise 6 (one writer).
pub async fn a_run_whose_lease_is_held_does_nothing(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.put("a", "a", 1);
    let id = fixture.mirror().id();
    let (lease, _) = fixture.state.lock(&id, "the other", Duration::from_secs(60)).await.unwrap();
    let report = fixture.sync().await;
    assert!(matches!(&report.error, Some(RunError::State(StateError::Held { holder })) if holder == "the other"));
    assert_eq!(fixture.pair.destination.take_requests().unwrap_or(0), 0);
    assert_eq!(fixture.paths().len(), 0);
    fixture.state.unlock(lease).await.unwrap();
    fixture.sync_exact().await;
}

/// Promise 6: as two processes.
pub async fn two_runs_at_once_make_one_mirror(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.fill(&Shape::small(14));
    fixture.emulator.configure(|config| config.latency = Duration::from_millis(2));
    let other = fixture.mirror_of_another_process().await;
    let (a, b) = tokio::join!(fixture.sync(), async { other.sync(&fixture.options, &Default::default()).await });
    let held = |report: &Report| matches!(report.error, Some(RunError::State(StateError::Held { .. })));
    assert!(held(&a) != held(&b), "{a:?} {b:?}");
    fixture.assert_exact();
}

/// `obsync reset`.
pub async fn a_reset_mirror_is_compared_anew_and_keeps_its_files(pairs: &Pairs) {
    let mut fixture = pairs.fixture().await;
    fixture.vault.fill(&Shape::small(15));
    fixture.sync_exact().await;
    fixture.pulls();
    let mirror = fixture.mirror();
    Mirror::reset(mirror.state.as_ref(), &mirror.id(), &fixture.options).await.unwrap();
    assert_eq!(fixture.head().await, None);
    let report = fixture.sync_exact().await;
    assert_eq!((report.complete, fixture.pulls()), (true, 0));
}
