//! Failures that the model found, each with the fewest steps that show it.

use obsync_core::plan::MaxDelete;
use obsync_testkit::fault::Moment;

use crate::play;
use crate::step::Step::*;
use crate::step::{COMPLETE, Fate, How, PLAIN, Renames, Setup, Show, Step};

const FOLDER: Setup = Setup { bucket: false, lists_newest: false, renames: Renames::NewThenOld };
const BUCKET: Setup = Setup { bucket: true, ..FOLDER };

#[track_caller]
fn holds(setup: &Setup, steps: &[Step]) {
    if let Err(wrong) = play(setup, steps) {
        panic!("{wrong}");
    }
}

/// A stopped run had deleted a file and took no note of it. The file came back into the mirror's filter, and the next
/// run took it for being there.
#[test]
fn what_a_stopped_run_has_deleted_is_not_taken_for_being_there() {
    for setup in [FOLDER, BUCKET] {
        for after in (0..400).step_by(10) {
            holds(
                &setup,
                &[
                    Put { path: "d/e", content: 5, mtime: 3 },
                    Run(PLAIN),
                    Run(How { filter: Show::Notes, pace: 20, fate: Fate::Stopped { after }, ..PLAIN }),
                    Run(PLAIN),
                ],
            );
        }
    }
}

/// The second pass of a run, for what the service no longer had, asked the state for entries that the first pass had not
/// committed yet: what the vault had deleted in between stayed.
#[test]
fn a_second_pass_knows_what_the_first_one_wrote() {
    for setup in [FOLDER, BUCKET] {
        holds(
            &setup,
            &[
                Put { path: "x.md/y.md", content: 5, mtime: 1 },
                Put { path: "d/e/g/h.md", content: 2, mtime: 3 },
                LoseContent { path: "x.md/y.md" },
                Run(How { pace: 5_000, fate: Fate::VaultChanges { after: 60_000, path: "d", content: None }, ..PLAIN }),
                Run(PLAIN),
            ],
        );
    }
}

/// A guarded run did not delete the file, but recorded the folder that the vault has in its place: in a bucket, where
/// any two paths go together, the file was forgotten and stayed for good.
#[test]
fn a_file_that_a_guarded_run_spares_is_not_forgotten() {
    holds(
        &BUCKET,
        &[
            Put { path: "d", content: 2, mtime: 2 },
            Run(PLAIN),
            Put { path: "d/a.md", content: 5, mtime: 1 },
            Run(How { max_delete: MaxDelete::Count(0), ..PLAIN }),
            Run(PLAIN),
        ],
    );
}

/// A file whose old name is in the way of something new is fetched and not copied; its old name counted as lost.
#[test]
fn the_old_name_of_a_renamed_file_does_not_count_though_it_is_in_the_way() {
    let guarded = How { max_delete: MaxDelete::Count(0), ..PLAIN };
    let first = [Folder { path: "b.md" }, Put { path: "a.md", content: 1, mtime: 2 }, Run(PLAIN)];
    let renames = [Step::Rename { from: "a.md", to: "A.md" }, Step::Swap { one: "a.md", other: "b.md" }];
    for rename in renames {
        holds(&FOLDER, &[&first[..], &[rename, Run(guarded.clone())]].concat());
    }
}

/// The destination had the file, but its word did not come back: the state knew nothing of it, and when the vault deleted
/// the file, it stayed.
#[test]
fn a_file_that_may_have_been_written_is_looked_for() {
    for effect in 0..9 {
        for moment in [Moment::Before, Moment::After] {
            holds(
                &BUCKET,
                &[
                    Put { path: "a.md", content: 5, mtime: 3 },
                    Run(How { fate: Fate::Fails { effect, moment }, ..PLAIN }),
                    Delete { path: "a.md" },
                    Wait { seconds: 61 },
                    Run(PLAIN),
                ],
            );
        }
    }
}

/// A folder could not be removed, so that what had been in it stayed recorded; when the vault had it again, it was taken
/// for being there.
#[test]
fn what_was_in_a_folder_that_cannot_be_removed_is_not_taken_for_being_there() {
    for effect in 0..9 {
        holds(
            &FOLDER,
            &[
                Put { path: "d/e/f.md", content: 1, mtime: 1 },
                Run(PLAIN),
                Run(How { filter: Show::NoD, fate: Fate::Fails { effect, moment: Moment::Before }, ..PLAIN }),
                Wait { seconds: 61 },
                Run(PLAIN),
            ],
        );
    }
}

/// With the state older than the destination, a file that obsync wrote was taken for somebody else's.
#[test]
fn a_file_that_is_newer_than_the_state_is_known_by_its_note() {
    holds(
        &FOLDER,
        &[
            Put { path: "c.png", content: 1, mtime: 1 },
            Run(PLAIN),
            SaveState,
            Put { path: "c.png", content: 2, mtime: 2 },
            Run(PLAIN),
            RestoreState,
            Delete { path: "c.png" },
            Run(COMPLETE),
        ],
    );
}

/// A file that the filter keeps out was reported as one that cannot be there.
#[test]
fn a_file_that_is_kept_out_is_not_refused() {
    holds(
        &FOLDER,
        &[
            Put { path: "d/e", content: 6, mtime: 1 },
            StalePut { path: "d/e/g/h.md", content: 4, mtime: 2 },
            Run(How { filter: Show::Notes, ..PLAIN }),
        ],
    );
}

/// A folder that the vault does not have by itself stayed when the last folder in it went, and was in the way of a file.
#[test]
fn folders_around_a_folder_go_with_it() {
    holds(
        &FOLDER,
        &[
            StaleFolder { path: "x.md/y.md" },
            Run(PLAIN),
            Delete { path: "x.md/y.md" },
            StalePut { path: "x.md", content: 3, mtime: 2 },
            Run(PLAIN),
        ],
    );
}

/// Empty folders, one in the other, that the state knew nothing of were in the way of a file for good.
#[test]
fn unknown_folders_in_the_way_of_a_file_go() {
    holds(
        &FOLDER,
        &[
            Put { path: "d/e/g/h.md", content: 4, mtime: 3 },
            Run(PLAIN),
            Remove { path: "d/e/g/h.md" },
            Put { path: "d/e", content: 6, mtime: 1 },
            LoseState,
            Run(PLAIN),
        ],
    );
}

/// A folder whose name is another's in case only was to go before what was in it, and stayed.
#[test]
fn a_folder_in_the_way_in_case_only_goes_with_what_is_in_it() {
    holds(
        &FOLDER,
        &[
            Put { path: "d/e/f.md", content: 4, mtime: 2 },
            Run(PLAIN),
            Put { path: "D/a.md", content: 1, mtime: 2 },
            Run(How { filter: Show::NoD, ..PLAIN }),
        ],
    );
}

/// A dry run did not notice that the vault's history was begun anew, and told of nothing to do.
#[test]
fn a_dry_run_of_a_vault_that_begins_anew_tells_of_everything() {
    holds(
        &FOLDER,
        &[
            Run(PLAIN),
            Put { path: "a.md", content: 1, mtime: 2 },
            CursorAhead,
            Run(How { dry_run: true, ..PLAIN }),
            Run(PLAIN),
        ],
    );
}

/// A folder could not be removed, so it was said, but the file that came in its place was written. The next run tried
/// again to remove what was there: the file.
#[test]
fn a_deletion_that_failed_does_not_strike_what_came_in_its_place() {
    let kinds = [
        [Folder { path: "d/e" }, Put { path: "d/e", content: 1, mtime: 1 }],
        [Put { path: "d/e", content: 1, mtime: 1 }, Folder { path: "d/e" }],
    ];
    for [first, second] in kinds {
        for (setup, effect) in [FOLDER, BUCKET].iter().flat_map(|setup| (0..9).map(move |effect| (setup, effect))) {
            for moment in [Moment::Before, Moment::After] {
                let fails = How { fate: Fate::Fails { effect, moment }, ..PLAIN };
                let steps = [first.clone(), Run(PLAIN), second.clone(), Run(fails), Wait { seconds: 61 }, Run(PLAIN)];
                holds(setup, &steps);
            }
        }
    }
}

/// What a complete run had found out was lost with the commit that was to record it, and the next run was not told to
/// find it out again.
#[test]
fn what_a_failed_commit_held_is_found_out_again() {
    holds(
        &FOLDER,
        &[
            Put { path: "a.md", content: 4, mtime: 1 },
            Run(PLAIN),
            Run(How {
                filter: Show::NoNotes,
                pace: 20,
                fate: Fate::Fails { effect: 5, moment: Moment::Half },
                ..PLAIN
            }),
            Run(How { fate: Fate::Fails { effect: 3, moment: Moment::Half }, ..PLAIN }),
            Run(PLAIN),
        ],
    );
}
