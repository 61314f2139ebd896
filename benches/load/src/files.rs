//! Commands over files: `lint`, `explain` and kube-score, each on the same manifests.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, ensure};
use rustix::param::clock_ticks_per_second;

use crate::{process::pin, report};

/// A command is stopped after this time, in seconds: kube-score did not end within eight minutes on 10,000 files.
const LIMIT: &str = "60";
/// The exit code of `timeout` (coreutils) if it stopped the command.
const STOPPED: i32 = 124;

/// How many containers a file has.
pub const CONTAINERS: usize = 2;

/// Writes files with a Deployment of two containers and its Service each.
pub fn write(folder: &Path, count: usize) -> anyhow::Result<Vec<PathBuf>> {
    (0..count)
        .map(|number| {
            let path = folder.join(format!("app-{number:05}.yaml"));
            fs::write(&path, manifest(number))?;
            Ok(path)
        })
        .collect()
}

fn manifest(number: usize) -> String {
    let keep_alive = 20 + number % 100;
    format!(
        "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-{number}
  namespace: shop
  labels: {{app.kubernetes.io/name: app-{number}}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app.kubernetes.io/name: app-{number}}}}}
  template:
    metadata:
      labels: {{app.kubernetes.io/name: app-{number}}}
      annotations: {{linkerd.io/inject: enabled}}
    spec:
      containers:
      - name: app
        image: registry.example.com/shop/app-{number}:1.{number}.0
        command: [uvicorn, 'app:app', --host, 0.0.0.0, --port, '8000', --timeout-keep-alive, '{keep_alive}']
        env:
        - {{name: DATABASE_URL, value: 'postgres://db-{number}.shop.svc.cluster.local:5432/app'}}
        - {{name: LOG_LEVEL, value: info}}
        ports:
        - {{name: http, containerPort: 8000}}
        resources:
          requests: {{cpu: 100m, memory: 128Mi}}
          limits: {{cpu: 500m, memory: 256Mi}}
        readinessProbe:
          httpGet: {{path: /ready, port: http}}
          periodSeconds: 5
        livenessProbe:
          httpGet: {{path: /live, port: http}}
          periodSeconds: 15
      - name: front
        image: nginx:1.27.3
        ports:
        - {{name: front, containerPort: 8080}}
        resources:
          requests: {{cpu: 50m, memory: 64Mi}}
          limits: {{cpu: 100m, memory: 128Mi}}
        readinessProbe:
          httpGet: {{path: /, port: front}}
          periodSeconds: 10
---
apiVersion: v1
kind: Service
metadata:
  name: app-{number}
  namespace: shop
spec:
  selector: {{app.kubernetes.io/name: app-{number}}}
  ports:
  - {{name: http, port: 80, targetPort: front}}
"
    )
}

/// A command to measure.
pub struct Measured {
    pub name: &'static str,
    pub program: PathBuf,
    pub args: Vec<PathBuf>,
}

/// Runs the commands in turn, this many rounds, on these cores.
pub fn measure(
    commands: &[&Measured],
    files: usize,
    cores: &[usize],
    rounds: usize,
) -> anyhow::Result<Vec<report::Command>> {
    let mut took = vec![Vec::new(); commands.len()];
    for _ in 0..rounds {
        for (command, took) in commands.iter().zip(&mut took) {
            took.push(run(command, cores)?);
        }
    }
    let of_command = |(command, took): (&&Measured, Vec<Took>)| report::Command {
        command: command.name,
        files,
        cores: cores.len(),
        rounds,
        stopped: took.iter().any(|took| took.stopped),
        seconds: report::median(took.iter().map(|took| took.seconds)),
        core_seconds: report::median(took.iter().map(|took| took.core_seconds)),
    };
    Ok(commands.iter().zip(took).map(of_command).collect())
}

/// What one run took.
#[derive(Clone)]
struct Took {
    seconds: f64,
    core_seconds: f64,
    stopped: bool,
}

/// Runs a command to its end, or to the limit; the output goes to a file, as that of a pipeline does.
fn run(command: &Measured, cores: &[usize]) -> anyhow::Result<Took> {
    let output = tempfile::NamedTempFile::new()?;
    let mut process = Command::new("timeout");
    process
        .arg(LIMIT)
        .arg(&command.program)
        .args(&command.args)
        .stdin(Stdio::null())
        .stdout(output.reopen()?)
        .stderr(File::create("/dev/null")?);
    pin(cores)?;
    let (start, before) = (Instant::now(), children()?);
    let status = process.status().with_context(|| format!("cannot start {}", command.program.display()))?;
    let (seconds, core_seconds) = (start.elapsed().as_secs_f64(), children()? - before);
    let stopped = status.code() == Some(STOPPED);
    // Findings are exit code 1.
    ensure!(stopped || matches!(status.code(), Some(0 | 1)), "{} ended with {status}", command.name);
    ensure!(stopped || output.as_file().metadata()?.len() > 0, "{} printed nothing", command.name);
    Ok(Took { seconds, core_seconds, stopped })
}

/// The processor time of all processes that this one has waited for, in seconds.
fn children() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // cutime and cstime are the fields 16 and 17; the second field, in parentheses, may hold spaces.
    let (_, fields) = stat.rsplit_once(')').context("/proc/self/stat has another form")?;
    let ticks = fields.split_ascii_whitespace().skip(13).take(2).map(str::parse::<u64>);
    Ok(ticks.sum::<Result<u64, _>>()? as f64 / clock_ticks_per_second() as f64)
}
