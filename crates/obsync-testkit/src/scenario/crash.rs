//! The process dies in the midst of, and after, every effect on the destination, the state and the lease; the next run
//! converges, fetches nothing again that was recorded, and leaves nothing unfinished.
//!
//! These are the effects as the engine has them.

use std::sync::Arc;
use std::time::Duration;

use obsync_core::stop::Stop;
use obsync_proto::ContentHash;

use super::{Fixture, Pairs};
use crate::fault::{Fault, FaultPlan, FaultyBlobs, FaultyState, Moment};

/// Before an effect is after the one before it.
const MOMENTS: [Moment; 2] = [Moment::Half, Moment::After];

/// Promises 4 and 5, for a run that finds nothing there.
pub async fn a_first_run_that_dies_at_any_effect_is_gone_on_with(pairs: &Pairs) {
    let mut fixture = vault_with_history(pairs.fixture().await);
    dies_at_any_effect(&mut fixture, 15, async |fixture, _| fixture.begin_anew(pairs).await).await;
}

/// The same for a file that is written in several pieces, and parts.
pub async fn a_large_file_whose_run_dies_at_any_effect_is_fetched_again(pairs: &Pairs) {
    let mut fixture = recording_at_once(pairs.fixture().await);
    fixture.vault.put("large.bin", vec![1; 6 << 20], 1);
    dies_at_any_effect(&mut fixture, 6, async |fixture, _| fixture.begin_anew(pairs).await).await;
}

/// Promises 4 and 5, for runs that find changes of every kind.
pub async fn a_later_run_that_dies_at_any_effect_is_gone_on_with(pairs: &Pairs) {
    let mut fixture = vault_with_history(pairs.fixture().await);
    fixture.sync_exact().await;
    dies_at_any_effect(&mut fixture, 15, async |fixture, time| change(fixture, time)).await;
}

fn recording_at_once(mut fixture: Fixture) -> Fixture {
    // One commit for each effect, so that there are many moments to die at.
    fixture.options.commit_every = Duration::ZERO;
    fixture.options.jobs = 1;
    fixture
}

fn vault_with_history(fixture: Fixture) -> Fixture {
    let mut fixture = recording_at_once(fixture);
    for (path, content) in [("stays.md", "1"), ("edited.md", "2"), ("moved 0.md", "3"), ("gone 0.md", "4")] {
        fixture.vault.put(path, content, 1);
    }
    fixture.vault.put("kind 0", "5", 1);
    fixture.vault.mkdir("folder 0");
    fixture.vault.put("folder 0/in.md", "6", 1);
    fixture
}

/// Runs that die at one effect after the other, until a run comes to its end before; there are more than `least`. Each
/// finds what `prepare` makes for it, which is told how often it was asked.
async fn dies_at_any_effect(fixture: &mut Fixture, least: u64, prepare: impl AsyncFn(&mut Fixture, i64)) {
    let mut times = 0..;
    for moment in MOMENTS {
        for effect in 0.. {
            prepare(fixture, times.next().unwrap()).await;
            if !dies_and_is_gone_on_with(fixture, effect, moment).await {
                assert!(effect > least, "{effect} effects");
                break;
            }
        }
    }
}

/// A change of every kind, for the time number `n`.
fn change(fixture: &mut Fixture, n: i64) {
    let (vault, next) = (&mut fixture.vault, n + 1);
    vault.put("edited.md", format!("edited {n}"), n);
    vault.rename(&format!("moved {n}.md"), &format!("moved {next}.md"));
    vault.delete(&format!("gone {n}.md"));
    vault.put(&format!("gone {next}.md"), format!("new {n}"), n);
    // A file that becomes a folder, and a file for the next time.
    vault.delete(&format!("kind {n}"));
    vault.mkdir(&format!("kind {n}"));
    vault.put(&format!("kind {n}/of.md"), format!("below {n}"), n);
    vault.put(&format!("kind {next}"), format!("kind {n}"), n);
    // A folder that is no more, and what was in the one of the time before.
    vault.delete(&format!("folder {n}/in.md"));
    vault.delete(&format!("folder {n}"));
    vault.mkdir(&format!("folder {next}"));
    vault.put(&format!("folder {next}/in.md"), format!("in {n}"), n);
    if n > 0 {
        vault.delete(&format!("kind {}/of.md", n - 1));
        vault.delete(&format!("kind {}", n - 1));
    }
}

/// A run dies at an effect, and the next one makes it good. `false` if the run came to its end before.
async fn dies_and_is_gone_on_with(fixture: &mut Fixture, effect: u64, moment: Moment) -> bool {
    let plan = FaultPlan::new();
    plan.at(effect, Fault::die(moment));
    run(fixture, &plan).await;
    if !plan.is_dead() {
        fixture.assert_exact();
        return false;
    }
    fixture.pair.state.expire_leases().await;
    fixture.reopen().await;
    let recorded = fixture.recorded().await;
    fixture.emulator.counters().reset();
    let report = fixture.sync().await;
    assert!(report.is_success(), "dead at effect {effect}, {moment:?}: {report:?}");
    fixture.assert_exact();
    let pulled = fixture.emulator.counters().get().pulls_by_uid;
    for (path, content) in fixture.vault.tree().files {
        let is_recorded = recorded.get(&path) == Some(&ContentHash::of(&content));
        let is_pulled = pulled.contains_key(&fixture.vault.uid(&path));
        assert!(!(is_recorded && is_pulled), "dead at effect {effect}, {moment:?}: {path} was fetched again");
    }
    true
}

/// Runs as a process of its own, until the end or until it dies.
async fn run(fixture: &Fixture, plan: &FaultPlan) {
    let blobs = FaultyBlobs::new(fixture.pair.destination.open(fixture.vault.id()), plan.clone());
    let state = FaultyState::new(fixture.pair.state.open().await, plan.clone());
    let mirror = fixture.mirror_on(Arc::new(blobs), Arc::new(state));
    let stop = Stop::default();
    tokio::select! {
        biased;
        () = plan.died() => {}
        report = mirror.sync(&fixture.options, &stop) => {
            // It may come to its end before it notices that it is dead.
            assert!(report.is_success() || plan.is_dead(), "{report:?}");
        }
    }
}
