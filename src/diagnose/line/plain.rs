//! A line of a plain log -> a failed request.

use std::sync::LazyLock;

use memchr::memmem;

use super::{At, Event, Failure, Layer, Line, address, is_of_server, number, port_of};
use crate::diagnose::{Direction, error::Kinds};

static FAILED: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("equest failed"));
static LINKERD: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(" linkerd"));
static PATH: LazyLock<memmem::FinderRev<'static>> = LazyLock::new(|| memmem::FinderRev::new(" path=\""));

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

/// What a line tells after its time.
pub(super) fn failure(at: At, rest: &str, kinds: &mut Kinds) -> Line {
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
    Line::Event(Event::Failure(Failure {
        at,
        direction: spans.direction,
        port: spans.server.or(spans.asked),
        client: client.map_or(0, number),
        address: client.and_then(address),
        layer,
        kind: kinds.of(error.as_bytes()),
        admin: spans.admin,
    }))
}

/// Whether a `request failed` is the endpoint's or the server's.
fn layer(spans: &Spans<'_>, fields: &str) -> Layer {
    let error = fields.trim_start().strip_prefix("error=").unwrap_or(fields);
    if is_of_server(spans.direction, spans.in_endpoint, error) { Layer::Server } else { Layer::Endpoint }
}
