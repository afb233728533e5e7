//! `obsync invoke FILE`: runs the Lambda function's handler on an event, here.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::failure::{Exit, Failure};
use crate::lambda::{Handler, Invocation, answer};
use crate::text::say;

/// As long as Lambda gives at most.
const TIME: Duration = Duration::from_secs(15 * 60);

pub(crate) async fn run(file: &Path) -> Result<Exit, Failure> {
    let event = read(file)?;
    let handler = Handler::new(|name| std::env::var(name).ok(), |line| tracing::info!(metrics = line));
    let invocation = Invocation { request_id: "local".to_owned(), deadline: Instant::now() + TIME };
    let answer = answer(&handler, event, &invocation)
        .await
        .map_err(|e| Failure::new(Exit::Partly, e.to_string(), "Lambda would send this event again"))?;
    say(&answer);
    Ok(if is_done(&answer) { Exit::Done } else { Exit::Partly })
}

/// Whether an answer, in whatever form its sender expects it, says that everything is done.
fn is_done(answer: &Value) -> bool {
    let failed_items = answer.get("batchItemFailures").and_then(Value::as_array).is_some_and(|items| !items.is_empty());
    let body: Option<Value> = answer.get("body").and_then(|body| serde_json::from_str(body.as_str()?).ok());
    let answer = body.as_ref().unwrap_or(answer);
    let is_incomplete = answer["metadata"]["incomplete"] == "true";
    !failed_items && answer.get("success") != Some(&Value::Bool(false)) && !is_incomplete
}

fn read(file: &Path) -> Result<Value, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|content| text = content)
    };
    read.map_err(|e| Failure::usage(format!("{}: {e}", file.display()), "give a file with an event, or -"))?;
    serde_json::from_str(&text)
        .map_err(|e| Failure::usage(format!("{} is no JSON: {e}", file.display()), r#"an event is {"action":"sync"}"#))
}
