//! A line of a JSON log -> a failed request.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{At, Failure, Layer, Memory, address, is_of_server, number, object, port_of, since_start};
use crate::diagnose::Direction;

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

/// The failure that a line tells of.
pub(super) fn failure(text: &str, memory: &mut Memory) -> Option<Failure> {
    let line: JsonLine<'_> = serde_json::from_str(object(text.as_bytes())?).ok()?;
    let at = match since_start(&line.timestamp) {
        Some((at, _)) => At { since_start: Some(at), wall: None },
        None => At { since_start: None, wall: Some(memory.times.read(&line.timestamp)?) },
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
        client: client.map_or(0, number),
        address: client.and_then(address),
        layer,
        kind: memory.kinds.of(error.as_bytes()),
        admin: named("admin").is_some(),
    })
}
