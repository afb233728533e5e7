//! Whether the holder of a lease lives.
//!
//! | the mirror's file | the row: a lease that runs, guarded | runs, not guarded | has run out | no lease |
//! |---|---|---|---|---|
//! | could be locked | take: its holder is dead | held | take | take |
//! | is locked by another | held | held | take, without the file | it is letting go: look again |
//! | cannot be locked here | held | held | take, without the file | take, without the file |
//!
//! *Guarded* says whether the lease was taken with the file: a lease that was taken over from a stalled run is not,
//! until that run lets go of it. The last column's *letting go* is also what a run sees that finds the database
//! replaced under a run that goes on. Where the last lease was not guarded, it is the stalled run that still has the
//! file, and the next lease is taken without it, too.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use obsync_core::state::MirrorId;
use sha2::{Digest, Sha256};

use super::rows::Row;

/// A try to lock the mirror's file. Dropped, the lock is gone.
pub(super) enum Guard {
    Taken(File),
    Busy,
    /// No such file can be made, or the file system has no locks: only time tells.
    Unknown,
}

/// What a run that wants the lease is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Take,
    Held,
    LettingGo,
}

impl Guard {
    pub(super) fn of(database: &Path, mirror: &MirrorId) -> Self {
        let Ok(file) = open(&path_of(database, mirror)) else { return Self::Unknown };
        match file.try_lock() {
            Ok(()) => Self::Taken(file),
            Err(TryLockError::WouldBlock) => Self::Busy,
            Err(TryLockError::Error(_)) => Self::Unknown,
        }
    }

    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Taken(_))
    }

    pub(super) fn into_file(self) -> Option<File> {
        match self {
            Self::Taken(file) => Some(file),
            Self::Busy | Self::Unknown => None,
        }
    }

    /// See the table above.
    pub(super) fn judge(&self, row: &Row, now: i64) -> Verdict {
        let runs = row.runs(now);
        match self {
            Self::Taken(_) if runs && !row.guarded => Verdict::Held,
            Self::Taken(_) => Verdict::Take,
            Self::Busy | Self::Unknown if runs => Verdict::Held,
            Self::Busy if row.is_let_go_of() => Verdict::LettingGo,
            Self::Busy | Self::Unknown => Verdict::Take,
        }
    }
}

/// Opens a file that is there to be locked.
pub(super) fn open(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn path_of(database: &Path, mirror: &MirrorId) -> PathBuf {
    let hash = Sha256::digest(format!("{}\0{}", mirror.vault, mirror.destination));
    let short: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    suffixed(database, &format!(".{short}.lock"))
}

/// `path` with `suffix` behind its last name.
pub(super) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
