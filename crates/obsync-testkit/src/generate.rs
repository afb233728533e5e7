//! Vaults as people have them, and what people do to them, from a seed.

use bytes::Bytes;
use fastrand::Rng;

use crate::vault::{Change, Model};

/// 2024-01-01, ms since 1970: when the first file was written.
const FIRST_MTIME: i64 = 1_704_067_200_000;

/// The piece of the wire, 2 MiB.
const PIECE: usize = 2 * 1024 * 1024;

/// Sizes at which an IV, a tag, a block, a piece or an upload's part begins or ends.
const EDGES: &[usize] = &[
    0,
    1,
    11,
    12,
    13,
    15,
    16,
    17,
    27,
    28,
    29,
    4095,
    4096,
    4097,
    65_535,
    65_536,
    65_537,
    PIECE - 29,
    PIECE - 28,
    PIECE - 27,
    PIECE - 1,
    PIECE,
    PIECE + 1,
    2 * PIECE - 28,
    6 * PIECE - 28,
    6 * PIECE - 1,
    6 * PIECE,
    6 * PIECE + 1,
];

const WORDS: &[&[&str]] = &[
    &["meeting", "idea", "draft", "journal", "recipe", "reading", "project", "Über", "naïve", "Łódź"],
    &["ملاحظة", "يوميات", "مشروع", "قائمة", "فكرة"],
    &["កំណត់ត្រា", "គម្រោង", "ថ្ងៃនេះ", "សៀវភៅ", "គំនិត"],
    &["笔记", "日记", "项目", "想法", "清单"],
    &["🧠", "📝 list", "👩‍👩‍👧‍👦", "✅ done", "🇰🇭"],
    &["100%", "C# & F#", "it's", "a+b", "(copy)", "v1.0.", "cafe\u{301}", "caf\u{e9}", "[x] = y", "~tilde"],
];

const EXTENSIONS: &[&str] = &["png", "pdf", "jpg", "mp3", "canvas", "zip", "webp", "xyz"];

/// What a generated vault is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Equal shapes, this included, give equal vaults.
    pub seed: u64,
    /// Notes, of up to 64 KiB, most of them of a few KiB.
    pub notes: usize,
    /// Attachments: one for each edge size up to `max_size`, the others of any size up to it.
    pub attachments: usize,
    /// Most bytes of a file.
    pub max_size: usize,
    /// Folders with something in them, up to four deep.
    pub folders: usize,
    /// Empty folders.
    pub empty_folders: usize,
    /// Files that were written more than once.
    pub edited: usize,
    /// Files that were written and deleted again.
    pub deleted: usize,
    /// Files that were written under another name first.
    pub renamed: usize,
}

impl Shape {
    /// A small vault with some of everything: about 100 files, 1 MB.
    pub fn small(seed: u64) -> Self {
        Self {
            seed,
            notes: 60,
            attachments: 30,
            max_size: 100_000,
            folders: 12,
            empty_folders: 3,
            edited: 15,
            deleted: 8,
            renamed: 6,
        }
    }

    /// The same with files of every edge size, the largest about 12 MiB: some 60 MB.
    pub fn with_large_files(seed: u64) -> Self {
        Self { max_size: 6 * PIECE + 1, ..Self::small(seed) }
    }

    /// Nothing but notes in a few folders.
    pub fn notes(seed: u64, notes: usize) -> Self {
        Self {
            seed,
            notes,
            attachments: 0,
            max_size: 64 * 1024,
            folders: notes.div_ceil(40),
            empty_folders: 0,
            edited: 0,
            deleted: 0,
            renamed: 0,
        }
    }
}

/// The changes that make a vault of this shape out of an empty one.
pub fn vault(shape: &Shape) -> Vec<Change> {
    let mut author = Author::new(shape.seed, Model::default(), shape.max_size);
    for _ in 0..shape.folders {
        author.add_folder(4);
    }
    for number in 0..shape.notes {
        author.add_note(number);
    }
    for number in 0..shape.attachments {
        author.add_attachment(number);
    }
    for _ in 0..shape.empty_folders {
        author.add_empty_folder();
    }
    for _ in 0..shape.edited {
        author.edit(".md");
    }
    for number in 0..shape.deleted {
        author.add_note(number);
        author.delete_last();
    }
    for _ in 0..shape.renamed {
        author.rename_file();
    }
    author.changes
}

/// `count` changes to a vault, as of an afternoon: edits most of all, then new files, renames and deletions, now and
/// then a folder that is moved, made or deleted. Equal seeds and models give equal changes.
pub fn changes(seed: u64, model: &Model, count: usize) -> Vec<Change> {
    let mut author = Author::new(seed, model.clone(), 100_000);
    while author.changes.len() < count {
        let number = author.rng.usize(..);
        match author.rng.u32(..100) {
            0..40 => author.edit(""),
            40..55 => author.add_note(number),
            55..60 => author.add_attachment(usize::MAX),
            60..74 => author.rename_file(),
            74..88 => author.delete_file(),
            88..92 => author.add_empty_folder(),
            92..97 => author.move_folder(),
            _ => author.delete_folder(),
        }
    }
    author.changes
}

/// Content that no compression and no misplaced chunk leaves alike.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut content = vec![0; len];
    Rng::with_seed(seed).fill(&mut content);
    content
}

/// Someone who works on a vault.
struct Author {
    rng: Rng,
    /// How many new names there were.
    names: u64,
    mtime: i64,
    max_size: usize,
    model: Model,
    changes: Vec<Change>,
}

impl Author {
    fn new(seed: u64, model: Model, max_size: usize) -> Self {
        let last = model.files().map(|(_, _, mtime)| mtime).max();
        let mtime = last.unwrap_or(FIRST_MTIME);
        Self { rng: Rng::with_seed(seed), names: 0, mtime, max_size, model, changes: Vec::new() }
    }

    fn make(&mut self, change: Change) {
        self.model.apply(&change);
        self.changes.push(change);
    }

    fn add_folder(&mut self, deepest: usize) {
        let mut parent = self.folder();
        if parent.matches('/').count() >= deepest {
            parent.clear();
        }
        let path = self.fresh(&parent, "");
        self.make(Change::Folder { path });
    }

    /// Every 20th note is a copy of a file that is there.
    fn add_note(&mut self, number: usize) {
        let folder = self.folder();
        let path = self.fresh(&folder, ".md");
        let original = if number % 20 == 19 { self.file("") } else { None };
        let content = match original {
            Some(original) => self.content_of(&original),
            None => self.note(),
        };
        self.put(path, content);
    }

    /// The first ones have the edge sizes.
    fn add_attachment(&mut self, number: usize) {
        let extension = EXTENSIONS[self.rng.usize(..EXTENSIONS.len())];
        let folder = self.folder();
        let path = self.fresh(&folder, &format!(".{extension}"));
        let edge = EDGES.iter().filter(|&&size| size <= self.max_size).nth(number).copied();
        let size = edge.unwrap_or_else(|| self.size(self.max_size));
        let mut content = vec![0; size];
        self.rng.fill(&mut content);
        self.put(path, content.into());
    }

    fn add_empty_folder(&mut self) {
        let folder = self.folder();
        let path = self.fresh(&folder, "");
        self.make(Change::Folder { path });
    }

    /// Of the files whose name ends so.
    fn edit(&mut self, end: &str) {
        let Some(path) = self.file(end) else { return self.add_note(0) };
        let mut content = self.note();
        if content == self.content_of(&path) {
            content = Bytes::from_static(b"edited");
        }
        self.put(path, content);
    }

    fn rename_file(&mut self) {
        let Some(from) = self.file("") else { return self.add_note(0) };
        let extension = from.rsplit_once('.').map_or("md", |(_, extension)| extension).to_owned();
        // Half of them stay in their folder.
        let folder = match from.rfind('/') {
            Some(end) if self.rng.bool() => from[..=end].to_owned(),
            _ => self.folder(),
        };
        let to = self.fresh(&folder, &format!(".{extension}"));
        self.make(Change::Rename { from, to });
    }

    fn delete_file(&mut self) {
        match self.file("") {
            Some(path) => self.make(Change::Delete { path }),
            None => self.add_note(0),
        }
    }

    fn delete_last(&mut self) {
        if let Some(Change::Put { path, .. }) = self.changes.last().cloned() {
            self.make(Change::Delete { path });
        }
    }

    fn move_folder(&mut self) {
        let from = self.folder();
        let Some(from) = from.strip_suffix('/').map(str::to_owned) else { return self.add_empty_folder() };
        let parent = match self.folder() {
            inside if format!("{inside}/").starts_with(&format!("{from}/")) => String::new(),
            parent => parent,
        };
        let to = self.fresh(&parent, "");
        self.make(Change::Rename { from, to });
    }

    /// Of those that hold few files, so that a vault does not vanish.
    fn delete_folder(&mut self) {
        let path = self.folder();
        let inside = self.model.files().filter(|(file, ..)| file.starts_with(&path)).count();
        match path.strip_suffix('/') {
            Some(folder) if inside * 10 <= self.model.files().count() => {
                self.make(Change::Delete { path: folder.to_owned() });
            }
            _ => self.add_empty_folder(),
        }
    }

    fn put(&mut self, path: String, content: Bytes) {
        self.mtime += self.rng.i64(1..600_000);
        self.make(Change::Put { path, content, mtime: self.mtime });
    }

    /// Any file whose name ends so.
    fn file(&mut self, end: &str) -> Option<String> {
        let files = || self.model.files().map(|(path, ..)| path).filter(|path| path.ends_with(end));
        let chosen = self.rng.usize(..files().count().max(1));
        files().nth(chosen).map(str::to_owned)
    }

    fn content_of(&self, path: &str) -> Bytes {
        self.model.files().find(|(other, ..)| *other == path).map(|(_, content, _)| content.clone()).unwrap_or_default()
    }

    /// A folder with `/` at its end, or nothing for the top.
    fn folder(&mut self) -> String {
        let count = self.model.folders().count();
        let chosen = self.rng.usize(..=count);
        self.model.folders().nth(chosen).map(|path| format!("{path}/")).unwrap_or_default()
    }

    /// A path in `folder` that is not taken: one or two words and a number.
    fn fresh(&mut self, folder: &str, extension: &str) -> String {
        loop {
            self.names += 1;
            let first = self.word();
            let second = if self.rng.bool() { format!(" {}", self.word()) } else { String::new() };
            let path = format!("{folder}{first}{second} {}{extension}", self.names);
            if self.model.get(&path).is_none() {
                return path;
            }
        }
    }

    fn word(&mut self) -> &'static str {
        // Half of all words are plain ones.
        let script = if self.rng.bool() { 0 } else { self.rng.usize(..WORDS.len()) };
        WORDS[script][self.rng.usize(..WORDS[script].len())]
    }

    /// Text of a size that is spread evenly over the orders of magnitude.
    fn note(&mut self) -> Bytes {
        let size = self.size(self.max_size.min(64 * 1024));
        let mut text = format!("# {}\n\n", self.word());
        while text.len() < size {
            text.push_str(self.word());
            text.push_str(if self.rng.u8(..12) == 0 { ".\n\n- [[" } else { " " });
        }
        text.truncate(text.floor_char_boundary(size));
        text.into()
    }

    fn size(&mut self, most: usize) -> usize {
        let magnitude = self.rng.f64() * ((most + 1) as f64).ln();
        (magnitude.exp() as usize).saturating_sub(1).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Node;

    fn model(changes: &[Change]) -> Model {
        let mut model = Model::default();
        for change in changes {
            model.apply(change);
        }
        model
    }

    #[test]
    fn equal_seeds_give_equal_vaults() {
        let made = vault(&Shape::small(1));
        assert!(made == vault(&Shape::small(1)));
        assert!(made != vault(&Shape::small(2)));
        let model = model(&made);
        assert!(changes(1, &model, 50) == changes(1, &model, 50));
        assert!(changes(1, &model, 50) != changes(2, &model, 50));
    }

    #[test]
    fn small_vault_has_some_of_everything() {
        let shape = Shape::small(3);
        let model = model(&vault(&shape));
        assert_eq!(model.files().count(), shape.notes + shape.attachments);
        assert_eq!(model.folders().count(), shape.folders + shape.empty_folders);
        let sizes: Vec<_> = model.files().map(|(_, content, _)| content.len()).collect();
        for edge in [0, 1, 12, 15, 16, 17, 4096] {
            assert!(sizes.contains(&edge), "no file of {edge} bytes");
        }
        assert!(sizes.iter().all(|&size| size <= shape.max_size));
        assert!(model.files().any(|(path, ..)| !path.is_ascii()));
    }

    #[test]
    fn changes_are_as_many_as_asked_for_and_of_every_kind() {
        let mut model = model(&vault(&Shape::small(4)));
        let made = changes(5, &model, 300);
        assert_eq!(made.len(), 300);
        let mut kinds = std::collections::BTreeSet::new();
        for change in &made {
            let node = |path: &str| if model.get(path) == Some(&Node::Folder) { "folder" } else { "file" };
            kinds.insert(match change {
                Change::Folder { .. } => "make folder".to_owned(),
                Change::Put { path, .. } if model.get(path).is_some() => "edit file".to_owned(),
                Change::Put { .. } => "add file".to_owned(),
                Change::Delete { path } => format!("delete {}", node(path)),
                Change::Rename { from, .. } => format!("rename {}", node(from)),
            });
            model.apply(change);
        }
        assert_eq!(kinds.len(), 7, "{kinds:?}");
        assert_eq!(changes(6, &Model::default(), 20).len(), 20);
    }
}
