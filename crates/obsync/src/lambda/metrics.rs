//! Metrics in CloudWatch's embedded format: a line of the log, which CloudWatch Logs turns into metrics.

use std::time::Duration;

use obsync_core::clock::{Clock, SystemClock};
use serde_json::json;

use super::response::Response;

/// The namespace of the metrics.
const NAMESPACE: &str = "obsync";

/// The line about one event. `function` is the function's name.
pub(super) fn line(response: &Response, function: &str, elapsed: Duration, request_id: &str) -> String {
    let metric = |name: &str, unit: &str| json!({ "Name": name, "Unit": unit });
    let mut metrics = vec![
        metric("Files", "Count"),
        metric("Bytes", "Bytes"),
        metric("Duration", "Milliseconds"),
        metric("Failures", "Count"),
        metric("VaultsSynced", "Count"),
    ];
    if response.lag.is_some() {
        metrics.push(metric("VaultLag", "Seconds"));
    }
    json!({
        "_aws": {
            "Timestamp": SystemClock.unix_ms(),
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE,
                "Dimensions": [["FunctionName"]],
                "Metrics": metrics,
            }],
        },
        "FunctionName": function,
        "request_id": request_id,
        "Files": response.files_count,
        "Bytes": response.bytes,
        "Duration": elapsed.as_millis() as u64,
        "Failures": response.errors.len(),
        "VaultsSynced": response.vaults_synced.len(),
        "VaultLag": response.lag.map(|lag| lag.as_secs()),
    })
    .to_string()
}
