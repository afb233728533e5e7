//! The process dies before, in the midst of, and after every effect on the outside; the next run converges, and
//! fetches nothing again that was recorded.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use obsync_core::filter::Filter;
use obsync_core::mirror::Options;
use obsync_core::state::Entry;
use obsync_core::stop::Stop;
use obsync_proto::ContentHash;
use obsync_testkit::fault::{Fault, FaultPlan, FaultyBlobs, FaultyState, Moment};
use obsync_testkit::memory::MemoryBlobs;

use crate::fixture::Fixture;

async fn vault_with_history(blobs: MemoryBlobs) -> Fixture {
    let mut fixture = Fixture::with(blobs).await;
    for (path, content) in [("stays.md", "1"), ("edited.md", "2"), ("moved.md", "3"), ("gone.md", "4"), ("kind", "5")] {
        fixture.vault.put(path, content, 1);
    }
    fixture.vault.mkdir("folder");
    fixture.vault.put("folder/in.md", "6", 1);
    // One commit for each effect, so that there are many moments to die at.
    fixture.options.commit_every = Duration::ZERO;
    fixture.options.jobs = 1;
    fixture
}

fn change(fixture: &mut Fixture) {
    fixture.vault.put("edited.md", "2, edited", 2);
    fixture.vault.rename("moved.md", "moved here.md");
    fixture.vault.delete("gone.md");
    fixture.vault.delete("kind");
    fixture.vault.mkdir("kind");
    fixture.vault.put("kind/of.md", "7", 2);
    fixture.vault.delete("folder");
    fixture.vault.put("new.md", "8", 2);
}

/// Runs with a plan of faults, until the end or until the process dies.
async fn run(fixture: &Fixture, plan: &FaultPlan) {
    let blobs = FaultyBlobs::new(Arc::new(fixture.blobs.clone()), plan.clone());
    let state = FaultyState::new(Arc::new(fixture.state.clone()), plan.clone());
    let mirror = fixture.mirror_on(Arc::new(blobs), Arc::new(state));
    let stop = Stop::default();
    tokio::select! {
        biased;
        () = plan.died() => {}
        _ = mirror.sync(&fixture.options, &stop) => {}
    }
}

/// Paths and hashes of what is recorded and was really written.
fn recorded(fixture: &Fixture) -> BTreeSet<(String, String)> {
    let entries = fixture.state.entries_of(&fixture.mirror().id());
    let file = |(path, entry)| match entry {
        Entry::File(file) => Some((path, file.hash.to_string())),
        Entry::Folder => None,
    };
    entries.into_iter().filter_map(file).collect()
}

/// Promises 4 and 5, on both kinds of store.
#[tokio::test]
async fn a_run_that_dies_anywhere_is_gone_on_with() {
    for bucket in [false, true] {
        let blobs = || if bucket { MemoryBlobs::bucket() } else { MemoryBlobs::folder() };
        for second_run in [false, true] {
            let effects = {
                let plan = FaultPlan::new();
                let fixture = prepared(blobs(), second_run).await;
                run(&fixture, &plan).await;
                fixture.assert_exact();
                plan.effects()
            };
            assert!(effects > 15, "{effects}");
            for n in 0..effects {
                for moment in [Moment::Before, Moment::Half, Moment::After] {
                    let fixture = prepared(blobs(), second_run).await;
                    let plan = FaultPlan::new();
                    plan.at(n, Fault::die(moment));
                    run(&fixture, &plan).await;
                    assert!(plan.is_dead(), "effect {n}");
                    fixture.state.expire_leases();
                    let before = recorded(&fixture);
                    fixture.emulator.counters().reset();
                    fixture.sync_exact().await;
                    let pulled = fixture.emulator.counters().get().pulls_by_uid;
                    for (path, content) in fixture.vault.tree().files {
                        let was_recorded = before.contains(&(path.clone(), ContentHash::of(&content).to_string()));
                        let is_pulled = pulled.contains_key(&fixture.vault.uid(&path));
                        assert!(!(was_recorded && is_pulled), "effect {n}, {moment:?}: {path} was fetched again");
                    }
                }
            }
        }
    }
}

async fn prepared(blobs: MemoryBlobs, second_run: bool) -> Fixture {
    let mut fixture = vault_with_history(blobs).await;
    if second_run {
        fixture.sync_exact().await;
        change(&mut fixture);
    }
    fixture
}

/// A store that fails once at any effect: reported, and the next run is exact.
#[tokio::test]
async fn a_store_that_fails_anywhere_is_reported_and_made_good() {
    let effects = {
        let (fixture, plan) = (prepared(MemoryBlobs::folder(), true).await, FaultPlan::new());
        run(&fixture, &plan).await;
        plan.effects()
    };
    for n in 0..effects {
        for moment in [Moment::Before, Moment::After] {
            let fixture = prepared(MemoryBlobs::folder(), true).await;
            let plan = FaultPlan::new();
            plan.at(n, Fault::fail(moment));
            run(&fixture, &plan).await;
            fixture.state.expire_leases();
            fixture.sync_exact().await;
        }
    }
}

/// Dies at every effect of a run with `options`, each time on a fresh mirror that was made with `before`; then runs with
/// `next` and looks with `check`.
async fn die_everywhere(
    before: impl Fn(&Fixture) -> Options,
    dying: impl Fn(&Fixture) -> Options,
    next: impl Fn(&Fixture) -> Options,
    check: impl Fn(&Fixture),
) {
    let prepare = async || {
        let mut fixture = vault_with_history(MemoryBlobs::folder()).await;
        assert!(fixture.sync_with(&before(&fixture)).await.is_success());
        fixture.blobs.remove("stays.md");
        fixture.options = dying(&fixture);
        fixture
    };
    let plan = FaultPlan::new();
    run(&prepare().await, &plan).await;
    assert!(plan.effects() > 3);
    for n in 0..plan.effects() {
        let mut fixture = prepare().await;
        let plan = FaultPlan::new();
        plan.at(n, Fault::die(Moment::After));
        run(&fixture, &plan).await;
        fixture.state.expire_leases();
        fixture.options = next(&fixture);
        let report = fixture.sync().await;
        assert!(report.is_success(), "effect {n}: {report:?}");
        check(&fixture);
    }
}

fn without_notes(fixture: &Fixture) -> Options {
    let filter = Filter::new(&[], &["*.md".to_owned()]).unwrap();
    Options { filter, ..fixture.options.clone() }
}

fn plain(fixture: &Fixture) -> Options {
    Options { filter: Filter::default(), complete: false, ..fixture.options.clone() }
}

/// Regression: what a complete run had found missing was forgotten, and the next run looked only at what was new.
#[tokio::test]
async fn a_complete_run_that_dies_forgets_nothing() {
    let complete = |fixture: &Fixture| Options { complete: true, ..fixture.options.clone() };
    die_everywhere(plain, complete, plain, |fixture| {
        let known: BTreeSet<String> = recorded(fixture).into_iter().map(|(path, _)| path).collect();
        let vault: BTreeSet<String> = fixture.vault.tree().files.into_keys().collect();
        assert_eq!(known, vault);
    })
    .await;
}

/// Regression: the next run found the filter that it knew, and did not look for what the dead one had deleted.
#[tokio::test]
async fn a_run_with_another_filter_that_dies_is_made_good() {
    let files = |fixture: &Fixture| fixture.blobs.files().into_keys().filter(|p| p != "stays.md").collect::<Vec<_>>();
    die_everywhere(plain, without_notes, plain, |fixture| {
        assert_eq!(files(fixture), ["edited.md", "folder/in.md", "gone.md", "kind", "moved.md"]);
    })
    .await;
    die_everywhere(without_notes, plain, without_notes, |fixture| assert_eq!(files(fixture), ["kind"])).await;
}

/// Regression: what a dead run had done without recording it looked right to the next one, because the vault had gone
/// back to what the state knew.
#[tokio::test]
async fn a_run_that_dies_is_made_good_though_the_vault_has_changed_back() {
    let plan = FaultPlan::new();
    run(&prepared(MemoryBlobs::folder(), true).await, &plan).await;
    for n in 0..plan.effects() {
        let mut fixture = prepared(MemoryBlobs::folder(), true).await;
        let plan = FaultPlan::new();
        plan.at(n, Fault::die(Moment::After));
        run(&fixture, &plan).await;
        fixture.state.expire_leases();
        fixture.vault.put("edited.md", "2", 1);
        fixture.vault.rename("moved here.md", "moved.md");
        fixture.vault.put("gone.md", "4", 1);
        fixture.vault.delete("kind");
        fixture.vault.put("kind", "5", 1);
        fixture.vault.delete("new.md");
        fixture.sync_exact().await;
    }
}

/// A first run that was stopped before it compared anything does not pass for one that did.
#[tokio::test]
async fn a_first_run_stopped_early_leaves_the_comparison_to_the_next() {
    let fixture = vault_with_history(MemoryBlobs::folder()).await;
    assert!(fixture.sync().await.is_success());
    fixture.state.lose_everything();
    fixture.emulator.counters().reset();
    let stop = Stop::default();
    stop.request.cancel();
    assert!(fixture.mirror().sync(&fixture.options, &stop).await.incomplete);
    fixture.sync_exact().await;
    assert_eq!(fixture.pulls(), 0);
}
