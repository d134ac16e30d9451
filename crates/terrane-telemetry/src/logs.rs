//! Structured logs on standard error.

use std::fmt;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text per event, for people.
    #[default]
    Text,
    /// One JSON object per event, for machines.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not in the syntax `level` or `target=level,…`.
    #[error("log filter {filter:?}: {cause}")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Something else in this process logs already.
    #[error("logging was set up before")]
    AlreadySet,
}

/// Parses a filter such as `info,terrane_objects=debug` (the syntax of `RUST_LOG`).
pub fn check_filter(filter: &str) -> Result<(), LogError> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|cause| LogError::Filter { filter: filter.into(), cause: cause.to_string() })
}

/// Starts logging to standard error, once per process.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let builder = tracing_subscriber::fmt().with_env_filter(parse(filter)?).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|_| LogError::AlreadySet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked() {
        assert!(check_filter("info,terrane_objects=debug").is_ok());
        assert!(check_filter("info,terrane_objects=loud").is_err());
    }
}
