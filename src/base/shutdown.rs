//! Signals -> one cancellation token.
//!
//! Who holds the token decides what stopping means; a second signal means at once.

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::system::Signals;

impl Signals {
    /// Cancels `stop` on the first signal; on the second ends the process, as a shell reports that signal.
    pub async fn drive(mut self, stop: CancellationToken) {
        let first = self.next().await;
        info!(signal = first.name, "stopping; a second signal stops at once");
        stop.cancel();
        let second = self.next().await;
        warn!(signal = second.name, "stopped at once");
        std::process::exit(second.exit_code);
    }
}

/// A signal that came. The exit code is 128 and its number: POSIX shells say so of a process that a signal ended.
struct Caught {
    name: &'static str,
    exit_code: i32,
}

#[cfg(unix)]
mod system {
    use std::io;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::Caught;

    /// SIGTERM and SIGINT, caught from the moment this is made.
    #[derive(Debug)]
    pub struct Signals {
        terminate: Signal,
        interrupt: Signal,
    }

    impl Signals {
        /// Catches the signals, so that none is lost while the server starts.
        ///
        /// # Errors
        ///
        /// When the operating system refuses the handlers.
        pub fn catch() -> io::Result<Self> {
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            })
        }

        pub(super) async fn next(&mut self) -> Caught {
            tokio::select! {
                _ = self.terminate.recv() => Caught { name: "SIGTERM", exit_code: 143 },
                _ = self.interrupt.recv() => Caught { name: "SIGINT", exit_code: 130 },
            }
        }
    }
}

#[cfg(windows)]
mod system {
    use std::io;

    use tokio::signal::windows::{CtrlC, ctrl_c};

    use super::Caught;

    /// Ctrl-C, caught from the moment this is made.
    #[derive(Debug)]
    pub struct Signals {
        interrupt: CtrlC,
    }

    impl Signals {
        /// Catches it, so that none is lost while the server starts.
        ///
        /// # Errors
        ///
        /// When the operating system refuses the handler.
        pub fn catch() -> io::Result<Self> {
            Ok(Self { interrupt: ctrl_c()? })
        }

        pub(super) async fn next(&mut self) -> Caught {
            let _ = self.interrupt.recv().await;
            Caught { name: "Ctrl-C", exit_code: 130 }
        }
    }
}
