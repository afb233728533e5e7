//! Fewer and plainer steps that fail as well.

use crate::play;
use crate::step::{Setup, Step};

/// Times that steps are tried before they pass for right: some failures depend on the order of a hash map.
const TRIES: usize = 4;

/// Leaves out what can be left out, halves first and single steps last, and makes runs as plain as can be. Gives also
/// what is wrong in the end.
pub(crate) fn shrink(setup: &Setup, steps: Vec<Step>, wrong: String) -> (Vec<Step>, String) {
    let mut least = (steps, wrong);
    let mut size = least.0.len();
    while size > 0 {
        let shorter = (0..least.0.len()).step_by(size).rev().find_map(|at| {
            let mut fewer = least.0.clone();
            fewer.drain(at..(at + size).min(least.0.len()));
            failing(setup, fewer)
        });
        match shorter {
            Some(shorter) => least = shorter,
            None => size /= 2,
        }
        size = size.min(least.0.len());
    }
    while let Some(plainer) = plainer(&least.0).into_iter().find_map(|steps| failing(setup, steps)) {
        least = plainer;
    }
    least
}

fn failing(setup: &Setup, steps: Vec<Step>) -> Option<(Vec<Step>, String)> {
    let wrong = (0..TRIES).find_map(|_| play(setup, &steps).err())?;
    Some((steps, wrong))
}

/// The same steps with one thing plainer in one run.
fn plainer(steps: &[Step]) -> Vec<Vec<Step>> {
    let with = |n: usize, step: Step| {
        let mut steps = steps.to_vec();
        steps[n] = step;
        steps
    };
    let each = steps.iter().enumerate();
    each.flat_map(|(n, step)| match step {
        Step::Run(how) => how.simpler().into_iter().map(|how| with(n, Step::Run(how))).collect(),
        Step::TwoRuns { first, second, .. } => {
            vec![with(n, Step::Run(first.clone())), with(n, Step::Run(second.clone()))]
        }
        _ => Vec::new(),
    })
    .collect()
}
