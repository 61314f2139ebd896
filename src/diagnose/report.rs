//! A diagnosis, as people and programs read it.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::Serialize;

use super::{
    Cause, Direction,
    cause::{Finding, PortDiagnosis, Times},
    log::Logs,
};
use crate::{
    base::{duration, plural::count},
    lint::report::{Seconds, TimelineReport},
};

/// The result for log files, or for a workload.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The workload; missing if files were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// The results by port and direction.
    pub ports: Vec<PortReport>,
    /// What was read.
    pub read: Read,
    /// Additional remarks, in sentences.
    pub notes: Vec<String>,
}

/// The JSON Schema of what `diagnose -o json` prints of a workload or of files.
pub fn schema() -> Schema {
    SchemaSettings::default().for_serialize().into_generator().into_root_schema_for::<Report>()
}

/// How much was read.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Read {
    /// Lines of Linkerd's proxies.
    pub lines: u64,
    /// Lines of their access logs.
    pub access_log_lines: u64,
    /// Lines of other programs.
    pub other_lines: u64,
    /// Failures without a port, because the line is cut off.
    pub incomplete_lines: u64,
}

/// A port.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortReport {
    /// Its number.
    pub port: u16,
    /// `inbound` or `outbound`.
    pub direction: Direction,
    /// The number of requests; `null` if it is not known.
    pub requests: Option<u64>,
    /// The failures by cause.
    pub failures: Vec<FailureReport>,
    /// The addresses that most of the failed requests came from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<ClientReport>,
}

/// A client with failed requests.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientReport {
    /// The address.
    pub address: String,
    /// How many of its requests failed.
    pub count: u64,
}

/// The failures of one cause.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureReport {
    /// The cause.
    pub cause: Cause,
    /// How many requests failed.
    pub count: u64,
    /// `certain`, `likely`, or `null` if the cause is undetermined.
    pub certainty: Option<&'static str>,
    /// How many failed with each status, if it is known.
    pub statuses: BTreeMap<u16, u64>,
    /// When the first failed: the time of day, or `+SECONDSs` since the start of the proxy.
    pub first: Option<String>,
    /// When the last failed.
    pub last: Option<String>,
    /// The interval of the failures, if they occur at multiples of one interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period_seconds: Option<Seconds>,
    /// The evidence.
    pub evidence: String,
    /// How to fix it, or how to find the cause.
    pub help: String,
    /// The idle timeouts of the server and of the proxy; missing if they are not the cause, or are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<TimelineReport>,
}

impl Report {
    /// The report on some ports.
    pub fn new(workload: Option<String>, ports: Vec<PortDiagnosis>, logs: &Logs, notes: Vec<String>) -> Self {
        let read = Read {
            lines: logs.lines,
            access_log_lines: logs.access_lines,
            other_lines: logs.foreign,
            incomplete_lines: logs.unplaced,
        };
        Self { workload, ports: ports.into_iter().map(PortReport::from).collect(), read, notes }
    }

    /// How many requests failed.
    pub fn failed(&self) -> u64 {
        self.ports.iter().flat_map(|port| &port.failures).map(|failure| failure.count).sum()
    }

    /// The cause that most requests failed for.
    pub fn worst(&self) -> Option<(&PortReport, &FailureReport)> {
        let all = self.ports.iter().flat_map(|port| port.failures.iter().map(move |failure| (port, failure)));
        all.max_by_key(|(_, failure)| failure.count)
    }

    /// The report as people read it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        if let Some(workload) = &self.workload {
            writeln!(out, "{workload}")?;
        }
        for port in self.ports.iter().filter(|port| !port.failures.is_empty()) {
            port.write(out)?;
        }
        let failing = self.ports.iter().filter(|port| !port.failures.is_empty()).count();
        let whole = self.ports.len() - failing;
        let lines = count(usize::try_from(self.read.lines).unwrap_or(usize::MAX), "line");
        if failing == 0 {
            writeln!(out, "no failed request in {lines} of the proxy's log")?;
        } else {
            let requests = count(usize::try_from(self.failed()).unwrap_or(usize::MAX), "failed request");
            write!(out, "{requests} at {}, in {lines} of the proxy's log", count(failing, "port"))?;
            if whole > 0 {
                write!(out, "; {} without failures", count(whole, "port"))?;
            }
            writeln!(out)?;
        }
        for note in &self.notes {
            writeln!(out, "note: {note}")?;
        }
        Ok(())
    }
}

impl PortReport {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        let failed: u64 = self.failures.iter().map(|failure| failure.count).sum();
        let of = self.requests.map(|requests| format!(" of {requests}")).unwrap_or_default();
        writeln!(out, "{} port {}: {failed}{of} requests failed", self.direction.as_str(), self.port)?;
        for failure in &self.failures {
            failure.write(out)?;
        }
        if !self.clients.is_empty() {
            let clients: Vec<_> =
                self.clients.iter().map(|client| format!("{} ({})", client.address, client.count)).collect();
            writeln!(out, "  from:     {}", clients.join(", "))?;
        }
        writeln!(out)
    }
}

impl FailureReport {
    /// How many requests failed with which status: `12 with 502, 1 without a known status`.
    pub(super) fn counts(&self) -> String {
        let known: u64 = self.statuses.values().sum();
        let mut counts: Vec<String> =
            self.statuses.iter().map(|(status, count)| format!("{count} with {status}")).collect();
        match self.count - known.min(self.count) {
            0 => {}
            all if all == self.count => counts.push(all.to_string()),
            rest => counts.push(format!("{rest} without a known status")),
        }
        counts.join(", ")
    }

    /// When the first and the last failed, and their interval.
    pub(super) fn when(&self) -> Option<String> {
        let (first, last) = (self.first.as_ref()?, self.last.as_ref()?);
        let period =
            self.period_seconds.map(|period| format!(", at multiples of {}", duration::format(period.0)));
        Some(format!("{first} to {last}{}", period.unwrap_or_default()))
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let certainty = self.certainty.map(|certainty| format!(" ({certainty})")).unwrap_or_default();
        writeln!(out, "  {}{certainty}: {}", self.cause.as_str(), self.counts())?;
        if let Some(when) = self.when() {
            writeln!(out, "    when:   {when}")?;
        }
        if !self.evidence.is_empty() {
            writeln!(out, "    why:    {}", self.evidence)?;
        }
        writeln!(out, "    help:   {}", self.help)
    }
}

impl From<PortDiagnosis> for PortReport {
    fn from(port: PortDiagnosis) -> Self {
        Self {
            port: port.key.1,
            direction: port.key.0,
            requests: port.requests,
            failures: port.findings.into_iter().map(FailureReport::from).collect(),
            clients: port
                .clients
                .into_iter()
                .map(|(address, count)| ClientReport { address, count })
                .collect(),
        }
    }
}

impl From<Finding> for FailureReport {
    fn from(finding: Finding) -> Self {
        let time = |of: fn(&Times) -> i64| finding.times.map(|times| moment(of(&times), times.wall));
        Self {
            cause: finding.cause,
            count: finding.count,
            certainty: finding.certainty,
            first: time(|times| times.first),
            last: time(|times| times.last),
            statuses: finding.statuses,
            period_seconds: finding.period.map(Seconds),
            evidence: finding.evidence.join("; "),
            help: finding.help,
            timeline: finding.timeline.as_ref().map(TimelineReport::from),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "no proxy runs for 2^52 microseconds")]
fn moment(micros: i64, wall: bool) -> String {
    match Timestamp::from_microsecond(micros) {
        Ok(time) if wall => format!("{time:.3}"),
        Ok(_) | Err(_) => format!("+{:.3}s", micros as f64 / 1_000_000.0),
    }
}
