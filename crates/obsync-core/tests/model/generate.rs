//! Sequences from a seed.

use fastrand::Rng;
use obsync_core::plan::MaxDelete;
use obsync_testkit::fault::Moment;

use crate::step::{COMPLETE, Fate, How, PLAIN, Renames, Setup, Show, Step};
use crate::vault::CONTENTS;

/// Few paths, so that they meet: any can be a file or a folder, and some are in others.
pub(crate) const PATHS: [&str; 16] = [
    "a.md",
    "A.md",
    "b.md",
    "c.png",
    "d",
    "d/a.md",
    "d/e",
    "d/e/f.md",
    "d/e/g/h.md",
    "D/a.md",
    "x.md/y.md",
    "x.md",
    "ខ្មែរ/កំណត់ត្រា.md",
    "ខ្មែរ",
    "cafe\u{301} %2F+&.md",
    "caf\u{e9} %2F+&.md",
];

/// The sequence of a seed. It ends undisturbed, and then with a complete run: whatever happened, the mirror is exact.
pub(crate) fn sequence(seed: u64) -> (Setup, Vec<Step>) {
    let mut rng = Rng::with_seed(seed);
    let renames = [Renames::NewThenOld, Renames::OldThenNew, Renames::OneNumber];
    let setup = Setup { bucket: rng.u8(..3) == 0, lists_newest: rng.bool(), renames: pick(&mut rng, &renames) };
    // A sequence has one filter most of the time: with another one for each run, none would be incremental.
    let filter = pick(&mut rng, &[Show::All, Show::All, Show::All, Show::Notes, Show::NoD]);
    let mut steps: Vec<Step> = (0..rng.usize(1..8)).map(|_| vault_change(&mut rng)).collect();
    if rng.u8(..40) == 0 {
        steps.push(Step::Fill { files: rng.u8(90..130) });
    }
    for _ in 0..rng.usize(4..24) {
        match rng.u8(..100) {
            0..50 => steps.push(vault_change(&mut rng)),
            50..85 => {
                let how = how(&mut rng, filter);
                let outlived = matches!(how.fate, Fate::Killed { .. } | Fate::Dropped { .. } | Fate::LosesLease);
                steps.push(Step::Run(how.clone()));
                if how.dry_run {
                    steps.push(Step::Run(How { dry_run: false, ..how }));
                }
                if outlived && rng.u8(..8) > 0 {
                    steps.push(Step::Wait { seconds: 61 });
                }
            }
            85..88 => steps.push(Step::TwoRuns {
                first: how(&mut rng, filter),
                second: how(&mut rng, filter),
                after: pick(&mut rng, &[0, 1, 30, 200, 61_000, 100_000]),
            }),
            88..95 => steps.push(behind_its_back(&mut rng)),
            _ => steps.push(state_change(&mut rng)),
        }
    }
    let plain = How { filter, ..PLAIN };
    steps.extend([Step::Wait { seconds: 61 }, Step::Run(plain), Step::Run(How { filter, ..COMPLETE })]);
    (setup, steps)
}

fn pick<T: Clone>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.usize(..all.len())].clone()
}

fn path(rng: &mut Rng) -> &'static str {
    pick(rng, &PATHS)
}

fn content(rng: &mut Rng) -> u8 {
    if rng.u16(..400) == 0 { CONTENTS } else { rng.u8(..CONTENTS) }
}

fn vault_change(rng: &mut Rng) -> Step {
    let mtime = rng.i64(1..4);
    let path = path(rng);
    match rng.u8(..40) {
        0..15 => Step::Put { path, content: content(rng), mtime },
        15..18 => Step::Folder { path },
        18..24 => Step::Delete { path },
        24..30 => Step::Rename { from: path, to: pick(rng, &PATHS) },
        30..33 => Step::Swap { one: path, other: pick(rng, &PATHS) },
        33..35 => Step::StalePut { path, content: content(rng), mtime },
        35..36 => Step::StaleFolder { path },
        36..38 => Step::StaleDelete { path },
        38..39 => Step::LoseContent { path },
        _ => Step::Thin { files: rng.u8(..130) },
    }
}

fn how(rng: &mut Rng, filter: Show) -> How {
    let others = [Show::All, Show::Notes, Show::NoNotes, Show::OnlyD, Show::NoD];
    let limits = [
        MaxDelete::Default,
        MaxDelete::Default,
        MaxDelete::Count(0),
        MaxDelete::Count(1),
        MaxDelete::Count(2),
        MaxDelete::Percent(50),
    ];
    How {
        complete: rng.u8(..4) == 0,
        dry_run: rng.u8(..12) == 0,
        filter: if rng.u8(..6) == 0 { pick(rng, &others) } else { filter },
        keep_deleted: rng.u8(..8) == 0,
        max_delete: if rng.u8(..4) == 0 { pick(rng, &limits) } else { PLAIN.max_delete },
        pace: pick(rng, &[0, 0, 1, 20, 5_000]),
        fate: if rng.bool() { Fate::Undisturbed } else { fate(rng) },
    }
}

fn fate(rng: &mut Rng) -> Fate {
    let moment = pick(rng, &[Moment::Before, Moment::Half, Moment::After]);
    let effect = rng.u64(..30);
    let after = pick(rng, &[0, 1, 5, 50, 300, 20_000, 70_000]);
    match rng.u8(..20) {
        0..6 => Fate::Killed { effect, moment },
        6..8 => Fate::Dropped { after },
        8..10 => Fate::Stopped { after },
        10..13 => Fate::Fails { effect, moment },
        13..14 => Fate::Unusable { effect },
        14..15 => Fate::Cut { at: rng.u64(..30) },
        15..16 => Fate::Unreachable { from: rng.u64(..30) },
        16..17 => Fate::LosesLease,
        _ => {
            let content = if rng.u8(..3) == 0 { None } else { Some(content(rng)) };
            Fate::VaultChanges { after, path: path(rng), content }
        }
    }
}

fn behind_its_back(rng: &mut Rng) -> Step {
    let path = path(rng);
    match rng.u8(..10) {
        0..5 => Step::Overwrite { path, content: content(rng) },
        5..9 => Step::Remove { path },
        _ => Step::RemoveEverything,
    }
}

fn state_change(rng: &mut Rng) -> Step {
    let every = rng.usize(1..4);
    match rng.u8(..10) {
        0..2 => Step::LoseState,
        2..3 => Step::LoseHead,
        3..5 => Step::LoseEntries { every },
        5..6 => Step::SpoilEntries { every },
        6..7 => Step::CursorAhead,
        7..8 => Step::SaveState,
        _ => Step::RestoreState,
    }
}
