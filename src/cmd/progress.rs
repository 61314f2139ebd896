//! A progress line on the terminal.

use std::{
    fmt::Display,
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

/// The update interval.
const INTERVAL: Duration = Duration::from_millis(100);

/// A progress line on stderr. It is shown only on a terminal, and erased on drop.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    is_shown: bool,
    next: Instant,
}

impl Progress {
    /// Creates a line such as `linting: 3 of 17`, where `what` is the first word.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, is_shown: stderr().is_terminal(), next: Instant::now() }
    }

    /// Shows the number of finished items.
    pub(crate) fn show(&mut self, done: usize, all: usize) {
        self.show_text(&format_args!("{done} of {all}"));
    }

    /// Shows what is being done.
    pub(crate) fn show_text(&mut self, now: &dyn Display) {
        if !self.is_shown || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + INTERVAL;
        // Errors are ignored, because the line is not part of the result.
        let _ = write!(stderr(), "\r\x1b[K{}: {now}", self.what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
