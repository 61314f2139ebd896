//! Logs -> each failed request once, with what is known of it.

use std::{collections::BTreeMap, net::IpAddr};

use foldhash::HashMap;

use super::{
    Direction,
    access::{AccessLog, Failed, Requests, hash},
    error::Kind,
    line::{At, Block, Event, Failure, Layer, Reader},
};

/// The longest line that is read; what follows is passed over.
pub const MAX_LINE_LEN: usize = 256 * 1024;
/// As many failed requests are kept one by one.
const MAX_FAILURES: usize = 1 << 16;
/// As many ports are told apart.
const MAX_PORTS: usize = 4096;
/// As many addresses of clients are kept for each port.
const MAX_CLIENTS: usize = 64;
/// The lines of one failure are written within this time: 0.3 ms were measured, and a thread may have to wait.
const ONE_FAILURE: i64 = 20_000;
/// A line of the access log belongs to a failure that was logged at most this long after the request ended.
const SAME_REQUEST: i64 = 250_000;

/// A port in one direction.
pub type Key = (Direction, u16);

/// A failed request.
#[derive(Clone, Debug)]
pub struct FailedRequest {
    /// When it failed.
    pub at: At,
    /// What the log says.
    pub kind: Kind,
    /// The status, where it is known.
    pub status: Option<u16>,
    /// How long it took, in microseconds, where that is known.
    pub duration: Option<i64>,
    /// It took at least this long, in microseconds.
    pub at_least: i64,
    /// How long its pool had been idle, in microseconds.
    pub gap: Option<i64>,
    /// kubelet sent it.
    pub from_kubelet: bool,
    /// A meshed client sent it.
    pub meshed: bool,
    client: u64,
    source: u64,
}

/// What the logs say of a port.
#[derive(Debug, Default)]
pub struct Port {
    /// The failed requests, in the order of time.
    pub failures: Vec<FailedRequest>,
    /// More failed requests that were not kept, by what the log says.
    pub more: BTreeMap<Kind, u64>,
    /// Addresses of clients without their ports, and how many of their requests failed.
    pub clients: BTreeMap<IpAddr, u64>,
    /// How many requests the access log has for it.
    pub requests: Option<u64>,
    pub(super) access: Requests,
}

/// What came of all logs.
#[derive(Debug, Default)]
pub struct Logs {
    /// By port.
    pub ports: BTreeMap<Key, Port>,
    /// Lines of the proxy, its access log included.
    pub lines: u64,
    /// Lines of the access log.
    pub access_lines: u64,
    /// Lines that are not the proxy's.
    pub foreign: u64,
    /// Lines of failures that do not tell the port.
    pub unplaced: u64,
    /// Some log is JSON, which does not say what kind of error it was.
    pub without_sources: bool,
    /// The proxy's port, and what comes of the admin server.
    pub admin: u64,
}

/// A failure, as its lines come in.
#[derive(Clone, Debug)]
struct Record {
    key: Key,
    client: u64,
    source: u64,
    at: At,
    kind: Kind,
    endpoint: u16,
    server: u16,
    unexpected: u16,
    only: u16,
}

impl Record {
    /// How many failed requests these lines are.
    fn count(&self) -> u16 {
        let (endpoint, server, unexpected) = (self.endpoint, self.server, self.unexpected);
        let requests = if server > 0 {
            endpoint.max(server).max(unexpected)
        } else {
            // Linkerd 2.11 and 2.12 write the endpoint's line and the server's alike.
            unexpected.max(endpoint.saturating_sub(unexpected))
        };
        requests.max(self.only)
    }

    /// How many of them became a 500.
    fn unexpected(&self) -> u16 {
        self.unexpected.min(self.count())
    }
}

/// Reads logs.
#[derive(Debug, Default)]
pub struct Log {
    reader: Reader,
    records: Vec<Record>,
    /// By client and port, the last record of it.
    last: HashMap<(Key, u64), Vec<usize>>,
    access: AccessLog,
    ports: BTreeMap<Key, Port>,
    logs: Logs,
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
    /// The line is too long, and its end has not come yet.
    skipping: bool,
    /// The number of the log.
    input: u64,
}

impl Log {
    /// Takes a part of a log, which may end within a line.
    pub fn feed(&mut self, chunk: &[u8]) {
        let Some(end) = memchr::memrchr(b'\n', chunk) else {
            self.hold(chunk);
            return;
        };
        let (mut whole, rest) = chunk.split_at(end + 1);
        if (self.skipping || !self.rest.is_empty())
            && let Some(first) = memchr::memchr(b'\n', whole)
        {
            let (line, others) = whole.split_at(first);
            self.hold(line);
            self.end_line();
            whole = others;
        }
        self.lines_of(whole);
        self.hold(rest);
    }

    /// Keeps the beginning of a line whose end has not come yet.
    fn hold(&mut self, part: &[u8]) {
        if !self.skipping {
            self.rest.extend_from_slice(part);
            self.skipping = self.rest.len() > MAX_LINE_LEN;
            self.rest.truncate(MAX_LINE_LEN);
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.rest);
        self.lines_of(&line);
        self.skipping = false;
    }

    fn lines_of(&mut self, whole: &[u8]) {
        let mut block = Block::default();
        self.reader.block(whole, &mut block);
        self.take(&block);
    }

    /// Ends a log; what follows is of another.
    pub fn end(&mut self) {
        self.end_line();
        self.input += 1;
    }

    /// How many lines of the proxy there were so far.
    pub const fn lines(&self) -> u64 {
        self.logs.lines
    }

    /// Takes lines that were read elsewhere, in the order of the log.
    pub fn take(&mut self, block: &Block) {
        self.logs.lines += block.proxy + u64::try_from(block.lines.len()).unwrap_or(u64::MAX);
        self.logs.foreign += block.foreign;
        for (name, event) in &block.lines {
            let source = if *name == 0 { self.input } else { hash(self.input, *name) };
            match event {
                Event::Failure(failure) => self.failure(failure, source),
                Event::Access(access) => self.access.add(access, source),
            }
        }
    }

    fn failure(&mut self, failure: &Failure, source: u64) {
        let (Some(direction), Some(port)) = (failure.direction, failure.port) else {
            self.logs.unplaced += 1;
            return;
        };
        if failure.admin {
            self.logs.admin += 1;
            return;
        }
        if matches!(failure.kind, Kind::SendRequest | Kind::Connect) {
            self.logs.without_sources = true;
        }
        let key = (direction, port);
        let client = hash(source, failure.client);
        let indices = self.last.entry((key, client)).or_default();
        let same = indices
            .iter()
            .rev()
            .copied()
            .find(|index| self.records.get(*index).is_some_and(|record| is_near(record.at, failure.at)));
        let index = same.unwrap_or_else(|| {
            indices.push(self.records.len());
            self.records.push(Record {
                key,
                client,
                source,
                at: failure.at,
                kind: failure.kind,
                endpoint: 0,
                server: 0,
                unexpected: 0,
                only: 0,
            });
            if let Some(address) = failure.address {
                let clients = &mut self.ports.entry(key).or_default().clients;
                if clients.contains_key(&address) || clients.len() < MAX_CLIENTS {
                    *clients.entry(address).or_default() += 1;
                }
            }
            self.records.len() - 1
        });
        if let Some(record) = self.records.get_mut(index) {
            let lines = match failure.layer {
                Layer::Endpoint => &mut record.endpoint,
                Layer::Server => &mut record.server,
                Layer::Unexpected => &mut record.unexpected,
                Layer::Only => &mut record.only,
            };
            *lines = lines.saturating_add(1);
            // The more special word is the truer one.
            if specificity(record.kind) < specificity(failure.kind) {
                record.kind = failure.kind;
            }
        }
        if self.records.len() >= MAX_FAILURES || self.ports.len() > MAX_PORTS {
            self.forget();
        }
    }

    /// Counts what was kept, and keeps it no longer.
    fn forget(&mut self) {
        self.last.clear();
        for record in self.records.drain(..) {
            let port = self.ports.entry(record.key).or_default();
            *port.more.entry(record.kind).or_default() += u64::from(record.count());
        }
        // Nobody has as many ports: what is listed first is kept.
        while self.ports.len() > MAX_PORTS {
            self.ports.pop_last();
        }
    }

    /// Puts together what belongs together.
    pub fn finish(mut self) -> Logs {
        self.logs.access_lines = self.access.lines;
        let (failed, requests) = self.access.finish();
        let mut by_client: HashMap<u64, Vec<Failed>> = HashMap::default();
        for failed in failed {
            by_client.entry(failed.client).or_default().push(failed);
        }
        let (mut ports, mut kept) = (self.ports, 0);
        for record in &self.records {
            let port = ports.entry(record.key).or_default();
            for number in 0..record.count() {
                kept += 1;
                if kept > MAX_FAILURES {
                    *port.more.entry(record.kind).or_default() += u64::from(record.count() - number);
                    break;
                }
                port.failures.push(FailedRequest {
                    at: record.at,
                    kind: record.kind,
                    status: status(record.kind, number < record.unexpected()),
                    duration: None,
                    at_least: 0,
                    gap: None,
                    from_kubelet: false,
                    meshed: false,
                    client: record.client,
                    source: record.source,
                });
            }
        }
        let targets = join(&mut ports, &mut by_client);
        for (named, requests) in requests {
            // A host may name a Service's port, or none.
            let number = targets.get(&named).copied().unwrap_or(named);
            if number > 0 {
                ports.entry((Direction::Inbound, number)).or_default().access.merge(&requests);
            }
        }
        for port in ports.values_mut() {
            port.failures.sort_by_key(|failure| (failure.at.wall, failure.at.since_start));
            port.requests = Some(port.access.count).filter(|count| *count > 0);
        }
        Logs { ports, ..self.logs }
    }
}

/// The status that the proxy answers with.
const fn status(kind: Kind, unexpected: bool) -> Option<u16> {
    match kind {
        _ if unexpected => Some(500),
        Kind::Reset | Kind::WriteFailed | Kind::Refused => Some(502),
        Kind::ConnectTimeout => Some(504),
        _ => None,
    }
}

/// How much a kind tells.
const fn specificity(kind: Kind) -> u8 {
    match kind {
        Kind::Unknown => 0,
        Kind::Named(super::error::Named::Unnamed) => 1,
        Kind::SendRequest | Kind::Connect => 2,
        _ => 3,
    }
}

/// Whether two lines may be of one failure.
fn is_near(one: At, other: At) -> bool {
    let near = |one: Option<i64>, other: Option<i64>| {
        one.zip(other).map(|(one, other)| one.abs_diff(other) <= ONE_FAILURE.unsigned_abs())
    };
    near(one.since_start, other.since_start).or_else(|| near(one.wall, other.wall)).unwrap_or(false)
}

/// Finds the line of the access log for each failure. Returns the server's port for each port that hosts name.
fn join(ports: &mut BTreeMap<Key, Port>, by_client: &mut HashMap<u64, Vec<Failed>>) -> HashMap<u16, u16> {
    let mut failures: Vec<(u16, &mut FailedRequest)> = ports
        .iter_mut()
        .filter(|((direction, _), _)| *direction == Direction::Inbound)
        .flat_map(|((_, number), port)| port.failures.iter_mut().map(|failure| (*number, failure)))
        .collect();
    failures.sort_by_key(|(_, failure)| (failure.client, failure.at.since_start, failure.at.wall));
    for requests in by_client.values_mut() {
        requests.sort_by_key(|failed| failed.start);
    }
    let mut pairs: Vec<(usize, Failed)> = Vec::new();
    let mut from = 0;
    while let Some((_, first)) = failures.get(from) {
        let client = first.client;
        let to = from + failures[from..].iter().take_while(|(_, failure)| failure.client == client).count();
        if let Some(requests) = by_client.get(&client) {
            // Without a time of day, the order must do.
            let alike = requests.len() == to - from;
            for (index, (_, failure)) in failures.iter().enumerate().take(to).skip(from) {
                let request = match failure.at.wall {
                    Some(at) => requests.iter().rev().find(|request| {
                        let end = request.start + request.total.unwrap_or(0);
                        let after = at - end;
                        let late = if request.total.is_some() { SAME_REQUEST } else { i64::MAX };
                        (-SAME_REQUEST..late).contains(&after) && request.start <= at
                    }),
                    None if alike => requests.get(index - from),
                    None => None,
                };
                pairs.extend(request.map(|request| (index, *request)));
            }
        }
        from = to;
    }
    let started = starts_of_proxies(&failures, &pairs);
    let mut targets = HashMap::default();
    for (index, request) in pairs {
        let (number, failure) = &mut failures[index];
        targets.entry(request.port).or_insert(*number);
        failure.status = Some(request.status);
        failure.gap = request.gap;
        failure.from_kubelet = request.from_kubelet;
        failure.meshed = request.meshed;
        failure.duration = request.total.or_else(|| Some((failure.at.wall? - request.start).max(0)));
        if failure.duration.is_none()
            && let (Some(started), Some(at)) = (started.get(&failure.source), failure.at.since_start)
        {
            let duration = (at + started.earliest - request.start).max(0);
            failure.at_least = duration;
            if started.known {
                failure.duration = Some(duration);
            }
        }
    }
    targets
}

/// When the proxy started, in microseconds since 1970.
#[derive(Clone, Copy)]
struct Started {
    /// Not before this.
    earliest: i64,
    /// It was then: some request is known to have failed at once.
    known: bool,
}

/// A plain log counts from the start of the proxy, the access log from 1970: requests that are in both bring them
/// together, for each proxy.
fn starts_of_proxies(
    failures: &[(u16, &mut FailedRequest)],
    pairs: &[(usize, Failed)],
) -> HashMap<u64, Started> {
    let mut bounds: HashMap<u64, Vec<(i64, Kind)>> = HashMap::default();
    for (index, request) in pairs {
        let (_, failure) = &failures[*index];
        if let Some(at) = failure.at.since_start {
            // No request failed before it began.
            bounds.entry(failure.source).or_default().push((request.start - at, failure.kind));
        }
    }
    let started = |bounds: Vec<(i64, Kind)>| {
        let earliest = bounds.iter().map(|(bound, _)| *bound).max()?;
        let at_once = |kind: &Kind| matches!(kind, Kind::Refused | Kind::WriteFailed);
        let known = bounds.iter().any(|(bound, kind)| at_once(kind) && earliest - bound < ONE_FAILURE / 4);
        Some(Started { earliest, known })
    };
    bounds.into_iter().filter_map(|(source, bounds)| Some((source, started(bounds)?))).collect()
}
