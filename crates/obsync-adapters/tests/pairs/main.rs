//! Runs of the engine on every pair of a destination and a state store as people have them: what they do
//! (`obsync_testkit::scenario`), and what becomes of them when something goes wrong (`reliability`).
#![cfg(all(unix, feature = "dynamodb", feature = "local", feature = "s3", feature = "sqlite"))]
#![allow(clippy::unwrap_used)]

mod reliability;
mod stores;

use obsync_testkit::scenario::{Pair, Pairs};
use stores::{DynamoDb, Folder, S3, Sqlite};

mod folder_and_sqlite {
    use super::*;

    obsync_testkit::scenarios!(Pairs::new(async || Pair::new(Folder::new(), Sqlite::new())));
}

mod folder_and_dynamodb {
    use super::*;

    obsync_testkit::scenarios!(Pairs::new(async || Pair::new(Folder::new(), DynamoDb::start().await)));
}

mod s3_and_sqlite {
    use super::*;

    obsync_testkit::scenarios!(Pairs::new(async || Pair::new(S3::start().await, Sqlite::new())));
}

mod s3_and_dynamodb {
    use super::*;

    obsync_testkit::scenarios!(Pairs::new(async || Pair::new(S3::start().await, DynamoDb::start().await)));
}
