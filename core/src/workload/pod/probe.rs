//! Probes: the kind, the handler, the port and the period.
//!
//! Applies the API server's defaults for missing fields. The survey decides whether a probe passes through the proxy.

use std::{borrow::Cow, fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

use crate::{
    base::text::{Text, nullable},
    workload::pod::Port,
};

/// The kind of a probe.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ProbeKind {
    /// Restarts the container when it fails.
    Liveness,
    /// Takes the pod out of its Services when it fails.
    Readiness,
    /// Gates the other two until it succeeds once.
    Startup,
}

impl ProbeKind {
    /// Every kind, in the order in which reports list them.
    pub const ALL: [Self; 3] = [Self::Liveness, Self::Readiness, Self::Startup];

    /// The name in messages and in the JSON of `explain`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
            Self::Startup => "startup",
        }
    }

    /// The field of the container.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Liveness => "livenessProbe",
            Self::Readiness => "readinessProbe",
            Self::Startup => "startupProbe",
        }
    }
}

/// The handler of a probe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Handler<'a> {
    /// An HTTP/1.1 GET on a new connection; `https` when `scheme: HTTPS`.
    HttpGet {
        /// As written: a number, or the name of one of the container's ports.
        port: PortRef<'a>,
        /// `scheme: HTTPS` (the default is HTTP).
        https: bool,
        /// A host other than the pod's own address.
        host: Option<Text<'a>>,
        /// The `Host` header, if `httpHeaders` has one that is not empty.
        authority: Option<Text<'a>>,
    },
    /// The gRPC health service, over HTTP/2 on a new connection.
    Grpc {
        /// The port number.
        port: u16,
    },
    /// Opens and closes a connection.
    TcpSocket,
    /// Runs a command inside the container.
    Exec,
    /// An unknown handler.
    Unknown,
}

impl Handler<'_> {
    /// The name in messages and in the JSON of `explain`: the field name in the pod spec.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::HttpGet { .. } => "httpGet",
            Self::Grpc { .. } => "grpc",
            Self::TcpSocket => "tcpSocket",
            Self::Exec => "exec",
            Self::Unknown => "unknown",
        }
    }
}

/// A port by number or by name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PortRef<'a> {
    /// A number.
    Number(u16),
    /// The name of a port of the same container.
    Name(Text<'a>),
}

impl<'de: 'a, 'a> Deserialize<'de> for PortRef<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PortRefVisitor;
        impl<'de> Visitor<'de> for PortRefVisitor {
            type Value = PortRef<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number or a name")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                let port = u16::try_from(number);
                port.map(PortRef::Number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(PortRef::Name(name.into()))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(PortRef::Name(Text(Cow::Owned(name.to_owned()))))
            }
        }
        deserializer.deserialize_any(PortRefVisitor)
    }
}

impl PortRef<'_> {
    /// The port number. Names are looked up in `ports`; a name that consists of digits is a number, as in kubelet
    /// (`resolveContainerPort`/`ExtractPort` in kubernetes `pkg/probe/util.go`).
    pub fn resolve(&self, ports: &[Port<'_>]) -> Option<u16> {
        match self {
            Self::Number(number) => Some(*number).filter(|n| *n != 0),
            Self::Name(name) => ports
                .iter()
                .find(|port| port.name.as_deref() == Some(name))
                .map(|port| port.number)
                .or_else(|| name.parse().ok().filter(|n| *n != 0)),
        }
    }
}

/// A probe of a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Probe<'a> {
    /// The kind.
    pub kind: ProbeKind,
    /// The handler.
    pub handler: Handler<'a>,
    /// The port, if the handler has one and it resolves to a number.
    pub port: Option<u16>,
    /// The interval between two requests: `periodSeconds`, or the API server's default.
    pub period: Duration,
    /// The timeout of a request: `timeoutSeconds`, or the API server's default.
    pub timeout: Duration,
    /// The number of consecutive failures after which kubelet acts: `failureThreshold`, or the API server's default.
    pub failure_threshold: u32,
}

/// The default of `periodSeconds`, for absent and 0 (kubernetes `pkg/apis/core/v1/defaults.go`, `SetDefaults_Probe`).
const DEFAULT_PERIOD_SECONDS: u32 = 10;
/// The default of `timeoutSeconds`, for absent and 0 (same place).
const DEFAULT_TIMEOUT_SECONDS: u32 = 1;
/// The default of `failureThreshold`, for absent and 0 (same place).
const DEFAULT_FAILURE_THRESHOLD: u32 = 3;

/// A probe in the pod spec.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawProbe<'a> {
    #[serde(borrow, default)]
    http_get: Option<RawHttpGet<'a>>,
    #[serde(default)]
    grpc: Option<RawGrpc>,
    #[serde(default)]
    tcp_socket: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    exec: Option<serde::de::IgnoredAny>,
    #[serde(default, deserialize_with = "nullable")]
    period_seconds: u32,
    #[serde(default, deserialize_with = "nullable")]
    timeout_seconds: u32,
    #[serde(default, deserialize_with = "nullable")]
    failure_threshold: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHttpGet<'a> {
    #[serde(borrow)]
    port: PortRef<'a>,
    #[serde(borrow, default)]
    scheme: Option<Text<'a>>,
    #[serde(borrow, default)]
    host: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    http_headers: Vec<RawHeader<'a>>,
}

#[derive(Debug, Deserialize)]
struct RawHeader<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    name: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    value: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct RawGrpc {
    port: u16,
}

impl<'a> RawProbe<'a> {
    pub(super) fn check(self, kind: ProbeKind, ports: &[Port<'a>]) -> Probe<'a> {
        let (handler, port) = if let Some(http) = self.http_get {
            let port = http.port.resolve(ports);
            let https = http.scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
            let host = http.host.filter(|host| !host.is_empty());
            // kubelet uses the first of several (kubernetes `pkg/probe/http/request.go`).
            let header = http.http_headers.into_iter().find(|it| it.name.eq_ignore_ascii_case("host"));
            let authority = header.map(|header| header.value).filter(|value| !value.is_empty());
            (Handler::HttpGet { port: http.port, https, host, authority }, port)
        } else if let Some(grpc) = self.grpc {
            (Handler::Grpc { port: grpc.port }, Some(grpc.port).filter(|port| *port != 0))
        } else if self.tcp_socket.is_some() {
            (Handler::TcpSocket, None)
        } else if self.exec.is_some() {
            (Handler::Exec, None)
        } else {
            (Handler::Unknown, None)
        };
        let seconds = |value: u32, default: u32| {
            Duration::from_secs(u64::from(if value == 0 { default } else { value }))
        };
        Probe {
            kind,
            handler,
            port,
            period: seconds(self.period_seconds, DEFAULT_PERIOD_SECONDS),
            timeout: seconds(self.timeout_seconds, DEFAULT_TIMEOUT_SECONDS),
            failure_threshold: if self.failure_threshold == 0 {
                DEFAULT_FAILURE_THRESHOLD
            } else {
                self.failure_threshold
            },
        }
    }
}
