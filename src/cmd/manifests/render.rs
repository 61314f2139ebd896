//! Renders directories with `kustomize` and `helm`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{process::Command, sync::Semaphore, task::JoinSet, time::timeout};

use super::super::progress::Progress;
use crate::base::duration;

/// The maximum number of concurrent programs.
const AT_A_TIME: usize = 4;

/// The maximum length of quoted stderr output.
const MAX_REASON_LEN: usize = 300;

/// A directory to render.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// The directory.
    pub(super) directory: PathBuf,
    /// The renderer.
    pub(super) renderer: Renderer,
}

/// How a directory is rendered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Renderer {
    /// By kustomize.
    Kustomize,
    /// By Helm, with the values of the chart, as a release of this name.
    Helm(String),
}

/// The result of a job: manifests, or why there are none.
pub(super) struct Rendered {
    pub(super) job: Job,
    /// The command as a user would write it.
    pub(super) command: String,
    pub(super) result: Result<String, String>,
}

/// Runs the jobs, each with this timeout, and returns their results in order.
pub(super) fn render(jobs: Vec<Job>, limit: Duration) -> anyhow::Result<Vec<Rendered>> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let programs = Arc::new(Programs::find());
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    Ok(runtime.block_on(async {
        let (all, permits) = (jobs.len(), Arc::new(Semaphore::new(AT_A_TIME)));
        let mut tasks = JoinSet::new();
        for (index, job) in jobs.into_iter().enumerate() {
            let (programs, permits) = (Arc::clone(&programs), Arc::clone(&permits));
            tasks.spawn(async move {
                let _permit = permits.acquire().await;
                (index, programs.run(job, limit).await)
            });
        }
        let mut progress = Progress::new("rendering");
        let mut done = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            done.extend(ended);
            progress.show(done.len(), all);
        }
        done.sort_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, rendered)| rendered).collect()
    }))
}

/// The programs on the PATH.
struct Programs {
    /// The words before the directory.
    kustomize: Option<&'static [&'static str]>,
    helm: bool,
}

impl Programs {
    fn find() -> Self {
        let kustomize: Option<&[&str]> = if is_on_path("kustomize") {
            Some(&["kustomize", "build"])
        } else if is_on_path("kubectl") {
            Some(&["kubectl", "kustomize"])
        } else {
            None
        };
        Self { kustomize, helm: is_on_path("helm") }
    }

    async fn run(&self, job: Job, limit: Duration) -> Rendered {
        let directory = job.directory.to_string_lossy().into_owned();
        let words: Result<Vec<&str>, &str> = match &job.renderer {
            Renderer::Kustomize => match self.kustomize {
                Some(words) => Ok([words, &[&directory]].concat()),
                None => Err("because neither kustomize nor kubectl is on the PATH"),
            },
            Renderer::Helm(release) if self.helm => Ok(vec!["helm", "template", release, &directory]),
            Renderer::Helm(_) => Err("because helm is not on the PATH"),
        };
        let (command, result) = match words {
            Ok(words) => (words.join(" "), output(&words, limit).await),
            Err(why) => (String::new(), Err(why.to_owned())),
        };
        Rendered { job, command, result }
    }
}

fn is_on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .any(|directory| !directory.as_os_str().is_empty() && is_program(&directory.join(program)))
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}

/// The stdout of a program, or why it failed.
async fn output(words: &[&str], limit: Duration) -> Result<String, String> {
    let [program, args @ ..] = words else { return Err("there is no command".to_owned()) };
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = match timeout(limit, command.output()).await {
        Err(_) => return Err(format!("because {program} did not end within {}", duration::format(limit))),
        Ok(Err(error)) => return Err(format!("because {program} cannot be started: {error}")),
        Ok(Ok(output)) => output,
    };
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let mut lines = stderr.lines().map(str::trim).filter(|line| is_reason(line));
        let stderr = lines.next().unwrap_or("it printed no error");
        // kubectl prints multi-line errors after this line.
        let stderr = if stderr.ends_with("err=<") { lines.next().unwrap_or(stderr) } else { stderr };
        let stderr: String = without_frame(stderr).chars().take(MAX_REASON_LEN).collect();
        return Err(format!("because {program} failed: {stderr}"));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| format!("because {program} printed output that is not UTF-8"))
}

/// An error without the decoration of the program: kubectl logs some errors in quotes, after a timestamp and a process
/// ID.
fn without_frame(line: &str) -> &str {
    let line = line.split_once("err=\"").map_or(line, |(_, error)| error.trim_end_matches('"'));
    line.trim_start_matches("Error: ").trim_start_matches("error: ")
}

/// Whether a line of stderr may contain the reason of a failure.
fn is_reason(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("# Warning") && !line.starts_with("WARNING")
}
