//! Turns signals into a cancellation token.
//!
//! The holder of the token decides how to stop; a second signal ends the process at once.

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::system::Signals;

impl Signals {
    /// Cancels `stop` on the first signal. On the second signal exits with the exit code of a shell for that signal,
    /// after `before_exit`.
    pub async fn drive(mut self, stop: CancellationToken, before_exit: impl FnOnce() + Send) {
        let first = self.next().await;
        info!(signal = first.name, "stopping; a second signal stops immediately");
        stop.cancel();
        let second = self.next().await;
        warn!(signal = second.name, "stopped immediately");
        before_exit();
        std::process::exit(second.exit_code);
    }
}

/// A received signal. The exit code is 128 plus its number, as in POSIX shells.
struct Caught {
    name: &'static str,
    exit_code: i32,
}

#[cfg(unix)]
mod system {
    use std::io;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::Caught;

    /// Handlers for SIGTERM and SIGINT.
    #[derive(Debug)]
    pub struct Signals {
        terminate: Signal,
        interrupt: Signal,
    }

    impl Signals {
        /// Installs the handlers, so that no signal is lost while the server starts.
        ///
        /// # Errors
        ///
        /// Returns an error if the operating system refuses the handlers.
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

    /// A handler for Ctrl-C.
    #[derive(Debug)]
    pub struct Signals {
        interrupt: CtrlC,
    }

    impl Signals {
        /// Installs the handler, so that no signal is lost while the server starts.
        ///
        /// # Errors
        ///
        /// Returns an error if the operating system refuses the handler.
        pub fn catch() -> io::Result<Self> {
            Ok(Self { interrupt: ctrl_c()? })
        }

        pub(super) async fn next(&mut self) -> Caught {
            let _ = self.interrupt.recv().await;
            Caught { name: "Ctrl-C", exit_code: 130 }
        }
    }
}
