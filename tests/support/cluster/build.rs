//! Builds the Go programs of `tests/cluster`, and Helm, once for each version of their sources, below the `target`
//! directory.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::{BufRead, BufReader, ErrorKind},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use super::CACHE;
use crate::support::{NotRun, say};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster");
/// The module whose `go.mod` names the version of Helm.
const HELM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/helm");
/// How often a build says that it is not stuck.
const PROGRESS: Duration = Duration::from_secs(15);
/// When a program of other sources, or what a killed cluster left, is taken for forgotten.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The program, built unless it is there. Whoever comes while it is built waits.
pub(super) fn program() -> Result<PathBuf, NotRun> {
    let flags = format!("-s -w -X k8s.io/component-base/version.gitVersion={}", kubernetes());
    package("cluster", SOURCES, ".", &flags, true)
}

/// The program of the tests' pods, which needs no library.
pub(super) fn pod() -> Result<PathBuf, NotRun> {
    package("pod", &format!("{SOURCES}/pod"), ".", "-s -w", false)
}

/// Helm.
pub(super) fn helm() -> Result<PathBuf, NotRun> {
    package("helm", HELM, "helm.sh/helm/v4/cmd/helm", "-s -w", false)
}

/// Builds a package in a directory, unless the program of the same files of the directory is there.
fn package(name: &str, sources: &str, package: &str, flags: &str, cgo: bool) -> Result<PathBuf, NotRun> {
    let program = Path::new(CACHE).join(format!("{name}-{:016x}", fingerprint(Path::new(sources))));
    let lock = File::create(Path::new(CACHE).join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if !program.exists() {
        let unfinished = program.with_extension("unfinished");
        let mut command = Command::new("go");
        command.current_dir(sources).args(["build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", flags]);
        command.arg("-o").arg(&unfinished).arg(package);
        if !cgo {
            command.env("CGO_ENABLED", "0");
        }
        go(command, name)?;
        fs::rename(unfinished, &program).unwrap();
        remove_forgotten(&format!("{name}-"), &program);
    }
    Ok(program)
}

/// Of everything that a build depends on but the toolchain, whose version `go.mod` bounds.
fn fingerprint(sources: &Path) -> u64 {
    let files = fs::read_dir(sources).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.is_file()).collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.file_name().hash(&mut hasher);
        fs::read(file).unwrap().hash(&mut hasher);
    }
    hasher.finish()
}

/// The version of Kubernetes in `go.mod`, which the program reports as its own.
fn kubernetes() -> String {
    let modules = fs::read_to_string(Path::new(SOURCES).join("go.mod")).unwrap();
    let version = modules.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "));
    version.expect("go.mod requires k8s.io/kubernetes").to_owned()
}

/// Runs `go`, and says from time to time that it is not stuck.
pub(super) fn go(mut command: Command, what: &str) -> Result<(), NotRun> {
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(NotRun(
                "Go is not installed; KUBEBUILDER_ASSETS can name a control plane that is built already"
                    .to_owned(),
            ));
        }
        Err(error) => panic!("cannot run go: {error}"),
    };
    let started = Instant::now();
    let mut told = started;
    say(&format!("building {what}: minutes the first time, with 3 GB of Go's caches"));
    let (mut steps, mut last) = (0, Vec::new());
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        steps += 1;
        last.push(line.unwrap());
        if last.len() > 20 {
            last.remove(0);
        }
        if told.elapsed() > PROGRESS {
            told = Instant::now();
            say(&format!("building {what}: {steps} packages after {}s", started.elapsed().as_secs()));
        }
    }
    assert!(child.wait().unwrap().success(), "cannot build {what}:\n{}", last.join("\n"));
    say(&format!("built {what} in {}s", started.elapsed().as_secs()));
    Ok(())
}

/// Removes what no one uses, unless it is so young that another checkout may.
fn remove_forgotten(prefix: &str, program: &Path) {
    for entry in fs::read_dir(CACHE).unwrap().flatten() {
        let path = entry.path();
        let is_ours = entry.file_name().to_string_lossy().starts_with(prefix) && path != program;
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map(|at| SystemTime::now().duration_since(at));
        if is_ours && matches!(age, Ok(Ok(age)) if age > FORGOTTEN) {
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}
