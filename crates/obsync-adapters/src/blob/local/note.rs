//! A note that goes with a file: which content obsync wrote there, of which vault, and under which path.
//!
//! With the state lost, it tells what an earlier run has left from the user's own files and those of another vault. It is
//! an extended attribute, so it goes when another program replaces the file, and names the path, so that a copy elsewhere
//! is not taken for obsync's. File systems and platforms without such attributes keep no notes; nothing but that one distinction is
//! lost with them.

use std::fs::File;

use obsync_proto::{ContentHash, VaultPath};

/// `<SHA-256 of the content> <SHA-256 of the vault's id, `/` and the path>`, in hex.
fn text(vault: &str, path: &VaultPath, content: ContentHash) -> String {
    format!("{content} {}", ContentHash::of(format!("{vault}/{path}").as_bytes()))
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
mod attribute {
    use std::fs::File;

    use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

    const NAME: &str = "user.obsync";

    /// Longer than any note.
    const MOST: usize = 256;

    pub(super) fn set(file: &File, value: &str) {
        // Not every file system has attributes.
        let _ = fsetxattr(file, NAME, value.as_bytes(), XattrFlags::empty());
    }

    pub(super) fn get(file: &File) -> Option<String> {
        let mut value = [0; MOST];
        let len = fgetxattr(file, NAME, &mut value[..]).ok()?;
        String::from_utf8(value.get(..len)?.to_vec()).ok()
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod attribute {
    use std::fs::File;

    pub(super) fn set(_: &File, _: &str) {}

    pub(super) fn get(_: &File) -> Option<String> {
        None
    }
}

/// Notes what is written to `path`, as far as the file system can.
pub(super) fn write(file: &File, vault: &str, path: &VaultPath, content: ContentHash) {
    attribute::set(file, &text(vault, path, content));
}

/// What was noted with this file, if it was for `path` of `vault`.
pub(super) fn read(file: &File, vault: &str, path: &VaultPath) -> Option<ContentHash> {
    let noted = attribute::get(file)?;
    let content = noted.split(' ').next()?.parse().ok()?;
    (noted == text(vault, path, content)).then_some(content)
}
