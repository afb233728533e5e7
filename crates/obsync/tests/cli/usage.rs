//! What the program says to what it cannot do.

use crate::fixture::Fixture;

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_ends_with_2_and_says_what_is_wrong() {
    let fixture = Fixture::new().await;
    let cases: [(&[&str], &str); 10] = [
        (&[], "Usage"),
        (&["sync", "--to", "x"], "VAULT"),
        (&["sync", "V"], "--to"),
        (&["sync", "V", "--to", "x", "--watch", "--dry-run"], "--dry-run"),
        (&["sync", "V", "--to", "x", "--health", "127.0.0.1:0"], "--watch"),
        (&["sync", "V", "--all", "--to", "x"], "--all"),
        (&["sync", "V", "--to", "x", "--max-delete", "lots"], "percentage"),
        (&["sync", "V", "--to", "x", "--jobs", "0"], "--jobs"),
        (&["sync", "V", "--to", "x", "--include", "a["], "glob"),
        (&["sync", "V", "--to", "x", "--state", "redis:x"], "sqlite:PATH"),
    ];
    for (args, word) in cases {
        fixture.run(args).await.assert_refused(2, &[word]);
    }
    let mut command = fixture.command(&["vaults"]);
    command.env("OBSYNC_API_URL", "http://api.example.com");
    crate::fixture::end(command).await.assert_refused(2, &["OBSYNC_API_URL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn help_version_and_completions_end_with_0() {
    let fixture = Fixture::new().await;
    for (args, word) in [
        (&["--help"][..], "sync"),
        (&["sync", "--help"], "--max-delete"),
        (&["--version"], "obsync"),
        (&["completions", "bash"], "obsync"),
        (&["status"], ""),
    ] {
        let ended = fixture.run(args).await;
        assert_eq!((ended.exit, ended.stdout.contains(word)), (Some(0), true), "{args:?}: {ended:?}");
    }
}
