//! Metrics in CloudWatch's embedded format: one line on standard output, which CloudWatch Logs turns into metrics.

use std::time::Duration;

use obsync_core::clock::{Clock, SystemClock};
use serde_json::json;

use super::response::Sum;

/// The namespace of the metrics.
const NAMESPACE: &str = "obsync";

/// The line about one event. `function` is the function's name.
pub(super) fn line(sum: &Sum, function: &str, elapsed: Duration, request_id: &str) -> String {
    let metric = |name: &str, unit: &str| json!({ "Name": name, "Unit": unit });
    json!({
        "_aws": {
            "Timestamp": SystemClock.unix_ms(),
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE,
                "Dimensions": [["FunctionName"]],
                "Metrics": [
                    metric("Files", "Count"),
                    metric("Bytes", "Bytes"),
                    metric("Duration", "Milliseconds"),
                    metric("Failures", "Count"),
                    metric("VaultsSynced", "Count"),
                    metric("VaultLag", "Seconds"),
                ],
            }],
        },
        "FunctionName": function,
        "request_id": request_id,
        "Files": sum.files(),
        "Bytes": sum.bytes,
        "Duration": elapsed.as_millis() as u64,
        "Failures": sum.errors.len(),
        "VaultsSynced": sum.synced.len(),
        "VaultLag": sum.lag.as_secs(),
    })
    .to_string()
}
