//! The words of a command line, each with its location and its unknown parts.
//!
//! Types for `environment`, `command` and `settings`.

use std::sync::Arc;

use crate::workload::pod::{Container, Pod};

/// The location of a text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// An item of `command`.
    Command(usize),
    /// An item of `args`.
    Args(usize),
    /// An item of `env`.
    Env(usize),
    /// A key of the ConfigMap with this name.
    ConfigMap(String),
    /// An item of `volumeMounts`.
    Mount(usize),
    /// A line of a ConfigMap.
    Line {
        /// The name of the ConfigMap.
        config_map: String,
        /// The key.
        key: String,
        /// The line, from 1.
        line: usize,
    },
    /// A line of a file of the image.
    ImageLine {
        /// The path of the file.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// A field of the image's config: `ENTRYPOINT of cart:3@sha256:...`.
    ImageConfig(Arc<str>),
}

impl Place {
    /// The JSON pointer from the root of the object; `ConfigMap web` for a text in another object, and `ENV of
    /// cart:3@sha256:...` for a text in the config of the image.
    pub fn pointer(&self, pod: &Pod<'_>, container: &Container<'_>) -> String {
        let (field, index) = match self {
            Self::Command(index) => ("command", index),
            Self::Args(index) => ("args", index),
            Self::Env(index) => ("env", index),
            Self::Mount(index) => ("volumeMounts", index),
            Self::ConfigMap(name) => return format!("ConfigMap {name}"),
            Self::Line { config_map, key, line } => {
                return format!("ConfigMap {config_map}, key {key}, line {line}");
            }
            Self::ImageLine { path, line } => return format!("the image's {path}, line {line}"),
            Self::ImageConfig(field) => return field.to_string(),
        };
        pod.container_pointer(container, [field, &index.to_string()]).to_string()
    }
}

/// A part of a word.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    /// Known text.
    Text(String),
    /// Unknown text, with the reason: `it may be set by Secret app-env`.
    Unknown(String),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) | Self::Unknown(text) => text.len(),
        }
    }
}

/// A word of a command line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Word {
    /// The parts. No text is empty, no two texts are adjacent, and all are within the limits below.
    pieces: Vec<Piece>,
    /// The location.
    pub at: Place,
}

/// The maximum length of an argument or a variable: MAX_ARG_STRLEN in Linux's include/uapi/linux/binfmts.h, with pages
/// of 4 KiB.
pub const MAX_LEN: usize = 128 << 10;

/// The maximum number of parts, which bounds the cost of unknown parts.
const MAX_PIECES: usize = 256;

/// The maximum length of a reason, in characters; a reason may quote a name of any length.
const MAX_REASON_LEN: usize = 250;

impl Word {
    /// Creates a word from parts; unknown as a whole if they are too long or too many. All words are created or
    /// extended here.
    pub(crate) fn new(pieces: impl IntoIterator<Item = Piece>, at: Place) -> Self {
        let mut word = Self { pieces: Vec::new(), at };
        let mut length = 0;
        for piece in pieces {
            let piece = match piece {
                Piece::Unknown(why) if why.len() > MAX_REASON_LEN => {
                    Piece::Unknown(cut(&why, MAX_REASON_LEN))
                }
                piece => piece,
            };
            length += piece.len();
            if length > MAX_LEN || word.pieces.len() > MAX_PIECES {
                word.pieces =
                    vec![Piece::Unknown("an argument is too long to start a program with".to_owned())];
                return word;
            }
            match (piece, word.pieces.last_mut()) {
                (Piece::Text(text), _) if text.is_empty() => {}
                (Piece::Text(text), Some(Piece::Text(before))) => before.push_str(&text),
                (piece, _) => word.pieces.push(piece),
            }
        }
        word
    }

    /// An unknown word.
    pub(crate) fn unknown(why: impl Into<String>, at: Place) -> Self {
        Self::new([Piece::Unknown(why.into())], at)
    }

    /// A known word; unknown if it is too long.
    pub(crate) fn text(text: &str, at: Place) -> Self {
        Self::new([Piece::Text(text.to_owned())], at)
    }

    /// The whole word, or why it is unknown.
    pub(crate) fn known(&self) -> Result<&str, &str> {
        match self.why() {
            Some(why) => Err(why),
            None => Ok(self.prefix()),
        }
    }

    /// The known text at the start.
    pub(crate) fn prefix(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Text(text)) => text,
            Some(Piece::Unknown(_)) | None => "",
        }
    }

    /// Why a part of it is unknown.
    pub(crate) fn why(&self) -> Option<&str> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Unknown(why) => Some(why.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The total length of its parts, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(Piece::len).sum()
    }

    /// The parts.
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The word without its first `length` bytes, which must be known.
    pub(crate) fn after(&self, length: usize) -> Self {
        let mut pieces = self.pieces.clone();
        if let Some(Piece::Text(text)) = pieces.first_mut() {
            *text = text.get(length..).unwrap_or_default().to_owned();
        }
        Self::new(pieces, self.at.clone())
    }
}

/// Whether a path is below a directory.
pub(crate) fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// The last part of a path.
pub(crate) fn basename(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The first `characters` of a text.
pub fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}
