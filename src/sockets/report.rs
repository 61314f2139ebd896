//! Namespaces -> what people and programs read of them: a table, JSON, or metrics.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    net::SocketAddr,
};

use serde::Serialize;

use super::{Namespace, Side, State, verdicts};
use crate::base::plural::count;

/// More rows than this nobody reads of one namespace.
const MOST_ROWS: usize = 20;
/// More pods than this no node runs; kubelet's default is 110.
const MOST_PODS: usize = 500;

/// All that was seen, as JSON has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report<'n> {
    /// The namespaces.
    pub namespaces: Vec<NamespaceReport<'n>>,
    /// Namespaces that could not be looked into, and why.
    pub errors: Vec<String>,
}

/// A network namespace.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceReport<'n> {
    /// Its inode number.
    pub inode: u64,
    /// The UID of its pod.
    pub pod_uid: Option<&'n str>,
    /// The name of its pod.
    pub pod: Option<&'n str>,
    /// The close-wait timeout in seconds.
    pub close_wait_timeout_seconds: Option<u32>,
    /// How many entries conntrack has in CLOSE_WAIT.
    pub conntrack_close_wait: Option<usize>,
    /// After how many seconds of silence the first of them is forgotten.
    pub first_forgotten_in_seconds: Option<u32>,
    /// The half-closed connections.
    pub sockets: Vec<SocketReport<'n>>,
    /// What follows.
    pub verdicts: Vec<String>,
    /// What could not be looked at.
    pub gaps: Vec<String>,
}

/// A half-closed connection.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SocketReport<'n> {
    /// `CLOSE_WAIT` or `FIN_WAIT2`.
    pub state: &'static str,
    /// `proxy`, `app` or `unknown`.
    pub side: &'static str,
    /// The address of this end.
    pub local: SocketAddr,
    /// The address of the other end.
    pub remote: SocketAddr,
    /// The process.
    pub process: Option<&'n str>,
    /// Its id.
    pub pid: Option<i32>,
    /// The id of its container.
    pub container: Option<&'n str>,
    /// For how many seconds it has been seen so, at least.
    pub age_seconds: Option<u64>,
    /// After how many seconds of silence conntrack forgets it.
    pub forgotten_in_seconds: Option<u32>,
}

impl<'n> Report<'n> {
    /// What is to be said of namespaces.
    pub fn of(namespaces: &'n [Namespace], errors: Vec<String>) -> Self {
        Self { namespaces: namespaces.iter().map(NamespaceReport::of).collect(), errors }
    }

    /// How many half-closed connections there are, each counted at the end that has not closed.
    pub fn half_closed(&self) -> usize {
        let sockets = self.namespaces.iter().flat_map(|namespace| &namespace.sockets);
        sockets.filter(|socket| socket.state == State::CloseWait.as_str()).count()
    }
}

impl<'n> NamespaceReport<'n> {
    fn of(namespace: &'n Namespace) -> Self {
        let tracked = namespace.tracked.as_ref().ok();
        let entries = tracked.into_iter().flatten();
        let remaining: HashMap<_, _> = entries
            .flat_map(|entry| {
                let ends = [(entry.source, entry.destination), (entry.destination, entry.source)];
                ends.map(|ends| (ends, entry.remaining))
            })
            .collect();
        let sockets = namespace.sockets.iter().map(|socket| SocketReport {
            state: socket.state.as_str(),
            side: socket.side().as_str(),
            local: socket.local,
            remote: socket.remote,
            process: socket.owner.as_ref().map(|owner| owner.name.as_str()),
            pid: socket.owner.as_ref().map(|owner| owner.pid),
            container: socket.owner.as_ref().and_then(|owner| owner.container.as_deref()),
            age_seconds: socket.age,
            forgotten_in_seconds: remaining.get(&(socket.local, socket.remote)).copied(),
        });
        let reasons = [namespace.timeout.as_ref().err(), namespace.tracked.as_ref().err()];
        let mut gaps = namespace.gaps.clone();
        gaps.extend(reasons.into_iter().flatten().cloned());
        Self {
            inode: namespace.inode,
            pod_uid: namespace.pod.as_ref().map(|pod| pod.uid.as_str()),
            pod: namespace.pod.as_ref().and_then(|pod| pod.name.as_deref()),
            close_wait_timeout_seconds: namespace.timeout.as_ref().ok().copied(),
            conntrack_close_wait: tracked.map(Vec::len),
            first_forgotten_in_seconds: tracked
                .and_then(|entries| entries.iter().map(|entry| entry.remaining).min()),
            sockets: sockets.collect(),
            verdicts: verdicts(namespace),
            gaps,
        }
    }

    fn title(&self) -> String {
        match (&self.pod, &self.pod_uid) {
            (Some(name), Some(uid)) => format!("pod {name} ({uid})"),
            (None, Some(uid)) => format!("pod {uid}"),
            (_, None) => format!("network namespace {}", self.inode),
        }
    }
}

/// A section for each namespace that has something, and a last line.
pub fn table(report: &Report<'_>) -> String {
    let mut text = String::new();
    let shown = report.namespaces.iter().filter(|it| !it.sockets.is_empty() || report.namespaces.len() == 1);
    for namespace in shown {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", namespace.title());
        let timeout = namespace.close_wait_timeout_seconds.map_or_else(
            || "close-wait timeout unknown".to_owned(),
            |seconds| format!("close-wait timeout {seconds}s"),
        );
        let tracked = match (namespace.conntrack_close_wait, namespace.first_forgotten_in_seconds) {
            (Some(count), Some(first)) => {
                format!(", {count} entries of conntrack in CLOSE_WAIT, the first is forgotten in {first}s")
            }
            (Some(_), None) => ", no entry of conntrack in CLOSE_WAIT".to_owned(),
            (None, _) => String::new(),
        };
        let _ = writeln!(text, "  {timeout}{tracked}");
        rows(&mut text, &namespace.sockets);
        for verdict in &namespace.verdicts {
            let _ = writeln!(text, "  {verdict}");
        }
        for gap in &namespace.gaps {
            let _ = writeln!(text, "  not seen: {gap}");
        }
        text.push('\n');
    }
    for error in &report.errors {
        let _ = writeln!(text, "error: {error}");
    }
    let namespaces = count(report.namespaces.len(), "network namespace");
    let connections = count(report.half_closed(), "half-closed connection");
    let _ = writeln!(text, "{namespaces}, {connections}");
    text
}

fn rows(text: &mut String, sockets: &[SocketReport<'_>]) {
    if sockets.is_empty() {
        return;
    }
    let head = ["STATE", "SIDE", "PROCESS", "LOCAL", "REMOTE", "AGE", "FORGOTTEN IN"].map(str::to_owned);
    let seconds =
        |seconds: Option<u64>| seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds}s"));
    let row = |socket: &SocketReport<'_>| {
        let process = match (&socket.process, socket.pid) {
            (Some(name), Some(pid)) => format!("{name} ({pid})"),
            _ => "-".to_owned(),
        };
        let forgotten = socket.forgotten_in_seconds.map(u64::from);
        [
            socket.state.to_owned(),
            socket.side.to_owned(),
            process,
            socket.local.to_string(),
            socket.remote.to_string(),
            seconds(socket.age_seconds),
            seconds(forgotten),
        ]
    };
    let rows: Vec<_> = std::iter::once(head).chain(sockets.iter().take(MOST_ROWS).map(row)).collect();
    let widths: Vec<usize> =
        (0..7).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    for row in &rows {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width)).collect();
        let _ = writeln!(text, "  {}", cells.join("  ").trim_end());
    }
    if sockets.len() > MOST_ROWS {
        let _ = writeln!(text, "  ... and {} more; -o json shows all", sockets.len() - MOST_ROWS);
    }
}

/// Metrics in Prometheus' text format, for each pod of the node.
pub fn prometheus(namespaces: &[Namespace]) -> String {
    let mut text = String::new();
    let mut family = |name: &str, help: &str, lines: Vec<String>| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for line in lines {
            let _ = writeln!(text, "{name}{line}");
        }
    };
    let pods: Vec<_> = namespaces.iter().take(MOST_PODS).collect();
    let label = |namespace: &Namespace| {
        let pod = namespace.pod.as_ref();
        let name = pod.and_then(|pod| pod.name.clone()).unwrap_or_default();
        let uid = pod.map_or_else(|| namespace.inode.to_string(), |pod| pod.uid.clone());
        format!("pod=\"{}\",uid=\"{}\"", escaped(&name), escaped(&uid))
    };
    let mut half_closed = Vec::new();
    for namespace in &pods {
        let mut counts: BTreeMap<(State, Side), usize> = BTreeMap::new();
        for socket in &namespace.sockets {
            *counts.entry((socket.state, socket.side())).or_default() += 1;
        }
        for ((state, side), count) in counts {
            let (state, side) = (state.as_str(), side.as_str());
            half_closed.push(format!("{{{},state=\"{state}\",side=\"{side}\"}} {count}", label(namespace)));
        }
    }
    family("linger_sockets_half_closed", "TCP connections one of whose ends has closed.", half_closed);
    let tracked = pods.iter().filter_map(|namespace| {
        Some(format!("{{{}}} {}", label(namespace), namespace.tracked.as_ref().ok()?.len()))
    });
    family("linger_conntrack_close_wait", "Entries of conntrack in CLOSE_WAIT.", tracked.collect());
    let timeouts = pods.iter().filter_map(|namespace| {
        Some(format!("{{{}}} {}", label(namespace), namespace.timeout.as_ref().ok()?))
    });
    family(
        "linger_close_wait_timeout_seconds",
        "How long conntrack remembers a silent half-closed connection.",
        timeouts.collect(),
    );
    text
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
