//! Half-closed TCP connections in network namespaces: the processes that have not closed them, and how long conntrack
//! remembers them.
//!
//! [`kernel`] reads them on Linux, [`remote`] reads them through the API server. Both produce a [`report::Report`].

mod ages;
#[cfg(target_os = "linux")]
pub mod exporter;
#[cfg(target_os = "linux")]
pub mod kernel;
pub mod remote;
pub mod report;
mod verdict;

use serde::{Deserialize, Serialize};

pub use self::{ages::Ages, verdict::judge};

/// The TCP state of a half-closed socket.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum State {
    /// The peer has closed; this process has not.
    #[serde(rename = "CLOSE_WAIT")]
    CloseWait,
    /// This process has closed; the peer has not.
    #[serde(rename = "FIN_WAIT2")]
    FinWait2,
}

impl State {
    /// The name in the kernel.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CloseWait => "CLOSE_WAIT",
            Self::FinWait2 => "FIN_WAIT2",
        }
    }
}

/// Whether a socket belongs to Linkerd's proxy or to the app.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The proxy.
    Proxy,
    /// The app.
    App,
    /// Unknown: no process has the socket.
    Unknown,
}

impl Side {
    /// The name in metrics and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::App => "app",
            Self::Unknown => "unknown",
        }
    }
}
