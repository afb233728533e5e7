//! What came of faults, as a table of `docs/reliability.md`.
//!
//! Tests that inject faults count what they did, and lay it down as a [`Section`]. `OBSYNC_RELIABILITY=write` writes it
//! into the document; without, the document is only held to have the same faults in the same places, because chance and
//! the machine have a say in the numbers.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::lock;

/// What came of one fault with one pair of stores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How often the fault struck.
    pub struck: u64,
    /// Runs under the fault that brought the mirror up to date all the same.
    pub exact: u32,
    /// Runs under the fault that did not, and said so.
    pub told: u32,
}

/// One table of the document.
#[derive(Debug)]
pub struct Section {
    /// Names the table, and its place in the document.
    pub title: &'static str,
    /// The pairs of stores.
    pub columns: Vec<&'static str>,
    rows: Vec<String>,
    /// Faults that could not be made here.
    skipped: Vec<&'static str>,
}

/// The tables are in one file, and tests run at once.
static DOCUMENT: Mutex<()> = Mutex::new(());

impl Section {
    /// A table without rows.
    pub fn new(title: &'static str, columns: impl Into<Vec<&'static str>>) -> Self {
        Self { title, columns: columns.into(), rows: Vec::new(), skipped: Vec::new() }
    }

    /// Adds a fault, what came of it in each column (`None` where there is nothing for it to strike), and what reports
    /// say of it.
    pub fn add(&mut self, fault: &str, outcomes: &[Option<Outcome>], says: &str) {
        let mut row = format!("| {fault} |");
        for outcome in outcomes {
            let _ = match outcome {
                Some(Outcome { struck, exact, told }) => write!(row, " {struck}: {exact} exact, {told} told |"),
                None => write!(row, " |"),
            };
        }
        let _ = write!(row, " {says} |");
        self.rows.push(row);
    }

    /// Leaves a fault out that cannot be made on this machine. What the document says of it is not checked.
    pub fn skip(&mut self, fault: &'static str) {
        eprintln!("not tried here: {fault}");
        self.skipped.push(fault);
    }

    /// Writes the table into the document, or checks that it is there.
    ///
    /// # Panics
    /// Where it is not, or is another.
    pub fn publish(&self) {
        let _alone = lock(&DOCUMENT);
        let path = document();
        let text = std::fs::read_to_string(&path).unwrap();
        let (begin, end) = (format!("<!-- {}: begin -->\n", self.title), format!("<!-- {}: end -->", self.title));
        let place = || format!("{} has no place for {:?}", path.display(), self.title);
        let from = text.find(&begin).unwrap_or_else(|| panic!("{}", place())) + begin.len();
        let to = from + text[from..].find(&end).unwrap_or_else(|| panic!("{}", place()));
        let table = self.table();
        if std::env::var_os("OBSYNC_RELIABILITY").is_some_and(|value| value == "write") {
            std::fs::write(&path, format!("{}{table}{}", &text[..from], &text[to..])).unwrap();
        } else {
            let is_skipped = |row: &String| self.skipped.iter().any(|fault| row.starts_with(&format!("| {fault} |")));
            let mut found = without_numbers(&text[from..to]);
            found.retain(|row| !is_skipped(row));
            let expected = without_numbers(&table);
            let advice = "the document is out of date: run the test with OBSYNC_RELIABILITY=write";
            assert_eq!(found, expected, "{}: {advice}", path.display());
        }
    }

    fn table(&self) -> String {
        let columns = self.columns.join(" | ");
        let mut table =
            format!("| fault | {columns} | a report says |\n|---|{}---|\n", "---|".repeat(self.columns.len()));
        for row in &self.rows {
            table.push_str(row);
            table.push('\n');
        }
        table
    }
}

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reliability.md")
}

/// The rows, without what chance has a say in.
fn without_numbers(table: &str) -> Vec<String> {
    table.lines().map(|line| line.chars().filter(|c| !c.is_ascii_digit()).collect()).collect()
}
