//! The log of a command; it goes to stderr.

use std::{
    io::{self, IsTerminal, stderr},
    sync::Arc,
};

use clap::ValueEnum;
use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::log_queue::LogQueue;

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
    to(stderr, format, levels);
}

/// Writes the log of this process to stderr, but never waits for its reader. Counts the lines that are lost.
///
/// # Errors
///
/// Returns an error if the thread that writes cannot be started.
pub(super) fn queued(format: LogFormat, levels: Targets, dropped: Counter) -> io::Result<Flush> {
    let queue = Arc::new(LogQueue::to_stderr(dropped)?);
    to(Arc::clone(&queue), format, levels);
    Ok(Flush(queue))
}

/// Writes the rest of a queued log when it is dropped.
#[derive(Clone, Debug)]
pub(super) struct Flush(Arc<LogQueue>);

impl Drop for Flush {
    fn drop(&mut self) {
        self.0.flush();
    }
}

fn to<W>(writer: W, format: LogFormat, levels: Targets)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().boxed(),
    };
    // A process can have only one subscriber, so the first one stays.
    let _ = tracing_subscriber::registry().with(layer.with_filter(levels)).try_init();
}
