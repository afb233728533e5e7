//! SQLite, and the file that it keeps.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use rusqlite::Connection;

use super::{FolderSqlite, PATIENCE, Row, S3Sqlite, by_turns, publish};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sqlite() {
    let rows = vec![
        Row {
            patience: PATIENCE,
            ..Row::new("another program has the file locked", &["locked by another program"], |world, schedule| {
                let other = Connection::open(world.sqlite.as_ref().unwrap().path()).unwrap();
                by_turns(schedule, move |on| {
                    other.execute_batch(if on { "BEGIN IMMEDIATE" } else { "ROLLBACK" }).is_ok()
                })
            })
        },
        overwritten("parts of the file are overwritten", &["damaged", "malformed"], |n| 4096 * (1 + n % 7)),
        overwritten("the beginning of the file is overwritten", &["damaged", "not a database"], |_| 0),
        forgetting(Row::new(
            "the file is deleted",
            &["disk I/O error", "readonly", "No such file", "lost its lease"],
            |world, schedule| {
                let sqlite = world.sqlite.clone().unwrap();
                by_turns(schedule, move |on| !on || fs::remove_file(sqlite.path()).is_ok())
            },
        )),
    ];
    publish("SQLite", &[FolderSqlite, S3Sqlite], rows).await;
}

/// A page of nonsense, where `place` says for the `n`th time.
fn overwritten(fault: &'static str, says: &'static [&'static str], place: fn(u64) -> u64) -> Row {
    forgetting(Row::new(fault, says, move |world, schedule| {
        let sqlite = world.sqlite.clone().unwrap();
        let mut times = 0;
        by_turns(schedule, move |on| {
            times += 1;
            // It may have been moved aside.
            let file = OpenOptions::new().write(true).open(sqlite.path());
            !on || file.is_ok_and(|file| file.write_all_at(&[0x5a; 4096], place(times)).is_ok())
        })
    }))
}

fn forgetting(row: Row) -> Row {
    Row { forgets: true, ..row }
}
