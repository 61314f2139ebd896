//! How a server handles idle connections, with the evidence.

use std::{fmt, time::Duration};

/// How a server handles an idle keep-alive connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Idle {
    /// It closes the connection within a window.
    ClosesAfter(Window, Evidence),
    /// It closes the connection after each response: there is no idle connection.
    ClosesEachResponse(Evidence),
    /// It has no idle timeout.
    NeverCloses(Evidence),
    /// Unknown; nothing is guessed.
    Unknown(Why),
}

impl Idle {
    /// Makes the texts safe for one line of a report: text from the pod is truncated, and control characters are
    /// removed.
    pub(super) fn clean(self) -> Self {
        match self {
            Self::ClosesAfter(window, evidence) => Self::ClosesAfter(window, evidence.clean()),
            Self::ClosesEachResponse(evidence) => Self::ClosesEachResponse(evidence.clean()),
            Self::NeverCloses(evidence) => Self::NeverCloses(evidence.clean()),
            Self::Unknown(Why(why)) => Self::Unknown(Why(printable(&why))),
        }
    }

    /// The evidence; `None` if the timeout is unknown.
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

    /// The name in the JSON of `explain`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ClosesAfter(..) => "closes-after",
            Self::ClosesEachResponse(_) => "closes-each-response",
            Self::NeverCloses(_) => "never-closes",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// When a server closes an idle connection: not before `from` and not after `to`.
///
/// The two differ if the server checks its timers periodically, or if several timeouts are possible.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// The configured timeout; `None` if several are possible.
    pub timeout: Option<Duration>,
    /// The earliest close.
    pub from: Duration,
    /// The latest close.
    pub to: Duration,
}

impl Window {
    /// A server that closes exactly at the timeout.
    pub const fn exactly(timeout: Duration) -> Self {
        Self { timeout: Some(timeout), from: timeout, to: timeout }
    }
}

/// The evidence for an answer and its certainty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Evidence {
    /// The source.
    pub origin: Origin,
    /// The fields of the image's config that show the server and its version, such as `ENTRYPOINT of
    /// cart:3@sha256:...`; empty if the pod spec shows them.
    pub image_fields: Vec<String>,
    /// The certainty.
    pub certainty: Certainty,
}

/// The source of an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// Set by the pod spec or the config of the image. `at` is a JSON pointer from the root of the object, a location
    /// in a ConfigMap, or a field of the image's config; `text` is the text there.
    SetBy {
        /// The location.
        at: String,
        /// The text.
        text: String,
    },
    /// A default of the server.
    DefaultOf {
        /// The server, with the assumed version.
        server: String,
        /// The source of the value.
        source: String,
    },
    /// Measured.
    Measured {
        /// When and how.
        text: String,
    },
}

/// The certainty of an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Certainty {
    /// The pod spec sets the value, or nothing outside of the spec can change it.
    Certain,
    /// Files of the image, or the code of the app, may set another timeout; the sentence says which.
    Likely(String),
}

impl Certainty {
    /// The names of the certainties, in order of strength.
    pub const NAMES: [&str; 2] = ["certain", "likely"];

    /// The name.
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
    /// Evidence for a value that the pod spec sets.
    pub fn set_by(at: impl Into<String>, text: impl Into<String>) -> Self {
        let origin = Origin::SetBy { at: at.into(), text: text.into() };
        Self { origin, image_fields: Vec::new(), certainty: Certainty::Certain }
    }

    /// Evidence for a measured value.
    pub fn measured(text: impl Into<String>, certainty: Certainty) -> Self {
        Self { origin: Origin::Measured { text: text.into() }, image_fields: Vec::new(), certainty }
    }

    /// Whether the pod spec or a ConfigMap sets the value, and nothing else can change it.
    pub fn is_set_for_certain(&self) -> bool {
        matches!(&self.origin, Origin::SetBy { at, .. } if is_of_pod(at)) && self.certainty.is_certain()
    }

    /// Whether the evidence comes from the config of the image, at least in part.
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

/// Whether a location is in the pod spec or in a ConfigMap, and not in the config of an image.
fn is_of_pod(at: &str) -> bool {
    at.starts_with('/') || at.starts_with("ConfigMap ")
}

/// A single-line string.
fn printable(text: &str) -> String {
    const MAX_LEN: usize = 300;
    let end = text.char_indices().nth(MAX_LEN).map_or(text.len(), |(end, _)| end);
    text[..end].replace(char::is_control, " ")
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

/// Why the timeout is unknown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Why(pub String);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
