//! Verdicts on half-closed connections: a sentence for each process that has not closed them, and how to fix it.
//!
//! Linkerd's proxy ends an HTTP/1 request when its client half-closes, whatever the timeout; only opaque TCP that is
//! silent for longer than the timeout is lost. No timeout helps with an app that never closes. Both were measured.

use std::collections::{BTreeMap, HashSet};

use super::{
    Side, State,
    report::{NamespaceReport, Report, SocketReport},
};
use crate::{base::plural::count, judgement::policy::CLOSE_WAIT_TIMEOUT};

/// Sets the verdicts of each namespace, or updates them after a change.
pub fn judge(report: &mut Report<'_>) {
    for namespace in &mut report.namespaces {
        namespace.verdicts = verdicts(namespace);
    }
}

/// The verdicts of a namespace; none if nothing is half-closed.
fn verdicts(namespace: &NamespaceReport<'_>) -> Vec<String> {
    let mut by_process: BTreeMap<_, Vec<&SocketReport<'_>>> = BTreeMap::new();
    let mut local_pairs = HashSet::new();
    for socket in namespace.sockets.iter().filter(|socket| socket.state == State::CloseWait) {
        let key = (&socket.process, socket.pid, &socket.container, socket.side, socket.uid);
        by_process.entry(key).or_default().push(socket);
        local_pairs.insert((socket.remote, socket.local));
    }
    let timeout = namespace.close_wait_timeout_seconds;
    let mut verdicts: Vec<String> =
        by_process.values().map(|sockets| close_wait_verdict(sockets, timeout)).collect();
    // A connection within the namespace is reported once, at the end that has not closed.
    let is_waiting = |socket: &&SocketReport<'_>| {
        socket.state == State::FinWait2 && !local_pairs.contains(&(socket.local, socket.remote))
    };
    let waiting = namespace.sockets.iter().filter(is_waiting).count();
    if waiting > 0 {
        verdicts.push(format!(
            "{} {} closed here but not by the peer, which is outside of this network namespace (FIN_WAIT2)",
            count(waiting, "connection"),
            if waiting == 1 { "is" } else { "are" }
        ));
    }
    verdicts
}

/// The verdict on the connections that a process has not closed.
fn close_wait_verdict(sockets: &[&SocketReport<'_>], timeout: Option<u32>) -> String {
    let age = sockets.iter().filter_map(|socket| socket.age_seconds).max().filter(|age| *age > 0);
    let age = age.map_or_else(String::new, |age| format!(" for up to {age}s"));
    let process_name = sockets.first().map_or_else(String::new, |socket| process_name(socket));
    let fact = format!(
        "{process_name} has left {} half-closed{age}: the peer has closed its side",
        count(sockets.len(), "connection")
    );
    let forgotten = match timeout {
        Some(seconds) => format!("conntrack drops a silent one after {seconds}s"),
        None => "the conntrack timeout is not known".to_owned(),
    };
    const FIX_PROCESS: &str =
        "a timeout does not help HTTP/1, or a process that never closes connections: fix the process";
    let advice = match timeout {
        Some(seconds) if u64::from(seconds) < CLOSE_WAIT_TIMEOUT.as_secs() => format!(
            "on an opaque port, a later response is lost. Set the timeout to {}s, as linkerd-linger does at \
             admission; {FIX_PROCESS}",
            CLOSE_WAIT_TIMEOUT.as_secs()
        ),
        Some(_) | None => FIX_PROCESS.to_owned(),
    };
    format!("{fact}; {forgotten}; {advice}")
}

/// The name of the process with a socket.
fn process_name(socket: &SocketReport<'_>) -> String {
    let container = socket.container_name.as_deref();
    let container = container.map_or_else(String::new, |name| format!(" in the container {name}"));
    match (socket.side, socket.process.as_deref(), socket.pid) {
        (Side::Proxy, _, Some(pid)) => format!("the proxy (PID {pid})"),
        (Side::Proxy, ..) => "the proxy".to_owned(),
        (_, Some(name), Some(pid)) => format!("app {name} (PID {pid}){container}"),
        (Side::App, ..) => format!("an app with uid {} (process not visible)", socket.uid),
        (Side::Unknown, ..) => "no visible process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::report::tests::{namespace, socket};

    fn verdicts_of(sockets: Vec<SocketReport<'static>>, timeout: u32) -> Vec<String> {
        verdicts(&namespace(sockets, Some(timeout)))
    }

    #[test]
    fn an_app_that_does_not_close_is_named() {
        let sockets = vec![
            socket(State::CloseWait, Side::App, "10.0.0.1:80", "10.0.0.2:1000", Some("web")),
            socket(State::CloseWait, Side::App, "[fd00::1]:80", "[fd00::2]:1000", Some("web")),
        ];
        assert_eq!(
            verdicts_of(sockets, 60),
            ["app web (PID 7) has left 2 connections half-closed: the peer has closed its side; conntrack \
                 drops a silent one after 60s; on an opaque port, a later response is lost. Set the timeout to \
                 3600s, as linkerd-linger does at admission; a timeout does not help HTTP/1, or a process that \
                 never closes connections: fix the process"]
        );
    }

    #[test]
    fn its_container_is_named_where_it_is_known() {
        let mut socket = socket(State::CloseWait, Side::App, "10.0.0.1:80", "10.0.0.2:1000", Some("java"));
        socket.container_name = Some("cart".into());
        socket.age_seconds = Some(61);
        let verdicts_of = verdicts_of(vec![socket], 3600);
        let start = "app java (PID 7) in the container cart has left 1 connection half-closed for up to 61s:";
        assert!(verdicts_of[0].starts_with(start), "{verdicts_of:?}");
    }

    #[test]
    fn a_hidden_process_is_named_by_its_user() {
        let app = socket(State::CloseWait, Side::App, "10.0.0.1:80", "10.0.0.2:1000", None);
        let proxy = socket(State::CloseWait, Side::Proxy, "10.0.0.1:81", "10.0.0.2:1000", None);
        let verdicts_of = verdicts_of(vec![app, proxy], 60);
        assert!(verdicts_of[0].starts_with("the proxy has left 1 connection"), "{verdicts_of:?}");
        assert!(
            verdicts_of[1].starts_with("an app with uid 1000 (process not visible) has left"),
            "{verdicts_of:?}"
        );
    }

    #[test]
    fn a_connection_within_the_pod_is_reported_once() {
        let sockets = vec![
            socket(State::CloseWait, Side::App, "127.0.0.1:80", "127.0.0.1:1000", Some("web")),
            socket(State::FinWait2, Side::Proxy, "127.0.0.1:1000", "127.0.0.1:80", Some("linkerd2-proxy")),
        ];
        assert_eq!(verdicts_of(sockets, 3600).len(), 1);
    }

    #[test]
    fn an_end_elsewhere_is_reported() {
        let sockets = vec![socket(State::FinWait2, Side::Unknown, "10.0.0.1:1000", "10.0.0.2:80", None)];
        assert_eq!(
            verdicts_of(sockets, 60),
            ["1 connection is closed here but not by the peer, which is outside of this network namespace \
                 (FIN_WAIT2)"]
        );
    }

    #[test]
    fn no_half_closed_connection_gives_no_verdict() {
        assert!(verdicts_of(Vec::new(), 60).is_empty());
    }
}
