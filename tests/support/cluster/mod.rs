//! A Kubernetes cluster for the lifetime of the test process: a control plane, with or without a node.
//!
//! [`Cluster::start`] builds `tests/cluster` (once) and runs it; `KUBEBUILDER_ASSETS` names binaries to use instead.
//! [`Cluster::start_with_node`] also runs a kubelet and containerd.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod assets;
mod build;
pub(crate) mod node;
pub(crate) mod others;
pub(crate) mod pods;
pub(crate) mod webhook;

use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::{
        Mutex,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::support::NotRun;

/// Where programs and running clusters have their files.
const CACHE: &str = env!("CARGO_TARGET_TMPDIR");
/// Longer than any start on a loaded machine.
const START: Duration = Duration::from_secs(120);
/// Longer than its end takes: nothing is saved.
const END: Duration = Duration::from_secs(10);

/// A running control plane; dropped, or with the end of this process, it ends and leaves nothing behind.
pub(crate) struct Cluster {
    process: Process,
    dir: PathBuf,
    kubectl: Vec<PathBuf>,
    controllers: bool,
}

impl Cluster {
    /// Starts one, and returns once it is ready.
    pub(crate) fn start() -> Result<Self, NotRun> {
        // Services on loopback addresses that hardly another cluster uses at the same time.
        let services = format!("127.{}.0.0/16", 64 + std::process::id() % 128);
        let dir = tempfile::Builder::new().prefix("cluster-run-").tempdir_in(CACHE).unwrap();
        match assets() {
            Some(assets) => assets::start(&assets, dir, &services),
            None => Ok(start(&build::program()?, dir, &["--service-cluster-ip-range".to_owned(), services])),
        }
    }

    /// Starts one with a node, on which pods run.
    pub(crate) fn start_with_node() -> Result<Self, NotRun> {
        let dir = tempfile::Builder::new().prefix("cluster-run-").tempdir_in(CACHE).unwrap();
        let program = build::program()?;
        let flags = node::flags(&program, dir.path())?;
        Ok(start(&program, dir, &flags))
    }

    /// Ends every process of the node at once but the control plane, whose process is the first of their PID namespace.
    /// What starts the node's programs starts them again.
    pub(crate) fn kill_node(&self) {
        let outer = self.process.child.id().to_string();
        let parent = |pid: &str| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some(stat.rsplit(')').next()?.split_whitespace().nth(1)?.to_owned())
        };
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let pids = || {
            let entries = fs::read_dir("/proc").unwrap().flatten();
            entries
                .filter_map(|entry| entry.file_name().into_string().ok())
                .filter(|name| name.parse::<i32>().is_ok())
        };
        let first = pids().find(|pid| parent(pid).as_deref() == Some(&outer)).expect("the cluster runs");
        let own = namespace(&first);
        let pods = self.dir.file_name().unwrap().to_str().unwrap();
        let is_of_pod = |pid: &str| {
            fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(pods))
        };
        let ours = |pid: &String| *pid != first && (namespace(pid) == own || is_of_pod(pid));
        for pid in pids().filter(ours) {
            let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
            // It may have ended with another one.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }

    /// Whether there are controllers, which make pods of Deployments, and ServiceAccounts.
    pub(crate) fn has_controllers(&self) -> bool {
        self.controllers
    }

    /// The kubeconfig of a cluster admin.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// A client as a cluster admin, for the runtime that it is made on.
    pub(crate) async fn client(&self) -> kube::Client {
        let kubeconfig = kube::config::Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
        kube::Client::try_from(config).unwrap()
    }

    /// The command `kubectl`, as a cluster admin.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.kubectl[0]);
        // Its cache and its preferences are looked for in the home directory.
        command.args(&self.kubectl[1..]).env("KUBECONFIG", self.kubeconfig()).env("HOME", &self.dir);
        command
    }

    /// Runs `kubectl`.
    pub(crate) async fn kubectl(&self, args: &[&str]) -> Told {
        self.kubectl_with(args, "").await
    }

    /// Runs `kubectl` with this on its standard input.
    pub(crate) async fn kubectl_with(&self, args: &[&str], input: &str) -> Told {
        let mut command = tokio::process::Command::from(self.command());
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // It may end without having read everything.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output =
            tokio::time::timeout(START, child.wait_with_output()).await.expect("kubectl ends").unwrap();
        Told::from(output)
    }
}

/// Where the binaries are that are there already.
fn assets() -> Option<PathBuf> {
    env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from)
}

/// The command `kubectl` for what needs no cluster.
pub(crate) fn kubectl() -> Result<Command, NotRun> {
    match assets() {
        Some(assets) => Ok(Command::new(assets.join("kubectl"))),
        None => {
            let mut command = Command::new(build::program()?);
            command.arg("kubectl");
            Ok(command)
        }
    }
}

/// Helm, without the settings, the cache and the plugins of the user.
pub(crate) fn helm() -> Result<Command, NotRun> {
    let mut command = Command::new(build::helm()?);
    let home = Path::new(CACHE).join("helm-home");
    for kind in ["CACHE", "CONFIG", "DATA"] {
        command.env(format!("HELM_{kind}_HOME"), &home);
    }
    command.env("HOME", home).env_remove("KUBECONFIG");
    Ok(command)
}

/// What a command printed.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Told {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Told {
    /// What a command printed that must have succeeded.
    pub(crate) fn ok(self) -> Self {
        assert!(self.success, "the command failed: {}{}", self.stdout, self.stderr);
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// Starts the program of `tests/cluster`, which removes `dir` at its end.
fn start(program: &Path, dir: TempDir, flags: &[String]) -> Cluster {
    let mut command = Command::new(program);
    command.arg("run").args(flags).arg("--dir").arg(dir.path());
    let process = Process::spawn(command, dir.path());
    process.first_line(dir.path());
    let kubectl = vec![program.to_owned(), "kubectl".into()];
    Cluster { process, dir: dir.keep(), kubectl, controllers: true }
}

/// A process that ends when its standard input does.
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Mutex<Receiver<String>>,
}

impl Process {
    /// Starts it, with its log in the file `log` of `dir`.
    fn spawn(mut command: Command, dir: &Path) -> Self {
        let log = File::create(dir.join("log")).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin, lines: Mutex::new(lines) }
    }

    /// Waits for the line that says that it is ready.
    fn first_line(&self, dir: &Path) -> String {
        self.lines
            .lock()
            .unwrap()
            .recv_timeout(START)
            .unwrap_or_else(|_| panic!("no cluster: {}", last_lines(dir)))
    }

    /// Waits for so long, or until it has ended.
    fn has_ended_within(&self, wait: Duration) -> bool {
        matches!(self.lines.lock().unwrap().recv_timeout(wait), Err(RecvTimeoutError::Disconnected))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if !self.has_ended_within(END) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The end of the log, for whoever reads why a start failed.
fn last_lines(dir: &Path) -> String {
    let log = fs::read(dir.join("log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
