//! A full disk: a real one, of 1 MB, in a mount namespace of its own.

use std::process::Stdio;

use obsync_proto::crypto::EncryptionVersion;
use obsync_testkit::tree::Tree;
use tokio::process::Command;

use crate::fixture::{Ended, Fixture};

/// Runs the program with a tmpfs of 1 MB at `dest`, and then shows what is on it.
async fn run_on_a_small_disk(fixture: &Fixture, args: &[&str]) -> Option<(Ended, Tree)> {
    let dest = fixture.dest();
    std::fs::create_dir_all(&dest).unwrap();
    let copy = fixture.path("copy");
    // unshare: a mount that nobody else sees and that ends with the program, without being root.
    let script = r#"mount -t tmpfs -o size=1m tmpfs "$DEST" || exit 99; "$OBSYNC" "$@"; code=$?; cp -r "$DEST" "$COPY"; exit $code"#;
    let template = fixture.command(args);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]).args(args).env_clear();
    for (name, value) in template.as_std().get_envs() {
        command.env(name, value.unwrap());
    }
    command
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("DEST", &dest)
        .env("COPY", &copy)
        .env("OBSYNC", env!("CARGO_BIN_EXE_obsync"))
        .stdin(Stdio::null());
    let ended: Ended = match command.output().await {
        Ok(output) => output.into(),
        Err(_) => return None,
    };
    if ended.exit == Some(99) || ended.stderr.contains("unshare:") {
        return None;
    }
    Some((ended, Tree::read(&copy)))
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_reported_and_leaves_whole_files() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V", EncryptionVersion::V3);
    for n in 0..40 {
        vault.put(&format!("{n}.bin"), vec![n; 100_000], 1);
    }
    let dest = fixture.dest();
    let Some((ended, tree)) = run_on_a_small_disk(&fixture, &Fixture::sync_args("V", &dest, &[])).await else {
        // A system that lets nobody mount anything; the same fault is injected in obsync-core's tests.
        eprintln!("no mount namespaces here: the full disk was not tried");
        return;
    };
    ended.assert_refused(6, &["No space left", "free space"]);
    assert!(ended.vault()["error"].as_str().unwrap().contains("No space left"), "{ended:?}");
    let whole = vault.tree();
    assert!(!tree.files.is_empty() && tree.files.len() < 40);
    for (path, content) in &tree.files {
        assert!(whole.files.get(path) == Some(content), "{path} is not whole");
    }
    // The disk is gone with the namespace; on one with room, everything arrives.
    let next = fixture.sync("V", &["--complete"]).await;
    assert_eq!(next.exit, Some(0), "{next:?}");
    assert_eq!(Tree::read(&fixture.dest()).files.len(), 40);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_no_folder_is_reported() {
    let fixture = Fixture::new().await;
    let mut vault = fixture.vault("V", EncryptionVersion::V3);
    vault.put("a.md", "a", 1);
    std::fs::write(fixture.dest(), "a file").unwrap();
    fixture.sync("V", &[]).await.assert_refused(6, &["dest", "folder"]);
    assert_eq!(std::fs::read_to_string(fixture.dest()).unwrap(), "a file");
}
