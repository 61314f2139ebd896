//! Starts a server, waits until it responds, and stops it.

use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::{fs::symlink, process::CommandExt},
    path::Path,
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use super::{
    case::{Case, Place},
    install::Package,
    measure::independent,
};

/// A server ends by then, even if the test does not end it.
const LIFE_SECONDS: &str = "300";
/// Longer than any server takes to answer its first request.
const START: Duration = Duration::from_secs(40);
/// How long a server may take to end.
const END: Duration = Duration::from_secs(3);

/// A running server; dropped, it ends.
pub(crate) struct Server {
    child: Child,
    pub(crate) addr: SocketAddr,
    pub(crate) place: Place,
    _dir: TempDir,
}

impl Server {
    /// Starts it, and returns once it answers.
    pub(crate) fn start(case: &Case, package: &Package, runs: &Path) -> Result<Self, String> {
        let dir =
            tempfile::Builder::new().prefix("run-").tempdir_in(runs).map_err(|error| error.to_string())?;
        let port = free_port();
        let place = Place {
            dir: dir.path().to_owned(),
            port,
            cache: runs.to_owned(),
            package: package.dir.clone(),
            version: package.version.clone(),
        };
        case.write(&place);
        if let Some(modules) = &package.modules {
            symlink(modules, place.dir.join("node_modules")).map_err(|error| error.to_string())?;
        }
        let log = place.dir.join("server.log");
        let child = spawn(case, package, &place, &log)?;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = Self { child, addr, place, _dir: dir };
        let deadline = Instant::now() + START;
        let mut seen = "nobody listens".to_owned();
        while Instant::now() < deadline {
            if let Ok(Some(status)) = server.child.try_wait() {
                return Err(format!("it ended with {status}: {}", last_line(&log)));
            }
            match independent(addr, &case.path, Duration::from_millis(1)) {
                Ok(_) => return Ok(server),
                Err(error) => seen = error.to_string(),
            }
            pause(50);
        }
        Err(format!("it did not answer within {START:?}: {seen}: {}", last_line(&log)))
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<process::ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

/// Between two looks at something that has a deadline.
#[expect(clippy::disallowed_methods, reason = "it is no wait of its own")]
fn pause(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}

/// A port that nobody uses, below those that the kernel gives to clients; each one once.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = process::id() % 10_000;
    loop {
        let next = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(20_000 + (first + next) % 10_000).unwrap();
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}

fn spawn(case: &Case, package: &Package, place: &Place, log: &Path) -> Result<Child, String> {
    let outer = env::var("PATH").unwrap_or_default();
    let own = package.path.iter().map(|path| path.display().to_string());
    let path = own.chain([outer, "/usr/sbin:/sbin".to_owned()]).collect::<Vec<_>>().join(":");
    let log = File::create(log).map_err(|error| error.to_string())?;
    let mut command = Command::new("timeout");
    command
        .args(["-k", "2", LIFE_SECONDS])
        .args(&package.wrapper)
        .args(case.command.list(place))
        .env_clear()
        .env("PATH", path)
        .env("HOME", &place.dir)
        .env("LANG", "C.UTF-8")
        .envs(&package.env)
        .envs(case.env.iter().chain(&case.own_env).map(|(name, value)| (name, place.fill(value))))
        .current_dir(&place.dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(|error| error.to_string())?)
        .stderr(log)
        .process_group(0);
    command.spawn().map_err(|error| error.to_string())
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return };
        let _ = kill_process_group(group, Signal::TERM);
        let deadline = Instant::now() + END;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            pause(20);
        }
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let shown = if env::var_os("SERVERS_LOG").is_some() { lines.len() } else { 2 };
    lines[lines.len().saturating_sub(shown)..].join(" | ")
}
