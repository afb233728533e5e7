//! DynamoDB.

use obsync_testkit::dynamodb::Failure;

use super::{FolderDynamoDb, PATIENCE, Row, S3DynamoDb, publish};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_dynamodb() {
    let rows = vec![
        met("any request: ThrottlingException", &["ThrottlingException"], None, Failure::Throttled),
        met(
            "any request: ProvisionedThroughputExceededException",
            &["ProvisionedThroughputExceededException"],
            None,
            Failure::Exceeded,
        ),
        met("any request: InternalServerError", &["InternalServerError"], None, Failure::Internal),
        met("any request: the connection is reset, nothing done", &["connection"], None, Failure::Cut),
        met("any request: done, and the answer is lost", &["connection"], None, Failure::AnswerLost),
        Row { patience: PATIENCE, ..met("any request: no answer in time", &["timeout"], None, Failure::Silence) },
        met("BatchGetItem: all items unprocessed", &["throttled"], Some("BatchGetItem"), Failure::Unprocessed),
        met(
            "UpdateItem (the lease): done, and the answer is lost",
            &["connection"],
            Some("UpdateItem"),
            Failure::AnswerLost,
        ),
        met(
            "TransactWriteItems (a commit): done, and the answer is lost",
            &["connection"],
            Some("TransactWriteItems"),
            Failure::AnswerLost,
        ),
    ];
    publish("DynamoDB", &[FolderDynamoDb, S3DynamoDb], rows).await;
}

fn met(fault: &'static str, says: &'static [&'static str], operation: Option<&'static str>, failure: Failure) -> Row {
    Row::new(fault, says, move |world, schedule| {
        let dynamodb = world.dynamodb.clone().unwrap();
        dynamodb.server.strike(operation, schedule, failure);
        Box::new(move || {
            let struck = dynamodb.server.struck();
            dynamodb.server.open();
            struck
        })
    })
}
