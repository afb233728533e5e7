//! The engine against a plain model of what it promises (SEMANTICS.md): random sequences of what can happen to a vault,
//! to its mirror and to runs, in virtual time.
//!
//! | module | what it is |
//! |---|---|
//! | [`step`] | what can happen |
//! | [`generate`] | sequences from a seed |
//! | [`vault`] | the vault as its devices know it, beside the records that they push |
//! | [`world`] | a vault, a destination and a state in memory, and runs of the engine over them |
//! | [`wanted`] | the reference: what the mirror of a vault is |
//! | [`doubts`] | where a run may rightly find, or leave, something else |
//! | [`judge`] | what must hold after a run |
//! | [`shrink`] | fewer steps that fail as well |
//! | [`regressions`] | failures that were found |
//!
//! `OBSYNC_MODEL_SEQUENCES` says how many sequences, `OBSYNC_MODEL_SEED` from which seed on (alone: this one). A failure
//! prints its seed, and steps to be pasted into [`regressions`]. The engine's hash maps have an order of their own in
//! each process: what depends on it may take some tries to come back.

#![allow(clippy::unwrap_used)]

mod doubts;
mod generate;
mod judge;
mod regressions;
mod shrink;
mod step;
mod vault;
mod wanted;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use step::{Setup, Step};
use world::World;

/// Sequences where nothing else is said: some ten seconds.
const SEQUENCES: u64 = 1_000;

/// Takes the steps one after the other, in virtual time; says what is wrong, and after which step.
fn play(setup: &Setup, steps: &[Step]) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let played = async {
        let mut world = World::new(setup);
        for (n, step) in steps.iter().enumerate() {
            world.take(step).await.map_err(|wrong| format!("step {n}: {wrong}"))?;
        }
        Ok(())
    };
    fastrand::seed(1);
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(played))).unwrap_or_else(|_| Err("a panic, see above".to_owned()))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value:?} is no number")))
}

#[test]
fn random_sequences_end_as_the_model_says() {
    let seed = number("OBSYNC_MODEL_SEED");
    let count = number("OBSYNC_MODEL_SEQUENCES").unwrap_or(if seed.is_some() { 1 } else { SEQUENCES });
    let first = seed.unwrap_or(1);
    println!("seeds {first} to {}", first + count - 1);
    for seed in first..first + count {
        let (setup, steps) = generate::sequence(seed);
        if let Err(wrong) = play(&setup, &steps) {
            let (steps, still_wrong) = shrink::shrink(&setup, steps, wrong);
            let steps: String = steps.iter().map(|step| format!("        {step:?},\n")).collect();
            panic!(
                "seed {seed}: {still_wrong}\n\nagain: OBSYNC_MODEL_SEED={seed} cargo test -p obsync-core --test model\n\n    \
                 let setup = {setup:?};\n    let steps = [\n{steps}    ];\n"
            );
        }
    }
}
