//! The Lambda function: mirrors one vault or all of them into a bucket, with its state in DynamoDB (`contract.md`).
//!
//! ```text
//! caller ─ event ─► envelope ─► request ─► Handler ─► Session ─► the engine
//!                      ▲                       │
//!                      └────── answer ◄────────┘          and one line of metrics
//! ```

mod answer;
mod config;
mod handler;
mod metrics;
mod response;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_runtime::{Error, LambdaEvent, service_fn};
use obsync_input::Envelope;
use serde_json::Value;
use tracing::Instrument;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use handler::{Handler, Invocation};
pub use response::Response;

use crate::log;
use crate::process;

/// Serves events for as long as Lambda sends them.
///
/// # Errors
/// Of the Runtime API, which ends the process.
pub async fn serve() -> Result<(), Error> {
    let handler = Handler::new(|name| std::env::var(name).ok(), |line| println!("{line}"));
    let handler = &handler;
    lambda_runtime::run(service_fn(async move |event: LambdaEvent<Value>| {
        let (payload, context) = event.into_parts();
        let span = tracing::info_span!("invocation", request_id = %context.request_id);
        let invocation = Invocation { request_id: context.request_id, deadline: deadline(context.deadline) };
        answer(handler, payload, &invocation).instrument(span).await
    }))
    .await
}

/// Answers one event in the way that its sender expects.
///
/// # Errors
/// A text, where the sender is one that tries again what failed.
pub async fn answer(handler: &Handler, payload: Value, invocation: &Invocation) -> Result<Value, Error> {
    answer::answer(Envelope::open(payload), handler, invocation).await.map_err(Error::from)
}

/// When an invocation ends, from milliseconds since 1970.
fn deadline(unix_ms: u64) -> tokio::time::Instant {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    tokio::time::Instant::now() + Duration::from_millis(unix_ms).saturating_sub(now)
}

/// To be called first. The log goes to CloudWatch as JSON, one object a line, with the request's id in each.
pub fn start() {
    process::keep_memory_private();
    let log = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(std::io::stderr);
    tracing_subscriber::registry().with(log.with_filter(log::filter("info"))).init();
}
