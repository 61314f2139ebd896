//! A line of a log -> a failed request, a line of the access log, or neither.
//!
//! A line is known by what stands in it, not by where it begins: `kubectl logs --timestamps`, `--prefix`, `stern`, the CRI's
//! and Docker's files all write something of their own before it.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hasher},
    net::IpAddr,
    sync::LazyLock,
};

use jiff::Timestamp;
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Direction, error::Kind};

/// What a line tells of requests.
#[derive(Clone, Copy, Debug)]
pub enum Told {
    /// A failed request.
    Failure(Failure),
    /// A line of the access log.
    Access(Access),
}

/// What a line is.
#[derive(Clone, Copy, Debug)]
pub enum Line {
    /// It tells of a request.
    Told(Told),
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
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// When it failed.
    pub at: At,
    /// Inbound or outbound, where the line says so.
    pub direction: Option<Direction>,
    /// The port that was asked.
    pub port: Option<u16>,
    /// A number for the address and the port of the client.
    pub client: u64,
    /// The address of the client.
    pub address: Option<IpAddr>,
    /// Which of the lines of this failure it is.
    pub layer: Layer,
    /// What it says.
    pub kind: Kind,
    /// It is of the proxy's admin server.
    pub admin: bool,
}

/// A line of the access log.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// A number for the address and the port of the client.
    pub client: u64,
    /// A number for the host that it asked for, which the apache form does not tell.
    pub host: Option<u64>,
    /// The port of that host; 0 without one.
    pub port: u16,
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

/// Lines that were read, in their order.
#[derive(Debug, Default)]
pub struct Block {
    /// Those that tell of requests, each with a number for the pod that `--prefix` or `stern` names, or 0.
    pub lines: Vec<(u64, Told)>,
    /// How many others are the proxy's.
    pub proxy: u64,
    /// How many are not.
    pub foreign: u64,
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
    /// Reads whole lines.
    pub fn block(&self, text: &[u8]) -> Block {
        let mut block = Block::default();
        let mut rest = text;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            rest = rest.get(end + 1..).unwrap_or_default();
            if line.is_empty() {
                continue;
            }
            match self.read(line) {
                Line::Proxy => block.proxy += 1,
                Line::Foreign => block.foreign += 1,
                Line::Told(told) => block.lines.push((pod(line), told)),
            }
        }
        block
    }

    /// Reads a line, without its end.
    pub fn read(&self, line: &[u8]) -> Line {
        let head = &line[..line.len().min(LONGEST_PREFIX)];
        if memchr::memchr(0x1b, head).is_some() {
            let plain = without_colours(line);
            return if memchr::memchr(0x1b, &plain).is_some() { Line::Foreign } else { self.read(&plain) };
        }
        if self.wrapped.find(head).is_some() {
            return self.docker(line);
        }
        if self.total.find(line).is_some() {
            return access_json(line);
        }
        let told = self.failed.find(line).is_some()
            || self.unexpected.find(line).is_some()
            || self.proxied.find(line).is_some();
        if !told {
            if self.http.find(line).is_some()
                && let Some(access) = access_apache(line)
            {
                return access;
            }
            return if is_of_proxy(head) { Line::Proxy } else { Line::Foreign };
        }
        match std::str::from_utf8(line) {
            Ok(text) => failure(text),
            Err(_) => failure(&String::from_utf8_lossy(line)),
        }
    }

    /// A line of Docker's own log file.
    fn docker(&self, line: &[u8]) -> Line {
        #[derive(Deserialize)]
        struct Wrapped {
            log: String,
        }
        match object(line).and_then(|text| serde_json::from_str::<Wrapped>(text).ok()) {
            // What is wrapped is not unwrapped twice.
            Some(wrapped) if self.wrapped.find(wrapped.log.as_bytes()).is_none() => {
                self.read(wrapped.log.trim_end().as_bytes())
            }
            Some(_) | None => Line::Foreign,
        }
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
    while let Some(open) = memchr::memchr(b'[', text.as_bytes().get(from..)?).map(|at| from + at) {
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

fn failure(text: &str) -> Line {
    let head = text.as_bytes().get(..LONGEST_PREFIX).unwrap_or(text.as_bytes());
    if JSON.find(head).is_some() {
        // The beginning may be cut off, and with it the time and the port.
        return json_failure(text).map_or(Line::Foreign, |failure| Line::Told(Told::Failure(failure)));
    }
    if let Some((at, rest)) = since_start(text) {
        let before = &text[..text.len() - rest.len()];
        let at = At { since_start: Some(at), wall: wall(before) };
        return plain_failure(at, rest);
    }
    Line::Foreign
}

/// What the spans of a plain line tell.
#[derive(Default)]
struct Spans<'a> {
    direction: Option<Direction>,
    /// The port of the server's span.
    server: Option<u16>,
    /// The port of the first address that the client asked for.
    asked: Option<u16>,
    client: Option<&'a str>,
    in_endpoint: bool,
    admin: bool,
}

impl<'a> Spans<'a> {
    /// Reads `inbound:server{port=80}:rescue{client.addr=192.0.2.1:5}: `.
    fn read(text: &'a str) -> Self {
        let mut spans = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.bytes().position(|byte| matches!(byte, b':' | b'{')).unwrap_or(rest.len());
            let name = rest[..end].rsplit(' ').next().unwrap_or_default();
            spans.name(name);
            let has_fields = rest.as_bytes().get(end) == Some(&b'{');
            rest = rest.get(end + 1..).unwrap_or_default();
            if has_fields {
                let close = memchr::memchr(b'}', rest.as_bytes()).unwrap_or(rest.len());
                for field in rest[..close].split(' ') {
                    if let Some((key, value)) = field.split_once('=') {
                        spans.field(name, key, value);
                    }
                }
                rest = rest.get(close + 1..).unwrap_or_default();
            }
        }
        spans
    }

    fn name(&mut self, name: &str) {
        match name {
            "inbound" => self.direction = self.direction.or(Some(Direction::Inbound)),
            "outbound" | "ingress" => self.direction = self.direction.or(Some(Direction::Outbound)),
            "admin" => {
                self.direction = self.direction.or(Some(Direction::Inbound));
                self.admin = true;
            }
            "endpoint" => self.in_endpoint = true,
            _ => {}
        }
    }

    fn field(&mut self, span: &str, key: &str, value: &'a str) {
        match (span, key) {
            ("server", "port") => self.server = value.parse().ok(),
            (_, "client.addr" | "peer.addr") => self.client = Some(value),
            ("proxy" | "ingress" | "endpoint", "addr") | (_, "target.addr" | "orig_dst" | "listen.addr") => {
                self.asked = self.asked.or_else(|| port_of(value))
            }
            _ => {}
        }
    }
}

fn plain_failure(at: At, rest: &str) -> Line {
    // `INFO ThreadId(01) SPANS: TARGET: MESSAGE FIELDS`
    let Some(target) = LINKERD.find(rest.as_bytes()) else { return Line::Foreign };
    let (spans, message) = (&rest[..target], &rest[target + 1..]);
    let Some(space) = memchr::memchr(b' ', message.as_bytes()) else { return Line::Foreign };
    let message = &message[space + 1..];
    // The message ends before its fields, within the length of the longest.
    let beginning = message.get(..32).unwrap_or(message);
    let spans = Spans::read(spans);
    let (layer, fields) = if let Some(fields) = message.strip_prefix("Unexpected error") {
        (Layer::Unexpected, fields)
    } else if let Some(fields) = message.strip_prefix("Failed to proxy request:") {
        (Layer::Only, fields)
    } else if let Some(at) = FAILED.find(beginning.as_bytes()) {
        let fields = &message[at + "equest failed".len()..];
        (layer(&spans, fields), fields)
    } else {
        return Line::Proxy;
    };
    let error = fields.trim_start().strip_prefix("error=").unwrap_or(fields);
    // The path is the client's, and may say anything.
    let error = PATH.rfind(error.as_bytes()).map_or(error, |at| &error[..at]);
    // Linkerd 2.10 writes the client at the end.
    let (error, trailing) = match (layer == Layer::Only).then(|| error.rsplit_once(" client.addr=")).flatten()
    {
        Some((error, client)) => (error, client.split(' ').next()),
        None => (error, None),
    };
    let client = spans.client.or(trailing);
    Line::Told(Told::Failure(Failure {
        at,
        direction: spans.direction,
        port: spans.server.or(spans.asked),
        client: client.map_or(0, number),
        address: client.and_then(address),
        layer,
        kind: super::error::kind(error.as_bytes()),
        admin: spans.admin,
    }))
}

static JSON: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("{\"timestamp\":"));
static FAILED: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("equest failed"));
static LINKERD: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(" linkerd"));
static PATH: LazyLock<memmem::FinderRev<'static>> = LazyLock::new(|| memmem::FinderRev::new(" path=\""));

/// A number for the pod that `kubectl logs --prefix` or `stern` names before a line; 0 if none does.
fn pod(line: &[u8]) -> u64 {
    if !line.starts_with(b"[pod/") && !line.first().is_some_and(u8::is_ascii_alphabetic) {
        return 0;
    }
    let name = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    name.iter().fold(1, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
}

/// A number for a text.
fn number(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// The address of `ADDRESS:PORT`.
fn address(text: &str) -> Option<IpAddr> {
    let (address, _) = text.rsplit_once(':')?;
    address.trim_matches(['[', ']']).parse().ok()
}

/// Whether a `request failed` is the endpoint's or the server's.
fn layer(spans: &Spans<'_>, fields: &str) -> Layer {
    let error = fields.trim_start().strip_prefix("error=").unwrap_or(fields);
    if is_of_server(spans.direction, spans.in_endpoint, error) { Layer::Server } else { Layer::Endpoint }
}

fn is_of_server(direction: Option<Direction>, in_endpoint: bool, error: &str) -> bool {
    match direction {
        Some(Direction::Outbound) => !in_endpoint && error.starts_with("logical service "),
        // `client 10.0.0.1:1234: ...`
        Some(Direction::Inbound) | None => error
            .strip_prefix("client ")
            .is_some_and(|rest| rest.starts_with(|char: char| char.is_ascii_digit() || char == '[')),
    }
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

fn json_failure(text: &str) -> Option<Failure> {
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
        let of_server = is_of_server(direction, named("endpoint").is_some(), error);
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
    let client = client.or(line.fields.client.as_ref()).map(|client| &**client);
    Some(Failure {
        at,
        direction,
        port: port.or_else(addressed),
        client: client.map_or(0, self::number),
        address: client.and_then(address),
        layer,
        kind: super::error::kind(error.as_bytes()),
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

fn access_json(line: &[u8]) -> Line {
    let Some(access) = object(line).and_then(|text| serde_json::from_str::<JsonAccess<'_>>(text).ok()) else {
        return Line::Foreign;
    };
    let total = access.total_ns.parse::<i64>().ok().filter(|total| *total >= 0);
    let (Some(start), Some(total)) = (timestamp(&access.timestamp), total) else { return Line::Foreign };
    Line::Told(Told::Access(Access {
        client: number(&access.client),
        host: Some(number(&access.host)),
        port: port_of(&access.host).unwrap_or(0),
        start,
        total: Some(total / 1000),
        status: access.status,
        from_kubelet: access.user_agent.starts_with("kube-probe/"),
        meshed: !matches!(&*access.id, "" | "-"),
    }))
}

/// `10.0.0.1:38998 - - [2026-11-27T08:08:53.551746074Z] "GET /healthz HTTP/1.1" 502`
fn access_apache(line: &[u8]) -> Option<Line> {
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
        Line::Told(Told::Access(Access {
            client: number(client),
            host: None,
            port: 0,
            start,
            total: None,
            status,
            from_kubelet: false,
            meshed: id != "-",
        }))
    })
}

#[cfg(test)]
mod tests;
