//! Half-closed TCP connections of network namespaces: which there are, which process leaves them, and how long conntrack
//! remembers them.
//!
//! [`kernel`] reads them on Linux, [`remote`] reads them through the API server. Both make a [`report::Report`].

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

/// Which end has closed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum State {
    /// The other end has: this process has not closed yet.
    #[serde(rename = "CLOSE_WAIT")]
    CloseWait,
    /// This end has: the other one has not closed yet.
    #[serde(rename = "FIN_WAIT2")]
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

/// Linkerd's proxy, or anything else.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The proxy.
    Proxy,
    /// The app.
    App,
    /// Not known: no process has the socket.
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
