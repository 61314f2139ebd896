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

    /// How we know; `None` where we do not.
    pub const fn evidence(&self) -> Option<&Evidence> {
        match self {
            Self::ClosesAfter(_, evidence)
            | Self::ClosesEachResponse(evidence)
            | Self::NeverCloses(evidence) => Some(evidence),
            Self::Unknown(_) => None,
        }
    }

    pub(super) const fn evidence_mut(&mut self) -> Option<&mut Evidence> {
        match self {
            Self::ClosesAfter(_, evidence)
            | Self::ClosesEachResponse(evidence)
            | Self::NeverCloses(evidence) => Some(evidence),
            Self::Unknown(_) => None,
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
/// They differ where the server looks at its timers only now and then, and where several timeouts are possible.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// The configured timeout; `None` where several are possible.
    pub timeout: Option<Duration>,
    /// The earliest close.
    pub from: Duration,
    /// The latest close.
    pub to: Duration,
}

impl Window {
    /// A server that closes when the timeout is over.
    pub const fn exactly(timeout: Duration) -> Self {
        Self { timeout: Some(timeout), from: timeout, to: timeout }
    }
}

/// How we know, and how sure that is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Evidence {
    /// Where it comes from.
    pub origin: Origin,
    /// The fields of the image's config that show the server and its version, such as `ENTRYPOINT of
    /// cart:3@sha256:...`; empty where the pod spec shows them.
    pub image_fields: Vec<String>,
    /// How sure it is.
    pub certainty: Certainty,
}

/// Where an answer comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The pod spec sets it, or the image's config: `at` is the JSON pointer from the object's root, a place in a
    /// ConfigMap, or a field of the image's config; `text` is what stands there.
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
    /// It was measured.
    Measured {
        /// When, and how.
        text: String,
    },
}

/// How sure an answer is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Certainty {
    /// The pod spec says it, or the program can take its timeout from nothing that the spec does not show.
    Certain,
    /// Files of the image or the app's code may set another timeout: a sentence says which.
    Likely(String),
}

impl Certainty {
    /// The words for certainties, in the order of their strength.
    pub const NAMES: [&str; 2] = ["certain", "likely"];

    /// The word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Certain => "certain",
            Self::Likely(_) => "likely",
        }
    }

    /// Whether it is certain.
    pub const fn is_certain(&self) -> bool {
        matches!(self, Self::Certain)
    }
}

impl Evidence {
    /// What the pod spec sets.
    pub fn set_by(at: impl Into<String>, text: impl Into<String>) -> Self {
        let origin = Origin::SetBy { at: at.into(), text: text.into() };
        Self { origin, image_fields: Vec::new(), certainty: Certainty::Certain }
    }

    /// What was measured.
    pub fn measured(text: impl Into<String>, certainty: Certainty) -> Self {
        Self { origin: Origin::Measured { text: text.into() }, image_fields: Vec::new(), certainty }
    }

    /// Whether the pod spec sets it, or a ConfigMap, and nothing that they do not show can set another.
    pub fn is_set_for_certain(&self) -> bool {
        matches!(&self.origin, Origin::SetBy { at, .. } if is_of_pod(at)) && self.certainty.is_certain()
    }

    /// Whether the image's config shows it, or a part of it.
    pub(super) fn is_of_image(&self) -> bool {
        !self.image_fields.is_empty() || matches!(&self.origin, Origin::SetBy { at, .. } if !is_of_pod(at))
    }

    fn clean(self) -> Self {
        let origin = match self.origin {
            Origin::SetBy { at, text } => {
                Origin::SetBy { at: printable(&at), text: printable(text.trim_end()) }
            }
            Origin::DefaultOf { server, source } => Origin::DefaultOf { server: printable(&server), source },
            Origin::Measured { text } => Origin::Measured { text: printable(&text) },
        };
        let certainty = match self.certainty {
            Certainty::Certain => Certainty::Certain,
            Certainty::Likely(why) => Certainty::Likely(printable(&why)),
        };
        let image_fields = self.image_fields.iter().map(|field| printable(field)).collect();
        Self { origin, image_fields, certainty }
    }
}

/// Whether a place is in the pod spec, or in a ConfigMap, and not in an image's config.
fn is_of_pod(at: &str) -> bool {
    at.starts_with('/') || at.starts_with("ConfigMap ")
}

/// A single-line string.
fn printable(text: &str) -> String {
    const MAX_LEN: usize = 300;
    text.chars().take(MAX_LEN).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::SetBy { at, text } => write!(f, "{text} at {at}")?,
            Origin::DefaultOf { server, source } => write!(f, "default of {server} ({source})")?,
            Origin::Measured { text } => f.write_str(text)?,
        }
        if !self.image_fields.is_empty() {
            write!(f, "; as shown by {}", self.image_fields.join(" and "))?;
        }
        match &self.certainty {
            Certainty::Certain => Ok(()),
            Certainty::Likely(why) => write!(f, "; likely: {why}"),
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
