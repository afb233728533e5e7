//! A folder, and the disk under it.

use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex};

use obsync_core::blob::BlobErrorKind;
use obsync_testkit::fault::{Fault, Moment};

use super::{FolderDynamoDb, FolderSqlite, Row, by_turns, publish};
use crate::stores::Folder;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_folder() {
    let rows = vec![
        Row {
            exact: 0,
            folder: Folder::on_a_small_disk,
            ..Row::new("the disk is full", &["No space left"], |world, schedule| {
                let ballast = world.folder.as_ref().unwrap().beside("ballast");
                by_turns(schedule, move |on| match on {
                    // Until nothing more fits.
                    true => fs::write(&ballast, vec![0; 64 << 20]).is_err(),
                    false => fs::remove_file(&ballast).is_ok(),
                })
            })
        },
        Row {
            exact: 0,
            folder: Folder::on_a_small_disk,
            ..Row::new("the disk is read-only", &["Read-only file system"], |world, schedule| {
                let disk = world.folder.as_ref().unwrap().disk();
                by_turns(schedule, move |on| {
                    let mode = if on { "remount,ro" } else { "remount,rw" };
                    Command::new("mount").args(["-o", mode]).arg(&disk).output().unwrap().status.success()
                })
            })
        },
        Row {
            exact: 0,
            folder: Folder::that_can_be_closed,
            ..Row::new("access is denied", &["denied", "not permitted"], |world, schedule| {
                let folder = world.folder.clone().unwrap();
                by_turns(schedule, move |on| folder.close(on))
            })
        },
        failing("any call fails, nothing done", Moment::Before),
        failing("any call fails, though it was done", Moment::After),
    ];
    publish("a folder", &[FolderSqlite, FolderDynamoDb], rows).await;
}

/// What no disk does on request: an error of input or output.
fn failing(fault: &'static str, moment: Moment) -> Row {
    let row = Row::new(fault, &["a fault of the test"], move |world, schedule| {
        let (plan, struck) = (world.plan.clone(), Arc::new(Mutex::new(0)));
        let (count, schedule) = (struck.clone(), Mutex::new(schedule));
        let strikes = move |_: &_| {
            let mut schedule = schedule.lock().unwrap();
            let wants = schedule.wants();
            if wants {
                schedule.take();
                *count.lock().unwrap() += 1;
            }
            wants
        };
        plan.when(strikes, Fault::fail_as(BlobErrorKind::Other, moment));
        Box::new(move || {
            plan.clear();
            *struck.lock().unwrap()
        })
    });
    Row { exact: 0, ..row }
}
