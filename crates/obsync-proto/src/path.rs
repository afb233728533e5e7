//! [`VaultPath`]: a path within a vault, checked once.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// The path of a file or folder within a vault, exactly as the vault has it.
///
/// Invariants, so that a path joined to a folder names something inside that folder:
/// - not empty, at most [`VaultPath::MAX`] bytes of UTF-8;
/// - segments parted by `/`, none of them empty (so it neither starts nor ends with `/`), `.` or `..`;
/// - no NUL.
///
/// Nothing is normalised: `é` as one character and as two are two paths, and `\` is a character like any other.
/// What a destination cannot hold beyond this (a name over 255 bytes, a key over 1,024), it refuses itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VaultPath(Box<str>);

/// Why a text is no [`VaultPath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No characters at all.
    #[error("the path is empty")]
    Empty,
    /// Starts with `/`.
    #[error("the path is absolute")]
    Absolute,
    /// `//`, or `/` at the end.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// A segment `.` or `..`.
    #[error("the path has a segment `.` or `..`")]
    DotSegment,
    /// A NUL character.
    #[error("the path has a NUL character")]
    Nul,
    /// More than [`VaultPath::MAX`] bytes.
    #[error("the path is longer than {max} bytes", max = VaultPath::MAX)]
    TooLong,
}

impl VaultPath {
    /// The most bytes of a path: Linux's `PATH_MAX`, more than any destination takes.
    pub const MAX: usize = 4096;

    /// Checks `path` against the invariants above.
    ///
    /// # Errors
    /// The first invariant that it breaks.
    pub fn parse(path: impl Into<Box<str>>) -> Result<Self, PathError> {
        let path = path.into();
        if path.is_empty() {
            return Err(PathError::Empty);
        }
        if path.len() > Self::MAX {
            return Err(PathError::TooLong);
        }
        if path.starts_with('/') {
            return Err(PathError::Absolute);
        }
        // One pass over bytes, for a listing of a million paths: in UTF-8 no part of another character is one of these.
        let mut start = 0;
        for (at, byte) in path.bytes().enumerate() {
            match byte {
                b'\0' => return Err(PathError::Nul),
                b'/' => {
                    check_segment(&path[start..at])?;
                    start = at + 1;
                }
                _ => {}
            }
        }
        check_segment(&path[start..])?;
        Ok(Self(path))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names along the path, outermost first.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The folder that holds it, or `None` at the top.
    pub fn parent(&self) -> Option<VaultPath> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.into()))
    }

    /// All folders that hold it, innermost first.
    pub fn ancestors(&self) -> impl Iterator<Item = VaultPath> {
        std::iter::successors(self.parent(), VaultPath::parent)
    }
}

fn check_segment(segment: &str) -> Result<(), PathError> {
    match segment {
        "" => Err(PathError::EmptySegment),
        "." | ".." => Err(PathError::DotSegment),
        _ => Ok(()),
    }
}

impl TryFrom<String> for VaultPath {
    type Error = PathError;

    fn try_from(path: String) -> Result<Self, PathError> {
        Self::parse(path)
    }
}

impl From<VaultPath> for String {
    fn from(path: VaultPath) -> String {
        path.0.into()
    }
}

impl Deref for VaultPath {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for VaultPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for VaultPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VaultPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for VaultPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_leave_the_folder_are_refused() {
        for (path, error) in [
            ("", PathError::Empty),
            ("../escape.md", PathError::DotSegment),
            ("a/../../up.md", PathError::DotSegment),
            ("x/./y.md", PathError::DotSegment),
            ("a/..", PathError::DotSegment),
            ("/abs.md", PathError::Absolute),
            ("a//b.md", PathError::EmptySegment),
            ("a/", PathError::EmptySegment),
            ("nul\0byte.md", PathError::Nul),
        ] {
            assert_eq!(VaultPath::parse(path), Err(error), "{path:?}");
        }
        assert_eq!(VaultPath::parse("x".repeat(4097)), Err(PathError::TooLong));
        assert!(serde_json::from_str::<VaultPath>(r#""../a""#).is_err());
    }

    #[test]
    fn hard_names_are_kept_to_the_letter() {
        for path in [
            "a",
            "...",
            "..a/b..",
            "ភាសាខ្មែរ/កំណត់ត្រា.md",
            "ملاحظة.md",
            "🧠/x",
            "e\u{301}.md",
            "\u{e9}.md",
            "back\\slash.md",
            "a b/#%&'.md",
            " ",
        ] {
            assert_eq!(VaultPath::parse(path).unwrap().as_str(), path);
        }
        assert_ne!(VaultPath::parse("e\u{301}.md"), VaultPath::parse("\u{e9}.md"));
    }

    #[test]
    fn ancestors_come_innermost_first() {
        let path = VaultPath::parse("a/b/c.md").unwrap();
        assert_eq!(path.name(), "c.md");
        assert_eq!(path.ancestors().map(String::from).collect::<Vec<_>>(), ["a/b", "a"]);
        assert_eq!(VaultPath::parse("c.md").unwrap().parent(), None);
    }
}
