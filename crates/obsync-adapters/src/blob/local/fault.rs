//! What a fault of the file system means to the engine.

use std::io::{self, ErrorKind};

use obsync_core::blob::{BlobError, BlobErrorKind};

/// A fault while `doing` something ("read", "make the folder") with `path`. Paths are quoted as Rust quotes them, so
/// that no name can play tricks on a terminal.
pub(super) fn fault(path: &str, doing: &str, error: &io::Error) -> BlobError {
    BlobError::new(kind_of(error.kind()), format!("cannot {doing} {path:?}: {error}"))
}

/// A fault with the destination as a whole.
pub(super) fn unusable(location: &str, doing: &str, error: &io::Error) -> BlobError {
    BlobError::new(BlobErrorKind::Unusable, format!("cannot {doing} {location:?}: {error}"))
}

pub(super) fn unfit(message: String) -> BlobError {
    BlobError::new(BlobErrorKind::Unfit, message)
}

pub(super) fn not_found(path: &str) -> BlobError {
    BlobError::new(BlobErrorKind::NotFound, format!("there is no file {path:?}"))
}

pub(super) fn changed(path: &str) -> BlobError {
    BlobError::new(BlobErrorKind::Changed, format!("{path:?} is not what obsync wrote there"))
}

fn kind_of(kind: ErrorKind) -> BlobErrorKind {
    match kind {
        ErrorKind::StorageFull
        | ErrorKind::QuotaExceeded
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::StaleNetworkFileHandle => BlobErrorKind::Unusable,
        // Names that this file system does not take, files too large for it, and another one mounted within.
        ErrorKind::InvalidFilename
        | ErrorKind::InvalidInput
        | ErrorKind::FileTooLarge
        | ErrorKind::IsADirectory
        | ErrorKind::NotADirectory
        | ErrorKind::CrossesDevices => BlobErrorKind::Unfit,
        ErrorKind::NotFound => BlobErrorKind::NotFound,
        ErrorKind::PermissionDenied => BlobErrorKind::Denied,
        _ => BlobErrorKind::Other,
    }
}
