//! Reads policy and facts files. Reports every mistake with its line.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::judgement::{
    facts::Facts,
    policy::{Policy, PolicyError},
};

/// Why a policy file or a facts file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The file has mistakes; all are listed, one a line.
    #[error("cannot use the {what} {}:{}", path.display(), list(path, mistakes))]
    Mistakes {
        /// `policy` or `facts`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The mistakes, with their lines.
        mistakes: Vec<PolicyError>,
    },
}

fn list(path: &Path, mistakes: &[PolicyError]) -> String {
    let line =
        |mistake: &PolicyError| format!("\n  {}:{}: {}", path.display(), mistake.line, mistake.message);
    mistakes.iter().map(line).collect()
}

/// Reads the text of a file.
pub(crate) fn text(path: &Path) -> Result<String, PolicyFileError> {
    fs::read_to_string(path).map_err(|source| PolicyFileError::Read { path: path.to_owned(), source })
}

/// Checks the text of a policy file.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Policy, PolicyFileError> {
    Policy::parse(text).map_err(|mistakes| PolicyFileError::Mistakes {
        what: "policy",
        path: path.to_owned(),
        mistakes,
    })
}

/// Checks the text of a facts file.
pub(crate) fn facts(path: &Path, text: &str) -> Result<Facts, PolicyFileError> {
    Facts::parse(text).map_err(|mistakes| PolicyFileError::Mistakes {
        what: "facts",
        path: path.to_owned(),
        mistakes,
    })
}
