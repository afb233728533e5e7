//! Promise 4 (resumable): killed at any moment, the next run goes on.

use std::collections::HashMap;
use std::time::Duration;

use obsync_adapters::state::SqliteState;
use obsync_core::state::{Entry, StateStore};
use obsync_proto::Uid;
use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::generate::Shape;
use obsync_testkit::tree::{Tree, assert_same_tree};
use obsync_testkit::vault::TestVault;

use futures_util::TryStreamExt;

use crate::fixture::{Fixture, end};

/// Of the service, for each request, while a run waits to be killed.
const LATENCY: Duration = Duration::from_millis(14);

/// The records that the state of the mirror knows to be written.
async fn recorded(fixture: &Fixture) -> HashMap<String, Uid> {
    let state = SqliteState::open(&fixture.path("home").join("state.db")).await.unwrap();
    let mut recorded = HashMap::new();
    for (mirror, _) in state.mirrors().await.unwrap() {
        let entries: Vec<_> = state.scan(&mirror).try_collect().await.unwrap();
        for (path, entry) in entries {
            if let Entry::File(file) = entry {
                recorded.insert(path.to_string(), file.uid);
            }
        }
    }
    recorded
}

async fn killed_after(vault: &TestVault, fixture: &Fixture, moment: Duration) -> usize {
    let dest = fixture.dest();
    fixture.emulator.configure(|config| config.latency = LATENCY);
    let mut child = fixture.command(&Fixture::sync_args("V", &dest, &[])).spawn().unwrap();
    tokio::time::sleep(moment).await;
    // SIGKILL: no handler runs.
    child.kill().await.unwrap();
    fixture.emulator.configure(|config| config.latency = Duration::ZERO);
    let before = recorded(fixture).await;
    fixture.emulator.counters().reset();
    let ended = end(fixture.command(&Fixture::sync_args("V", &dest, &[]))).await;
    assert_eq!(ended.exit, Some(0), "killed after {moment:?}: {ended:?}");
    assert_same_tree(&vault.tree(), &Tree::read(&dest));
    let pulled = fixture.emulator.counters().get().pulls_by_uid;
    let again: Vec<_> = before.iter().filter(|(_, uid)| pulled.contains_key(uid)).collect();
    assert!(again.is_empty(), "killed after {moment:?}: recorded and pulled again: {again:?}");
    // What was written and not yet recorded is either pulled again or, without any state yet, recognised.
    assert!(before.len() + pulled.len() <= vault.tree().files.len());
    before.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_killed_at_any_moment_is_gone_on_with() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V", EncryptionVersion::V3);
    vault.fill(&Shape::notes(17, 2000));
    // So that a run takes at least this long, whatever the machine: several commits, one every 3 s.
    let whole = LATENCY * 2000 / 4;
    let mut partly = 0;
    for n in 0..10 {
        // Spread over the run, each at a random moment of its tenth.
        let moment = whole.mul_f64((f64::from(n) + fastrand::f64()) / 10.0);
        let written = killed_after(&vault, &fixture, moment).await;
        partly += usize::from(written > 0 && written < 2000);
        std::fs::remove_dir_all(fixture.dest()).unwrap();
        std::fs::remove_file(fixture.path("home").join("state.db")).unwrap();
    }
    assert!(partly >= 2, "most kills came before the first commit or after the end: the test means little");
}
