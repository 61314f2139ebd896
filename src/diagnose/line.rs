//! A line of a log -> a failed request, a line of the access log, or neither.
//!
//! A line is known by what stands in it, not by where it begins: `kubectl logs --timestamps`, `--prefix`, `stern`, the CRI's
//! and Docker's files all write something of their own before it.

use std::borrow::Cow;

use jiff::Timestamp;
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Direction, error::Kind};

/// What a line is.
#[derive(Debug)]
pub enum Line<'a> {
    /// It tells of a failed request.
    Failure(Failure<'a>),
    /// It is of the access log.
    Access(Access<'a>),
    /// It is the proxy's, and tells of neither.
    Proxy,
    /// It is not the proxy's, or cut off.
    Foreign,
}

/// Microseconds: since the start of the proxy, or since 1970.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct At {
    /// Since the proxy started.
    pub since_start: Option<i64>,
    /// The time of day.
    pub wall: Option<i64>,
}

/// Where in the proxy a line comes from: one failure is told by up to three.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layer {
    /// Next to the endpoint: every failure, once.
    Endpoint,
    /// At the proxy's server: those that the endpoint's layer passed on.
    Server,
    /// `Unexpected error`: those that became a 500.
    Unexpected,
    /// `Failed to proxy request`: the only line of Linkerd 2.10 and before.
    Only,
}

/// A line about a failed request.
#[derive(Debug)]
pub struct Failure<'a> {
    /// When it failed.
    pub at: At,
    /// Inbound or outbound, where the line says so.
    pub direction: Option<Direction>,
    /// The port that was asked.
    pub port: Option<u16>,
    /// The address of the client.
    pub client: Option<Cow<'a, str>>,
    /// Which of the lines of this failure it is.
    pub layer: Layer,
    /// What it says.
    pub kind: Kind,
    /// It is of the proxy's admin server.
    pub admin: bool,
}

/// A line of the access log.
#[derive(Debug)]
pub struct Access<'a> {
    /// The address of the client.
    pub client: Cow<'a, str>,
    /// The host that it asked for, which the apache form does not tell.
    pub host: Option<Cow<'a, str>>,
    /// When the request began, in microseconds since 1970.
    pub start: i64,
    /// How long it took, in microseconds, which the apache form does not tell.
    pub total: Option<i64>,
    /// The status of the answer.
    pub status: u16,
    /// kubelet sent it.
    pub from_kubelet: bool,
    /// The client's identity is known.
    pub meshed: bool,
}

/// The longest part of a line that others write before it.
const LONGEST_PREFIX: usize = 512;

/// Reads lines. Reading one allocates nothing unless it tells of a failure.
#[derive(Debug)]
pub struct Reader {
    failed: memmem::Finder<'static>,
    unexpected: memmem::Finder<'static>,
    proxied: memmem::Finder<'static>,
    total: memmem::Finder<'static>,
    http: memmem::Finder<'static>,
    wrapped: memmem::Finder<'static>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            failed: memmem::Finder::new("equest failed"),
            unexpected: memmem::Finder::new("Unexpected error"),
            proxied: memmem::Finder::new("Failed to proxy request"),
            total: memmem::Finder::new("\"total_ns\""),
            http: memmem::Finder::new(" HTTP/"),
            wrapped: memmem::Finder::new("{\"log\":\""),
        }
    }
}

impl Reader {
    /// Reads a line, without its end.
    pub fn read<'a>(&self, line: &'a [u8]) -> Line<'a> {
        let head = &line[..line.len().min(LONGEST_PREFIX)];
        if memchr::memchr(0x1b, head).is_some() {
            return own(&self.plain_of(&String::from_utf8_lossy(&without_colours(line))));
        }
        if self.wrapped.find(head).is_some() {
            return self.docker(line);
        }
        if self.total.find(line).is_some() {
            return access_json(line);
        }
        let told = self.unexpected.find(line).is_some()
            || self.failed.find(line).is_some()
            || self.proxied.find(line).is_some();
        if !told {
            if self.http.find(line).is_some()
                && let Some(access) = access_apache(line)
            {
                return access;
            }
            return if is_of_proxy(head) { Line::Proxy } else { Line::Foreign };
        }
        match String::from_utf8_lossy(line) {
            Cow::Borrowed(text) => failure(text),
            Cow::Owned(text) => own(&failure(&text)),
        }
    }

    fn plain_of<'a>(&self, text: &'a str) -> Line<'a> {
        if memchr::memchr(0x1b, text.as_bytes()).is_some() {
            Line::Foreign
        } else {
            self.read(text.as_bytes())
        }
    }

    /// A line of Docker's own log file.
    fn docker<'a>(&self, line: &[u8]) -> Line<'a> {
        #[derive(Deserialize)]
        struct Wrapped {
            log: String,
        }
        match object(line).and_then(|text| serde_json::from_str::<Wrapped>(text).ok()) {
            // What is wrapped is not unwrapped twice.
            Some(wrapped) if self.wrapped.find(wrapped.log.as_bytes()).is_none() => {
                own(&self.read(wrapped.log.trim_end().as_bytes()))
            }
            Some(_) | None => Line::Foreign,
        }
    }
}

/// The same line, which owns its texts.
fn own<'b>(line: &Line<'_>) -> Line<'b> {
    let owned = |text: &Cow<'_, str>| Cow::Owned(text.clone().into_owned());
    match line {
        Line::Failure(failure) => {
            Line::Failure(Failure { client: failure.client.as_ref().map(owned), ..*failure })
        }
        Line::Access(access) => Line::Access(Access {
            client: owned(&access.client),
            host: access.host.as_ref().map(owned),
            ..*access
        }),
        Line::Proxy => Line::Proxy,
        Line::Foreign => Line::Foreign,
    }
}

/// Takes the control sequences of terminals away.
fn without_colours(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut bytes = line.iter();
    while let Some(byte) = bytes.next() {
        if *byte != 0x1b {
            out.push(*byte);
        } else if bytes.next() == Some(&b'[') {
            bytes.find(|byte| byte.is_ascii_alphabetic());
        }
    }
    out
}

/// Whether a line is one of the proxy's own log, in either form.
fn is_of_proxy(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    since_start(&text).is_some() && text.contains("ThreadId(") || text.contains("\"threadId\":")
}

/// `[     1.458873s]`, and what follows it.
fn since_start(text: &str) -> Option<(i64, &str)> {
    let mut from = 0;
    while let Some(open) = text.get(from..)?.find('[').map(|at| from + at) {
        let after = text.get(open + 1..)?;
        from = open + 1;
        let Some(end) = after.get(..after.len().min(24)).and_then(|it| it.find("s]")) else { continue };
        let number = after[..end].trim();
        let digits = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if let Some(seconds) = number.parse::<f64>().ok().filter(|_| digits) {
            return Some((micros(seconds)?, &after[end + 2..]));
        }
    }
    None
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what is cut off is below a microsecond; the range is checked"
)]
fn micros(seconds: f64) -> Option<i64> {
    (0.0..1e10).contains(&seconds).then(|| (seconds * 1e6).round() as i64)
}

/// The first word that is a time of day.
fn wall(text: &str) -> Option<i64> {
    text.split([' ', '\t']).filter(|word| word.len() >= 20 && word.contains('T')).find_map(timestamp)
}

fn timestamp(text: &str) -> Option<i64> {
    Some(text.parse::<Timestamp>().ok()?.as_microsecond())
}

/// From the first brace to the last.
fn object(line: &[u8]) -> Option<&str> {
    let from = memchr::memchr(b'{', line)?;
    let to = memchr::memrchr(b'}', line)?;
    std::str::from_utf8(line.get(from..=to)?).ok()
}

fn failure(text: &str) -> Line<'_> {
    if text.contains("{\"timestamp\":") {
        // The beginning may be cut off, and with it the time and the port.
        return json_failure(text).map_or(Line::Foreign, Line::Failure);
    }
    if let Some((at, rest)) = since_start(text) {
        let before = &text[..text.len() - rest.len()];
        let at = At { since_start: Some(at), wall: wall(before) };
        return plain_failure(at, rest);
    }
    Line::Foreign
}

fn plain_failure(at: At, rest: &str) -> Line<'_> {
    // `INFO ThreadId(01) SPANS: TARGET: MESSAGE FIELDS`
    let Some(target) = rest.find("linkerd_app").or_else(|| rest.find("linkerd2_app")) else {
        return Line::Foreign;
    };
    let (spans, message) = rest.split_at(target);
    let Some((_, message)) = message.split_once(": ") else { return Line::Foreign };
    let (layer, fields) = if let Some(fields) = message.strip_prefix("Unexpected error") {
        (Layer::Unexpected, fields)
    } else if let Some(fields) = message.strip_prefix("Failed to proxy request:") {
        (Layer::Only, fields)
    } else if let Some((what, fields)) = message.split_once("equest failed") {
        if what.len() > 12 {
            return Line::Proxy;
        }
        (layer(spans, fields), fields)
    } else {
        return Line::Proxy;
    };
    let trailing = fields.split(" client.addr=").nth(1).and_then(|it| it.split(' ').next());
    let error =
        fields.split(" path=").next().unwrap_or(fields).split(" client.addr=").next().unwrap_or(fields);
    let error = error.trim_start().strip_prefix("error=").unwrap_or(error);
    let client = attribute(spans, "client.addr=").or_else(|| attribute(spans, "peer.addr=")).or(trailing);
    Line::Failure(Failure {
        at,
        direction: direction(spans),
        port: port(spans),
        client: client.map(Cow::Borrowed),
        layer,
        kind: super::error::kind(error),
        admin: spans.contains("admin{") || spans.contains("admin:"),
    })
}

/// Whether a `request failed` is the endpoint's or the server's.
fn layer(spans: &str, fields: &str) -> Layer {
    let error = fields.trim_start().strip_prefix("error=").unwrap_or(fields);
    let of_server = match direction(spans) {
        Some(Direction::Outbound) => !spans.contains("endpoint{") && error.starts_with("logical service "),
        Some(Direction::Inbound) | None => of_client(error),
    };
    if of_server { Layer::Server } else { Layer::Endpoint }
}

/// `client 10.0.0.1:1234: ...`
fn of_client(error: &str) -> bool {
    error
        .strip_prefix("client ")
        .is_some_and(|rest| rest.starts_with(|char: char| char.is_ascii_digit() || char == '['))
}

fn direction(spans: &str) -> Option<Direction> {
    let inbound = spans.find("inbound").or_else(|| spans.find("admin"));
    match (inbound, spans.find("outbound").or_else(|| spans.find("ingress"))) {
        (Some(inbound), Some(outbound)) if outbound < inbound => Some(Direction::Outbound),
        (Some(_), _) => Some(Direction::Inbound),
        (None, Some(_)) => Some(Direction::Outbound),
        (None, None) => None,
    }
}

/// The value of a span's field.
fn attribute<'a>(spans: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = spans.split_once(name)?;
    let value = value.split([' ', '}']).next()?;
    Some(value).filter(|value| !value.is_empty())
}

/// The port that was asked: inbound the server's, outbound the one that the app dialled.
fn port(spans: &str) -> Option<u16> {
    if let Some(port) = attribute(spans, "server{port=") {
        return port.parse().ok();
    }
    ["proxy{addr=", "target.addr=", "orig_dst=", "ingress{addr=", "listen.addr=", "endpoint{addr="]
        .into_iter()
        .find_map(|name| port_of(attribute(spans, name)?))
}

/// The port of an address.
pub(super) fn port_of(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok().filter(|port| *port > 0)
}

#[derive(Deserialize)]
struct JsonLine<'a> {
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    fields: JsonFields<'a>,
    #[serde(borrow, default)]
    spans: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct JsonFields<'a> {
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow, default)]
    error: Cow<'a, str>,
    #[serde(rename = "client.addr", borrow, default)]
    client: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct JsonSpan<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(default)]
    port: Option<serde_json::Value>,
    #[serde(borrow, default)]
    addr: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    orig_dst: Option<Cow<'a, str>>,
    #[serde(rename = "target.addr", borrow, default)]
    target: Option<Cow<'a, str>>,
    #[serde(rename = "listen.addr", borrow, default)]
    listen: Option<Cow<'a, str>>,
    #[serde(rename = "client.addr", borrow, default)]
    client: Option<Cow<'a, str>>,
    #[serde(rename = "peer.addr", borrow, default)]
    peer: Option<Cow<'a, str>>,
}

fn json_failure(text: &str) -> Option<Failure<'_>> {
    let line: JsonLine<'_> = serde_json::from_str(object(text.as_bytes())?).ok()?;
    let at = match since_start(&line.timestamp) {
        Some((at, _)) => At { since_start: Some(at), wall: None },
        None => At { since_start: None, wall: Some(timestamp(&line.timestamp)?) },
    };
    let spans: Vec<JsonSpan<'_>> =
        line.spans.iter().filter_map(|span| serde_json::from_str(span.get()).ok()).collect();
    let named = |name: &str| spans.iter().find(|span| span.name == name);
    let direction = spans.iter().find_map(|span| match &*span.name {
        "inbound" | "admin" => Some(Direction::Inbound),
        "outbound" | "ingress" => Some(Direction::Outbound),
        _ => None,
    });
    let message = &*line.fields.message;
    let error = &*line.fields.error;
    let (layer, error) = if message.starts_with("Unexpected error") {
        (Layer::Unexpected, error)
    } else if let Some(error) = message.strip_prefix("Failed to proxy request:") {
        (Layer::Only, error)
    } else if message.ends_with("equest failed") {
        let of_server = match direction {
            Some(Direction::Outbound) => named("endpoint").is_none() && error.starts_with("logical service "),
            Some(Direction::Inbound) | None => of_client(error),
        };
        (if of_server { Layer::Server } else { Layer::Endpoint }, error)
    } else {
        return None;
    };
    let port = named("server").and_then(|span| match span.port.as_ref()? {
        serde_json::Value::Number(port) => u16::try_from(port.as_u64()?).ok(),
        serde_json::Value::String(port) => port.parse().ok(),
        _ => None,
    });
    let addressed = || {
        let addresses = |span: &JsonSpan<'_>| {
            let addr = span.addr.as_ref().filter(|_| matches!(&*span.name, "proxy" | "ingress"));
            [addr, span.target.as_ref(), span.orig_dst.as_ref(), span.listen.as_ref()]
                .into_iter()
                .flatten()
                .find_map(|address| port_of(address))
        };
        spans.iter().find_map(addresses)
    };
    let client = spans.iter().find_map(|span| span.client.as_ref().or(span.peer.as_ref()));
    let client = client.or(line.fields.client.as_ref()).map(|client| Cow::Owned(client.to_string()));
    Some(Failure {
        at,
        direction,
        port: port.or_else(addressed),
        client,
        layer,
        kind: super::error::kind(error),
        admin: named("admin").is_some(),
    })
}

#[derive(Deserialize)]
struct JsonAccess<'a> {
    #[serde(rename = "client.addr", borrow)]
    client: Cow<'a, str>,
    #[serde(rename = "client.id", borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    host: Cow<'a, str>,
    status: u16,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    total_ns: Cow<'a, str>,
    #[serde(borrow, default)]
    user_agent: Cow<'a, str>,
}

fn access_json(line: &[u8]) -> Line<'_> {
    let Some(access) = object(line).and_then(|text| serde_json::from_str::<JsonAccess<'_>>(text).ok()) else {
        return Line::Foreign;
    };
    let total = access.total_ns.parse::<i64>().ok().filter(|total| *total >= 0);
    let (Some(start), Some(total)) = (timestamp(&access.timestamp), total) else { return Line::Foreign };
    Line::Access(Access {
        client: access.client,
        host: Some(access.host),
        start,
        total: Some(total / 1000),
        status: access.status,
        from_kubelet: access.user_agent.starts_with("kube-probe/"),
        meshed: !matches!(&*access.id, "" | "-"),
    })
}

/// `10.0.0.1:38998 - - [2026-11-27T08:08:53.551746074Z] "GET /healthz HTTP/1.1" 502`
fn access_apache(line: &[u8]) -> Option<Line<'_>> {
    let text = std::str::from_utf8(line).ok()?;
    let (request, status) = text.trim_end().rsplit_once("\" ")?;
    let status = status.split(' ').next()?.parse().ok().filter(|status| (100..600).contains(status))?;
    let (before, _) = request.split_once(" \"")?;
    let (who, time) = before.strip_suffix(']')?.rsplit_once(" [")?;
    let start = timestamp(time)?;
    // `ADDRESS IDENTITY -`, after what others write before it.
    let mut words = who.rsplit(' ');
    let (dash, id, client) = (words.next()?, words.next()?, words.next()?);
    (dash == "-" && port_of(client).is_some()).then(|| {
        Line::Access(Access {
            client: Cow::Borrowed(client),
            host: None,
            start,
            total: None,
            status,
            from_kubelet: false,
            meshed: id != "-",
        })
    })
}

#[cfg(test)]
mod tests;
