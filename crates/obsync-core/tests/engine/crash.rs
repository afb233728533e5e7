//! The process dies at every effect on the outside, in circumstances that are none of the scenarios'.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use obsync_core::filter::Filter;
use obsync_core::mirror::Options;
use obsync_core::state::Entry;
use obsync_core::stop::Stop;
use obsync_testkit::fault::{Fault, FaultPlan, FaultyBlobs, FaultyState, Moment};

use crate::fixture::Fixture;

async fn vault_with_history() -> Fixture {
    let mut fixture = Fixture::new().await;
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

async fn changed() -> Fixture {
    let mut fixture = vault_with_history().await;
    fixture.sync_exact().await;
    change(&mut fixture);
    fixture
}

/// A store that fails once at any effect: reported, and the next run is exact.
#[tokio::test]
async fn a_store_that_fails_anywhere_is_reported_and_made_good() {
    let effects = {
        let (fixture, plan) = (changed().await, FaultPlan::new());
        run(&fixture, &plan).await;
        plan.effects()
    };
    for n in 0..effects {
        for moment in [Moment::Before, Moment::After] {
            let fixture = changed().await;
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
        let mut fixture = vault_with_history().await;
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
        let entries = fixture.state.entries_of(&fixture.mirror().id()).into_iter();
        let files = entries.filter(|(_, entry)| matches!(entry, Entry::File(_)));
        let known: BTreeSet<String> = files.map(|(path, _)| path).collect();
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
    run(&changed().await, &plan).await;
    for n in 0..plan.effects() {
        let mut fixture = changed().await;
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
    let fixture = vault_with_history().await;
    assert!(fixture.sync().await.is_success());
    fixture.state.lose_everything();
    fixture.emulator.counters().reset();
    let stop = Stop::default();
    stop.request.cancel();
    assert!(fixture.mirror().sync(&fixture.options, &stop).await.incomplete);
    fixture.sync_exact().await;
    assert_eq!(fixture.pulls(), 0);
}
