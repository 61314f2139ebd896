//! The proxies of a cluster: their logs and metrics, the specs of their pods, and the last ends of their containers.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use jiff::civil::Date;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::ListParams;
use serde_json::value::RawValue;
use tokio::{
    io::AsyncReadExt,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    Cause,
    cause::{self, PortDiagnosis},
    log::{Log, Logs},
    metrics::{MAX_PAGE_LEN, Metrics},
    report::Report,
    spec::{self, SpecPort},
};
use crate::{
    base::{clock::today, errors::describe, plural::count},
    cluster::{
        Cluster,
        check::{Read, ReadError},
        gather::{INJECTED, NOT_COMPLETED},
    },
    judgement::{judge::judge, policy::Policy},
    linkerd::{Injection, PROXY},
    measure::{
        connection::Protocol,
        run::{self, Settings},
        target::{self, Workload},
    },
    sockets::{self, remote},
    workload::{
        context::Context,
        object::{Kind, Object},
    },
};

/// As many pods of one workload are read.
const MAX_PODS: usize = 50;
/// As many workloads are read at once.
const MAX_CONCURRENT: usize = 8;
/// A log that stays silent for so long has ended.
const SILENCE: Duration = Duration::from_secs(30);
/// The longest time for one log: 1 GB at 10 MB/s.
const LOG_TIMEOUT: Duration = Duration::from_secs(120);
/// The longest time for a page of metrics.
const METRICS_TIMEOUT: Duration = Duration::from_secs(15);
/// The port of the proxy's metrics (linkerd2 `proxy.ports.admin`).
const ADMIN: u16 = 4191;
/// How many connections `measure` opens.
const CONNECTIONS: usize = 3;
/// How long `measure` waits for a close.
const MAX_IDLE: Duration = Duration::from_secs(130);

/// What to read of a log.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// How far to look back.
    pub since: Duration,
    /// Also what the container before the last restart wrote.
    pub previous: bool,
}

/// A workload and its pods.
#[derive(Debug)]
pub struct Selection {
    namespace: String,
    display_name: String,
    pods: Vec<Box<RawValue>>,
}

impl Selection {
    /// The pods of a workload.
    ///
    /// # Errors
    ///
    /// When they cannot be read, or there is none.
    pub async fn of(cluster: &Cluster, namespace: &str, workload: &Workload) -> Read<Self> {
        let pods = target::pods_of(cluster, namespace, workload).await?;
        let display_name = format!("{namespace} {}", workload.display_name());
        if pods.is_empty() {
            let what = format!("diagnose {} in the namespace {namespace}", workload.display_name());
            return Err(ReadError::Failed { what, why: "it has no pod".to_owned() });
        }
        Ok(Self { namespace: namespace.to_owned(), display_name, pods })
    }

    /// The pods of all injected workloads.
    ///
    /// # Errors
    ///
    /// When they cannot be listed.
    pub async fn all(cluster: &Cluster) -> Read<Vec<Self>> {
        let params = ListParams::default().labels(INJECTED).fields(NOT_COMPLETED);
        let mut workloads: BTreeMap<(String, String), Vec<Box<RawValue>>> = BTreeMap::new();
        let add = |pods: Vec<Box<RawValue>>| {
            for json in pods {
                let Ok(object) = Object::read_as(Kind::Pod, json.get()) else { continue };
                let Some((kind, name)) = object.workload() else { continue };
                let namespace = object.namespace.as_deref().unwrap_or_default().to_owned();
                let display_name = format!("{namespace} {}/{name}", kind.to_lowercase());
                workloads.entry((namespace, display_name)).or_default().push(json);
            }
        };
        cluster.pages("/api/v1/pods", params, "list pods", add).await?;
        let selection = |((namespace, display_name), pods)| Self { namespace, display_name, pods };
        Ok(workloads.into_iter().map(selection).collect())
    }
}

/// Reads the proxies of a workload.
///
/// # Errors
///
/// When no log of any of its proxies could be read.
pub async fn read(
    cluster: &Cluster,
    selection: &Selection,
    read_options: &ReadOptions,
    progress: &dyn Fn(&str),
) -> Read<Report> {
    let (mut log, mut metrics, mut spec) = (Log::default(), Metrics::default(), BTreeMap::new());
    let (mut notes, mut failed, mut read) = (Vec::new(), None, 0);
    let all = selection.pods.len().min(MAX_PODS);
    for (index, json) in selection.pods.iter().take(MAX_PODS).enumerate() {
        let Ok(pod) = serde_json::from_str::<Pod>(json.get()) else { continue };
        let name = pod.metadata.name.clone().unwrap_or_default();
        progress(&format!("reading the proxy of {name}, pod {} of {all}", index + 1));
        if !has_proxy(&pod) {
            notes.push(format!("the pod {name} has no proxy"));
            continue;
        }
        specs(json.get(), &selection.namespace, today(), &mut spec);
        notes.extend(ends(&pod));
        for previous in [false, true] {
            if previous && !read_options.previous {
                continue;
            }
            match read_log(cluster, &selection.namespace, &name, read_options.since, previous, &mut log).await
            {
                Ok(()) => read += 1,
                // A container that never restarted has no log before.
                Err(_) if previous => {}
                Err(error) => {
                    notes.push(describe(&error));
                    failed = Some(error);
                }
            }
        }
        match page(cluster, &selection.namespace, &name, admin_port(&pod)).await {
            Ok(page) => {
                if let Err(error) = metrics.read(&page) {
                    notes.push(format!("metrics of the pod {name}: {error}"));
                }
            }
            Err(error) => notes.push(describe(&error)),
        }
    }
    if read == 0 {
        let what = format!("read the proxies of {}", selection.display_name);
        let why = "none of its pods has a proxy".to_owned();
        return Err(failed.unwrap_or(ReadError::Failed { what, why }));
    }
    if selection.pods.len() > all {
        notes.push(format!("{all} of its {} pods were read", selection.pods.len()));
    }
    let logs = log.finish();
    let ports = cause::diagnose(&logs, &metrics, &spec);
    notes.extend(self::notes(&ports, &logs));
    Ok(Report::new(Some(selection.display_name.clone()), ports, &logs, notes))
}

/// Reads the proxies of workloads, some at once. Returns what could not be read, too.
pub async fn read_all(
    cluster: &Cluster,
    selections: Vec<Selection>,
    read_options: &ReadOptions,
    progress: &dyn Fn(usize),
) -> (Vec<Report>, Vec<String>) {
    let limit = Arc::new(Semaphore::new(MAX_CONCURRENT));
    let mut tasks = JoinSet::new();
    for selection in selections {
        let (cluster, limit, read_options) = (cluster.clone(), Arc::clone(&limit), *read_options);
        tasks.spawn_local(async move {
            let _permit = limit.acquire().await;
            let read = read(&cluster, &selection, &read_options, &|_| {}).await;
            read.map_err(|error| format!("{}: {}", selection.display_name, describe(&error)))
        });
    }
    let (mut reports, mut errors) = (Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(Ok(report)) => reports.push(report),
            Ok(Err(error)) => errors.push(error),
            // A panic of ours loses the name of the workload, and not the others.
            Err(error) => errors.push(error.to_string()),
        }
        progress(reports.len() + errors.len());
    }
    errors.sort();
    (reports, errors)
}

/// One line for each workload.
pub fn table(reports: &[Report]) -> String {
    let row = |report: &Report| {
        let workload = report.workload.clone().unwrap_or_default();
        let requests: Option<u64> = report.ports.iter().map(|port| port.requests).sum();
        let requests = requests.map_or_else(|| "?".to_owned(), |requests| requests.to_string());
        let (port, cause) = report.worst().map_or_else(
            || ("-".to_owned(), "-".to_owned()),
            |(port, failure)| {
                let certainty = failure.certainty.map(|it| format!(" ({it})")).unwrap_or_default();
                (
                    format!("{} {}", port.direction.as_str(), port.port),
                    format!("{}{certainty}: {}", failure.cause.as_str(), failure.count),
                )
            },
        );
        [report.failed().to_string(), requests, workload, port, cause]
    };
    let head = ["FAILED", "REQUESTS", "WORKLOAD", "PORT", "MAIN CAUSE"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(reports.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a String does not fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// What else follows from what was found.
pub fn notes(ports: &[PortDiagnosis], logs: &Logs) -> Vec<String> {
    let failed: u64 = ports.iter().flat_map(|port| &port.findings).map(|finding| finding.count).sum();
    let raced = ports.iter().flat_map(|port| &port.findings).any(|it| it.cause == Cause::IdleTimeoutRace);
    let mut notes = Vec::new();
    if raced {
        notes.push(
            "the close-wait timeout does not prevent an idle-timeout race, because conntrack is not involved"
                .to_owned(),
        );
    }
    if failed == 0 {
        notes.push(
            "lost responses on half-closed connections are not logged: find such connections with `linkerd \
             linger sockets`. A longer close-wait timeout helps only opaque TCP: the proxy aborts an HTTP \
             request if its client half-closes"
                .to_owned(),
        );
    }
    if logs.unplaced > 0 {
        notes.push(format!(
            "{} of failures do not contain the port, and are not counted",
            count(usize::try_from(logs.unplaced).unwrap_or(usize::MAX), "line")
        ));
    }
    if logs.admin > 0 {
        notes.push("failed requests to the proxy's own admin port are not counted".to_owned());
    }
    notes
}

/// What `measure` finds at the servers of a workload.
pub async fn measured(cluster: &Cluster, namespace: &str, workload: &Workload) -> Vec<String> {
    let servers = match target::servers(cluster, namespace, workload, None, None, today()).await {
        Ok(servers) => servers,
        Err(error) => return vec![describe(&error)],
    };
    let settings = Settings {
        connections: CONNECTIONS,
        max: MAX_IDLE,
        protocol: Protocol::Http1,
        ended: Arc::default(),
    };
    let mut notes = Vec::new();
    for server in servers {
        let measurement = run::server(cluster, namespace, workload, &server, &settings).await;
        notes.push(measurement.text().trim_end().to_owned());
    }
    notes
}

/// What `sockets` finds in the pods of a workload.
pub async fn half_closed(cluster: &Cluster, namespace: &str, selection: &Selection) -> Vec<String> {
    // Without the DaemonSet, or permission to see it, the other ways are left.
    let agents = remote::agents(cluster).await.unwrap_or_default();
    let mut notes = Vec::new();
    for json in selection.pods.iter().take(MAX_PODS) {
        let Ok(pod) = serde_json::from_str::<Pod>(json.get()) else { continue };
        let chosen = remote::Selection {
            namespace: Some(namespace.to_owned()),
            pod: pod.metadata.name.clone(),
            selector: None,
        };
        let targets = match remote::targets(cluster, &chosen).await {
            Ok(targets) => targets,
            Err(error) => {
                notes.push(describe(&error));
                continue;
            }
        };
        let report = remote::read_targets(cluster, targets, &agents, None, |_, _| {}).await;
        if report.namespaces.is_empty() {
            notes.extend(report.errors);
        } else {
            notes.push(sockets::report::table(&report).trim_end().to_owned());
        }
    }
    notes
}

/// Whether a pod has a proxy, as a regular or a native sidecar container.
fn has_proxy(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let inits = spec.init_containers.iter().flatten();
    spec.containers.iter().chain(inits).any(|container| container.name == PROXY)
}

fn admin_port(pod: &Pod) -> u16 {
    let Some(spec) = &pod.spec else { return ADMIN };
    let proxy =
        spec.containers.iter().chain(spec.init_containers.iter().flatten()).find(|it| it.name == PROXY);
    let ports = proxy.into_iter().flat_map(|it| it.ports.iter().flatten());
    let admin =
        ports.filter(|port| port.name.as_deref() == Some("linkerd-admin")).map(|port| port.container_port);
    admin.filter_map(|port| u16::try_from(port).ok()).next().unwrap_or(ADMIN)
}

/// How the containers of a pod ended last.
fn ends(pod: &Pod) -> Vec<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let end = |status: &ContainerStatus| {
        let ended = status.last_state.as_ref()?.terminated.as_ref()?;
        let when = ended.finished_at.as_ref().map(|time| format!(" at {}", time.0)).unwrap_or_default();
        let reason = ended.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        Some(format!(
            "the container {} of the pod {name} ended{when} with exit code {}{reason}, and was restarted {}",
            status.name,
            ended.exit_code,
            count(usize::try_from(status.restart_count).unwrap_or(0), "time")
        ))
    };
    statuses.filter_map(end).collect()
}

fn specs(json: &str, namespace: &str, today: Date, into: &mut BTreeMap<u16, SpecPort>) {
    let Ok(object) = Object::read_as(Kind::Pod, json) else { return };
    let (context, policy) = (Context::default(), Policy::default());
    spec::ports(&judge(&object, namespace, &context, &policy, today, Injection::Completed), into);
}

async fn read_log(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
    since: Duration,
    previous: bool,
    log: &mut Log,
) -> Read<()> {
    let what = format!("read the log of the container {PROXY} of the pod {namespace}/{pod}");
    let failed = |why: String| ReadError::Failed { what: what.clone(), why };
    let mut stream = Box::pin(cluster.log(namespace, pod, PROXY, since, previous).await?);
    let mut buffer = vec![0; 1 << 16];
    let started = Instant::now();
    loop {
        let read = match timeout(SILENCE, stream.read(&mut buffer)).await {
            Ok(read) => read.map_err(|error| failed(error.to_string())),
            Err(_) => Err(failed(format!("no data arrived for {}s", SILENCE.as_secs()))),
        };
        match read {
            Ok(0) => break,
            Ok(read) => log.feed(buffer.get(..read).unwrap_or_default()),
            Err(error) => {
                log.end();
                return Err(error);
            }
        }
        if started.elapsed() > LOG_TIMEOUT {
            log.end();
            return Err(failed(format!("it did not end within {}s", LOG_TIMEOUT.as_secs())));
        }
    }
    log.end();
    Ok(())
}

/// The page of a proxy's metrics.
async fn page(cluster: &Cluster, namespace: &str, pod: &str, port: u16) -> Read<String> {
    let what = format!("read the metrics of the pod {namespace}/{pod}, port {port}");
    let failed = |why: String| ReadError::Failed { what: what.clone(), why };
    let ask = async {
        let stream = cluster.port_forward(namespace, pod, port).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(describe(&error)))?;
        tokio::spawn(connection);
        let request = Request::get("/metrics")
            .header("host", format!("localhost:{port}"))
            .header("user-agent", concat!("linkerd-linger/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|error| failed(error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(|error| failed(describe(&error)))?;
        if !answer.status().is_success() {
            return Err(failed(format!("the response is {}", answer.status())));
        }
        let body = Limited::new(answer.into_body(), MAX_PAGE_LEN);
        let body = body.collect().await.map_err(|error| failed(error.to_string()))?;
        Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
    };
    let late = |_| failed(format!("no response within {}s", METRICS_TIMEOUT.as_secs()));
    timeout(METRICS_TIMEOUT, ask).await.map_err(late)?
}
