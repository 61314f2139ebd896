//! What a server does with an idle connection, and how we know.

use std::{fmt, time::Duration};

/// What a server does with an idle keep-alive connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Idle {
    /// It closes the connection at some moment of a window.
    ClosesAfter(Window, Evidence),
    /// It closes the connection after each response: there is no idle connection.
    ClosesEachResponse(Evidence),
    /// It has no idle timeout.
    NeverCloses(Evidence),
    /// We do not know, and do not guess.
    Unknown(Why),
}

impl Idle {
    /// The same in words fit for one line of any report: what the pod brought is cut and has no control characters.
    pub(super) fn clean(self) -> Self {
        match self {
            Self::ClosesAfter(window, evidence) => Self::ClosesAfter(window, evidence.clean()),
            Self::ClosesEachResponse(evidence) => Self::ClosesEachResponse(evidence.clean()),
            Self::NeverCloses(evidence) => Self::NeverCloses(evidence.clean()),
            Self::Unknown(Why(why)) => Self::Unknown(Why(printable(&why))),
        }
    }

    /// The word for it in the JSON of `explain`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ClosesAfter(..) => "closes-after",
            Self::ClosesEachResponse(_) => "closes-each-response",
            Self::NeverCloses(_) => "never-closes",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// When a server closes an idle connection: at the earliest after `from`, at the latest after `to`.
///
/// They differ where the server looks at its timers only now and then.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// The configured timeout.
    pub timeout: Duration,
    /// The earliest close.
    pub from: Duration,
    /// The latest close.
    pub to: Duration,
}

impl Window {
    /// A server that closes when the timeout is over.
    pub const fn exactly(timeout: Duration) -> Self {
        Self { timeout, from: timeout, to: timeout }
    }
}

/// How we know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Evidence {
    /// The pod says it: `at` is the JSON pointer from the object's root, or a word such as `ConfigMap web`;
    /// `text` is what stands there.
    SetBy {
        /// Where.
        at: String,
        /// What.
        text: String,
    },
    /// A default of the server.
    DefaultOf {
        /// The server, with the version that we took it to be.
        server: String,
        /// Where the number comes from.
        source: String,
    },
}

impl Evidence {
    fn clean(self) -> Self {
        match self {
            Self::SetBy { at, text } => Self::SetBy { at: printable(&at), text: printable(text.trim_end()) },
            Self::DefaultOf { server, source } => Self::DefaultOf { server: printable(&server), source },
        }
    }
}

/// A text of one line.
fn printable(text: &str) -> String {
    const LONGEST: usize = 300;
    text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetBy { at, text } => write!(f, "{text} at {at}"),
            Self::DefaultOf { server, source } => write!(f, "default of {server} ({source})"),
        }
    }
}

/// Why we do not know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Why(pub String);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
