//! State in a table of DynamoDB: the promises of `StateStore`, what it costs, and what only a table can suffer.
#![cfg(feature = "dynamodb")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::{StreamExt, TryStreamExt};
use obsync_adapters::state::DynamoState;
use obsync_core::blob::Stamp;
use obsync_core::clock::{Clock, SystemClock};
use obsync_core::state::{Commit, Entry, FileEntry, Head, Lease, MirrorId, Pending, StateError, StateStore};
use obsync_proto::wire::Record;
use obsync_proto::{ContentHash, Cursor, Uid, VaultPath};
use obsync_testkit::conformance::{self, StateFixture};
use obsync_testkit::dynamodb::{Failure, Item, MemoryDynamo};

const TABLE: &str = "state";
const VAULT: &str = "b3f1c2d4e5a697880123456789abcdef";
const BUCKET: &str = "s3://bucket/Notes";
const LONG: Duration = Duration::from_secs(900);
const DAY: i64 = 86_400;

fn mirror() -> MirrorId {
    MirrorId { vault: VAULT.parse().unwrap(), destination: BUCKET.to_owned() }
}

fn head(cursor: u64) -> Head {
    let filter = r#"{"include":[],"exclude":[]}"#.to_owned();
    Head { cursor: Cursor(cursor), vault_name: "Notes".to_owned(), filter, ..Head::default() }
}

fn nth(n: u64) -> VaultPath {
    VaultPath::parse(format!("Projects/{}/Meeting notes of week {n}.md", n % 317)).unwrap()
}

fn file(n: u64) -> Entry {
    let hash = ContentHash::of(&n.to_be_bytes());
    let stamp = Stamp(hash.to_string()[..32].into());
    let mtime = 1_700_000_000_000 + i64::from_be_bytes(hash.0[..8].try_into().unwrap()) % 100_000_000_000;
    Entry::File(FileEntry { uid: Uid(n), hash, size: n % 50_000, mtime, ctime: mtime - 1_234_567, stamp })
}

fn some(range: std::ops::Range<u64>) -> Vec<(VaultPath, Option<Entry>)> {
    range.map(|n| (nth(n), Some(file(n)))).collect()
}

fn commit(range: std::ops::Range<u64>, cursor: u64) -> Commit {
    Commit { entries: some(range), head: head(cursor) }
}

fn expected(range: std::ops::Range<u64>) -> BTreeMap<VaultPath, Entry> {
    range.map(|n| (nth(n), file(n))).collect()
}

/// A clock that is set by hand.
#[derive(Debug, Clone)]
struct Hand(Arc<AtomicI64>);

impl Hand {
    fn now() -> Self {
        Self(Arc::new(AtomicI64::new(SystemClock.unix_ms())))
    }

    fn forward(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    fn seconds(&self) -> i64 {
        self.unix_ms() / 1000
    }
}

impl Clock for Hand {
    fn unix_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

async fn server() -> MemoryDynamo {
    let server = MemoryDynamo::start().await;
    server.create_table(TABLE).await;
    server
}

/// As another process would open it.
async fn open(server: &MemoryDynamo) -> DynamoState {
    DynamoState::new(&server.sdk_config().await, TABLE).with_default(|mirror| mirror.destination == BUCKET)
}

async fn lock(store: &DynamoState) -> (Lease, Option<Head>) {
    store.lock(&mirror(), "the test", LONG).await.unwrap()
}

/// A mirror of `count` files, written as a run writes it.
async fn written(store: &DynamoState, count: u64) {
    let (lease, found) = lock(store).await;
    assert_eq!(found, None);
    for from in (0..count).step_by(10_000) {
        store.commit(&lease, commit(from..count.min(from + 10_000), from)).await.unwrap();
    }
    store.finish(lease, Commit { entries: Vec::new(), head: head(count) }).await.unwrap();
}

async fn scan(store: &DynamoState) -> BTreeMap<VaultPath, Entry> {
    let all: Vec<_> = store.scan(&mirror()).try_collect().await.unwrap();
    let count = all.len();
    let all: BTreeMap<_, _> = all.into_iter().collect();
    assert_eq!(all.len(), count);
    all
}

/// The keys of the shards that are there.
async fn shards(server: &MemoryDynamo) -> Vec<String> {
    server.items(TABLE).await.into_iter().filter(|(_, item)| item.contains_key("entries")).map(|(key, _)| key).collect()
}

fn number(item: &Item, name: &str) -> i64 {
    item[name].as_n().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn table_is_a_state_store() {
    conformance::state(async || {
        let server = Arc::new(server().await);
        let store = open(&server).await;
        StateFixture::new(Arc::new(store)).with_guard(server.clone()).opened_again_by(move || {
            let server = server.clone();
            Box::pin(async move { Arc::new(open(&server).await) as Arc<dyn StateStore> })
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hundred_thousand_entries_round_trip_and_cost_what_changes() {
    let all = 100_000;
    let server = server().await;
    written(&open(&server).await, all).await;
    let wrote = server.take_traffic();
    println!("{all} entries written: {} requests, {} bytes: {:?}", wrote.count(), wrote.bytes(), wrote.requests);
    println!("{} shards", shards(&server).await.len());

    // A new process each time, as a cold function is one.
    let store = open(&server).await;
    let (lease, found) = lock(&store).await;
    assert_eq!(found, Some(head(all)));
    store.finish(lease, Commit { entries: Vec::new(), head: head(all) }).await.unwrap();
    let idle = server.take_traffic();
    println!("nothing new: {} requests, {} sent, {} received", idle.count(), idle.sent, idle.received);
    assert_eq!(idle.count(), 2);
    assert!(idle.bytes() <= 32 << 10);

    let mut most = 0;
    for n in (0..all).step_by(4_999) {
        let store = open(&server).await;
        let (lease, found) = lock(&store).await;
        let known = store.entries(&mirror(), &[nth(n)]).await.unwrap();
        assert_eq!(known.get(&nth(n)), Some(&file(n)));
        let changes = vec![(nth(n), Some(file(n + all)))];
        store.finish(lease, Commit { entries: changes, head: found.unwrap() }).await.unwrap();
        let one = server.take_traffic();
        assert!(one.count() <= 4, "{one:?}");
        most = most.max(one.bytes());
        if n == 0 {
            println!("one changed: {:?}, {} sent, {} received", one.requests, one.sent, one.received);
        }
    }
    println!("one changed, at most: {most} bytes");
    assert!(most <= 32 << 10, "{most}");

    let store = open(&server).await;
    let mut entries = expected(0..all);
    entries.extend((0..all).step_by(4_999).map(|n| (nth(n), file(n + all))));
    server.take_traffic();
    assert!(scan(&store).await == entries);
    let scanned = server.take_traffic();
    println!("scanned: {} requests, {} bytes", scanned.count(), scanned.bytes());
    let wanted: Vec<VaultPath> = (1..all * 2).step_by(4_999).map(nth).collect();
    assert_eq!(store.entries(&mirror(), &wanted).await.unwrap().len(), wanted.len().div_ceil(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_unprocessed_batches_and_faults_of_the_service_are_waited_out() {
    let server = server().await;
    let store = open(&server).await;
    for failure in [Failure::Throttled, Failure::Exceeded, Failure::Internal, Failure::Cut] {
        server.fail_next(None, 3, failure);
        let (lease, _) = lock(&store).await;
        server.fail_next(None, 3, failure);
        store.commit(&lease, commit(0..500, 1)).await.unwrap();
        server.fail_next(None, 3, failure);
        store.finish(lease, commit(500..600, 2)).await.unwrap();
        server.fail_next(None, 3, failure);
        assert_eq!(store.head(&mirror()).await.unwrap(), Some(head(2)), "{failure:?}");
        assert!(scan(&store).await == expected(0..600));
    }
    server.fail_next(Some("BatchGetItem"), 5, Failure::Unprocessed);
    assert!(scan(&store).await == expected(0..600));
}

#[tokio::test(flavor = "multi_thread")]
async fn table_that_stays_out_of_reach_is_unusable_and_not_lost() {
    let server = server().await;
    let store = open(&server).await;
    let (lease, _) = lock(&store).await;
    server.close_after(0);
    for error in [
        store.commit(&lease, commit(0..10, 1)).await.unwrap_err(),
        store.renew(&lease).await.unwrap_err(),
        store.head(&mirror()).await.unwrap_err(),
    ] {
        assert!(matches!(&error, StateError::Unusable { location, .. } if location == "dynamodb:state"), "{error}");
    }
    server.open();
    store.finish(lease, commit(0..10, 1)).await.unwrap();
    assert_eq!(scan(&store).await, expected(0..10));
}

/// Every request of a run in turn is carried out without an answer.
#[tokio::test(flavor = "multi_thread")]
async fn write_whose_answer_is_lost_is_known_for_its_own() {
    for operation in ["UpdateItem", "TransactWriteItems"] {
        let server = server().await;
        let store = open(&server).await;
        let lose = || server.fail_next(Some(operation), 1, Failure::AnswerLost);
        for round in 0..3 {
            lose();
            let (lease, found) = lock(&store).await;
            assert_eq!(found, (round > 0).then(|| head(round * 10)));
            lose();
            store.renew(&lease).await.unwrap();
            lose();
            store.commit(&lease, commit(0..200 * (round + 1), round)).await.unwrap();
            lose();
            store.commit(&lease, Commit { entries: Vec::new(), head: head(round) }).await.unwrap();
            lose();
            store.finish(lease, commit(5..10, (round + 1) * 10)).await.unwrap();
            server.open();
            assert!(scan(&store).await == expected(0..200 * (round + 1)));
        }
        lose();
        let (lease, _) = lock(&store).await;
        lose();
        store.finish(lease, Commit { entries: Vec::new(), head: head(99) }).await.unwrap();
        lose();
        let (lease, found) = lock(&store).await;
        assert_eq!(found, Some(head(99)));
        lose();
        store.reset(&lease).await.unwrap();
        lose();
        store.unlock(lease).await.unwrap();
        server.open();
        assert_eq!(lock(&store).await.1, None);
    }
}

/// Dies after every possible request of a run that begins, grows, and ends: what is there then is believable, the next
/// run goes on, and no part is left over in the end.
#[tokio::test(flavor = "multi_thread")]
async fn run_that_dies_between_any_two_requests_leaves_a_believable_state() {
    let all = expected(0..5_000);
    for requests in 0.. {
        let server = server().await;
        let clock = Hand::now();
        let store = open(&server).await.with_clock(clock.clone());
        let run = async |store: &DynamoState, from: u64| -> Result<(), StateError> {
            let (lease, _) = store.lock(&mirror(), "run", LONG).await?;
            store.commit(&lease, commit(from..from + 100, 1)).await?;
            store.commit(&lease, commit(from..from + 1_500, 2)).await?;
            let many = Head { pending: pending(100), ..head(3) };
            store.commit(&lease, Commit { entries: Vec::new(), head: many }).await?;
            store.commit(&lease, commit(from..from + 5_000, 4)).await?;
            store.finish(lease, Commit { entries: vec![(nth(from), None)], head: head(5) }).await
        };
        server.close_after(requests);
        let died = run(&store, 0).await.is_err();
        server.open();
        let next = open(&server).await.with_clock(clock.clone());
        let found = next.head(&mirror()).await.unwrap();
        let entries = scan(&next).await;
        // At least what the head stands for, and nothing that was not written.
        let least = match found.as_ref().map(|head| head.cursor.0) {
            None => 0..0,
            Some(1) => 0..100,
            Some(2 | 3) => 0..1_500,
            Some(4) => 0..5_000,
            Some(_) => 1..5_000,
        };
        assert!(expected(least).iter().all(|(path, entry)| entries.get(path) == Some(entry)), "after {requests}");
        assert!(entries.iter().all(|(path, entry)| all.get(path) == Some(entry)), "after {requests}");
        clock.forward(1_000);
        run(&next, 0).await.unwrap();
        clock.forward(1_000);
        run(&next, 0).await.unwrap();
        assert!(scan(&next).await == expected(1..5_000), "after {requests}");
        let generations: std::collections::BTreeSet<String> =
            shards(&server).await.iter().map(|key| key.split('#').nth(1).unwrap().to_owned()).collect();
        assert_eq!(generations.len(), 1, "leftovers after {requests}");
        let parts = server.items(TABLE).await.into_iter().filter(|(_, item)| item.contains_key("pending")).count();
        assert_eq!(parts, 0, "after {requests}");
        if !died {
            println!("{requests} requests");
            break;
        }
    }
}

fn pending(count: u64) -> Vec<Pending> {
    let record =
        |n| Record { uid: Uid(n), path: ContentHash::of(&n.to_le_bytes()).to_string().repeat(4), ..Record::default() };
    (0..count).map(|n| Pending { name: nth(n).to_string(), record: record(n), error: "no".to_owned() }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_shard_fails_one_run_and_the_next_begins_anew() {
    for damage in ["missing", "old", "garbage", "of another place", "not binary"] {
        let server = server().await;
        let store = open(&server).await;
        written(&store, 1_000).await;
        let (lease, _) = lock(&store).await;
        store.finish(lease, commit(0..1_000, 1_000)).await.unwrap();
        let keys = shards(&server).await;
        let items = server.items(TABLE).await;
        for key in &keys {
            match damage {
                "missing" => server.delete(TABLE, key).await,
                "old" => server.set(TABLE, key, "version", AttributeValue::N("0".to_owned())).await,
                "garbage" => server.set(TABLE, key, "entries", AttributeValue::B(Blob::new(*b"garbage"))).await,
                "of another place" => {
                    let other = if key == &keys[0] { &keys[1] } else { &keys[0] };
                    server.set(TABLE, key, "entries", items[other]["entries"].clone()).await;
                }
                _ => server.set(TABLE, key, "entries", AttributeValue::S("text".to_owned())).await,
            }
        }
        // The head alone does not show it.
        let (lease, found) = lock(&store).await;
        assert_eq!(found, Some(head(1_000)), "{damage}");
        let error = store.entries(&mirror(), &[nth(5)]).await.unwrap_err();
        assert!(error.to_string().contains("the next run compares everything"), "{damage}: {error}");
        // Nothing is built upon it.
        let error = store.commit(&lease, commit(2_000..2_001, 2_000)).await.unwrap_err();
        assert!(matches!(error, StateError::Unusable { .. }), "{damage}: {error}");
        store.unlock(lease).await.unwrap();
        let store = open(&server).await;
        assert_eq!(store.head(&mirror()).await.unwrap(), None, "{damage}");
        assert_eq!(store.mirrors().await.unwrap(), [], "{damage}");
        let (lease, found) = lock(&store).await;
        assert_eq!(found, None, "{damage}");
        assert_eq!(store.scan(&mirror()).count().await, 0, "{damage}");
        assert!(store.entries(&mirror(), &[nth(5)]).await.unwrap().is_empty());
        store.commit(&lease, commit(0..50, 3_000)).await.unwrap();
        assert_eq!(store.head(&mirror()).await.unwrap(), Some(head(3_000)), "{damage}");
        store.finish(lease, commit(50..60, 3_001)).await.unwrap();
        assert_eq!(scan(&store).await, expected(0..60), "{damage}");
        assert!(!shards(&server).await.iter().any(|key| keys.contains(key)), "{damage}: leftovers");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_by_scan_and_by_commit_too() {
    for by_scan in [true, false] {
        let server = server().await;
        let store = open(&server).await;
        written(&store, 500).await;
        for key in shards(&server).await {
            server.delete(TABLE, &key).await;
        }
        let (lease, found) = lock(&store).await;
        assert!(found.is_some());
        if by_scan {
            assert!(store.scan(&mirror()).try_collect::<Vec<_>>().await.is_err());
        } else {
            assert!(matches!(store.commit(&lease, commit(0..1, 2)).await, Err(StateError::Unusable { .. })));
        }
        store.unlock(lease).await.unwrap();
        let (lease, found) = lock(&store).await;
        assert_eq!(found, None);
        store.finish(lease, commit(0..5, 3)).await.unwrap();
        assert_eq!(scan(&store).await, expected(0..5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_that_is_not_ours_is_not_believed() {
    let s = |text: &str| AttributeValue::S(text.to_owned());
    let earlier = r#"{"files":{"a.md":{"hash":"00","mtime":1}},"version":17}"#;
    let later = r#"{"layout":2,"destination":"s3://bucket/Notes"}"#;
    for state in [earlier, later, "{", "17", ""] {
        let server = server().await;
        let store = open(&server).await;
        let item = [("vault_id", s(VAULT)), ("state", s(state)), ("version", AttributeValue::N("17".to_owned()))];
        server.put(TABLE, item.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()).await;
        assert_eq!(store.head(&mirror()).await.unwrap(), None, "{state}");
        assert_eq!(store.mirrors().await.unwrap(), [], "{state}");
        let (lease, found) = lock(&store).await;
        assert_eq!(found, None, "{state}");
        assert_eq!(store.scan(&mirror()).count().await, 0);
        store.finish(lease, commit(0..100, 1)).await.unwrap();
        assert_eq!(lock(&open(&server).await).await.1, Some(head(1)), "{state}");
        assert_eq!(scan(&store).await, expected(0..100));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_with_a_part_of_it_amiss_is_not_believed() {
    for name in ["versions", "generation", "pending"] {
        let server = server().await;
        let store = open(&server).await;
        let (lease, _) = lock(&store).await;
        let many = Head { pending: pending(200), ..head(1) };
        store.finish(lease, Commit { entries: some(0..100), head: many.clone() }).await.unwrap();
        assert_eq!(store.head(&mirror()).await.unwrap().as_ref(), Some(&many));
        let items = server.items(TABLE).await;
        let part = items.iter().find(|(_, item)| item.contains_key("pending")).map(|(key, _)| key).unwrap();
        match name {
            "versions" => server.set(TABLE, VAULT, name, AttributeValue::B(Blob::new(*b"xyz"))).await,
            "generation" => server.set(TABLE, VAULT, name, AttributeValue::S("other".to_owned())).await,
            _ => server.delete(TABLE, part).await,
        }
        assert_eq!(lock(&store).await.1, None, "{name}");
        assert_eq!(store.scan(&mirror()).count().await, 0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_is_kept() {
    let server = server().await;
    let clock = Hand::now();
    let ttl = Some(Duration::from_secs(30 * 86_400));
    let store = open(&server).await.with_clock(clock.clone()).with_ttl(ttl);
    written(&store, 300).await;
    let elsewhere = MirrorId { destination: "s3://other/".to_owned(), ..mirror() };
    let (lease, _) = store.lock(&elsewhere, "run", LONG).await.unwrap();
    store.finish(lease, commit(0..1, 7)).await.unwrap();
    let items = server.items(TABLE).await;
    let default = &items[VAULT];
    assert_eq!(number(default, "version"), 300);
    assert_eq!(number(default, "updated_at"), clock.seconds());
    assert_eq!(number(default, "ttl"), clock.seconds() + 30 * DAY);
    assert!(default["state"].as_s().unwrap().starts_with('{'));
    assert!(!default.contains_key("lease_until") && default.contains_key("lease_token"));
    assert!(items.keys().all(|key| key == VAULT || key.starts_with(&format!("{VAULT}#"))));
    let heads: Vec<&String> = items.iter().filter(|(_, item)| item.contains_key("state")).map(|(key, _)| key).collect();
    assert_eq!(heads.len(), 2);
    let hash = heads[1].strip_prefix(&format!("{VAULT}#")).unwrap();
    assert!(hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
    assert_eq!(store.mirrors().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn mirror_is_found_by_a_program_with_another_default() {
    let server = server().await;
    let function = open(&server).await;
    written(&function, 100).await;
    let other = DynamoState::new(&server.sdk_config().await, TABLE);
    assert_eq!(other.head(&mirror()).await.unwrap(), Some(head(100)));
    assert_eq!(scan(&other).await, expected(0..100));
    let (lease, found) = other.lock(&mirror(), "the command line", LONG).await.unwrap();
    assert_eq!(found, Some(head(100)));
    let held = function.lock(&mirror(), "the function", LONG).await.unwrap_err();
    assert!(matches!(held, StateError::Held { holder } if holder == "the command line"));
    other.finish(lease, commit(100..110, 101)).await.unwrap();
    assert_eq!(lock(&function).await.1, Some(head(101)));
    assert_eq!(function.mirrors().await.unwrap().len(), 1);
}

/// The default destination of a vault is changed: what the state knows of the old one says nothing of the new one.
#[tokio::test(flavor = "multi_thread")]
async fn default_mirror_that_moves_begins_anew() {
    let server = server().await;
    written(&open(&server).await, 100).await;
    let moved = DynamoState::new(&server.sdk_config().await, TABLE).with_default(|_| true);
    let new = MirrorId { destination: "s3://new/Notes".to_owned(), ..mirror() };
    let (lease, found) = moved.lock(&new, "run", LONG).await.unwrap();
    assert_eq!(found, None);
    assert!(moved.entries(&new, &[nth(1)]).await.unwrap().is_empty());
    moved.finish(lease, commit(5..6, 1)).await.unwrap();
    assert_eq!(moved.head(&new).await.unwrap(), Some(head(1)));
    assert_eq!(moved.head(&mirror()).await.unwrap(), None);
    assert_eq!(shards(&server).await.len(), 1, "those of the old destination are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_holder_writes_and_deletes_nothing() {
    let server = server().await;
    let clock = Hand::now();
    let slow = open(&server).await.with_clock(clock.clone());
    written(&slow, 1_000).await;
    let (stale, _) = lock(&slow).await;
    clock.forward(901);
    let next = open(&server).await.with_clock(clock.clone());
    let (lease, found) = lock(&next).await;
    assert!(lease.token > stale.token && found.is_some());
    next.commit(&lease, commit(0..5_000, 2)).await.unwrap();
    let before = server.items(TABLE).await;
    for entries in [some(0..1), some(0..3_000), some(0..90_000), Vec::new()] {
        let error = slow.commit(&stale, Commit { entries: entries.clone(), head: head(666) }).await.unwrap_err();
        assert!(matches!(error, StateError::Lost), "{error}");
        let error = slow.finish(stale.clone(), Commit { entries, head: head(666) }).await.unwrap_err();
        assert!(matches!(error, StateError::Lost), "{error}");
    }
    assert!(matches!(slow.renew(&stale).await, Err(StateError::Lost)));
    assert!(matches!(slow.reset(&stale).await, Err(StateError::Lost)));
    slow.unlock(stale).await.unwrap();
    assert!(server.items(TABLE).await == before);
    next.finish(lease, commit(0..1, 3)).await.unwrap();
    assert!(scan(&slow).await == expected(0..5_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_grow_though_the_table_was_emptied_and_though_clocks_go_back() {
    let server = server().await;
    let clock = Hand::now();
    let store = open(&server).await.with_clock(clock.clone());
    let (first, _) = lock(&store).await;
    clock.forward(1);
    server.delete(TABLE, VAULT).await;
    let (second, _) = lock(&store).await;
    assert!(second.token > first.token);
    assert!(matches!(store.commit(&first, commit(0..1, 1)).await, Err(StateError::Lost)));
    store.unlock(second.clone()).await.unwrap();
    clock.forward(-3_600);
    let (third, _) = lock(&store).await;
    assert!(third.token > second.token);
    store.finish(third, commit(0..1, 1)).await.unwrap();
}

/// A run a day for half a year, of which each changes one file, under a time to live of ten days: nothing that the
/// head stands for ever expires.
#[tokio::test(flavor = "multi_thread")]
async fn parts_never_expire_before_their_head() {
    let server = server().await;
    let clock = Hand::now();
    let ttl = Some(Duration::from_secs(10 * 86_400));
    let store = open(&server).await.with_clock(clock.clone()).with_ttl(ttl);
    let (lease, _) = lock(&store).await;
    let many = Head { pending: pending(200), ..head(0) };
    store.finish(lease, Commit { entries: some(0..1_000), head: many.clone() }).await.unwrap();
    let mut costs = Vec::new();
    for day in 1..180 {
        clock.forward(DAY * if day % 30 == 0 { 9 } else { 1 });
        server.expire(TABLE, clock.seconds()).await;
        server.take_traffic();
        let (lease, found) = lock(&store).await;
        assert_eq!(found.as_ref().map(|head| head.pending.len()), Some(200), "day {day}");
        store
            .finish(lease, Commit { entries: some(0..1), head: Head { cursor: Cursor(day), ..many.clone() } })
            .await
            .unwrap();
        costs.push(server.take_traffic().count());
        let items = server.items(TABLE).await;
        let head = number(&items[VAULT], "ttl");
        assert!(items.values().all(|item| number(item, "ttl") >= head), "day {day}");
    }
    assert!(scan(&store).await == expected(0..1_000));
    let refreshed = costs.iter().filter(|cost| **cost > 4).count();
    println!("{refreshed} of {} runs refreshed; the dearest made {:?} requests", costs.len(), costs.iter().max());
    assert!(refreshed < 15);

    // The time to live is switched off, and on again.
    let forever = open(&server).await.with_clock(clock.clone());
    let (lease, _) = lock(&forever).await;
    forever.finish(lease, Commit { entries: Vec::new(), head: head(1) }).await.unwrap();
    assert!(server.items(TABLE).await.values().all(|item| !item.contains_key("ttl")));
    let (lease, _) = lock(&store).await;
    store.finish(lease, Commit { entries: Vec::new(), head: head(2) }).await.unwrap();
    assert!(server.items(TABLE).await.values().all(|item| item.contains_key("ttl")));

    // Nobody came for ten days: the head does not count, whether DynamoDB has deleted it or not.
    clock.forward(10 * DAY);
    assert_eq!(store.head(&mirror()).await.unwrap(), None);
    let (lease, found) = lock(&store).await;
    assert_eq!(found, None);
    server.expire(TABLE, clock.seconds()).await;
    assert_eq!(store.scan(&mirror()).count().await, 0);
    store.finish(lease, commit(7..9, 3)).await.unwrap();
    assert!(scan(&store).await == expected(7..9));
    clock.forward(31 * DAY);
    server.expire(TABLE, clock.seconds()).await;
    assert!(server.items(TABLE).await.is_empty(), "an abandoned mirror leaves nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn part_that_is_missing_is_found_when_it_is_given_new_time() {
    let server = server().await;
    let clock = Hand::now();
    let store = open(&server).await.with_clock(clock.clone()).with_ttl(Some(Duration::from_secs(86_400)));
    written(&store, 1_000).await;
    let keys = shards(&server).await;
    server.delete(TABLE, &keys[3]).await;
    let mut failed = false;
    for _ in 0..10 {
        clock.forward(DAY / 2);
        let (lease, found) = lock(&store).await;
        assert!(found.is_some());
        if let Err(error) = store.finish(lease.clone(), Commit { entries: Vec::new(), head: head(2) }).await {
            assert!(error.to_string().contains("damaged"), "{error}");
            store.unlock(lease).await.unwrap();
            failed = true;
            break;
        }
    }
    assert!(failed);
    assert_eq!(lock(&store).await.1, None);
    assert_eq!(scan(&store).await, BTreeMap::new(), "begun anew, and not built upon");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_head_leaves_no_parts_behind() {
    let server = server().await;
    let store = open(&server).await;
    written(&store, 2_000).await;
    let old = shards(&server).await;
    assert!(old.len() > 20);
    server.delete(TABLE, VAULT).await;
    let (lease, found) = lock(&store).await;
    assert_eq!(found, None);
    store.finish(lease, commit(0..10, 1)).await.unwrap();
    assert!(!shards(&server).await.iter().any(|key| old.contains(key)));
    assert_eq!(scan(&store).await, expected(0..10));
}

/// Every path as long as paths can be, so that shards are large with few entries.
#[tokio::test(flavor = "multi_thread")]
async fn longest_paths_fit() {
    let server = server().await;
    let store = open(&server).await;
    let mut rng = fastrand::Rng::with_seed(7);
    let mut long = |n: u64| {
        let text: String = (0..VaultPath::MAX - 8).map(|_| rng.alphanumeric()).collect();
        (VaultPath::parse(format!("{text}{n:08}")).unwrap(), Some(file(n)))
    };
    let entries: Vec<_> = (0..2_000).map(&mut long).collect();
    let (lease, _) = lock(&store).await;
    for chunk in [&entries[..3], &entries[3..1_000], &entries[1_000..]] {
        store.commit(&lease, Commit { entries: chunk.to_vec(), head: head(1) }).await.unwrap();
    }
    let expected: BTreeMap<_, _> = entries.into_iter().map(|(path, entry)| (path, entry.unwrap())).collect();
    assert!(scan(&store).await == expected);
}
