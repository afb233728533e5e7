//! What every state store promises: the docs of [`StateStore`], case by case.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use obsync_core::blob::Stamp;
use obsync_core::state::{Commit, Entry, FileEntry, Head, Lease, MirrorId, Pending, StateError, StateStore};
use obsync_proto::wire::Record;
use obsync_proto::{ContentHash, Cursor, Uid, VaultPath};

use super::{StateFixture, names, run_cases};

/// Longer than any case takes.
const LONG: Duration = Duration::from_secs(300);

/// Runs every case, each on a state store of its own.
///
/// # Panics
/// With the names of the cases that failed.
pub async fn all(make: impl AsyncFn() -> StateFixture) {
    run_cases!(
        make,
        unknown_mirror_is_empty,
        every_kind_of_entry_comes_back,
        hard_paths_are_kept_apart,
        head_comes_back_with_its_pending,
        head_holds_many_pending,
        entries_of_missing_paths_are_left_out,
        entries_are_replaced_and_forgotten,
        ten_thousand_entries_are_scanned,
        commit_is_seen_whole,
        two_mirrors_are_apart,
        held_lease_names_its_holder,
        one_of_many_gets_the_lease,
        unlock_frees_the_lease,
        finish_writes_and_frees_the_lease,
        expired_lease_is_taken_over,
        lost_lease_writes_nothing,
        stale_unlock_leaves_the_new_holder_alone,
        renewed_lease_holds,
        tokens_grow,
        reset_forgets_the_mirror,
        mirrors_lists_those_with_a_head,
        second_process_sees_everything,
    );
}

/// A mirror that was never written has no head and no entries; nor does it get one by being asked for or locked.
pub async fn unknown_mirror_is_empty(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    assert_empty(store, &mirror).await;
    let (lease, head) = store.lock(&mirror, "run", LONG).await.unwrap();
    assert_eq!((&lease.mirror, lease.ttl, head), (&mirror, LONG, None));
    assert_empty(store, &mirror).await;
    store.unlock(lease).await.unwrap();
    assert_empty(store, &mirror).await;
}

/// Folders and files, with the least and the greatest values of every field.
pub async fn every_kind_of_entry_comes_back(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    let entries = BTreeMap::from([
        (path("folder"), Entry::Folder),
        (path("folder/least.md"), file(0, 0, 0, "")),
        (path("greatest.md"), file((1 << 53) - 1, 1 << 40, 253_402_300_799_999, &"long \"ETag\" é".repeat(20))),
        (path("old.md"), file(3, 1, -1, "\"d41d8cd98f00b204e9800998ecf8427e-12\"")),
    ]);
    let lease = lock(store, &mirror).await;
    let set = entries.iter().map(|(path, entry)| (path.clone(), Some(entry.clone()))).collect();
    store.commit(&lease, Commit { entries: set, head: head(1) }).await.unwrap();
    assert_eq!(scan(store, &mirror).await, entries);
    let paths: Vec<_> = entries.keys().cloned().collect();
    assert_eq!(store.entries(&mirror, &paths).await.unwrap(), entries.into_iter().collect());
}

/// Paths in many scripts, in two forms and in two cases are different paths.
pub async fn hard_paths_are_kept_apart(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    let long = "p".repeat(VaultPath::MAX);
    let extreme = names::extreme();
    let names = names::HARD.iter().copied().chain(extreme.iter().map(String::as_str)).chain([long.as_str()]);
    let expected: BTreeMap<_, _> =
        names.enumerate().map(|(n, name)| (path(name), file(n as u64 + 1, n as u64, 5, "s"))).collect();
    let lease = lock(store, &mirror).await;
    store.commit(&lease, Commit { entries: some(&expected), head: head(1) }).await.unwrap();
    assert_eq!(scan(store, &mirror).await, expected);
    for (path, entry) in &expected {
        let found = store.entries(&mirror, std::slice::from_ref(path)).await.unwrap();
        assert_eq!(found, HashMap::from([(path.clone(), entry.clone())]));
    }
}

/// The head comes back to the letter, pending changes with it.
pub async fn head_comes_back_with_its_pending(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    let lease = lock(store, &mirror).await;
    let record = Record {
        uid: Uid(7),
        path: "ab01".repeat(100),
        hash: "cd".repeat(80),
        size: 1 << 40,
        ctime: -5,
        mtime: 1_700_000_000_123,
        folder: true,
        deleted: true,
        device: "សួស្តី 📱".to_owned(),
        user: 3,
        relatedpath: Some("ef".to_owned()),
    };
    let head = Head {
        cursor: Cursor((1 << 53) - 1),
        vault_name: "ភាសា \"notes\" 🧠".to_owned(),
        filter: r#"{"include":["**/*.md"]}"#.to_owned(),
        keys: "3:0123456789abcdef".to_owned(),
        files: 1_000_000,
        pending: vec![
            Pending {
                name: "ភាសា/\"a\".md".to_owned(),
                record: record.clone(),
                error: "its tag\n\"does not hold\"".to_owned(),
            },
            Pending {
                name: String::new(),
                record: Record { uid: Uid(8), relatedpath: None, ..record },
                error: String::new(),
            },
        ],
        unfinished: true,
        ended_at: 1_700_000_000_999,
        succeeded_at: 0,
    };
    for head in [head, Head::default()] {
        store.commit(&lease, Commit { entries: Vec::new(), head: head.clone() }).await.unwrap();
        assert_eq!(store.head(&mirror).await.unwrap().as_ref(), Some(&head));
    }
}

/// Promise 5 puts no limit to the changes that wait: here over 1 MB of them, more than one item of a table holds.
pub async fn head_holds_many_pending(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    let lease = lock(store, &mirror).await;
    let mut rng = fastrand::Rng::with_seed(1);
    let mut hex = |len| (0..len).map(|_| rng.digit(16)).collect::<String>();
    let pending = (0..3_000)
        .map(|n| Pending {
            name: format!("folder/note {n}.md"),
            record: Record { uid: Uid(n), path: hex(200), hash: hex(160), size: n, ..Record::default() },
            error: "the content is damaged: its authentication tag does not hold".to_owned(),
        })
        .collect();
    let many = Head { pending, ..head(3_000) };
    store.commit(&lease, Commit { entries: some(&numbered(0..10)), head: many.clone() }).await.unwrap();
    assert!(store.head(&mirror).await.unwrap() == Some(many));
    store.finish(lease, Commit { entries: Vec::new(), head: head(3_001) }).await.unwrap();
    assert_eq!(store.head(&mirror).await.unwrap(), Some(head(3_001)));
    assert_eq!(scan(store, &mirror).await, numbered(0..10));
}

/// `entries` gives those "of these paths, as far as there are any".
pub async fn entries_of_missing_paths_are_left_out(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    let lease = lock(store, &mirror).await;
    store.commit(&lease, Commit { entries: some(&numbered(0..10)), head: head(1) }).await.unwrap();
    let asked: Vec<_> = numbered(5..20).into_keys().collect();
    let found = store.entries(&mirror, &asked).await.unwrap();
    assert_eq!(found, numbered(5..10).into_iter().collect());
    assert_eq!(store.entries(&mirror, &[]).await.unwrap(), HashMap::new());
}

/// A later commit replaces and forgets; what it does not name stays.
pub async fn entries_are_replaced_and_forgotten(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    let lease = lock(store, &mirror).await;
    store.commit(&lease, Commit { entries: some(&numbered(0..10)), head: head(1) }).await.unwrap();
    let changes = vec![
        (nth(1), None),
        (nth(2), Some(Entry::Folder)),
        (nth(3), Some(file(99, 99, 99, "new"))),
        (path("never there"), None),
        (path("new"), Some(file(100, 1, 1, "x"))),
    ];
    store.commit(&lease, Commit { entries: changes, head: head(2) }).await.unwrap();
    let mut expected = numbered(0..10);
    expected.remove(&nth(1));
    expected.insert(nth(2), Entry::Folder);
    expected.insert(nth(3), file(99, 99, 99, "new"));
    expected.insert(path("new"), file(100, 1, 1, "x"));
    assert_eq!(scan(store, &mirror).await, expected);
    assert_eq!(store.head(&mirror).await.unwrap(), Some(head(2)));
    let all = expected.keys().map(|path| (path.clone(), None)).collect();
    store.commit(&lease, Commit { entries: all, head: head(3) }).await.unwrap();
    assert_eq!(scan(store, &mirror).await, BTreeMap::new());
}

/// A vault of 10,000 files: one commit, one scan, a lookup of 1,000, and a small change after it.
pub async fn ten_thousand_entries_are_scanned(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    let lease = lock(store, &mirror).await;
    let mut expected = numbered(0..10_000);
    store.commit(&lease, Commit { entries: some(&expected), head: head(1) }).await.unwrap();
    assert!(scan(store, &mirror).await == expected);
    let asked: Vec<_> = numbered(4_500..5_500).into_keys().collect();
    assert!(store.entries(&mirror, &asked).await.unwrap() == numbered(4_500..5_500).into_iter().collect());
    let changes = vec![(nth(17), None), (nth(10_000), Some(file(1, 1, 1, "new")))];
    store.finish(lease, Commit { entries: changes, head: head(2) }).await.unwrap();
    expected.remove(&nth(17));
    expected.insert(nth(10_000), file(1, 1, 1, "new"));
    assert!(scan(store, &mirror).await == expected);
}

/// Once a commit has returned, all of it is there; while it runs, a new head is never seen without its entries.
pub async fn commit_is_seen_whole(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    let lease = lock(store, &mirror).await;
    let generation = |n: u64| (0..50).map(|i| (nth(i), Some(file(n, n, 0, "s")))).collect::<Vec<_>>();
    store.commit(&lease, Commit { entries: generation(1), head: head(1) }).await.unwrap();
    let writes = async {
        for n in 2..20 {
            store.commit(&lease, Commit { entries: generation(n), head: head(n) }).await.unwrap();
        }
    };
    let reads = async {
        loop {
            let seen = store.head(&mirror).await.unwrap().unwrap().cursor.0;
            for (path, entry) in scan(store, &mirror).await {
                let Entry::File(entry) = entry else { panic!("{path}: {entry:?}") };
                assert!(entry.uid.0 >= seen, "the head says {seen}, {path} is of {}", entry.uid);
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = writes => {}
        () = reads => {}
    }
    assert_eq!(store.head(&mirror).await.unwrap(), Some(head(19)));
}

/// "Two destinations of one vault are two mirrors, each with its own state": and two vaults at one destination too.
pub async fn two_mirrors_are_apart(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirrors = [
        mirror("v", "s3://bucket/a"),
        mirror("v", "s3://bucket/ab"),
        mirror("v", "s3://bucket/a/"),
        mirror("v", "/home/x/ភាសា a"),
        mirror("v", ""),
        mirror("v1", "s3://bucket/a"),
        mirror("V", "s3://bucket/a"),
    ];
    let mut leases = Vec::new();
    for (n, mirror) in (1..).zip(&mirrors) {
        let lease = lock(store, mirror).await;
        let entries = vec![(path("same.md"), Some(file(n, n, 0, "s"))), (nth(n), Some(Entry::Folder))];
        store.commit(&lease, Commit { entries, head: head(n) }).await.unwrap();
        leases.push(lease);
    }
    store.reset(&leases[0]).await.unwrap();
    store.unlock(leases.swap_remove(0)).await.unwrap();
    assert_forgotten(store, &mirrors[0]).await;
    for (n, mirror) in (1..).zip(&mirrors).skip(1) {
        let expected = BTreeMap::from([(path("same.md"), file(n, n, 0, "s")), (nth(n), Entry::Folder)]);
        assert_eq!(scan(store, mirror).await, expected, "{mirror}");
        assert_eq!(store.head(mirror).await.unwrap(), Some(head(n)), "{mirror}");
    }
    assert_eq!(store.mirrors().await.unwrap().len(), mirrors.len() - 1);
}

/// [`StateError::Held`] "where another run has it", with the holder's name.
pub async fn held_lease_names_its_holder(fixture: &StateFixture) {
    let store = &*fixture.store;
    let held = mirror("v", "d");
    let (lease, _) = store.lock(&held, "laptop ភាសា, process 17", LONG).await.unwrap();
    for _ in 0..2 {
        match store.lock(&held, "other", LONG).await {
            Err(StateError::Held { holder }) => assert!(holder.contains("laptop ភាសា, process 17"), "{holder:?}"),
            other => panic!("{other:?}"),
        }
    }
    // Another mirror is free, and the holder's lease is as good as before.
    lock(store, &mirror("v", "e")).await;
    store.commit(&lease, Commit { entries: Vec::new(), head: head(1) }).await.unwrap();
}

/// However many ask at once, one gets it.
pub async fn one_of_many_gets_the_lease(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    let asked = join_all((0..12).map(|_| store.lock(&mirror, "run", LONG))).await;
    for refused in asked.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(refused, StateError::Held { .. }), "{refused}");
    }
    assert_eq!(asked.iter().filter(|result| result.is_ok()).count(), 1);
}

/// "Gives the lease back without a change."
pub async fn unlock_frees_the_lease(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    let lease = lock(store, &mirror).await;
    store.commit(&lease, Commit { entries: some(&numbered(0..3)), head: head(1) }).await.unwrap();
    store.unlock(lease).await.unwrap();
    let (_, found) = store.lock(&mirror, "next", LONG).await.unwrap();
    assert_eq!(found, Some(head(1)));
    assert_eq!(scan(store, &mirror).await, numbered(0..3));
}

/// `finish` "writes the last changes and gives the lease back"; `lock` "reads the head".
pub async fn finish_writes_and_frees_the_lease(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    for n in 1..4 {
        let (lease, found) = store.lock(&mirror, "run", LONG).await.unwrap();
        assert_eq!(found, (n > 1).then(|| head(n - 1)));
        store.finish(lease, Commit { entries: some(&numbered(n..n + 1)), head: head(n) }).await.unwrap();
    }
    assert_eq!(scan(store, &mirror).await, numbered(1..4));
}

/// "A lease that has run out is taken over", not before.
pub async fn expired_lease_is_taken_over(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    let (lease, _) = store.lock(&mirror, "dead", fixture.short_ttl).await.unwrap();
    store.commit(&lease, Commit { entries: some(&numbered(0..3)), head: head(1) }).await.unwrap();
    run_out(fixture).await;
    let (next, found) = store.lock(&mirror, "next", LONG).await.unwrap();
    assert_eq!(found, Some(head(1)));
    assert!(next.token > lease.token);
    store.finish(next, Commit { entries: some(&numbered(3..4)), head: head(2) }).await.unwrap();
    assert_eq!(scan(store, &mirror).await, numbered(0..4));
}

/// [`StateError::Lost`] for every change under a lease that another run has taken over, and "nothing at all" is written:
/// while the other holds it, and after.
pub async fn lost_lease_writes_nothing(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    let (stale, _) = store.lock(&mirror, "slow", fixture.short_ttl).await.unwrap();
    run_out(fixture).await;
    let (next, _) = store.lock(&mirror, "next", LONG).await.unwrap();
    store.commit(&next, Commit { entries: some(&numbered(0..3)), head: head(1) }).await.unwrap();
    assert_stale(store, &stale, &numbered(0..3), &head(1)).await;
    store.finish(next, Commit { entries: Vec::new(), head: head(2) }).await.unwrap();
    assert_stale(store, &stale, &numbered(0..3), &head(2)).await;
}

async fn assert_stale(store: &dyn StateStore, stale: &Lease, entries: &BTreeMap<VaultPath, Entry>, head_now: &Head) {
    let change = || {
        let many = numbered(100..400).into_iter().map(|(path, entry)| (path, Some(entry)));
        Commit { entries: many.chain([(nth(0), None)]).collect(), head: head(666) }
    };
    assert!(matches!(store.renew(stale).await, Err(StateError::Lost)));
    assert!(matches!(store.commit(stale, change()).await, Err(StateError::Lost)));
    assert!(matches!(store.finish(stale.clone(), change()).await, Err(StateError::Lost)));
    assert!(matches!(store.reset(stale).await, Err(StateError::Lost)));
    assert_eq!(&scan(store, &stale.mirror).await, entries);
    assert_eq!(store.head(&stale.mirror).await.unwrap().as_ref(), Some(head_now));
}

/// `unlock` is "not an error where it was lost", and does not free what is another's.
pub async fn stale_unlock_leaves_the_new_holder_alone(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    let (stale, _) = store.lock(&mirror, "slow", fixture.short_ttl).await.unwrap();
    run_out(fixture).await;
    let (next, _) = store.lock(&mirror, "next", LONG).await.unwrap();
    store.unlock(stale).await.unwrap();
    assert!(matches!(store.lock(&mirror, "third", LONG).await, Err(StateError::Held { .. })));
    store.commit(&next, Commit { entries: Vec::new(), head: head(1) }).await.unwrap();
}

/// `renew` makes the lease "hold for its `ttl` from now", as often as it is called.
pub async fn renewed_lease_holds(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    // Long enough that a slow machine does not let it run out between two renewals.
    let ttl = fixture.short_ttl * 4;
    let (lease, _) = store.lock(&mirror, "busy", ttl).await.unwrap();
    for _ in 0..4 {
        tokio::time::sleep(ttl / 3).await;
        store.renew(&lease).await.unwrap();
    }
    tokio::time::sleep(ttl / 3).await;
    assert!(matches!(store.lock(&mirror, "next", LONG).await, Err(StateError::Held { .. })));
    store.finish(lease, Commit { entries: Vec::new(), head: head(1) }).await.unwrap();
}

/// "Higher than that of every earlier lease of this mirror, even after a `reset`", however the earlier one ended.
pub async fn tokens_grow(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    let mut last = None;
    for end in ["unlock", "finish", "reset and unlock", "reset and finish", "expire", "unlock"] {
        let (lease, _) = store.lock(&mirror, "run", fixture.short_ttl).await.unwrap();
        assert!(last.is_none_or(|last| lease.token > last), "{} after {last:?}, then {end}", lease.token);
        last = Some(lease.token);
        if end.starts_with("reset") {
            store.reset(&lease).await.unwrap();
        }
        match end {
            "expire" => run_out(fixture).await,
            _ if end.ends_with("finish") => {
                store.finish(lease, Commit { entries: Vec::new(), head: head(1) }).await.unwrap();
            }
            _ => store.unlock(lease).await.unwrap(),
        }
    }
}

/// `reset` "forgets a mirror: its head and all its entries"; the lease stays, and the mirror can be written anew.
pub async fn reset_forgets_the_mirror(fixture: &StateFixture) {
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    let lease = lock(store, &mirror).await;
    store.reset(&lease).await.unwrap();
    store.commit(&lease, Commit { entries: some(&numbered(0..2_000)), head: head(1) }).await.unwrap();
    store.reset(&lease).await.unwrap();
    assert_empty(store, &mirror).await;
    assert!(matches!(store.lock(&mirror, "other", LONG).await, Err(StateError::Held { .. })));
    store.commit(&lease, Commit { entries: some(&numbered(5..6)), head: head(2) }).await.unwrap();
    assert_eq!(scan(store, &mirror).await, numbered(5..6), "no entry comes back");
    assert_eq!(store.head(&mirror).await.unwrap(), Some(head(2)));
    store.reset(&lease).await.unwrap();
    store.unlock(lease).await.unwrap();
    let (_, found) = store.lock(&mirror, "next", LONG).await.unwrap();
    assert_eq!(found, None);
}

/// "All mirrors that have a head", with it.
pub async fn mirrors_lists_those_with_a_head(fixture: &StateFixture) {
    let store = &*fixture.store;
    let expected: Vec<_> = (1..6).map(|n| (mirror(&format!("vault{n}"), "d"), head(n))).collect();
    for (mirror, head) in &expected {
        let lease = lock(store, mirror).await;
        store.finish(lease, Commit { entries: some(&numbered(0..20)), head: head.clone() }).await.unwrap();
    }
    lock(store, &mirror("only locked", "d")).await;
    let forgotten = lock(store, &mirror("vault9", "d")).await;
    store.commit(&forgotten, Commit { entries: Vec::new(), head: head(9) }).await.unwrap();
    store.reset(&forgotten).await.unwrap();
    let mut found = store.mirrors().await.unwrap();
    found.sort_by_key(|(mirror, _)| mirror.vault.clone());
    assert_eq!(found, expected);
}

/// What one process has written another one reads; a lease holds towards both. Only for stores that can be opened again.
pub async fn second_process_sees_everything(fixture: &StateFixture) {
    let Some(open) = &fixture.again else { return };
    let store = &*fixture.store;
    let mirror = mirror("v", "d");
    let lease = lock(store, &mirror).await;
    store.commit(&lease, Commit { entries: some(&numbered(0..10)), head: head(1) }).await.unwrap();
    let other = open().await;
    assert_eq!(scan(&*other, &mirror).await, numbered(0..10));
    assert_eq!(other.head(&mirror).await.unwrap(), Some(head(1)));
    assert!(matches!(other.lock(&mirror, "other", LONG).await, Err(StateError::Held { .. })));
    let token = lease.token;
    store.finish(lease, Commit { entries: vec![(nth(0), None)], head: head(2) }).await.unwrap();
    let (lease, found) = other.lock(&mirror, "other", LONG).await.unwrap();
    assert_eq!(found, Some(head(2)));
    assert!(lease.token > token);
    other.finish(lease, Commit { entries: vec![(nth(1), None)], head: head(3) }).await.unwrap();
    assert_eq!(scan(store, &mirror).await, numbered(2..10));
    assert_eq!(store.head(&mirror).await.unwrap(), Some(head(3)));
}

fn path(text: &str) -> VaultPath {
    VaultPath::parse(text).unwrap()
}

fn mirror(vault: &str, destination: &str) -> MirrorId {
    let vault = vault.replace(' ', "-").parse().unwrap();
    MirrorId { vault, destination: destination.to_owned() }
}

fn file(uid: u64, size: u64, mtime: i64, stamp: &str) -> Entry {
    let hash = ContentHash::of(&uid.to_be_bytes());
    Entry::File(FileEntry { uid: Uid(uid), hash, size, mtime, ctime: mtime - 1, stamp: Stamp(stamp.into()) })
}

fn head(cursor: u64) -> Head {
    Head { cursor: Cursor(cursor), vault_name: "Notes".to_owned(), files: cursor, ..Head::default() }
}

fn nth(n: u64) -> VaultPath {
    path(&format!("folder {}/note {n}.md", n % 10))
}

fn numbered(range: std::ops::Range<u64>) -> BTreeMap<VaultPath, Entry> {
    range.map(|n| (nth(n), file(n + 1, n * 3, n as i64, "\"0123456789abcdef\""))).collect()
}

fn some(entries: &BTreeMap<VaultPath, Entry>) -> Vec<(VaultPath, Option<Entry>)> {
    entries.iter().map(|(path, entry)| (path.clone(), Some(entry.clone()))).collect()
}

async fn lock(store: &dyn StateStore, mirror: &MirrorId) -> Lease {
    store.lock(mirror, "the suite", LONG).await.unwrap_or_else(|e| panic!("{mirror}: {e}")).0
}

async fn scan(store: &dyn StateStore, mirror: &MirrorId) -> BTreeMap<VaultPath, Entry> {
    let scanned: Vec<_> = store.scan(mirror).map(Result::unwrap).collect().await;
    let count = scanned.len();
    let entries: BTreeMap<_, _> = scanned.into_iter().collect();
    assert_eq!(entries.len(), count, "a path was scanned twice");
    entries
}

async fn assert_empty(store: &dyn StateStore, mirror: &MirrorId) {
    assert_forgotten(store, mirror).await;
    assert_eq!(store.mirrors().await.unwrap(), []);
}

/// [`assert_empty`] where there are other mirrors.
async fn assert_forgotten(store: &dyn StateStore, mirror: &MirrorId) {
    assert_eq!(store.head(mirror).await.unwrap(), None);
    assert_eq!(scan(store, mirror).await, BTreeMap::new());
    assert_eq!(store.entries(mirror, &[nth(0), path("same.md")]).await.unwrap(), HashMap::new());
}

/// Waits until a lease of the short ttl has surely run out.
async fn run_out(fixture: &StateFixture) {
    tokio::time::sleep(fixture.short_ttl + fixture.short_ttl / 2).await;
}
