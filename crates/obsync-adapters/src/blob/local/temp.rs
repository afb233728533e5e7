//! A file that is not finished.

use std::fs::File;
use std::io;
use std::sync::Arc;

use cap_std::fs::{Dir, OpenOptions};

/// A file in the folder for unfinished ones. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Temp {
    folder: Arc<Dir>,
    name: String,
    /// To be written to.
    pub(super) file: File,
    named: bool,
}

impl Temp {
    /// A new file under a name that nobody can have guessed or prepared.
    pub(super) fn create(folder: &Arc<Dir>) -> io::Result<Self> {
        let name = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let file = folder.open_with(&name, OpenOptions::new().write(true).create_new(true))?;
        Ok(Self { folder: folder.clone(), name, file: file.into_std(), named: true })
    }

    /// Gives the file the name `name` in `folder`, in place of what bore it.
    pub(super) fn rename(&mut self, folder: &Dir, name: &str) -> io::Result<()> {
        self.folder.rename(&self.name, folder, name)?;
        self.named = false;
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if self.named {
            // What cannot be removed now, `clean` removes.
            let _ = self.folder.remove_file(&self.name);
        }
    }
}
