//! Builds the Go program of `tests/cluster` once per content, below the `target` directory.

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
/// How often a build says that it is not stuck.
const PROGRESS: Duration = Duration::from_secs(15);
/// When a program of other sources, or what a killed cluster left, is taken for forgotten.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The program, built unless it is there. Whoever comes while it is built waits.
pub(super) fn program() -> Result<PathBuf, NotRun> {
    let program = Path::new(CACHE).join(format!("cluster-{:016x}", fingerprint()));
    let lock = File::create(Path::new(CACHE).join("cluster.lock")).unwrap();
    lock.lock().unwrap();
    if !program.exists() {
        build(&program)?;
        remove_forgotten(&program);
    }
    Ok(program)
}

/// Of everything that a build depends on but the toolchain, whose version `go.mod` bounds.
fn fingerprint() -> u64 {
    let mut files: Vec<_> = fs::read_dir(SOURCES).unwrap().map(|entry| entry.unwrap().path()).collect();
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

fn build(program: &Path) -> Result<(), NotRun> {
    let unfinished = program.with_extension("unfinished");
    let flags = format!("-s -w -X k8s.io/component-base/version.gitVersion={}", kubernetes());
    let mut command = Command::new("go");
    command.current_dir(SOURCES).args(["build", "-v", "-trimpath", "-buildvcs=false", "-ldflags"]);
    command.arg(flags).arg("-o").arg(&unfinished).arg(".").stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(NotRun("Go is not installed, and KUBEBUILDER_ASSETS is not set".to_owned()));
        }
        Err(error) => panic!("cannot run go: {error}"),
    };
    let started = Instant::now();
    let mut told = started;
    say("building the test cluster: minutes the first time, with 3 GB of Go's caches");
    let (mut steps, mut last) = (0, Vec::new());
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        steps += 1;
        last.push(line.unwrap());
        if last.len() > 20 {
            last.remove(0);
        }
        if told.elapsed() > PROGRESS {
            told = Instant::now();
            say(&format!(
                "building the test cluster: {steps} packages after {}s",
                started.elapsed().as_secs()
            ));
        }
    }
    assert!(child.wait().unwrap().success(), "cannot build tests/cluster:\n{}", last.join("\n"));
    fs::rename(unfinished, program).unwrap();
    say(&format!("built the test cluster in {}s", started.elapsed().as_secs()));
    Ok(())
}

/// Removes what no one uses, unless it is so young that another checkout may.
fn remove_forgotten(program: &Path) {
    for entry in fs::read_dir(CACHE).unwrap().flatten() {
        let path = entry.path();
        let is_ours = entry.file_name().to_string_lossy().starts_with("cluster-") && path != program;
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map(|at| SystemTime::now().duration_since(at));
        if is_ours && matches!(age, Ok(Ok(age)) if age > FORGOTTEN) {
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}
