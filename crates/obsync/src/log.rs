//! The log of both programs, on standard error.

use tracing_subscriber::filter::{LevelFilter, Targets};

/// How far the libraries' own lines go: below that they hold what is sent, notes and tokens.
const MOST_OF_OTHERS: LevelFilter = LevelFilter::DEBUG;

/// What is logged: `LOG_LEVEL`, or `default` where it is not set or makes no sense. A level (`warn`), or levels by
/// module (`obsync_core=debug,warn`).
pub(crate) fn filter(default: &str) -> Targets {
    let level = std::env::var("LOG_LEVEL").unwrap_or_default();
    let asked = if level.is_empty() { None } else { level.parse().ok() };
    discreet(&asked.or_else(|| default.parse().ok()).unwrap_or_default())
}

fn discreet(asked: &Targets) -> Targets {
    let rest = asked.default_level().unwrap_or(LevelFilter::OFF);
    let most =
        |target: &str, level: LevelFilter| if target.starts_with("obsync") { level } else { level.min(MOST_OF_OTHERS) };
    let named = asked.iter().map(|(target, level)| (target.to_owned(), most(target, level)));
    Targets::new().with_default(rest.min(MOST_OF_OTHERS)).with_target("obsync", rest).with_targets(named)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn what_libraries_send_is_never_logged() {
        for asked in
            ["trace", "aws=trace", "aws_smithy_runtime=trace,warn", "tungstenite::protocol=trace", "hyper=trace"]
        {
            let filter = discreet(&asked.parse().unwrap());
            for target in ["aws_smithy_runtime::client::orchestrator", "aws_sdk_s3", "tungstenite::protocol", "hyper"] {
                assert!(!filter.would_enable(target, &Level::TRACE), "{asked}: {target}");
            }
        }
        let filter = discreet(&"trace".parse().unwrap());
        assert!(filter.would_enable("obsync_core::mirror", &Level::TRACE));
        assert!(filter.would_enable("aws_config", &Level::DEBUG));
        let filter = discreet(&"obsync_core=debug,warn".parse().unwrap());
        assert!(filter.would_enable("obsync_core", &Level::DEBUG) && !filter.would_enable("aws_config", &Level::INFO));
    }
}
