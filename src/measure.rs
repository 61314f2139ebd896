//! How long a server really keeps an idle connection: a few connections, one request on each, and a clock.
//!
//! [`connection`] measures one connection, [`samples`] sums several up, [`half_close`] asks what the server does when
//! the client closes its side, and [`target`] finds the server of a workload. `judgement` decides what the spec says.

pub mod connection;
pub mod half_close;
pub mod report;
pub mod run;
pub mod samples;
pub mod target;
mod watched;

/// What we say in the header `User-Agent`, so that whoever reads the server's log knows where the requests come from.
pub const USER_AGENT: &str =
    concat!("linkerd-linger/", env!("CARGO_PKG_VERSION"), " (measures idle timeouts)");
