//! Reads network namespaces from the kernel of this machine, with sock_diag, ctnetlink and `/proc`.

mod netlink;
mod netns;
mod owners;
mod proc_net;
mod sample;
mod tracked;

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

pub use self::{
    netns::{Target, of_node},
    sample::{hidden_processes, sample},
};
use super::{
    Side, State, judge,
    report::{NamespaceReport, Report, SocketReport},
};

/// The default user of Linkerd's proxy; `proxy.uid` can change it (linkerd2
/// `charts/linkerd-control-plane/values.yaml`).
const PROXY_UID: u32 = 2102;
/// The program name of Linkerd's proxy.
const PROXY_PROGRAM: &str = "linkerd2-proxy";

/// The state of a network namespace at one moment.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// The inode number, which identifies it.
    pub inode: u64,
    /// The pod of the namespace, if the node shows it.
    pub pod: Option<Pod>,
    /// Half-closed connections.
    pub sockets: Vec<HalfClosed>,
    /// The conntrack entries in CLOSE_WAIT; the error says why they cannot be read.
    pub tracked: Result<Vec<Tracked>, String>,
    /// The close-wait timeout in seconds; the error says why it cannot be read.
    pub timeout: Result<u32, String>,
    /// The number of conntrack entries in any state.
    pub entries: Option<u32>,
    /// The maximum number of entries; 0 means no limit.
    pub max: Option<u32>,
    /// What could not be read, and why.
    pub gaps: Vec<String>,
}

/// A pod, as a node knows it without the API server.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Pod {
    /// The UID, from the cgroup of its processes.
    pub uid: String,
    /// The name, which is the host name in its containers.
    pub name: Option<String>,
}

/// A TCP connection that one end has closed.
#[derive(Clone, Debug)]
pub struct HalfClosed {
    /// The state.
    pub state: State,
    /// The local address.
    pub local: SocketAddr,
    /// The remote address.
    pub remote: SocketAddr,
    /// The process with the socket; `None` if there is none, or it is not visible.
    pub owner: Option<Arc<Owner>>,
    /// The user of the socket.
    pub(crate) uid: u32,
    /// The inode number of the socket; 0 if no process has it.
    pub(crate) inode: u64,
}

/// Creates a report on namespaces, without ages.
pub fn report(namespaces: &[Namespace], errors: Vec<String>) -> Report<'_> {
    let mut report = Report { namespaces: namespaces.iter().map(Namespace::report).collect(), errors };
    judge(&mut report);
    report
}

impl Namespace {
    fn report(&self) -> NamespaceReport<'_> {
        let tracked = self.tracked.as_ref().ok();
        let entries = tracked.into_iter().flatten();
        let remaining: HashMap<_, _> = entries
            .flat_map(|entry| {
                let ends = [(entry.source, entry.destination), (entry.destination, entry.source)];
                ends.map(|ends| (ends, entry.remaining))
            })
            .collect();
        let sockets = self.sockets.iter().map(|socket| SocketReport {
            state: socket.state,
            side: socket.side(),
            local: socket.local,
            remote: socket.remote,
            process: socket.owner.as_ref().map(|owner| owner.name.as_str().into()),
            pid: socket.owner.as_ref().map(|owner| owner.pid),
            uid: socket.uid,
            container: socket.owner.as_ref().and_then(|owner| owner.container.as_deref().map(Into::into)),
            container_name: None,
            age_seconds: None,
            forgotten_in_seconds: remaining.get(&(socket.local, socket.remote)).copied(),
        });
        let reasons = [self.timeout.as_ref().err(), self.tracked.as_ref().err()];
        let mut gaps = self.gaps.clone();
        gaps.extend(reasons.into_iter().flatten().cloned());
        NamespaceReport {
            inode: self.inode,
            pod_uid: self.pod.as_ref().map(|pod| pod.uid.as_str().into()),
            pod: self.pod.as_ref().and_then(|pod| pod.name.as_deref().map(Into::into)),
            pod_namespace: None,
            close_wait_timeout_seconds: self.timeout.as_ref().ok().copied(),
            conntrack_close_wait: tracked.map(Vec::len),
            first_forgotten_in_seconds: tracked
                .and_then(|entries| entries.iter().map(|entry| entry.remaining).min()),
            conntrack_entries: self.entries,
            conntrack_max: self.max,
            sockets: sockets.collect(),
            verdicts: Vec::new(),
            gaps,
        }
    }
}

/// A process with a socket.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Owner {
    /// The PID, in the PID namespace of the reader.
    pub pid: i32,
    /// The program name, at most 15 characters (`TASK_COMM_LEN`).
    pub name: String,
    /// The container ID, from its cgroup.
    pub container: Option<String>,
}

impl HalfClosed {
    /// Whether the proxy or the app has the socket. If the process is not visible, as from a container with its own PID
    /// namespace, the user decides.
    pub fn side(&self) -> Side {
        match &self.owner {
            Some(owner) if owner.name == PROXY_PROGRAM => Side::Proxy,
            Some(_) => Side::App,
            None if self.inode == 0 => Side::Unknown,
            None if self.uid == PROXY_UID => Side::Proxy,
            None => Side::App,
        }
    }
}

/// A conntrack entry in CLOSE_WAIT.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Tracked {
    /// The address that opened the connection.
    pub source: SocketAddr,
    /// The other address.
    pub destination: SocketAddr,
    /// The seconds until the entry expires if there is no packet.
    pub remaining: u32,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::the_proxy(Some("linkerd2-proxy"), 0, 7, Side::Proxy)]
    #[case::another_program(Some("web"), 2102, 7, Side::App)]
    #[case::a_hidden_process_of_the_proxys_user(None, 2102, 7, Side::Proxy)]
    #[case::a_hidden_process(None, 1000, 7, Side::App)]
    #[case::no_process(None, 0, 0, Side::Unknown)]
    fn sides(#[case] program: Option<&str>, #[case] uid: u32, #[case] inode: u64, #[case] side: Side) {
        let owner = program.map(|name| Arc::new(Owner { pid: 7, name: name.to_owned(), container: None }));
        let address = "127.0.0.1:80".parse().unwrap();
        let socket =
            HalfClosed { state: State::CloseWait, local: address, remote: address, owner, uid, inode };
        assert_eq!(socket.side(), side);
    }
}
