//! The log of a command; it goes to stderr.

use std::io::{IsTerminal, stderr};

use clap::ValueEnum;
use tracing_subscriber::{Layer, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How to print the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Writes the log of this process to stderr.
pub(super) fn to_stderr(format: LogFormat, levels: Targets) {
    let layer = fmt::layer().with_writer(stderr);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().boxed(),
    };
    // A process can have only one subscriber, so the first one stays.
    let _ = tracing_subscriber::registry().with(layer.with_filter(levels)).try_init();
}
