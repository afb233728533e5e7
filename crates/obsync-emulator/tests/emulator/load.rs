//! Large vaults.

use std::time::{Duration, Instant};

use bytes::Bytes;
use obsync_emulator::Config;
use obsync_proto::wire::socket::Push;

use crate::client::Stage;

/// Quadratic work would take hours.
#[tokio::test(flavor = "multi_thread")]
async fn hundred_thousand_records_are_taken_and_listed_in_seconds() {
    let stage = Stage::new(Config::default()).await;
    let start = Instant::now();
    let content = Bytes::from_static(b"the same for all");
    for n in 0..100_000 {
        // Every path twice.
        let push = Push { path: format!("path {}", n / 2), hash: Some("h".into()), ..Push::default() };
        stage.emulator.push(&stage.vault, push, content.clone()).unwrap();
    }
    let (_, records) = stage.session(0, true).await;
    assert_eq!(records.len(), 50_000);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn file_of_the_largest_size_is_pulled_whole() {
    let stage = Stage::new(Config::default()).await;
    let content = Bytes::from(vec![7; 190 * 1024 * 1024]);
    let uid = stage.put("large", content.clone());
    let (mut socket, _) = stage.session(0, true).await;
    let (head, pieces) = socket.pull(uid).await.unwrap();
    assert_eq!((head["pieces"].as_u64(), pieces.iter().map(Bytes::len).sum::<usize>()), (Some(95), content.len()));
}
