//! A line on the terminal that shows how far a command is.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

/// How often the line is written anew.
const INTERVAL: Duration = Duration::from_millis(100);

/// A line on stderr, shown only if that is a terminal, and erased when it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    is_shown: bool,
    next: Instant,
}

impl Progress {
    /// A line such as `linting: 3 of 17`, where `what` is the first word.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, is_shown: stderr().is_terminal(), next: Instant::now() }
    }

    /// Shows how many are done.
    pub(crate) fn show(&mut self, done: usize, all: usize) {
        if !self.is_shown || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + INTERVAL;
        // The line is a help, and no result.
        let _ = write!(stderr(), "\r\x1b[K{}: {done} of {all}", self.what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
