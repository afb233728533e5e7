//! Where contents and records are kept: in memory, or in a folder that outlives a restart.
//!
//! The folder: `service.json` (accounts, tokens, vaults), and for each vault `<id>/records.jsonl` (one line a
//! record, appended) and `<id>/content/<number>` (one file a content). Nothing is ever taken out of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use obsync_proto::wire::Record;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::EmulatorError;

/// The ciphertext of a file. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Memory(Bytes),
    File { folder: Arc<Path>, number: u64, len: u64 },
}

impl Content {
    /// Bytes of ciphertext.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    pub(crate) async fn read(&self) -> io::Result<Bytes> {
        match self {
            Self::Memory(bytes) => Ok(bytes.clone()),
            Self::File { folder, number, .. } => Ok(tokio::fs::read(folder.join(number.to_string())).await?.into()),
        }
    }
}

/// One line of `records.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) record: Record,
    /// The path is gone because it was renamed.
    #[serde(default)]
    pub(crate) renamed: bool,
    /// The number and length of its content.
    #[serde(default)]
    pub(crate) content: Option<(u64, u64)>,
}

/// Where one vault keeps what it is given.
#[derive(Debug)]
pub(crate) enum Archive {
    Memory,
    Folder { contents: Arc<Path>, records: File, next: u64 },
}

impl Archive {
    /// Opens or makes the vault's folder, and reads what is in it.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Vec<Line>), EmulatorError> {
        let contents: PathBuf = folder.join("content");
        let path = folder.join("records.jsonl");
        let open = || {
            fs::create_dir_all(&contents)?;
            OpenOptions::new().create(true).append(true).read(true).open(&path)
        };
        let records = open().map_err(|e| EmulatorError::Data(path.clone(), e))?;
        let lines = read_lines(&path, &records)?;
        let next = lines.iter().filter_map(|l| l.content).map(|(number, _)| number + 1).max().unwrap_or(0);
        Ok((Self::Folder { contents: contents.into(), records, next }, lines))
    }

    /// Stores a content.
    pub(crate) fn keep(&mut self, bytes: Bytes) -> io::Result<Content> {
        match self {
            Self::Memory => Ok(Content::Memory(bytes)),
            Self::Folder { contents, next, .. } => {
                let (number, len) = (*next, bytes.len() as u64);
                fs::write(contents.join(number.to_string()), &bytes)?;
                *next += 1;
                Ok(Content::File { folder: contents.clone(), number, len })
            }
        }
    }

    /// The content that a line names.
    pub(crate) fn content(&self, number: u64, len: u64) -> Option<Content> {
        match self {
            Self::Memory => None,
            Self::Folder { contents, .. } => Some(Content::File { folder: contents.clone(), number, len }),
        }
    }

    /// Forgets the records; contents stay behind.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        match self {
            Self::Memory => Ok(()),
            Self::Folder { records, .. } => records.set_len(0),
        }
    }

    /// Notes a record down.
    pub(crate) fn note(&mut self, record: &Record, renamed: bool, content: Option<&Content>) -> io::Result<()> {
        let Self::Folder { records, .. } = self else { return Ok(()) };
        let content = content.and_then(|content| match content {
            Content::Memory(_) => None,
            Content::File { number, len, .. } => Some((*number, *len)),
        });
        let mut line = serde_json::to_vec(&Line { record: record.clone(), renamed, content })?;
        line.push(b'\n');
        records.write_all(&line)
    }
}

/// A last line that was cut off by a kill is taken out, or the next one would be glued to it.
fn read_lines(path: &Path, records: &File) -> Result<Vec<Line>, EmulatorError> {
    let failed = |e| EmulatorError::Data(path.to_owned(), e);
    let mut lines = Vec::new();
    let mut reader = BufReader::new(records);
    let mut line = Vec::new();
    let mut whole = 0;
    loop {
        line.clear();
        reader.read_until(b'\n', &mut line).map_err(failed)?;
        if line.last() != Some(&b'\n') {
            records.set_len(whole).map_err(failed)?;
            return Ok(lines);
        }
        whole += line.len() as u64;
        lines.push(serde_json::from_slice(&line).map_err(|e| EmulatorError::Damaged(path.to_owned(), e))?);
    }
}

/// Reads `service.json`, or the default where there is none.
pub(crate) fn read_json<T: DeserializeOwned + Default>(path: &Path) -> Result<T, EmulatorError> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| EmulatorError::Damaged(path.to_owned(), e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(e) => Err(EmulatorError::Data(path.to_owned(), e)),
    }
}

/// Writes `service.json`: the old file or the new one is there at any time.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), EmulatorError> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| EmulatorError::Damaged(path.to_owned(), e))?;
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|e| EmulatorError::Data(path.to_owned(), e))
}
