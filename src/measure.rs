//! Measures how long a server really keeps an idle connection: opens a few connections, sends one request on each, and
//! waits for the close.
//!
//! [`connection`] measures one connection, [`samples`] combines several, [`half_close`] tests what the server does when
//! the client closes its side, and [`target`] finds the servers of a workload.

pub mod connection;
pub mod half_close;
pub mod report;
pub mod run;
pub mod samples;
pub mod target;
mod watched;

/// The `User-Agent` header, which shows in the log of the server where the requests come from.
pub const USER_AGENT: &str =
    concat!("linkerd-linger/", env!("CARGO_PKG_VERSION"), " (measures idle timeouts)");
