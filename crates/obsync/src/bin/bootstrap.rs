//! The Lambda function. See `docs/lambda.md`.

// The futures of the SDKs nest deeply.
#![recursion_limit = "256"]

use obsync::lambda;

fn main() -> Result<(), lambda_runtime::Error> {
    lambda::start();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(lambda::serve())
}
