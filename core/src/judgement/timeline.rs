//! The numbers behind a finding about idle connections, for reports that draw them.

use std::time::Duration;

use crate::servers::Window;

/// What happens to one connection after its last response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Timeline {
    /// The time from the start of all requests to the moment at which the connection becomes idle.
    pub start: Duration,
    /// How long the requests leave the connection idle; `None` if requests can arrive at any time.
    pub idle: Option<Duration>,
    /// When the server may close it.
    pub window: Window,
    /// The tolerance of the policy at both ends of the window.
    pub tolerance: Duration,
    /// How long the proxy may reuse it; `None` for HTTP/2, whose connection is reused while it is open.
    pub pool: Option<Duration>,
    /// The regular requests of the finding. All start together.
    pub requests: Vec<Requests>,
    /// How many more probes the finding has.
    pub more: usize,
}

/// Requests with a period.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Requests {
    /// Their name, such as `liveness`.
    pub name: String,
    /// Their period.
    pub period: Duration,
}
