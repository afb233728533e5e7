//! Names that stores get wrong.

/// Paths that every store takes.
pub(crate) const HARD: &[&str] = &[
    "ភាសាខ្មែរ/កំណត់ត្រា.md",
    "ملاحظات/يوميات ٢٠٢٤.md",
    "中文/笔记（一）.md",
    "🧠/👩‍👩‍👧‍👦 family.md",
    "percent %41%2F%00 100%.md",
    "hash # and #tag.md",
    "a&b <c> \"d\" 'e' `f`.md",
    "plus+plus and  two spaces.md",
    " leading and trailing ",
    "dots.../..a/...",
    ".obsidian/app.json",
    "question? star* colon: bar| semi; comma, eq= at@ ex! tilde~ caret^ dollar$ [x] {y} (z).md",
    "back\\slash\\file.md",
    // One name in two forms: two files.
    "caf\u{e9}.md",
    "cafe\u{301}.md",
    // Two names that only a case-insensitive store mixes up.
    "Case.md",
    "case.md",
    // Both ends of what sorts, and what LIKE and globs take for wildcards.
    "_",
    "~",
    "a_b%.md",
];

/// Paths that a store may refuse in [`check`](obsync_core::blob::BlobStore::check), but not mangle.
pub(super) fn extreme() -> Vec<String> {
    vec![
        "n".repeat(255),
        format!("folder/{}.md", "é".repeat(126)),
        "n".repeat(256),
        vec!["d".repeat(100); 10].join("/"),
        vec!["d".repeat(200); 20].join("/"),
        vec!["d"; 300].join("/"),
        "tab\tname.md".to_owned(),
        "new\nline.md".to_owned(),
        "return\rname.md".to_owned(),
        "escape\u{1b}\u{1}.md".to_owned(),
        "private \u{e000} nonchar \u{ffff}.md".to_owned(),
        "~$lock.tmp".to_owned(),
        ".tmp".to_owned(),
        ".obsync-tmp/x".to_owned(),
        ".obsync/x".to_owned(),
    ]
}
