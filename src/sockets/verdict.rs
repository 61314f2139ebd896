//! What follows from half-closed connections: a sentence for each process that leaves them, and what to do.
//!
//! Linkerd's proxy ends an HTTP/1 request whose client half-closes, whatever the timeout; only opaque TCP that is silent for
//! longer than the timeout is lost. An app that never closes is not helped by any timeout. Both were measured.

use std::collections::{BTreeMap, HashSet};

use super::{HalfClosed, Namespace, Owner, Side, State};
use crate::{base::plural::count, judgement::policy::CLOSE_WAIT_TIMEOUT};

/// The sentences about a namespace; none where nothing is half-closed.
pub fn verdicts(namespace: &Namespace) -> Vec<String> {
    let mut leavers: BTreeMap<Option<&Owner>, Vec<&HalfClosed>> = BTreeMap::new();
    let mut within = HashSet::new();
    for socket in namespace.sockets.iter().filter(|socket| socket.state == State::CloseWait) {
        leavers.entry(socket.owner.as_deref()).or_default().push(socket);
        within.insert((socket.remote, socket.local));
    }
    let mut verdicts: Vec<String> =
        leavers.iter().map(|(owner, sockets)| leaver(*owner, sockets, namespace)).collect();
    // A connection within the namespace is told of once, at the end that has not closed.
    let is_waiting = |socket: &&HalfClosed| {
        socket.state == State::FinWait2 && !within.contains(&(socket.local, socket.remote))
    };
    let waiting = namespace.sockets.iter().filter(is_waiting).count();
    if waiting > 0 {
        verdicts.push(format!(
            "{} {} closed here and not by the other end, which is outside of this namespace (FIN_WAIT2)",
            count(waiting, "connection"),
            if waiting == 1 { "is" } else { "are" }
        ));
    }
    verdicts
}

fn leaver(owner: Option<&Owner>, sockets: &[&HalfClosed], namespace: &Namespace) -> String {
    let who = match (owner, sockets.first().map(|socket| socket.side())) {
        (Some(owner), Some(Side::Proxy)) => format!("the proxy (PID {})", owner.pid),
        (Some(owner), _) => format!("app {} (PID {})", owner.name, owner.pid),
        (None, _) => "a process that we do not see".to_owned(),
    };
    let age = sockets.iter().filter_map(|socket| socket.age).max().filter(|age| *age > 0);
    let age = age.map_or_else(String::new, |age| format!(" for up to {age}s"));
    let fact = format!(
        "{who} has left {} half-closed{age}: the other end has closed",
        count(sockets.len(), "connection")
    );
    let forgotten = match &namespace.timeout {
        Ok(seconds) => format!("conntrack forgets a silent one after {seconds}s"),
        Err(why) => format!("how long conntrack remembers them is not known ({why})"),
    };
    let advice = match &namespace.timeout {
        Ok(seconds) if u64::from(*seconds) < CLOSE_WAIT_TIMEOUT.as_secs() => format!(
            "on an opaque port an answer that comes later is lost. Set the timeout to {}s, as linkerd-linger does at \
             admission; if the process never closes them, mend the process, since no timeout helps then",
            CLOSE_WAIT_TIMEOUT.as_secs()
        ),
        Ok(_) | Err(_) => {
            "if the process never closes them, mend the process, since no timeout helps then".to_owned()
        }
    };
    format!("{fact}; {forgotten}; {advice}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn socket(state: State, local: &str, remote: &str, name: Option<&str>) -> HalfClosed {
        let owner = name.map(|name| Arc::new(Owner { pid: 7, name: name.to_owned(), container: None }));
        let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
        HalfClosed { state, local, remote, owner, age: None, inode: 1 }
    }

    fn said(sockets: Vec<HalfClosed>, timeout: u32) -> Vec<String> {
        let (tracked, timeout) = (Ok(Vec::new()), Ok(timeout));
        verdicts(&Namespace { inode: 1, pod: None, sockets, tracked, timeout, gaps: Vec::new() })
    }

    #[test]
    fn an_app_that_does_not_close_is_named() {
        let sockets = vec![
            socket(State::CloseWait, "10.0.0.1:80", "10.0.0.2:1000", Some("web")),
            socket(State::CloseWait, "[fd00::1]:80", "[fd00::2]:1000", Some("web")),
        ];
        assert_eq!(
            said(sockets, 60),
            [
                "app web (PID 7) has left 2 connections half-closed: the other end has closed; conntrack forgets a silent one \
              after 60s; on an opaque port an answer that comes later is lost. Set the timeout to 3600s, as linkerd-linger \
              does at admission; if the process never closes them, mend the process, since no timeout helps then"
            ]
        );
    }

    #[test]
    fn a_connection_within_the_pod_is_told_of_once() {
        let sockets = vec![
            socket(State::CloseWait, "127.0.0.1:80", "127.0.0.1:1000", Some("web")),
            socket(State::FinWait2, "127.0.0.1:1000", "127.0.0.1:80", Some("linkerd2-proxy")),
        ];
        assert_eq!(said(sockets, 3600).len(), 1);
    }

    #[test]
    fn an_end_elsewhere_is_told_of() {
        let sockets = vec![socket(State::FinWait2, "10.0.0.1:1000", "10.0.0.2:80", None)];
        assert_eq!(
            said(sockets, 60),
            [
                "1 connection is closed here and not by the other end, which is outside of this namespace (FIN_WAIT2)"
            ]
        );
    }

    #[test]
    fn nothing_half_closed_is_nothing_to_say() {
        assert!(said(Vec::new(), 60).is_empty());
    }
}
