//! Runs Prometheus' `promtool`, which checks rules and runs them on series.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::NotRun;

/// Much longer than any run of it takes.
const LIMIT: Duration = Duration::from_secs(120);

/// The program, where it is installed.
pub(crate) struct Promtool(PathBuf);

impl Promtool {
    /// Finds it on the `PATH`.
    pub(crate) fn find() -> Result<Self, NotRun> {
        let path = env::var_os("PATH").unwrap_or_default();
        let found = env::split_paths(&path).map(|folder| folder.join("promtool")).find(|it| it.is_file());
        found.map(Self).ok_or_else(|| {
            NotRun("promtool is not installed; .ci/run takes it from Debian's package prometheus".to_owned())
        })
    }

    /// `promtool check rules`.
    pub(crate) fn check(&self, file: &Path) {
        self.run(&["check", "rules"], file);
    }

    /// `promtool test rules`.
    pub(crate) fn test(&self, file: &Path) {
        self.run(&["test", "rules"], file);
    }

    fn run(&self, command: &[&str], file: &Path) {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("output");
        let writer = fs::File::create(&output).unwrap();
        let mut child = Command::new(&self.0)
            .args(command)
            .arg(file)
            .stdin(Stdio::null())
            .stderr(writer.try_clone().unwrap())
            .stdout(writer)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + LIMIT;
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    child.kill().unwrap();
                    break child.wait().unwrap();
                }
                None => pause(),
            }
        };
        let said = fs::read_to_string(&output).unwrap();
        assert!(status.success(), "promtool {} {}: {status}\n{said}", command.join(" "), file.display());
    }
}

#[allow(clippy::disallowed_methods, reason = "between two looks at a process, with a deadline")]
fn pause() {
    thread::sleep(Duration::from_millis(10));
}
