//! The folder: where a path leads, and what is there.

use std::collections::HashSet;
use std::fs::{self, File, FileTimes};
use std::io::{self, ErrorKind};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt, OpenOptionsSyncExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, OpenOptions};
use obsync_core::blob::{BlobError, BlobErrorKind, ListedKind, Stamp};
use obsync_proto::{ContentHash, VaultPath};

use super::fault::{fault, unfit, unusable};
use super::name::{self, TEMP_FOLDER};
use super::note;
use super::temp::Temp;

/// How often a step is done again because another task removed an empty folder meanwhile.
const TRIES: usize = 16;

/// See [`LocalFolder`](super::LocalFolder).
#[derive(Debug)]
pub(super) struct Folder {
    /// The handle on it, once it is there.
    root: OnceLock<Dir>,
    location: String,
    /// The vault whose files they are, for the notes.
    vault: String,
    temps: Mutex<Option<Arc<Dir>>>,
    /// Folders whose entries changed since the last [`sync`](Self::sync); `""` is the root.
    unsynced: Mutex<HashSet<Box<str>>>,
}

/// A folder on the way to a file.
pub(super) enum Way<'a> {
    Root(&'a Dir),
    Below(Dir),
}

impl Deref for Way<'_> {
    type Target = Dir;

    fn deref(&self) -> &Dir {
        match self {
            Self::Root(dir) => dir,
            Self::Below(dir) => dir,
        }
    }
}

/// What a name in a folder turns out to be.
enum Found {
    Nothing,
    Folder,
    File(Metadata),
}

impl Folder {
    /// Finds out where the folder is or will be. Makes nothing.
    pub(super) fn open(path: &Path, vault: &str) -> Result<Self, BlobError> {
        let failed = |error| unusable(&path.to_string_lossy(), "find", &error);
        let whole = canonical(&std::path::absolute(path).map_err(failed)?).map_err(failed)?;
        let location = whole.into_os_string().into_string().map_err(|path| {
            BlobError::new(BlobErrorKind::Unusable, format!("the folder's path is no Unicode text: {path:?}"))
        })?;
        let folder = Self {
            root: OnceLock::new(),
            location,
            vault: vault.to_owned(),
            temps: Mutex::default(),
            unsynced: Mutex::default(),
        };
        folder.root(false)?;
        Ok(folder)
    }

    /// The handle on the folder, made where `make` says so; `None` where it is not there.
    fn root(&self, make: bool) -> Result<Option<&Dir>, BlobError> {
        if let Some(root) = self.root.get() {
            return Ok(Some(root));
        }
        let failed = |doing, error| unusable(&self.location, doing, &error);
        if make {
            fs::create_dir_all(&self.location).map_err(|e| failed("make the folder", e))?;
        }
        match Dir::open_ambient_dir(&self.location, ambient_authority()) {
            Ok(root) => Ok(Some(self.root.get_or_init(|| root))),
            Err(e) if e.kind() == ErrorKind::NotFound && !make => Ok(None),
            Err(e) => Err(failed("open the folder", e)),
        }
    }

    /// The handle on the folder, which is made where it is not there.
    fn made_root(&self) -> Result<&Dir, BlobError> {
        self.root(true)?.ok_or_else(|| unusable(&self.location, "open the folder", &ErrorKind::NotFound.into()))
    }

    pub(super) fn vault(&self) -> &str {
        &self.vault
    }

    /// The canonical absolute path.
    pub(super) fn location(&self) -> &str {
        &self.location
    }

    /// The folder that holds `path`, made with all above it where `make` says so; `None` where it is not there.
    pub(super) fn way_to(&self, path: &VaultPath, make: bool) -> Result<Option<Way<'_>>, BlobError> {
        name::check(path)?;
        match path.rfind('/') {
            Some(end) => self.walk(&path[..end], make),
            None => Ok(self.root(make)?.map(Way::Root)),
        }
    }

    /// Opens the folder `path`, name by name: a link on the way is seen, and not followed.
    pub(super) fn walk(&self, path: &str, make: bool) -> Result<Option<Way<'_>>, BlobError> {
        let Some(root) = self.root(make)? else { return Ok(None) };
        let mut way = Way::Root(root);
        let mut start = 0;
        while start < path.len() {
            let end = path[start..].find('/').map_or(path.len(), |at| start + at);
            match self.step(&way, &path[..end], &path[start..end], make)? {
                Some(next) => way = Way::Below(next),
                None => return Ok(None),
            }
            start = end + 1;
        }
        Ok(Some(way))
    }

    fn step(&self, way: &Dir, path: &str, name: &str, make: bool) -> Result<Option<Dir>, BlobError> {
        for _ in 0..TRIES {
            match way.open_dir_nofollow(name) {
                Ok(dir) => return Ok(Some(dir)),
                Err(e) if e.kind() == ErrorKind::NotFound && !make => return Ok(None),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return self.no_folder(way, path, name, make, &e),
            }
            match way.create_dir(name) {
                Ok(()) => self.note(parent_of(path)),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                // The folder that it would be in was removed since.
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
                Err(e) if e.kind() == ErrorKind::PermissionDenied && matches!(parent_of(path), "") => {
                    return Err(unusable(&self.location, "make a folder in", &e));
                }
                Err(e) => return Err(fault(path, "make the folder", &e)),
            }
        }
        Err(BlobError::new(BlobErrorKind::Other, format!("the folder {path:?} comes and goes")))
    }

    /// Why `name` could not be opened as a folder.
    fn no_folder(
        &self,
        way: &Dir,
        path: &str,
        name: &str,
        make: bool,
        error: &io::Error,
    ) -> Result<Option<Dir>, BlobError> {
        match self.find(way, path, name)? {
            Found::File(_) if make => Err(unfit(format!("{path:?} is a file where a folder is needed"))),
            Found::File(_) | Found::Nothing => Ok(None),
            Found::Folder => Err(fault(path, "open the folder", error)),
        }
    }

    fn find(&self, way: &Dir, path: &str, name: &str) -> Result<Found, BlobError> {
        let metadata = match way.symlink_metadata(name) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(e) => return Err(fault(path, "look at", &e)),
        };
        if metadata.is_symlink() {
            Err(unfit(format!("{path:?} is a symbolic link, which obsync does not follow")))
        } else if metadata.is_dir() {
            Ok(Found::Folder)
        } else if metadata.is_file() {
            Ok(Found::File(metadata))
        } else {
            Err(unfit(format!("{path:?} is neither a file nor a folder")))
        }
    }

    pub(super) fn stat(&self, path: &VaultPath) -> Result<Option<ListedKind>, BlobError> {
        let Some(way) = self.way_to(path, false)? else { return Ok(None) };
        Ok(match self.find(&way, path, path.name())? {
            Found::Nothing => None,
            Found::Folder => Some(ListedKind::Folder),
            Found::File(metadata) => Some(ListedKind::File { size: metadata.len(), stamp: stamp(&metadata) }),
        })
    }

    /// Opens a file to read it; `None` where there is none.
    pub(super) fn open_file(&self, path: &VaultPath) -> Result<Option<File>, BlobError> {
        let Some(way) = self.way_to(path, false)? else { return Ok(None) };
        let Found::File(_) = self.find(&way, path, path.name())? else { return Ok(None) };
        let mut options = OpenOptions::new();
        // Should it have become a link or a pipe since: neither is followed or waited for.
        options.read(true).follow(FollowSymlinks::No).nonblock(true);
        match way.open_with(path.name(), &options) {
            Ok(file) => Ok(Some(file.into_std())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(fault(path, "open", &e)),
        }
    }

    pub(super) fn create_folder(&self, path: &VaultPath) -> Result<(), BlobError> {
        name::check(path)?;
        for _ in 0..TRIES {
            if self.walk(path, true)?.is_some() {
                return Ok(());
            }
        }
        Err(BlobError::new(BlobErrorKind::Other, format!("cannot make the folder {path:?}: it is removed again")))
    }

    pub(super) fn remove_folder(&self, path: &VaultPath) -> Result<(), BlobError> {
        let Some(way) = self.way_to(path, false)? else { return Ok(()) };
        let Found::Folder = self.find(&way, path, path.name())? else { return Ok(()) };
        match way.remove_dir(path.name()) {
            Ok(()) => self.note(parent_of(path)),
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists | ErrorKind::NotFound
                ) => {}
            Err(e) => return Err(fault(path, "remove the folder", &e)),
        }
        Ok(())
    }

    pub(super) fn remove_file(&self, path: &VaultPath) -> Result<(), BlobError> {
        let Some(way) = self.way_to(path, false)? else { return Ok(()) };
        let Found::File(_) = self.find(&way, path, path.name())? else { return Ok(()) };
        match way.remove_file(path.name()) {
            Ok(()) => self.note(parent_of(path)),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(fault(path, "delete", &e)),
        }
        Ok(())
    }

    /// Checks that nothing is in the way of a file `path`, before much is written for it.
    pub(super) fn check_target(&self, path: &VaultPath) -> Result<(), BlobError> {
        let Some(way) = self.way_to(path, false)? else { return Ok(()) };
        self.check_free(&way, path)
    }

    fn check_free(&self, way: &Dir, path: &VaultPath) -> Result<(), BlobError> {
        match self.find(way, path, path.name())? {
            Found::Folder => Err(unfit(format!("{path:?} is a folder where a file is to be written"))),
            Found::Nothing | Found::File(_) => Ok(()),
        }
    }

    /// Makes a finished temporary file visible as `path`. The order is what makes it safe:
    /// 1. it is noted as obsync's, and its time is set, and nothing is written after that, which would change it;
    /// 2. it is fsynced: were it renamed first, a loss of power could leave the name with no content;
    /// 3. it is renamed: a reader sees the old file or the new one, never part of one;
    /// 4. the folder is noted, for [`sync`](Self::sync) to fsync: until then a loss of power can bring the old
    ///    file back, which is why the state records nothing before that.
    pub(super) fn publish(
        &self,
        temp: Temp,
        path: &VaultPath,
        content: ContentHash,
        mtime: i64,
    ) -> Result<Stamp, BlobError> {
        self.prepare(&temp, path, content, mtime)?;
        self.reveal(temp, path, false)
    }

    /// The first step of [`publish`](Self::publish).
    pub(super) fn prepare(
        &self,
        temp: &Temp,
        path: &VaultPath,
        content: ContentHash,
        mtime: i64,
    ) -> Result<(), BlobError> {
        note::write(&temp.file, &self.vault, path, content);
        set_mtime(&temp.file, mtime).map_err(|e| fault(path, "set the time of", &e))
    }

    /// The other steps of [`publish`](Self::publish), for a file that is fsynced or not yet.
    pub(super) fn reveal(&self, mut temp: Temp, path: &VaultPath, is_fsynced: bool) -> Result<Stamp, BlobError> {
        if !is_fsynced {
            temp.file.sync_all().map_err(|e| fault(path, "write", &e))?;
        }
        self.rename(&mut temp, path)?;
        self.note(parent_of(path));
        file_stamp(&temp.file).map_err(|e| fault(path, "look at", &e))
    }

    fn rename(&self, temp: &mut Temp, path: &VaultPath) -> Result<(), BlobError> {
        for _ in 0..TRIES {
            let Some(way) = self.way_to(path, true)? else { continue };
            self.check_free(&way, path)?;
            match temp.rename(&way, path.name()) {
                Ok(()) => return Ok(()),
                // The folder was empty, and another task removed it.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(fault(path, "put in place", &e)),
            }
        }
        Err(BlobError::new(
            BlobErrorKind::Other,
            format!("cannot put {path:?} in place: its folder, or the unfinished file, was removed"),
        ))
    }

    /// A new unfinished file.
    pub(super) fn temp(&self) -> Result<Temp, BlobError> {
        let failed = |e| match fault(TEMP_FOLDER, "write to", &e) {
            error if e.kind() == ErrorKind::PermissionDenied => BlobError { kind: BlobErrorKind::Unusable, ..error },
            error => error,
        };
        for _ in 0..TRIES {
            match Temp::create(&self.temps()?) {
                Ok(temp) => return Ok(temp),
                // The folder was cleaned away since it was opened.
                Err(e) if e.kind() == ErrorKind::NotFound => *lock(&self.temps) = None,
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Err(unusable(&self.location, "keep unfinished files in", &ErrorKind::NotFound.into()))
    }

    fn temps(&self) -> Result<Arc<Dir>, BlobError> {
        let mut temps = lock(&self.temps);
        if let Some(folder) = &*temps {
            return Ok(folder.clone());
        }
        let root = self.made_root()?;
        match root.create_dir(TEMP_FOLDER) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                return Err(unusable(&self.location, "make a folder in", &e));
            }
            _ => {}
        }
        let folder = root
            .open_dir_nofollow(TEMP_FOLDER)
            .map_err(|e| unusable(&self.location, "use the folder for unfinished files, .obsync-tmp, in", &e))?;
        Ok(temps.insert(Arc::new(folder)).clone())
    }

    /// Removes all unfinished files.
    pub(super) fn clean(&self) -> Result<(), BlobError> {
        *lock(&self.temps) = None;
        let Some(root) = self.root(false)? else { return Ok(()) };
        // Does not follow links, neither a planted folder nor what is in it.
        match root.remove_dir_all(TEMP_FOLDER) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(unusable(&self.location, "clear the folder for unfinished files, .obsync-tmp, in", &e))
            }
            _ => Ok(()),
        }
    }

    /// Leaves the folder for unfinished files where there is one in it; [`temp`](Self::temp) makes it again.
    fn remove_temps_if_empty(&self) {
        let mut temps = lock(&self.temps);
        if temps.is_some()
            && let Some(root) = self.root.get()
            && root.remove_dir(TEMP_FOLDER).is_ok()
        {
            *temps = None;
        }
    }

    fn note(&self, folder: &str) {
        let mut unsynced = lock(&self.unsynced);
        if !unsynced.contains(folder) {
            unsynced.insert(folder.into());
        }
    }

    /// Fsyncs the folders whose entries changed. Between runs nothing of obsync's own is left among the files.
    pub(super) fn sync(&self) -> Result<(), BlobError> {
        self.remove_temps_if_empty();
        let unsynced = std::mem::take(&mut *lock(&self.unsynced));
        let mut failed = None;
        for folder in unsynced {
            if let Err(error) = self.sync_folder(&folder) {
                self.note(&folder);
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn sync_folder(&self, folder: &str) -> Result<(), BlobError> {
        // One that is gone, or no folder any more, was changed by one above it, which is noted too.
        let Some(way) = self.walk(folder, false)? else { return Ok(()) };
        if cfg!(unix) {
            // A handle for walking is no handle for fsync.
            way.open(".").and_then(|dir| dir.sync_all()).map_err(|e| fault(folder, "fsync the folder", &e))?;
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.remove_temps_if_empty();
    }
}

/// The path without links, also where its end is not there yet.
fn canonical(path: &Path) -> io::Result<PathBuf> {
    match (fs::canonicalize(path), path.parent(), path.file_name()) {
        (Err(e), Some(parent), Some(name)) if e.kind() == ErrorKind::NotFound => Ok(canonical(parent)?.join(name)),
        (found, ..) => found,
    }
}

/// What a panic left behind is as good as ever: no lock here is held over a step that could fail.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Sets the modification time, in ms since 1970. A time that the system cannot express is left alone.
pub(super) fn set_mtime(file: &File, ms: i64) -> io::Result<()> {
    let distance = Duration::from_millis(ms.unsigned_abs());
    let time = if ms < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    time.map_or(Ok(()), |time| file.set_times(FileTimes::new().set_modified(time)))
}

/// The modification time, in ms since 1970, rounded down.
pub(super) fn mtime(metadata: &fs::Metadata) -> i64 {
    let ms = |distance: Duration| i64::try_from(distance.as_millis()).unwrap_or(i64::MAX);
    match metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH).duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => ms(after),
        Err(before) => -ms(before.duration() + Duration::from_nanos(999_999)),
    }
}

pub(super) fn file_stamp(file: &File) -> io::Result<Stamp> {
    Ok(stamp(&Metadata::from_just_metadata(file.metadata()?)))
}

/// Size and times. The time of the last change of any kind cannot be set by a program, so that content of the same
/// size with its old modification time restored is still noticed.
#[cfg(unix)]
pub(super) fn stamp(metadata: &Metadata) -> Stamp {
    use cap_std::fs::MetadataExt;
    let m = metadata;
    let text = format!("{}-{}.{:09}-{}.{:09}", m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
    Stamp(text.into())
}

#[cfg(not(unix))]
pub(super) fn stamp(metadata: &Metadata) -> Stamp {
    let modified = metadata.modified().map(|time| time.into_std());
    let since = modified.ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
    Stamp(format!("{}-{}.{:09}", metadata.len(), since.as_secs(), since.subsec_nanos()).into())
}
