//! The WebSocket.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use obsync_emulator::{Account, Config, ListingShape, NewVault, OverLimit, RenameShape};
use obsync_proto::Uid;
use obsync_proto::wire::Record;
use obsync_proto::wire::socket::Push;
use serde_json::{Value, json};

use crate::client::{Socket, Stage, call, paths};

fn renaming(old: &str, new: &str, hash: &str) -> Push {
    Push { path: new.into(), relatedpath: Some(old.into()), hash: Some(hash.into()), ..Push::default() }
}

#[tokio::test]
async fn init_is_refused_with_the_known_texts() {
    let stage = Stage::new(Config::default()).await;
    let refusal = async |change: fn(&mut Value)| {
        let mut init = stage.init(0, true);
        change(&mut init);
        let mut socket = stage.connect().await;
        let answer = socket.ask(init).await;
        assert_eq!(answer["res"], "err");
        assert!(socket.frame().await.is_none(), "closed after the refusal");
        answer["msg"].as_str().unwrap().to_owned()
    };
    assert!(refusal(|i| i["token"] = "x".into()).await.contains("Authentication failed"));
    assert!(refusal(|i| i["keyhash"] = "x".into()).await.contains("Authentication failed"));
    assert_eq!(refusal(|i| i["id"] = "x".into()).await, "Vault not found");
    refusal(|i| i["op"] = "ping".into()).await;
    refusal(|i| *i = json!([1])).await;
    stage.emulator.set_subscription_expired(true);
    assert!(refusal(|_| ()).await.contains("Your subscription to Obsidian Sync has expired"));
}

#[tokio::test]
async fn initial_listing_holds_the_newest_of_each_live_path() {
    let stage = Stage::new(Config::default()).await;
    stage.put("a", "1");
    stage.put("b", "1");
    stage.put("gone", "1");
    stage.put("a", "2");
    let deletion = Push { path: "gone".into(), deleted: true, ..Push::default() };
    stage.emulator.push(&stage.vault, deletion, Bytes::new()).unwrap();
    let (_, records) = stage.session(0, true).await;
    assert_eq!(paths(&records), ["b", "a"]);
    assert_eq!(records[1]["uid"], 4);

    assert_eq!(paths(&stage.session(3, false).await.1), ["a", "gone"]);
    assert_eq!(stage.session(5, false).await.1.len(), 0);
    assert_eq!(stage.session(0, false).await.1.len(), 5);

    let shape = |deleted, earlier, twice| {
        stage.emulator.configure(|c| c.listing = ListingShape { deleted, earlier, twice });
    };
    shape(true, false, false);
    assert_eq!(paths(&stage.session(0, true).await.1), ["b", "a", "gone"]);
    shape(true, true, false);
    assert_eq!(paths(&stage.session(0, true).await.1), ["a", "b", "gone", "a", "gone"]);
    shape(false, false, true);
    assert_eq!(paths(&stage.session(0, true).await.1), ["b", "b", "a", "a"]);
    let counts = stage.emulator.counters().get();
    assert_eq!((counts.listings, counts.records_sent), (7, 2 + 2 + 5 + 3 + 5 + 4));
}

#[tokio::test]
async fn ready_names_the_cursor_that_the_listing_leads_to() {
    let stage = Stage::new(Config::default()).await;
    stage.put("a", "1");
    let mut socket = stage.connect().await;
    socket.ask(stage.init(0, true)).await;
    socket.json().await;
    assert_eq!(socket.json().await.unwrap(), json!({"op":"ready","version":1}));
}

#[tokio::test]
async fn pull_cuts_content_into_pieces_of_two_mebibytes() {
    let stage = Stage::new(Config::default()).await;
    let content: Vec<u8> = (0..5_000_000_u32).map(|n| n as u8).collect();
    let uid = stage.put("big", content.clone());
    let empty = stage.put("empty", "");
    let (mut socket, _) = stage.session(0, true).await;
    let (head, pieces) = socket.pull(uid).await.unwrap();
    assert_eq!(head, json!({"size":5_000_000,"pieces":3,"hash":"hash of big"}));
    assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [2_097_152, 2_097_152, 805_696]);
    assert_eq!(pieces.concat(), content);
    assert_eq!(socket.pull(empty).await.unwrap().0, json!({"size":0,"pieces":0,"hash":"hash of empty"}));
    assert!(socket.pull(Uid(99)).await.unwrap().0["err"].is_string());
    let counts = stage.emulator.counters().get();
    assert_eq!((counts.pulls, counts.pulls_by_uid[&uid], counts.content_bytes), (3, 1, 5_000_000));
}

#[tokio::test]
async fn pull_of_a_folder_or_a_deletion_says_deleted() {
    let stage = Stage::new(Config::default()).await;
    let folder = Push { path: "f".into(), folder: true, ..Push::default() };
    let uid = stage.emulator.push(&stage.vault, folder, Bytes::new()).unwrap();
    let (mut socket, _) = stage.session(0, true).await;
    assert_eq!(socket.pull(uid).await.unwrap().0, json!({"deleted":true}));
}

#[tokio::test]
async fn push_reaches_every_device_the_sender_too() {
    let stage = Stage::new(Config::default()).await;
    let (mut one, _) = stage.session(0, true).await;
    let (mut two, _) = stage.session(0, true).await;
    let push = |path: &str, size: u64, pieces: u64| {
        json!({"op":"push","path":path,"relatedpath":null,"extension":"md","hash":"h","ctime":1,"mtime":2.5,
            "folder":false,"deleted":false,"size":size,"pieces":pieces})
    };
    assert_ne!(one.ask(push("p", 5, 2)).await["res"], "ok");
    one.send_piece(b"abc".to_vec()).await;
    assert!(one.json().await.unwrap()["res"].is_string());
    one.send_piece(b"de".to_vec()).await;
    assert_eq!(one.json().await.unwrap()["res"], "ok");
    for socket in [&mut one, &mut two] {
        let record = socket.json().await.unwrap();
        assert_eq!(
            (record["op"].as_str(), record["uid"].as_u64(), record["size"].as_u64()),
            (Some("push"), Some(1), Some(5))
        );
        assert_eq!((record["device"].as_str(), record["mtime"].as_u64()), (Some("test"), Some(3)));
    }
    assert_eq!(two.pull(Uid(1)).await.unwrap().1.concat(), b"abcde");

    // The content is known by now.
    assert_eq!(one.ask(push("q", 5, 1)).await["res"], "ok");
    assert_eq!(two.json().await.unwrap()["path"], "q");
    assert_eq!(two.pull(Uid(2)).await.unwrap().1.concat(), b"abcde");
    assert_eq!(stage.emulator.counters().get().pushes, 2);
}

#[tokio::test]
async fn push_in_process_reaches_live_devices() {
    let stage = Stage::new(Config::default()).await;
    let (mut socket, _) = stage.session(0, true).await;
    stage.put("a", "x");
    assert_eq!(socket.json().await.unwrap()["path"], "a");
    let hostile = Record { path: "../../etc/passwd".into(), size: u64::MAX, ..Record::default() };
    let uid = stage.emulator.push_record_raw(&stage.vault, hostile, Some(Bytes::from_static(b"x"))).unwrap();
    assert_eq!(socket.json().await.unwrap()["size"], u64::MAX);
    assert_eq!(stage.emulator.content(&stage.vault, uid).await.unwrap().unwrap(), "x");
    assert_eq!(stage.emulator.records(&stage.vault).unwrap().len(), 2);
    assert_eq!(stage.emulator.live_records(&stage.vault).unwrap().len(), 2);
}

#[tokio::test]
async fn bad_pushes_are_answered_with_err_and_the_session_goes_on() {
    let stage = Stage::new(Config { per_file_max: 10, ..Config::default() }).await;
    let (mut socket, _) = stage.session(0, true).await;
    let push = |path: &str, size: u64| json!({"op":"push","path":path,"hash":"h","size":size,"pieces":1});
    socket.send_piece(b"unasked".to_vec()).await;
    assert!(socket.json().await.unwrap()["err"].is_string());
    assert!(socket.ask(push("a", 11)).await["err"].is_string());
    assert!(socket.ask(json!({"op":"push","path":"","folder":true})).await["err"].is_string());
    assert!(socket.ask(json!({"op":"nonsense"})).await["err"].is_string());
    assert!(socket.ask(json!({"op":"pull","uid":-1})).await["err"].is_string());
    socket.ask(push("a", 3)).await;
    socket.send_piece(b"ab".to_vec()).await;
    assert!(socket.json().await.unwrap()["err"].is_string(), "too short");
    socket.ask(push("a", 3)).await;
    socket.send_piece(b"abcd".to_vec()).await;
    assert!(socket.json().await.unwrap()["err"].is_string(), "too long");
    assert_eq!(socket.ask(json!({"op":"ping"})).await, json!({"op":"pong"}));
    assert_eq!(stage.emulator.records(&stage.vault).unwrap().len(), 0);
}

#[tokio::test]
async fn rename_is_a_new_record_and_a_deleted_one_with_the_same_hash() {
    for (shape, expected) in [
        (RenameShape::NewThenOld, vec![("new", 2, false), ("old", 3, true)]),
        (RenameShape::OldThenNew, vec![("old", 2, true), ("new", 3, false)]),
        (RenameShape::OneUid, vec![("new", 2, false), ("old", 2, true)]),
        (RenameShape::NewOnly, vec![("new", 2, false)]),
    ] {
        let stage = Stage::new(Config { rename: shape, ..Config::default() }).await;
        stage.put("old", "x");
        stage.emulator.push(&stage.vault, renaming("old", "new", "hash of old"), Bytes::from_static(b"x")).unwrap();
        let (mut socket, records) = stage.session(1, false).await;
        let got: Vec<_> = records
            .iter()
            .map(|r| (r["path"].as_str().unwrap(), r["uid"].as_u64().unwrap(), r["deleted"].as_bool().unwrap()))
            .collect();
        assert_eq!(got, expected, "{shape:?}");
        assert!(records.iter().all(|r| r["hash"] == "hash of old"));
        let new = records.iter().find(|r| r["path"] == "new").unwrap();
        assert_eq!(new["relatedpath"], "old");
        assert_eq!(socket.pull(Uid(new["uid"].as_u64().unwrap())).await.unwrap().1.concat(), b"x");
    }
}

#[tokio::test]
async fn deleted_files_are_listed_with_or_without_renames() {
    let stage = Stage::new(Config::default()).await;
    stage.put("old", "x");
    stage.put("gone", "y");
    stage.emulator.push(&stage.vault, renaming("old", "new", "hash of old"), Bytes::new()).unwrap();
    let deletion = Push { path: "gone".into(), deleted: true, ..Push::default() };
    stage.emulator.push(&stage.vault, deletion, Bytes::new()).unwrap();
    let (mut socket, _) = stage.session(0, true).await;
    let all = socket.ask(json!({"op":"deleted","suppressrenames":false})).await;
    let some = socket.ask(json!({"op":"deleted","suppressrenames":true})).await;
    assert_eq!(paths(all["items"].as_array().unwrap()), ["old", "gone"]);
    assert_eq!(paths(some["items"].as_array().unwrap()), ["gone"]);
}

#[tokio::test]
async fn history_pages_back_newest_first() {
    let stage = Stage::new(Config { history_page: 2, ..Config::default() }).await;
    for n in 0..5 {
        stage.put("a", format!("{n}"));
        stage.put("b", format!("{n}"));
    }
    let (mut socket, _) = stage.session(0, true).await;
    let mut seen = Vec::new();
    let mut last = Value::Null;
    loop {
        let page = socket.ask(json!({"op":"history","path":"a","last":last})).await;
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|r| r["uid"].as_u64().unwrap()));
        last = seen.last().copied().into();
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(seen, [9, 7, 5, 3, 1]);
    assert_eq!(socket.ask(json!({"op":"history","path":"x","last":null})).await, json!({"items":[],"more":false}));
}

#[tokio::test]
async fn restore_makes_an_earlier_record_the_newest() {
    let stage = Stage::new(Config::default()).await;
    let push = |hash: &str| Push { path: "a".into(), hash: Some(hash.into()), ..Push::default() };
    stage.emulator.push(&stage.vault, push("h1"), Bytes::from_static(b"first")).unwrap();
    stage.emulator.push(&stage.vault, push("h2"), Bytes::from_static(b"second")).unwrap();
    let (mut socket, _) = stage.session(0, true).await;
    assert_eq!(socket.ask(json!({"op":"restore","uid":1})).await["res"], "ok");
    assert_eq!(socket.json().await.unwrap()["hash"], "h1");
    assert_eq!(socket.pull(Uid(3)).await.unwrap().1.concat(), b"first");
    assert!(socket.ask(json!({"op":"restore","uid":77})).await["err"].is_string());
}

#[tokio::test]
async fn size_and_usernames_are_answered() {
    let stage = Stage::new(Config { storage_limit: 1000, ..Config::default() }).await;
    stage.put("a", "12345");
    stage.emulator.create_account(Account::new("you@x", "p")).unwrap();
    stage.emulator.share_vault(&stage.vault, "you@x").unwrap();
    let (mut socket, _) = stage.session(0, true).await;
    assert_eq!(socket.ask(json!({"op":"size"})).await, json!({"size":5,"limit":1000}));
    assert_eq!(socket.ask(json!({"op":"usernames"})).await, json!({"1":"me","2":"you"}));
}

#[tokio::test]
async fn shared_vault_opens_to_its_guest_and_to_nobody_else() {
    let stage = Stage::new(Config::default()).await;
    let emulator = &stage.emulator;
    emulator.create_account(Account::new("you@x", "p")).unwrap();
    let answer = call(emulator, "/user/signin", json!({"email":"you@x","password":"p","mfa":""})).await;
    let mut init = stage.init(0, true);
    init["token"] = answer["token"].clone();
    assert_eq!(stage.connect().await.ask(init.clone()).await["msg"], "Vault not found");
    emulator.share_vault(&stage.vault, "you@x").unwrap();
    let mut socket = stage.connect().await;
    assert_eq!(socket.ask(init).await["userId"], 2);
    socket.listing().await;
    socket.ask(json!({"op":"push","path":"f","folder":true})).await;
    assert_eq!(socket.json().await.unwrap()["user"], 2);
}

#[tokio::test]
async fn one_connection_too_many_is_refused() {
    for over_limit in [OverLimit::Status503, OverLimit::Close, OverLimit::Refuse] {
        let stage = Stage::new(Config { max_connections: Some(2), over_limit, ..Config::default() }).await;
        let first = stage.session(0, true).await;
        let _second = stage.session(0, true).await;
        match over_limit {
            OverLimit::Status503 => assert!(Socket::open(&stage.emulator.host()).await.is_err()),
            OverLimit::Close => {
                let mut third = stage.connect().await;
                third.send(stage.init(0, true)).await;
                assert!(third.frame().await.is_none());
            }
            OverLimit::Refuse => assert_eq!(stage.connect().await.ask(stage.init(0, true)).await["res"], "err"),
        }
        let counts = stage.emulator.counters().get();
        assert_eq!(counts.connects_refused, 1);
        drop(first);
        while stage.emulator.counters().get().connections > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stage.session(0, true).await;
    }
}

#[tokio::test]
async fn most_connections_at_once_are_counted() {
    let stage = Stage::new(Config::default()).await;
    let sessions = (stage.session(0, true).await, stage.session(0, true).await, stage.session(0, true).await);
    assert_eq!(stage.emulator.counters().get().most_connections, 3);
    stage.emulator.cut_connections();
    let (mut one, _) = sessions.0;
    assert!(one.frame().await.is_none());
    stage.session(0, true).await;
}

#[tokio::test]
async fn latency_delays_each_answer_and_no_other_connection() {
    let stage = Stage::new(Config::default()).await;
    let (mut one, _) = stage.session(0, true).await;
    let (mut two, _) = stage.session(0, true).await;
    stage.emulator.configure(|c| c.latency = Duration::from_millis(400));
    let start = Instant::now();
    tokio::join!(one.ask(json!({"op":"ping"})), two.ask(json!({"op":"ping"})));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_millis(790), "{took:?}");
}

#[tokio::test]
async fn bandwidth_bounds_each_connection() {
    let stage = Stage::new(Config { bandwidth: NonZeroU64::new(1_000_000), ..Config::default() }).await;
    let uid = stage.put("a", vec![7; 400_000]);
    let (mut socket, _) = stage.session(0, true).await;
    let start = Instant::now();
    socket.pull(uid).await.unwrap();
    let took = start.elapsed();
    assert!(took > Duration::from_millis(300) && took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn managed_vault_opens_to_the_first_key() {
    let stage = Stage::new(Config::default()).await;
    let vault = stage.emulator.create_vault(crate::client::EMAIL, NewVault::managed("M", 3, "s", "p")).unwrap();
    let mut init = stage.init(0, true);
    init["id"] = vault.as_str().into();
    assert_eq!(stage.connect().await.ask(init.clone()).await["res"], "ok");
    init["keyhash"] = "another".into();
    assert_eq!(stage.connect().await.ask(init).await["res"], "err");
}
