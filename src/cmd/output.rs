//! Prints to stdout and stderr.
//!
//! The macros of std and `anstream` panic if they cannot write, for example to a file on a full disk. The exit code would
//! be 101, whatever the result is.

use std::{
    fmt,
    io::{self, Write},
};

use anyhow::Context as _;

/// Prints to stdout; ignores that a pager was closed.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    try_print(text).map(|_| ())
}

/// Prints to stdout. Returns whether somebody still reads it.
pub(crate) fn try_print(text: &str) -> anyhow::Result<bool> {
    let mut stdout = anstream::stdout().lock();
    is_read(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// Returns whether somebody still reads stdout, by the result of a write to it.
pub(crate) fn is_read(written: io::Result<()>) -> anyhow::Result<bool> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true).context("cannot write to stdout"),
    }
}

/// Prints to stderr, and ignores errors: a note that cannot be printed does not change the result.
pub(crate) fn to_stderr(text: fmt::Arguments<'_>) {
    let mut stderr = anstream::stderr().lock();
    let _ = stderr.write_fmt(text).and_then(|()| stderr.flush());
}

/// Prints to stderr as `eprint!` does, but does not panic.
macro_rules! note {
    ($($text:tt)*) => { $crate::cmd::output::to_stderr(format_args!($($text)*)) };
}

/// Prints a line to stderr as `eprintln!` does, but does not panic.
macro_rules! note_line {
    ($($text:tt)*) => { $crate::cmd::output::to_stderr(format_args!("{}\n", format_args!($($text)*))) };
}

pub(crate) use {note, note_line};
