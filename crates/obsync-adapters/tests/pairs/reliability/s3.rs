//! S3, and services that speak its language.

use obsync_testkit::s3::{Operation, S3Fault};

use super::{PATIENCE, Row, S3DynamoDb, S3Sqlite, publish};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_s3() {
    let answer = S3Fault::answer;
    let rows = vec![
        any("any request: 500 InternalError", &["InternalError"], answer(500, "InternalError")),
        any("any request: 503 SlowDown", &["SlowDown"], answer(503, "SlowDown")),
        Row {
            exact: 0,
            ..any("any request: 403 AccessDenied", &["AccessDenied", "status 403"], answer(403, "AccessDenied"))
        },
        any("any request: the connection is reset, nothing done", &["connection"], S3Fault::CutBefore),
        any("any request: done, and the answer is lost", &["connection"], S3Fault::CutAfter),
        Row { patience: PATIENCE, ..any("any request: no answer in time", &["timeout"], S3Fault::Silence) },
        of(Operation::PutObject, "PutObject: done, and the answer is lost", &["connection"], S3Fault::CutAfter),
        of(Operation::DeleteObjects, "DeleteObjects: done, and the answer is lost", &["connection"], S3Fault::CutAfter),
        of(Operation::CopyObject, "CopyObject: 500 InternalError", &["InternalError"], answer(500, "InternalError")),
        of(Operation::ListObjectsV2, "ListObjectsV2: 503 SlowDown", &["SlowDown"], answer(503, "SlowDown")),
        Row {
            large: true,
            ..of(Operation::UploadPart, "UploadPart: the connection is reset", &["connection"], S3Fault::CutBefore)
        },
        Row {
            large: true,
            ..of(
                Operation::CompleteMultipartUpload,
                "CompleteMultipartUpload: done, and the answer is lost",
                &["connection"],
                S3Fault::CutAfter,
            )
        },
        Row {
            large: true,
            ..of(
                Operation::CompleteMultipartUpload,
                "CompleteMultipartUpload: 500 InternalError",
                &["InternalError"],
                answer(500, "InternalError"),
            )
        },
        Row::new("a listing lags: it shows what was there before", &[], |world, _| {
            let server = world.s3.as_ref().unwrap().server.clone();
            let listings = server.count(Operation::ListObjectsV2);
            server.stop_listings();
            Box::new(move || {
                let struck = server.count(Operation::ListObjectsV2) - listings;
                server.clear();
                struck
            })
        }),
    ];
    publish("S3", &[S3Sqlite, S3DynamoDb], rows).await;
}

fn any(fault: &'static str, says: &'static [&'static str], what: S3Fault) -> Row {
    met(None, fault, says, what)
}

fn of(operation: Operation, fault: &'static str, says: &'static [&'static str], what: S3Fault) -> Row {
    met(Some(operation), fault, says, what)
}

fn met(operation: Option<Operation>, fault: &'static str, says: &'static [&'static str], what: S3Fault) -> Row {
    Row::new(fault, says, move |world, schedule| {
        let server = world.s3.as_ref().unwrap().server.clone();
        server.strike(operation, schedule, what.clone());
        Box::new(move || {
            let struck = server.struck();
            server.clear();
            struck
        })
    })
}
