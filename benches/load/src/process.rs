//! Programs under measurement: started on a core of their own, watched in `/proc`, and ended.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rustix::{
    param::clock_ticks_per_second,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::client::{Client, Request};

/// The core of the server, and that of the client: the first two that this process may use.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    pub server: usize,
    pub client: usize,
}

impl Cores {
    pub fn find() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        match (cores.next(), cores.next()) {
            (Some(server), Some(client)) => Ok(Self { server, client }),
            _ => bail!("two cores are needed: one for the server, one for the client"),
        }
    }
}

/// Keeps this thread, and what it starts from now on, on these cores.
pub fn pin(cores: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    sched_setaffinity(None, &set).with_context(|| format!("cannot stay on the cores {cores:?}"))
}

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name in tables.
    pub name: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What comes before `--listen`, `--tls-cert` and `--tls-key`.
    pub args: Vec<&'static str>,
}

/// The folder with the certificate pair, and with the logs of the servers.
#[derive(Debug)]
pub struct Files(pub tempfile::TempDir);

impl Files {
    /// Makes a self-signed pair: ECDSA with P-256, as `install` does.
    pub fn make() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        fs::write(dir.path().join("tls.crt"), pair.cert.pem())?;
        fs::write(dir.path().join("tls.key"), pair.signing_key.serialize_pem())?;
        Ok(Self(dir))
    }

    pub fn certificate(&self) -> PathBuf {
        self.0.path().join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.0.path().join("tls.key")
    }
}

/// A running server; dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub name: &'static str,
    pub address: SocketAddr,
    /// From its start to the answer to the first review.
    pub ready: Duration,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts it on the server's core, and waits until it has answered a review.
    pub async fn start(
        program: &Program,
        files: &Files,
        cores: Cores,
        client: &Client,
        first: &Request,
    ) -> anyhow::Result<Self> {
        let address = free_port()?;
        let log = files.0.path().join(format!("{}-{}.log", program.name, address.port()));
        let mut command = Command::new(&program.path);
        command.args(&program.args).args(["--listen", &address.to_string()]);
        command.arg("--tls-cert").arg(files.certificate()).arg("--tls-key").arg(files.key());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let start = Instant::now();
        pin(&[cores.server])?;
        let child = command.spawn();
        pin(&[cores.client])?;
        let child = child.with_context(|| format!("cannot start {}", program.path.display()))?;
        let mut server = Self { child, name: program.name, address, ready: Duration::ZERO };
        loop {
            if let Ok(mut connection) = client.connect(address).await {
                ensure!(connection.send(first).await?.status == 200, "{} refused a review", program.name);
                server.ready = start.elapsed();
                return Ok(server);
            }
            if start.elapsed() > Duration::from_secs(20) || server.child.try_wait()?.is_some() {
                bail!("{} did not start: {}", program.name, fs::read_to_string(&log)?.trim());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The processor time of all its threads so far, in user and kernel mode.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        let stat = self.read("stat")?;
        // The name of the program is in parentheses, and may hold spaces. utime and stime are the fields 14 and 15.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has another form")?;
        let ticks: u64 = fields
            .split_ascii_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().context("/proc/PID/stat has another form"))
            .sum::<anyhow::Result<u64>>()?;
        Ok(Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64))
    }

    /// Its resident memory now and at most so far, in MB of 10^6 bytes.
    pub fn resident(&self) -> anyhow::Result<(f64, f64)> {
        let status = self.read("status")?;
        let field = |name| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .context("/proc/PID/status has no RSS")?;
            let kib: f64 = line.trim_matches(|c: char| !c.is_ascii_digit()).parse()?;
            anyhow::Ok(kib * 1024.0 / 1e6)
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }

    fn read(&self, file: &str) -> anyhow::Result<String> {
        let path = Path::new("/proc").join(self.child.id().to_string()).join(file);
        fs::read_to_string(path).with_context(|| format!("{} has ended", self.name))
    }
}

fn free_port() -> anyhow::Result<SocketAddr> {
    // The port is free again when the listener is dropped; the kernel gives it to nobody else for a while.
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
