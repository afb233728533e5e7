//! What all AWS services are reached with: region, credentials and endpoints as every AWS program finds them.

use std::error::Error;
use std::time::Duration;

pub use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion};

mod http;

pub use http::http_client;

use crate::tls::Roots;

/// Times that a request is tried in all, with backoff between them. The SDK decides which faults may pass.
const TRIES: u32 = 5;

/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest wait for the answer to one try, the time to send it included: a part of 8 MiB fits at 1.2 Mbit/s.
const TRY_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest wait for an answer, all tries together.
const TIMEOUT: Duration = Duration::from_secs(240);

/// Named in the `User-Agent`.
const NAME: &str = "obsync";

/// Reads the configuration from the environment, the shared files or the role of the machine, and adds how long to
/// wait and how often to try. Load it once, and make all clients from it: they share connections and credentials.
pub async fn config() -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(TRY_TIMEOUT)
        .operation_timeout(TIMEOUT)
        .build();
    // A server of the user's own may have a certificate that only the user's machines know.
    let own_server = std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with("AWS_ENDPOINT_URL"));
    let roots = if own_server { Roots::MozillaAndMachine } else { Roots::Mozilla };
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client(roots))
        .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
        .timeout_config(timeouts);
    if let Ok(name) = AppName::new(NAME) {
        loader = loader.app_name(name);
    }
    loader.load().await
}

/// What an SDK's error says: the service's code and message, or the error with its sources.
pub(crate) fn explained(code: Option<&str>, message: Option<&str>, error: &dyn Error) -> String {
    match (code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => chain(error),
    }
}

/// An error and its sources: the SDK's own words ("dispatch failure") tell nothing without them.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
