//! Plans for small vaults. A path's content is a letter; `entry('a')` has the content of `file('a')`.

use super::*;
use crate::blob::Stamp;

fn path(path: &str) -> VaultPath {
    VaultPath::parse(path).unwrap()
}

fn hash(content: char) -> ContentHash {
    ContentHash::of(content.to_string().as_bytes())
}

fn file(content: char) -> Item {
    file_at(content, 1)
}

fn file_at(content: char, mtime: i64) -> Item {
    let kind = ItemKind::File(FileItem { hash: Some(hash(content)), encrypted_size: 29, mtime, ctime: 1 });
    Item { uid: Uid(1), kind }
}

fn gone() -> Item {
    Item { uid: Uid(2), kind: ItemKind::Deleted }
}

fn folder() -> Item {
    Item { uid: Uid(3), kind: ItemKind::Folder }
}

fn entry(content: char) -> Entry {
    Entry::File(FileEntry { uid: Uid(1), hash: hash(content), size: 1, mtime: 1, ctime: 1, stamp: Stamp("s".into()) })
}

fn planned(items: &[(&str, Item)], known: &[(&str, Entry)], rules: Rules) -> Plan {
    let items = items.iter().map(|(p, item)| (path(p), item.clone()));
    let files = known.iter().filter(|(_, e)| matches!(e, Entry::File(_))).count() as u64;
    plan(items, &known.iter().map(|(p, e)| (path(p), e.clone())).collect(), files, rules)
}

/// A plan as text: one step a word.
fn steps(plan: &Plan) -> Vec<String> {
    let delete = |mark: &str, d: &Delete| format!("{mark} {}{}", d.path, if d.folder { "/" } else { "" });
    let mut steps: Vec<String> = plan.clears.iter().map(|d| delete("clear", d)).collect();
    steps.extend(plan.folders.iter().map(|p| format!("folder {p}")));
    steps.extend(plan.copies.iter().map(|c| format!("copy {} {}", c.from, c.to.path)));
    steps.extend(plan.fetches.iter().map(|f| format!("fetch {}", f.path)));
    steps.extend(plan.deletes.iter().map(|d| delete("delete", d)));
    steps.extend(plan.forgets.iter().map(|p| format!("forget {p}")));
    steps
}

fn check(items: &[(&str, Item)], known: &[(&str, Entry)], expected: &[&str]) {
    assert_eq!(steps(&planned(items, known, Rules::default())), expected);
}

#[test]
fn what_the_mirror_has_is_left_alone() {
    check(&[("a", file('a')), ("d", folder()), ("x", gone())], &[("a", entry('a')), ("d", Entry::Folder)], &[]);
}

#[test]
fn new_and_changed_files_are_fetched_and_gone_ones_deleted() {
    check(
        &[("new", file('n')), ("old", file('2')), ("x", gone()), ("d", folder()), ("e", gone())],
        &[("old", entry('1')), ("x", entry('x')), ("e", Entry::Folder)],
        &["folder d", "fetch new", "fetch old", "delete x", "delete e/"],
    );
}

#[test]
fn a_rename_is_a_copy_and_a_deletion() {
    check(&[("new", file('a')), ("old", gone())], &[("old", entry('a'))], &["copy old new", "delete old"]);
}

#[test]
fn a_new_time_alone_is_no_fetch() {
    check(&[("a", file_at('a', 9))], &[("a", entry('a'))], &["copy a a"]);
}

#[test]
fn swapped_names_are_fetched_because_each_would_overwrite_the_others_source() {
    check(&[("a", file('b')), ("b", file('a'))], &[("a", entry('a')), ("b", entry('b'))], &["fetch a", "fetch b"]);
}

#[test]
fn a_rename_over_an_existing_name_copies_what_stays() {
    check(
        &[("target", file('s')), ("source", gone())],
        &[("target", entry('t')), ("source", entry('s'))],
        &["copy source target", "delete source"],
    );
}

#[test]
fn a_file_that_becomes_a_folder_is_cleared_first_and_cannot_be_a_source() {
    check(&[("a", gone()), ("a/b", file('a'))], &[("a", entry('a'))], &["clear a", "fetch a/b"]);
    check(&[("a", folder())], &[("a", entry('a'))], &["clear a", "folder a"]);
}

#[test]
fn a_folder_that_becomes_a_file_is_emptied_first() {
    check(
        &[("d", file('f')), ("d/x", gone()), ("d/e", gone())],
        &[("d", Entry::Folder), ("d/x", entry('x')), ("d/e", Entry::Folder)],
        &["clear d/x", "clear d/e/", "clear d/", "fetch d"],
    );
}

#[test]
fn a_folder_that_still_gets_a_file_is_not_cleared() {
    check(&[("d", gone()), ("d/new", file('n'))], &[("d", Entry::Folder)], &["fetch d/new", "delete d/"]);
}

#[test]
fn names_that_differ_in_case_only_are_cleared_first() {
    check(&[("Note", gone()), ("note", file('a'))], &[("Note", entry('a'))], &["clear Note", "fetch note"]);
}

#[test]
fn kept_files_are_forgotten_and_not_deleted() {
    let rules = Rules { keep_deleted: true, ..Rules::default() };
    assert_eq!(steps(&planned(&[("a", gone())], &[("a", entry('a'))], rules)), ["forget a"]);
}

#[test]
fn too_many_deletions_are_none_but_the_rest_goes_on() {
    let names: Vec<String> = (0..200).map(|i| format!("f{i:03}")).collect();
    let known: Vec<_> = names.iter().map(|n| (n.as_str(), entry('x'))).collect();
    let mut items: Vec<_> = names.iter().take(101).map(|n| (n.as_str(), gone())).collect();
    items.push(("new", file('n')));
    let plan = planned(&items, &known, Rules::default());
    assert_eq!(steps(&plan), ["fetch new"]);
    assert_eq!(plan.guarded, Some(Guarded { deletes: 101, limit: 100 }));
    let allowed = planned(&items[..100], &known, Rules::default());
    assert_eq!((allowed.deletes.len(), allowed.guarded), (100, None));
}

#[test]
fn a_renamed_folder_is_no_deletion_for_the_guard() {
    let names: Vec<(String, String)> = (0..150).map(|i| (format!("old/{i}"), format!("new/{i}"))).collect();
    let letter = |i: usize| char::from_u32(0x4e00 + i as u32).unwrap();
    let known: Vec<_> = names.iter().enumerate().map(|(i, (old, _))| (old.as_str(), entry(letter(i)))).collect();
    let items: Vec<_> = names
        .iter()
        .enumerate()
        .flat_map(|(i, (old, new))| [(old.as_str(), gone()), (new.as_str(), file(letter(i)))])
        .collect();
    let plan = planned(&items, &known, Rules::default());
    assert_eq!((plan.copies.len(), plan.deletes.len(), plan.guarded), (150, 150, None));
}

#[test]
fn limits_on_deletions_follow_the_option() {
    for (rule, files, limit) in [
        (MaxDelete::Default, 100, 100),
        (MaxDelete::Default, 101, 50),
        (MaxDelete::Count(3), 1000, 3),
        (MaxDelete::Percent(10), 1000, 100),
        (MaxDelete::Percent(0), 1000, 0),
        (MaxDelete::Percent(100), u64::MAX, u64::MAX),
    ] {
        assert_eq!(rule.of(files), limit, "{rule:?} of {files}");
    }
}

#[test]
fn the_limit_of_deletions_is_a_number_or_a_percentage() {
    assert_eq!("10".parse(), Ok(MaxDelete::Count(10)));
    assert_eq!("10%".parse(), Ok(MaxDelete::Percent(10)));
    for bad in ["", "%", "101%", "-1", "x"] {
        assert_eq!(bad.parse::<MaxDelete>(), Err(InvalidMaxDelete), "{bad}");
    }
}
