//! What can happen to a vault, its mirror and the memory of it.
//!
//! The `Debug` form of everything here is Rust: a failure prints steps that can be pasted as a regression test.

use std::fmt;

use obsync_core::plan::MaxDelete;
use obsync_testkit::fault::Moment;

/// What one sequence is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setup {
    /// The destination is a bucket, not a folder.
    pub(crate) bucket: bool,
    /// A listing of the whole vault has the newest live record of each path alone.
    pub(crate) lists_newest: bool,
    /// Which records a rename makes.
    pub(crate) renames: Renames,
}

/// Which records a rename makes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Renames {
    /// One for the new path, then a deleted one for the old path.
    NewThenOld,
    /// The other way round.
    OldThenNew,
    /// As `NewThenOld`, with one number for both.
    OneNumber,
}

/// One thing that happens. Paths are those of [`generate::PATHS`](crate::generate::PATHS), contents are numbers
/// ([`crate::vault::content`]). A step that makes no sense where it stands does nothing, so that steps can be left out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// A device writes a file; what is in its way goes first.
    Put { path: &'static str, content: u8, mtime: i64 },
    /// A device makes a folder; what is in its way goes first.
    Folder { path: &'static str },
    /// A device deletes a file, or a folder with everything in it.
    Delete { path: &'static str },
    /// A device renames a file, or a folder with everything in it, onto a free name or over what is there.
    Rename { from: &'static str, to: &'static str },
    /// Two names change places.
    Swap { one: &'static str, other: &'static str },
    /// A device writes so many files into a folder of their own: enough for the usual limit of deletions to mean something.
    Fill { files: u8 },
    /// A device deletes the first so many of them.
    Thin { files: u8 },
    /// A device that has not heard what the others did pushes a file, and nothing else.
    StalePut { path: &'static str, content: u8, mtime: i64 },
    /// The same with a folder.
    StaleFolder { path: &'static str },
    /// The same with a deletion: what is below the path stays.
    StaleDelete { path: &'static str },
    /// The service loses the content of the present version.
    LoseContent { path: &'static str },
    /// A run.
    Run(How),
    /// A second run begins so many ms after the first one.
    TwoRuns { first: How, second: How, after: u64 },
    /// Time passes: leases of the dead run out.
    Wait { seconds: u64 },
    /// Somebody puts a file into the destination.
    Overwrite { path: &'static str, content: u8 },
    /// Somebody removes a file, or an empty folder, from the destination.
    Remove { path: &'static str },
    /// Somebody empties the destination.
    RemoveEverything,
    /// The state is lost.
    LoseState,
    /// The state is found damaged: a store then knows no head.
    LoseHead,
    /// Every so-manieth entry is lost without a trace.
    LoseEntries { every: usize },
    /// Every so-manieth entry is of another version of its file.
    SpoilEntries { every: usize },
    /// The cursor is beyond everything that the vault has.
    CursorAhead,
    /// The state is put aside, as a backup of it.
    SaveState,
    /// The state that was put aside is put back.
    RestoreState,
}

/// How a run goes.
#[derive(Clone, PartialEq)]
pub(crate) struct How {
    pub(crate) complete: bool,
    pub(crate) dry_run: bool,
    pub(crate) filter: Show,
    pub(crate) keep_deleted: bool,
    pub(crate) max_delete: MaxDelete,
    /// What every call of a store or the service takes, ms.
    pub(crate) pace: u64,
    pub(crate) fate: Fate,
}

/// An incremental run with the usual settings, undisturbed.
pub(crate) const PLAIN: How = How {
    complete: false,
    dry_run: false,
    filter: Show::All,
    keep_deleted: false,
    max_delete: MaxDelete::Count(1_000),
    pace: 0,
    fate: Fate::Undisturbed,
};

/// [`PLAIN`], comparing everything.
pub(crate) const COMPLETE: How = How { complete: true, ..PLAIN };

impl fmt::Debug for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == PLAIN {
            return f.write_str("PLAIN");
        }
        f.write_str("How { ")?;
        for (name, value, plain) in self.fields().into_iter().zip(PLAIN.fields()).map(|((n, v), (_, p))| (n, v, p)) {
            if value != plain {
                write!(f, "{name}: {value}, ")?;
            }
        }
        f.write_str("..PLAIN }")
    }
}

impl How {
    fn fields(&self) -> [(&'static str, String); 7] {
        let Self { complete, dry_run, filter, keep_deleted, max_delete, pace, fate } = self;
        [
            ("complete", complete.to_string()),
            ("dry_run", dry_run.to_string()),
            ("filter", format!("Show::{filter:?}")),
            ("keep_deleted", keep_deleted.to_string()),
            ("max_delete", format!("MaxDelete::{max_delete:?}")),
            ("pace", pace.to_string()),
            ("fate", format!("Fate::{fate:?}")),
        ]
    }

    /// The same with one thing more as in [`PLAIN`], for each thing that is not.
    pub(crate) fn simpler(&self) -> Vec<How> {
        let mut all = vec![
            How { complete: false, ..self.clone() },
            How { dry_run: false, ..self.clone() },
            How { filter: PLAIN.filter, ..self.clone() },
            How { keep_deleted: false, ..self.clone() },
            How { max_delete: PLAIN.max_delete, ..self.clone() },
            How { pace: 0, ..self.clone() },
            How { fate: Fate::Undisturbed, ..self.clone() },
        ];
        all.retain(|how| how != self);
        all
    }
}

/// What is mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Everything.
    All,
    /// `*.md`.
    Notes,
    /// Everything but `*.md`.
    NoNotes,
    /// The folder or file `d`.
    OnlyD,
    /// Everything but `d`.
    NoD,
}

/// What happens to a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fate {
    /// Nothing.
    Undisturbed,
    /// Its process dies at an effect.
    Killed { effect: u64, moment: Moment },
    /// It is dropped after so many ms.
    Dropped { after: u64 },
    /// Its time is up after so many ms.
    Stopped { after: u64 },
    /// One effect fails, for its file alone where that is possible.
    Fails { effect: u64, moment: Moment },
    /// The destination is unusable from this effect on.
    Unusable { effect: u64 },
    /// The connection breaks at the so-manieth word.
    Cut { at: u64 },
    /// The service is out of reach from the so-manieth word on.
    Unreachable { from: u64 },
    /// The lease cannot be renewed.
    LosesLease,
    /// A device writes (or deletes) a file after so many ms.
    VaultChanges { after: u64, path: &'static str, content: Option<u8> },
}

impl Show {
    /// The globs to include and to exclude.
    pub(crate) fn globs(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::All => (&[], &[]),
            Self::Notes => (&["*.md"], &[]),
            Self::NoNotes => (&[], &["*.md"]),
            Self::OnlyD => (&["d"], &[]),
            Self::NoD => (&[], &["/d"]),
        }
    }

    /// What those globs mean, in plain words.
    pub(crate) fn admits(self, path: &str) -> bool {
        let mut names = path.split('/');
        match self {
            Self::All => true,
            Self::Notes => names.any(|name| name.ends_with(".md")),
            Self::NoNotes => !names.any(|name| name.ends_with(".md")),
            Self::OnlyD => names.any(|name| name == "d"),
            Self::NoD => names.next() != Some("d"),
        }
    }
}
