//! What a run tells while it goes on. A front end renders it; the engine prints nothing.

use obsync_proto::VaultPath;

/// One thing that happened.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// So many records were listed until now.
    Listing {
        /// Records.
        records: u64,
    },
    /// What is to be done is known.
    Planned(&'a Planned),
    /// Content arrived and was decrypted.
    Received {
        /// Bytes of plaintext.
        bytes: u64,
    },
    /// One action is done. In a dry run: would be done.
    Done(Action<'a>),
    /// One path could not be brought up to date in this run.
    Failed {
        /// The path, or what stands for it where it has none that can be shown.
        path: &'a str,
        /// Why.
        error: &'a str,
    },
    /// One file did not arrive and is tried again.
    Retrying {
        /// The file.
        path: &'a VaultPath,
        /// What happened.
        error: &'a str,
    },
}

/// How much there is to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Planned {
    /// Files to fetch.
    pub fetches: u64,
    /// Bytes of plaintext to fetch.
    pub fetch_bytes: u64,
    /// Files to copy within the destination.
    pub copies: u64,
    /// Files to delete.
    pub deletes: u64,
}

/// What was done to one path.
#[derive(Debug, Clone, Copy)]
pub enum Action<'a> {
    /// Fetched from the vault and written.
    Fetch {
        /// The file.
        path: &'a VaultPath,
        /// Bytes of plaintext.
        size: u64,
    },
    /// Copied within the destination, or given a new modification time there (`from == to`).
    Copy {
        /// The earlier path.
        from: &'a VaultPath,
        /// The new path.
        to: &'a VaultPath,
    },
    /// Deleted.
    Delete {
        /// The file or folder.
        path: &'a VaultPath,
    },
    /// Made.
    Folder {
        /// The folder.
        path: &'a VaultPath,
    },
}

/// Is told of a run's progress, from several tasks.
pub trait Observer: Send + Sync {
    /// Takes note. Must not block.
    fn on(&self, progress: Progress<'_>);
}

/// Takes no note.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn on(&self, _: Progress<'_>) {}
}
