//! `_wait`: keeps the ephemeral container of `sockets --debug-container` running for some time.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::base::{duration, shutdown::Signals};

/// How long.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// How long to run
    #[arg(value_parser = duration::parse)]
    duration: Duration,
}

/// Waits until the time is over, or until SIGTERM, which the first process of a container ignores by default.
///
/// # Errors
///
/// Returns an error if signals cannot be handled.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let signals = Signals::catch().context("cannot install the handlers for SIGTERM and SIGINT")?;
        let stop = CancellationToken::new();
        tokio::spawn(signals.drive(stop.clone(), || {}));
        // The timeout is the normal end.
        let _ = timeout(args.duration, stop.cancelled()).await;
        Ok(ExitCode::SUCCESS)
    })
}
