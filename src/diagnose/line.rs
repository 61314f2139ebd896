//! Parses log lines into failed requests and access log lines.
//!
//! Recognises a line by its content, not by its start, because `kubectl logs --timestamps`, `--prefix`, `stern`, the
//! CRI and Docker all write a prefix.

mod access;
mod json;
mod plain;
mod time;

use std::{hash::BuildHasher as _, net::IpAddr, sync::LazyLock};

use foldhash::fast::FixedState;
use memchr::memmem;
use serde::Deserialize;

use self::time::Times;
use super::{
    Direction,
    error::{Kind, Kinds},
};

/// What a line tells of requests.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A failed request.
    Failure(Failure),
    /// A line of the access log.
    Access(Access),
}

/// What a line is.
#[derive(Clone, Copy, Debug)]
pub enum Line {
    /// It tells of a request.
    Event(Event),
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
    pub lines: Vec<(u64, Event)>,
    /// How many others are the proxy's.
    pub proxy: u64,
    /// How many are not.
    pub foreign: u64,
}

impl Block {
    /// Makes it empty; its memory is kept.
    pub fn clear(&mut self) {
        self.lines.clear();
        (self.proxy, self.foreign) = (0, 0);
    }
}

/// The longest part of a line that others write before it.
const MAX_PREFIX_LEN: usize = 512;

/// Reads lines. Reading one allocates nothing unless it tells of a failure.
#[derive(Debug)]
pub struct Reader {
    failed: memmem::Finder<'static>,
    unexpected: memmem::Finder<'static>,
    proxied: memmem::Finder<'static>,
    total: memmem::Finder<'static>,
    http: memmem::Finder<'static>,
    wrapped: memmem::Finder<'static>,
    memory: Memory,
}

/// What lines repeat.
#[derive(Debug, Default)]
struct Memory {
    kinds: Kinds,
    times: Times,
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
            memory: Memory::default(),
        }
    }
}

impl Reader {
    /// Reads whole lines, and adds what they tell to a block.
    pub fn block(&mut self, text: &[u8], block: &mut Block) {
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
                Line::Event(event) => block.lines.push((pod(line), event)),
            }
        }
    }

    /// Reads a line, without its end.
    pub fn read(&mut self, line: &[u8]) -> Line {
        if line.starts_with(access::BEGINNING)
            && let Some(access) = access::bare_json(line, &mut self.memory.times)
        {
            return access;
        }
        let head = &line[..line.len().min(MAX_PREFIX_LEN)];
        if memchr::memchr(0x1b, head).is_some() {
            let plain = without_colours(line);
            return if memchr::memchr(0x1b, &plain).is_some() { Line::Foreign } else { self.read(&plain) };
        }
        if self.wrapped.find(head).is_some() {
            return self.docker(line);
        }
        if self.total.find(line).is_some() {
            return access::json(line, &mut self.memory.times);
        }
        let event = self.failed.find(line).is_some()
            || self.unexpected.find(line).is_some()
            || self.proxied.find(line).is_some();
        if !event {
            if self.http.find(line).is_some()
                && let Some(access) = access::apache(line, &mut self.memory.times)
            {
                return access;
            }
            return if is_of_proxy(head) { Line::Proxy } else { Line::Foreign };
        }
        match std::str::from_utf8(line) {
            Ok(text) => failure(text, &mut self.memory),
            Err(_) => failure(&String::from_utf8_lossy(line), &mut self.memory),
        }
    }

    /// A line of Docker's own log file.
    fn docker(&mut self, line: &[u8]) -> Line {
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

/// From the first brace to the last.
fn object(line: &[u8]) -> Option<&str> {
    let from = memchr::memchr(b'{', line)?;
    let to = memchr::memrchr(b'}', line)?;
    std::str::from_utf8(line.get(from..=to)?).ok()
}

fn failure(text: &str, memory: &mut Memory) -> Line {
    let head = text.as_bytes().get(..MAX_PREFIX_LEN).unwrap_or(text.as_bytes());
    if JSON.find(head).is_some() {
        // The beginning may be cut off, and with it the time and the port.
        return json::failure(text, memory)
            .map_or(Line::Foreign, |failure| Line::Event(Event::Failure(failure)));
    }
    if let Some((at, rest)) = since_start(text) {
        let before = &text[..text.len() - rest.len()];
        let at = At { since_start: Some(at), wall: memory.times.first(before) };
        return plain::failure(at, rest, &mut memory.kinds);
    }
    Line::Foreign
}

static JSON: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("{\"timestamp\":"));
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
    FixedState::default().hash_one(text)
}

/// The address of `ADDRESS:PORT`.
fn address(text: &str) -> Option<IpAddr> {
    let (address, _) = text.rsplit_once(':')?;
    address.trim_matches(['[', ']']).parse().ok()
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

#[cfg(test)]
mod tests;
