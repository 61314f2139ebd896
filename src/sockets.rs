//! Half-closed TCP connections of network namespaces: which there are, who leaves them, and how long conntrack remembers
//! them.
//!
//! Turns network namespaces into [`Namespace`]s by sock_diag, ctnetlink and `/proc`. What is said of them is left to
//! `verdict` and `report`. Only Linux has them.

mod netlink;
mod netns;
mod owners;
mod proc_net;
pub mod report;
mod sample;
mod tracked;
mod verdict;

use std::{net::SocketAddr, sync::Arc};

pub use self::{
    netns::{Target, of_node},
    sample::{Ages, hidden_processes, sample},
    verdict::verdicts,
};

/// What one network namespace has at one moment.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Its inode number, which is its name.
    pub inode: u64,
    /// The pod whose namespace it is, as far as the node shows it.
    pub pod: Option<Pod>,
    /// Half-closed connections.
    pub sockets: Vec<HalfClosed>,
    /// Entries of conntrack in CLOSE_WAIT; the error says why they cannot be read.
    pub tracked: Result<Vec<Tracked>, String>,
    /// The close-wait timeout in seconds; the error says why it cannot be read.
    pub timeout: Result<u32, String>,
    /// What could not be looked at, and why.
    pub gaps: Vec<String>,
}

/// A pod, as a node knows it without the API server.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Pod {
    /// Its UID, from the cgroup of its processes.
    pub uid: String,
    /// Its name, which is the host name in its containers.
    pub name: Option<String>,
}

/// A TCP connection one of whose ends has closed.
#[derive(Clone, Debug)]
pub struct HalfClosed {
    /// Which end.
    pub state: State,
    /// The address of this socket.
    pub local: SocketAddr,
    /// The address of the other end.
    pub remote: SocketAddr,
    /// The process that has the socket; `None` where only the kernel has it, or nobody may look.
    pub owner: Option<Arc<Owner>>,
    /// For how many seconds it has been seen so, at least; `None` in the first sample.
    pub age: Option<u64>,
    /// The number of the socket, 0 where no process has it.
    pub(crate) inode: u64,
}

/// Which end has closed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// The other end has: this process has not closed yet.
    CloseWait,
    /// This end has: the other one has not closed yet.
    FinWait2,
}

impl State {
    /// Its name in the kernel.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CloseWait => "CLOSE_WAIT",
            Self::FinWait2 => "FIN_WAIT2",
        }
    }
}

/// A process that has a socket.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Owner {
    /// Its id, in the PID namespace of whoever looks.
    pub pid: i32,
    /// The name of its program, at most 15 characters (`TASK_COMM_LEN`).
    pub name: String,
    /// The id of its container, from its cgroup.
    pub container: Option<String>,
}

/// Linkerd's proxy, or anything else.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Side {
    /// The proxy.
    Proxy,
    /// The app.
    App,
    /// Nobody can tell: no process has the socket.
    Unknown,
}

impl Side {
    /// Its name in metrics and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::App => "app",
            Self::Unknown => "unknown",
        }
    }
}

impl HalfClosed {
    /// Whose socket it is.
    pub fn side(&self) -> Side {
        match &self.owner {
            Some(owner) if owner.name == "linkerd2-proxy" => Side::Proxy,
            Some(_) => Side::App,
            None => Side::Unknown,
        }
    }
}

/// An entry of conntrack in CLOSE_WAIT.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Tracked {
    /// Who opened the connection.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// After how many seconds without a packet it is forgotten.
    pub remaining: u32,
}
