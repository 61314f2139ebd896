//! Finds the cause of failed requests from the proxy's logs and metrics.
//!
//! ```text
//! bytes of a log  -line::read--> Failure | Access -log::Log-----> what failed, when, and how long it took  -.
//! bytes of a page -metrics::Metrics::read------------------------> requests and durations by port            |
//! manifests       -spec::ports----------------------------------> the server's idle timeout and the pool's   |
//!                                                                            cause::diagnose <----------------'
//! Diagnosis       -report::text, serde--------------------------> text, JSON, HTML
//! ```
//!
//! Only `live` does I/O. A cause that the sources do not show is [`Cause::Undetermined`].

pub mod cause;
pub mod error;
pub mod html;
pub mod line;
pub mod live;
pub mod log;
pub mod metrics;
pub mod report;
pub mod spec;

mod access;
mod pattern;

use std::{borrow::Cow, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use self::error::Named;

/// Which of the proxy's two ports a request came through.
#[derive(Clone, Copy, Debug, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the pod's own app.
    Inbound,
    /// From the pod's own app.
    Outbound,
}

impl Direction {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Cause {
    /// The server closed an idle connection when the proxy re-used it.
    IdleTimeoutRace,
    /// The app closed or reset a request that it had read.
    AppEndedRequest,
    /// Nothing listens at the port.
    ConnectionRefused,
    /// The connection was not accepted in time.
    ConnectTimeout,
    /// The server's answer is not HTTP.
    NotHttp,
    /// Something that the proxy names itself.
    Other(Named),
    /// The sources cannot tell.
    Undetermined,
}

impl Cause {
    /// The causes that have no name of their own, for lists.
    pub const ALL: [Self; 6] = [
        Self::IdleTimeoutRace,
        Self::AppEndedRequest,
        Self::ConnectionRefused,
        Self::ConnectTimeout,
        Self::NotHttp,
        Self::Undetermined,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IdleTimeoutRace => "idle-timeout-race",
            Self::AppEndedRequest => "app-ended-request",
            Self::ConnectionRefused => "connection-refused",
            Self::ConnectTimeout => "connect-timeout",
            Self::NotHttp => "not-http",
            Self::Other(named) => named.as_str(),
            Self::Undetermined => "undetermined",
        }
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl JsonSchema for Cause {
    fn schema_name() -> Cow<'static, str> {
        "Cause".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let named = Named::ALL.iter().map(|named| named.as_str());
        let causes: Vec<&str> = Self::ALL.iter().map(|cause| cause.as_str()).chain(named).collect();
        json_schema!({"description": "Why a request failed", "enum": causes})
    }
}

/// A race fails within a few milliseconds of its request: the slowest of 571 recorded ones took 6 ms. The rest is for
/// machines that are busy, and meets the first bucket of the proxy's durations.
pub const FAST: Duration = Duration::from_millis(25);
/// A race never takes this long: the longest pause of an app whose CPU is throttled.
pub const SLOW: Duration = Duration::from_millis(100);
