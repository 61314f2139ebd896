//! Reports on half-closed connections, as a table, JSON or metrics.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _, net::SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Side, State};
use crate::base::plural::count;

/// The maximum number of rows for a namespace.
const MAX_ROWS: usize = 20;
/// The maximum number of pods in the metrics; kubelet's default limit is 110.
const MAX_PODS: usize = 500;

/// A report. Its JSON is also the format in which one linkerd-linger reads from another through the API server.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report<'n> {
    /// The namespaces.
    pub namespaces: Vec<NamespaceReport<'n>>,
    /// Namespaces that could not be read, and why.
    pub errors: Vec<String>,
}

/// A network namespace.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceReport<'n> {
    /// The inode number.
    pub inode: u64,
    /// The UID of the pod.
    pub pod_uid: Option<Cow<'n, str>>,
    /// The name of the pod.
    pub pod: Option<Cow<'n, str>>,
    /// The Kubernetes namespace of the pod, which only the API server knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_namespace: Option<String>,
    /// The close-wait timeout in seconds.
    pub close_wait_timeout_seconds: Option<u32>,
    /// The number of conntrack entries in CLOSE_WAIT.
    pub conntrack_close_wait: Option<usize>,
    /// The seconds of silence after which the first of them expires.
    pub first_forgotten_in_seconds: Option<u32>,
    /// The number of conntrack entries in this namespace, in any state.
    #[serde(default)]
    pub conntrack_entries: Option<u32>,
    /// The maximum number of conntrack entries in a namespace; above it new connections are dropped. 0 means no limit.
    #[serde(default)]
    pub conntrack_max: Option<u32>,
    /// The half-closed connections.
    pub sockets: Vec<SocketReport<'n>>,
    /// The verdicts, in sentences.
    pub verdicts: Vec<String>,
    /// What could not be read, and why.
    pub gaps: Vec<String>,
}

/// A half-closed connection.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SocketReport<'n> {
    /// The state.
    pub state: State,
    /// Whether the proxy or the app has the socket.
    pub side: Side,
    /// The local address.
    pub local: SocketAddr,
    /// The remote address.
    pub remote: SocketAddr,
    /// The name of the process.
    pub process: Option<Cow<'n, str>>,
    /// The PID.
    pub pid: Option<i32>,
    /// The user of the socket.
    pub uid: u32,
    /// The ID of the container.
    pub container: Option<Cow<'n, str>>,
    /// The name of the container, which only the API server knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// The minimum age, in seconds.
    pub age_seconds: Option<u64>,
    /// The seconds of silence after which conntrack forgets it.
    pub forgotten_in_seconds: Option<u32>,
}

impl Report<'_> {
    /// The number of half-closed connections, each counted at the end that has not closed.
    pub fn half_closed(&self) -> usize {
        let sockets = self.namespaces.iter().flat_map(|namespace| &namespace.sockets);
        sockets.filter(|socket| socket.state == State::CloseWait).count()
    }
}

impl NamespaceReport<'_> {
    fn title(&self) -> String {
        match (&self.pod_namespace, &self.pod, &self.pod_uid) {
            (Some(namespace), Some(name), _) => format!("pod {namespace}/{name}"),
            (None, Some(name), Some(uid)) => format!("pod {name} ({uid})"),
            (_, None, Some(uid)) => format!("pod {uid}"),
            (_, _, None) => format!("network namespace {}", self.inode),
        }
    }
}

/// A section for each namespace with connections, and a summary.
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
            (Some(1), Some(first)) => {
                format!(", 1 conntrack entry in CLOSE_WAIT, which expires in {first}s")
            }
            (Some(count), Some(first)) => {
                format!(", {count} conntrack entries in CLOSE_WAIT, the first expires in {first}s")
            }
            (Some(_), None) => ", no conntrack entry in CLOSE_WAIT".to_owned(),
            (None, _) => String::new(),
        };
        let _ = writeln!(text, "  {timeout}{tracked}");
        rows(&mut text, &namespace.sockets);
        for verdict in &namespace.verdicts {
            let _ = writeln!(text, "  {verdict}");
        }
        for gap in &namespace.gaps {
            let _ = writeln!(text, "  not read: {gap}");
        }
        text.push('\n');
    }
    if report.namespaces.len() > 1 {
        text.push_str(&timeouts(report));
    }
    for error in &report.errors {
        let _ = writeln!(text, "error: {error}");
    }
    let namespaces = count(report.namespaces.len(), "network namespace");
    let connections = count(report.half_closed(), "half-closed connection");
    let _ = writeln!(text, "{namespaces}, {connections}");
    text
}

/// The close-wait timeouts, each with its namespaces.
fn timeouts(report: &Report<'_>) -> String {
    const SHOWN: usize = 3;
    let mut values: BTreeMap<Option<u32>, Vec<String>> = BTreeMap::new();
    for namespace in &report.namespaces {
        values.entry(namespace.close_wait_timeout_seconds).or_default().push(namespace.title());
    }
    let mut text = String::new();
    for (seconds, mut titles) in values {
        let value = seconds.map_or_else(|| "unknown".to_owned(), |seconds| format!("{seconds}s"));
        let more = titles.len().saturating_sub(SHOWN);
        titles.truncate(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let _ = writeln!(text, "close-wait timeout {value}: {}{more}", titles.join(", "));
    }
    text
}

fn rows(text: &mut String, sockets: &[SocketReport<'_>]) {
    if sockets.is_empty() {
        return;
    }
    let head = ["STATE", "SIDE", "PROCESS", "LOCAL", "REMOTE", "AGE", "EXPIRES IN"].map(str::to_owned);
    let seconds =
        |seconds: Option<u64>| seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds}s"));
    let row = |socket: &SocketReport<'_>| {
        let process = match (&socket.process, socket.pid, &socket.container_name) {
            (Some(name), Some(_), Some(container)) => format!("{container}/{name}"),
            (Some(name), Some(pid), None) => format!("{name} ({pid})"),
            _ => "-".to_owned(),
        };
        let forgotten = socket.forgotten_in_seconds.map(u64::from);
        [
            socket.state.as_str().to_owned(),
            socket.side.as_str().to_owned(),
            process,
            socket.local.to_string(),
            socket.remote.to_string(),
            seconds(socket.age_seconds),
            seconds(forgotten),
        ]
    };
    let rows: Vec<_> = std::iter::once(head).chain(sockets.iter().take(MAX_ROWS).map(row)).collect();
    let widths: Vec<usize> =
        (0..7).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    for row in &rows {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width)).collect();
        let _ = writeln!(text, "  {}", cells.join("  ").trim_end());
    }
    if sockets.len() > MAX_ROWS {
        let _ = writeln!(text, "  ... and {} more; -o json shows all", sockets.len() - MAX_ROWS);
    }
}

/// Metrics in Prometheus' text format, for up to 500 namespaces.
pub fn prometheus(report: &Report<'_>) -> String {
    let mut text = String::new();
    let mut family = |name: &str, help: &str, lines: Vec<String>| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for line in lines {
            let _ = writeln!(text, "{name}{line}");
        }
    };
    let pods: Vec<_> = report.namespaces.iter().take(MAX_PODS).collect();
    let label = |namespace: &NamespaceReport<'_>| {
        let name = namespace.pod.as_deref().unwrap_or_default();
        let uid = namespace.pod_uid.as_deref().map_or_else(|| namespace.inode.to_string(), str::to_owned);
        let of = namespace.pod_namespace.as_deref();
        let of = of.map_or_else(String::new, |name| format!("namespace=\"{}\",", escaped(name)));
        format!("{of}pod=\"{}\",uid=\"{}\"", escaped(name), escaped(&uid))
    };
    let mut half_closed = Vec::new();
    for namespace in &pods {
        let mut counts: BTreeMap<(State, Side), usize> = BTreeMap::new();
        for socket in &namespace.sockets {
            *counts.entry((socket.state, socket.side)).or_default() += 1;
        }
        for ((state, side), count) in counts {
            let (state, side) = (state.as_str(), side.as_str());
            half_closed.push(format!("{{{},state=\"{state}\",side=\"{side}\"}} {count}", label(namespace)));
        }
    }
    family("linger_sockets_half_closed", "TCP connections that one end has closed.", half_closed);
    let tracked = pods.iter().filter_map(|namespace| {
        Some(format!("{{{}}} {}", label(namespace), namespace.conntrack_close_wait?))
    });
    family("linger_conntrack_close_wait", "Conntrack entries in CLOSE_WAIT.", tracked.collect());
    let entries = pods
        .iter()
        .filter_map(|namespace| Some(format!("{{{}}} {}", label(namespace), namespace.conntrack_entries?)));
    family("linger_conntrack_entries", "Conntrack entries in any state.", entries.collect());
    let limits = pods
        .iter()
        .filter_map(|namespace| Some(format!("{{{}}} {}", label(namespace), namespace.conntrack_max?)));
    family(
        "linger_conntrack_entries_limit",
        "Maximum number of conntrack entries in the network namespace.",
        limits.collect(),
    );
    let timeouts = pods.iter().filter_map(|namespace| {
        Some(format!("{{{}}} {}", label(namespace), namespace.close_wait_timeout_seconds?))
    });
    family(
        "linger_close_wait_timeout_seconds",
        "Conntrack timeout for a silent half-closed connection.",
        timeouts.collect(),
    );
    text
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A socket of user 1000.
    pub(in crate::sockets) fn socket(
        state: State,
        side: Side,
        local: &str,
        remote: &str,
        process: Option<&'static str>,
    ) -> SocketReport<'static> {
        SocketReport {
            state,
            side,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            process: process.map(Cow::Borrowed),
            pid: process.map(|_| 7),
            uid: 1000,
            container: None,
            container_name: None,
            age_seconds: None,
            forgotten_in_seconds: None,
        }
    }

    pub(in crate::sockets) fn namespace(
        sockets: Vec<SocketReport<'static>>,
        timeout: Option<u32>,
    ) -> NamespaceReport<'static> {
        NamespaceReport {
            inode: 1,
            pod_uid: None,
            pod: None,
            pod_namespace: None,
            close_wait_timeout_seconds: timeout,
            conntrack_close_wait: None,
            first_forgotten_in_seconds: None,
            conntrack_entries: None,
            conntrack_max: None,
            sockets,
            verdicts: Vec::new(),
            gaps: Vec::new(),
        }
    }

    #[test]
    fn its_json_is_read_back() {
        let mut of_a_pod = namespace(
            vec![socket(State::CloseWait, Side::App, "[fd00::1]:80", "[fd00::2]:1", Some("web"))],
            Some(60),
        );
        (of_a_pod.pod, of_a_pod.pod_namespace) = (Some("web-0".into()), Some("shop".to_owned()));
        let report =
            Report { namespaces: vec![of_a_pod, namespace(Vec::new(), None)], errors: vec!["e".to_owned()] };
        let text = serde_json::to_string(&report).unwrap();
        let read: Report<'static> = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert_eq!(read.half_closed(), 1);
    }

    #[test]
    fn a_pod_is_named_as_well_as_it_is_known() {
        let mut it = namespace(Vec::new(), None);
        assert_eq!(it.title(), "network namespace 1");
        it.pod_uid = Some("u".into());
        assert_eq!(it.title(), "pod u");
        it.pod = Some("web-0".into());
        assert_eq!(it.title(), "pod web-0 (u)");
        it.pod_namespace = Some("shop".to_owned());
        assert_eq!(it.title(), "pod shop/web-0");
    }

    #[test]
    fn the_timeouts_of_many_namespaces_are_summed_up() {
        let timeouts = [Some(3600), Some(60), Some(3600), Some(3600), Some(3600), None];
        let namespaces = timeouts.map(|timeout| namespace(Vec::new(), timeout)).into();
        let text = table(&Report { namespaces, errors: Vec::new() });
        let expected = "close-wait timeout unknown: network namespace 1\nclose-wait timeout 60s: network namespace 1\n\
                        close-wait timeout 3600s: network namespace 1, network namespace 1, network namespace 1 and 1 more\n\
                        6 network namespaces, 0 half-closed connections\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn one_entry_is_printed_in_the_singular() {
        let mut it = namespace(Vec::new(), Some(60));
        (it.conntrack_close_wait, it.first_forgotten_in_seconds) = (Some(1), Some(9));
        let text = table(&Report { namespaces: vec![it], errors: Vec::new() });
        assert!(
            text.contains("timeout 60s, 1 conntrack entry in CLOSE_WAIT, which expires in 9s\n"),
            "{text}"
        );
    }
}
