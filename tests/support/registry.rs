//! A real registry on loopback and the tool that fills it, both from go-containerregistry and built from source.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs::{self, File},
    io::ErrorKind,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::{NotRun, PATIENCE, say};

const VERSION: &str = "v0.22.1";
const MODULE: &str = "github.com/google/go-containerregistry";

/// A registry for as long as this lives.
pub(crate) struct Registry {
    child: Child,
    crane: PathBuf,
    /// Its host and port.
    pub(crate) host: String,
}

impl Registry {
    pub(crate) fn start() -> Result<Self, NotRun> {
        let (registry, crane) = (program("registry")?, program("crane")?);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(registry);
        command.arg(format!("-port={port}")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let registry = Self { child, crane, host: format!("localhost:{port}") };
        let started = Instant::now();
        while TcpStream::connect(&registry.host).is_err() {
            assert!(started.elapsed() < PATIENCE, "the registry did not start");
            thread::park_timeout(Duration::from_millis(20));
        }
        Ok(registry)
    }

    /// Runs `crane`, and returns what it prints.
    pub(crate) fn crane(&self, args: &[&str]) -> String {
        let output = Command::new(&self.crane).args(args).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "crane {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of the module, built unless it is there.
fn program(name: &str) -> Result<PathBuf, NotRun> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("go-containerregistry-{VERSION}"));
    fs::create_dir_all(&directory).unwrap();
    let program = directory.join(name);
    let lock = File::create(directory.join("lock")).unwrap();
    lock.lock().unwrap();
    if !program.exists() {
        say(&format!("building {name} of {MODULE} {VERSION}"));
        let mut command = Command::new("go");
        command.args(["install", "-trimpath", &format!("{MODULE}/cmd/{name}@{VERSION}")]);
        command.env("GOBIN", &directory).env("CGO_ENABLED", "0").stdin(Stdio::null());
        match command.output() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(NotRun("Go is not installed".to_owned()));
            }
            Err(error) => panic!("cannot run go: {error}"),
            Ok(output) if output.status.success() => {}
            Ok(output) => panic!("cannot build {name}: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }
    Ok(program)
}
