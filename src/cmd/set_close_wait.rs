//! `set-close-wait`: sets the close-wait timeout of the current network namespace.
//!
//! Our init container runs this command. It writes a single file and exits; `close_wait` decides which pods get the
//! container.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::output::print;
use crate::workload::annotations::{MAX_SECONDS, MIN_SECONDS};

pub use crate::base::names::CLOSE_WAIT_FILE as SYSCTL_FILE;

/// The flags of `set-close-wait`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// The timeout in seconds
    #[arg(value_parser = clap::value_parser!(u32).range(i64::from(MIN_SECONDS)..=i64::from(MAX_SECONDS)))]
    seconds: u32,
}

/// Sets the timeout, and prints the previous one.
///
/// # Errors
///
/// Returns an error if the timeout cannot be set, or this is not Linux.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(cfg!(target_os = "linux"), "set-close-wait works only on Linux: it writes {SYSCTL_FILE}");
    let before = set(Path::new(SYSCTL_FILE), args.seconds)?;
    // The timeout is set. An error of the log must not make the init container fail, which would stop the pod.
    let _ = print(&format!("{SYSCTL_FILE}: {} (was {before})\n", args.seconds));
    Ok(ExitCode::SUCCESS)
}

/// Why the timeout was not set.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// The file cannot be opened, read or written. The help follows the reason, so the reason is told here and not
    /// once more as a source.
    #[error("cannot set {}: {error}; {}", path.display(), help_for(error))]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The kernel took the number, and has another one.
    #[error("wrote {wrote} to {}, but read back {found:?}; another program may also set it", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What was written.
        wrote: u32,
        /// What was found.
        found: String,
    },
}

/// Writes the seconds to the file, reads them back, and returns the previous value.
///
/// # Errors
///
/// Returns an error if the file cannot be written, or has another value afterwards.
pub fn set(path: &Path, seconds: u32) -> Result<String, SetError> {
    let fail = |error| SetError::File { path: path.to_owned(), error };
    let before = fs::read_to_string(path).map_err(fail)?;
    // The kernel reads one write as one number. Without `create`, a missing file is an error.
    let mut file = OpenOptions::new().write(true).open(path).map_err(fail)?;
    file.write_all(format!("{seconds}\n").as_bytes()).map_err(fail)?;
    drop(file);
    let found = fs::read_to_string(path).map_err(fail)?;
    if found.trim() == seconds.to_string() {
        return Ok(before.trim().to_owned());
    }
    Err(SetError::Other { path: path.to_owned(), wrote: seconds, found: found.trim().to_owned() })
}

/// The help text for an error of the kernel (measured on Linux 6.18).
fn help_for(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => {
            "/proc/sys is writable only in a container with securityContext.privileged: true"
        }
        ErrorKind::PermissionDenied => "it needs uid 0: set securityContext.runAsUser: 0",
        ErrorKind::NotFound => {
            "the kernel module nf_conntrack is not loaded on this node: run modprobe nf_conntrack there"
        }
        ErrorKind::InvalidInput => {
            "the kernel accepts at most INT_MAX / HZ seconds, which is 2147483 if HZ is 1000"
        }
        _ => "it needs uid 0, securityContext.privileged: true and the kernel module nf_conntrack",
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn the_timeout_is_written_and_read_back() {
        let file = file("60\n");
        assert_eq!(set(file.path(), 3600).unwrap(), "60");
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "3600\n");
        assert_eq!(set(file.path(), 3600).unwrap(), "3600");
    }

    #[test]
    fn a_different_value_after_the_write_is_an_error() {
        let file = file("60 and more\n");
        let error = set(file.path(), 3600).unwrap_err().to_string();
        assert!(error.starts_with("wrote 3600 to ") && error.contains("but read back \"3600"), "{error}");
    }

    #[test]
    fn a_missing_file_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nf_conntrack_tcp_timeout_close_wait");
        let error = set(&path, 3600).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot set {}: No such file", path.display())), "{error}");
        assert!(error.ends_with("run modprobe nf_conntrack there"), "{error}");
        assert!(!path.exists());
    }

    #[rstest]
    #[case(ErrorKind::ReadOnlyFilesystem, "privileged: true")]
    #[case(ErrorKind::PermissionDenied, "runAsUser: 0")]
    #[case(ErrorKind::NotFound, "modprobe nf_conntrack")]
    #[case(ErrorKind::InvalidInput, "2147483")]
    #[case(ErrorKind::Unsupported, "nf_conntrack")]
    fn each_error_has_a_help_text(#[case] kind: ErrorKind, #[case] words: &str) {
        assert!(help_for(&kind.into()).contains(words));
    }
}
