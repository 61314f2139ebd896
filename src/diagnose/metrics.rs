//! Parses the proxy's metrics: the failed requests at each port, and their latencies.

use std::collections::BTreeMap;

use super::{Direction, log::Key};

/// The longest page that is read, in bytes.
pub const MAX_PAGE_LEN: usize = 64 * 1024 * 1024;
/// As many ports are told apart.
const MAX_PORTS: usize = 4096;

/// A histogram: how many took at most so many milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations(BTreeMap<u64, u64>);

impl Durations {
    fn add(&mut self, le: u64, count: u64) {
        *self.0.entry(le).or_default() += count;
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.get(&u64::MAX).copied().unwrap_or(0)
    }

    /// How many took longer than so many milliseconds, at most and at least: a bound between two buckets is in doubt.
    fn longer(&self, milliseconds: u64) -> (u64, u64) {
        let before = self.0.range(..=milliseconds).next_back().map_or(0, |(_, count)| *count);
        let after = self.0.range(milliseconds..).next().map_or_else(|| self.count(), |(_, count)| *count);
        (self.count().saturating_sub(before), self.count().saturating_sub(after))
    }

    /// The bounds of all, in milliseconds, if there are any.
    pub fn bounds(&self) -> Option<(u64, u64)> {
        let count = Some(self.count()).filter(|count| *count > 0)?;
        let from = self.0.iter().rev().find(|(_, counted)| **counted == 0).map_or(0, |(le, _)| *le);
        let to = self.0.iter().find(|(_, counted)| **counted == count).map(|(le, _)| *le)?;
        Some((from, to))
    }
}

/// What the metrics say of a port since its proxies started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Port {
    /// Answers, by status; `None` for the proxy's own 500s.
    pub statuses: BTreeMap<Option<u16>, u64>,
    /// How long those with a status took.
    pub latencies: BTreeMap<u16, Durations>,
    /// How long all took.
    pub durations: Durations,
}

impl Port {
    /// How many requests there were.
    pub fn requests(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// How many answers the proxy made itself: 500s without a status, 502s and 504s.
    pub fn failed(&self) -> u64 {
        self.statuses.iter().filter(|(status, _)| is_of_proxy(**status)).map(|(_, count)| count).sum()
    }

    /// The bounds in milliseconds of how long the proxy's own 500s took, as far as they can be told.
    pub fn unexpected(&self) -> Option<(u64, u64)> {
        let count = self.statuses.get(&None).copied().filter(|count| *count > 0)?;
        let all = &self.durations;
        if all.count() == 0 {
            return None;
        }
        // Those that have a status are subtracted.
        let known = |milliseconds| {
            self.latencies
                .values()
                .map(|it| it.longer(milliseconds))
                .fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
        };
        let mut bounds = (0, u64::MAX);
        for le in all.0.keys().copied().filter(|le| *le < u64::MAX) {
            let (most, least) = all.longer(le);
            let (known_most, known_least) = known(le);
            if most.saturating_sub(known_least) == 0 {
                bounds.1 = bounds.1.min(le);
            }
            if least.saturating_sub(known_most) >= count {
                bounds.0 = bounds.0.max(le);
            }
        }
        (bounds.0 > 0 || bounds.1 < u64::MAX).then_some(bounds)
    }

    /// The bounds in milliseconds of how long answers of this status took.
    pub fn latency(&self, status: u16) -> Option<(u64, u64)> {
        self.latencies.get(&status)?.bounds()
    }
}

/// Whether the proxy itself may have made such an answer.
const fn is_of_proxy(status: Option<u16>) -> bool {
    matches!(status, None | Some(502 | 504))
}

/// What the metrics of some proxies say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// By port.
    pub ports: BTreeMap<Key, Port>,
    /// How long all outbound requests took, which newer proxies do not tell by port.
    pub outbound: Durations,
}

/// A page that is not the proxy's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "none of its {lines} lines is a metric of Linkerd's proxy: use the output of `linkerd diagnostics \
     proxy-metrics`, or of http://POD:4191/metrics"
)]
pub struct NoMetrics {
    /// How many lines it has.
    pub lines: usize,
}

impl Metrics {
    /// Adds a page.
    ///
    /// # Errors
    ///
    /// When no series of the proxy's requests or connections is in it.
    pub fn read(&mut self, page: &str) -> Result<(), NoMetrics> {
        let (mut lines, mut known) = (0, false);
        for line in page.lines() {
            lines += 1;
            known |= self.line(line).is_some();
        }
        if known { Ok(()) } else { Err(NoMetrics { lines }) }
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let series = Series::read(line)?;
        match series.name {
            "response_total" => {
                let port = self.port(&series)?;
                let status = series.label("status_code").and_then(|status| status.parse().ok());
                let failed = series.label("classification") == Some("failure");
                // A body that was cut short is a failure, too, and has the status that was sent.
                if status.is_some() || failed {
                    *port.statuses.entry(status).or_default() += series.count;
                }
            }
            "response_latency_ms_bucket" => {
                let le = bucket(series.label("le")?, 1.0)?;
                let port = self.port(&series)?;
                if let Some(status) = series.label("status_code").and_then(|status| status.parse().ok()) {
                    port.latencies.entry(status).or_default().add(le, series.count);
                }
            }
            "inbound_http_request_duration_seconds_bucket" => {
                let le = bucket(series.label("le")?, 1000.0)?;
                let port = series.label("parent_port").or_else(|| series.label("srv_port"))?.parse().ok()?;
                self.at((Direction::Inbound, port))?.durations.add(le, series.count);
            }
            "outbound_http_route_request_duration_seconds_bucket" => {
                let le = bucket(series.label("le")?, 1000.0)?;
                self.outbound.add(le, series.count);
            }
            "request_total" | "tcp_open_total" | "tcp_open_connections" | "proxy_build_info" => {}
            _ => return None,
        }
        Some(())
    }

    fn at(&mut self, key: Key) -> Option<&mut Port> {
        if self.ports.len() >= MAX_PORTS && !self.ports.contains_key(&key) {
            return None;
        }
        Some(self.ports.entry(key).or_default())
    }

    fn port(&mut self, series: &Series<'_>) -> Option<&mut Port> {
        let direction = match series.label("direction")? {
            "inbound" => Direction::Inbound,
            "outbound" => Direction::Outbound,
            _ => return None,
        };
        let target = || series.label("target_port").and_then(|port| port.parse().ok());
        let address = |name| super::line::port_of(series.label(name)?);
        // The log has the port that the app dialled.
        let port: Option<u16> = match direction {
            Direction::Inbound => target()
                .or_else(|| address("target_addr"))
                .or_else(|| series.label("srv_port").and_then(|port| port.parse().ok())),
            Direction::Outbound => address("authority").or_else(target).or_else(|| address("target_addr")),
        };
        self.at((direction, port?))
    }

    /// By port, whether the proxy's own 500s took longer than so many milliseconds. Newer proxies tell the durations of all
    /// outbound requests as one: what is left of them must add up.
    pub fn slow_outbound(&self) -> (u64, BTreeMap<u16, bool>) {
        const MAX_UNKNOWN: usize = 16;
        let longest = u64::try_from(super::SLOW.as_millis()).unwrap_or(u64::MAX);
        let slow = self.outbound.0.range(..=longest).next_back().map_or(0, |(le, _)| *le);
        let ports = || self.ports.iter().filter(|((direction, _), _)| *direction == Direction::Outbound);
        let known: u64 =
            ports().flat_map(|(_, port)| port.latencies.values()).map(|it| it.longer(slow).0).sum();
        let left = self.outbound.longer(slow).0.saturating_sub(known);
        let unknown: Vec<(u16, u64)> = ports()
            .filter_map(|((_, number), port)| {
                Some((*number, port.statuses.get(&None).copied().filter(|count| *count > 0)?))
            })
            .collect();
        if slow == 0 || unknown.is_empty() || unknown.len() > MAX_UNKNOWN {
            return (slow, BTreeMap::new());
        }
        let sets = 0_u32..1 << unknown.len();
        let chosen = |set: u32, index: usize| set & (1 << index) != 0;
        let sum = |set: u32| -> u64 {
            unknown
                .iter()
                .enumerate()
                .filter(|(index, _)| chosen(set, *index))
                .map(|(_, (_, count))| count)
                .sum()
        };
        // What holds in every way in which they add up is known.
        let (mut ways, mut always, mut ever) = (0, u32::MAX, 0);
        for set in sets.filter(|set| sum(*set) == left) {
            ways += 1;
            always &= set;
            ever |= set;
        }
        let known =
            |index| (ways > 0 && chosen(always, index) == chosen(ever, index)).then(|| chosen(ever, index));
        let ports =
            unknown.iter().enumerate().filter_map(|(index, (number, _))| Some((*number, known(index)?)));
        (slow, ports.collect())
    }
}

/// The upper bound of a bucket in milliseconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
fn bucket(le: &str, unit: f64) -> Option<u64> {
    if le == "+Inf" {
        return Some(u64::MAX);
    }
    let milliseconds = le.parse::<f64>().ok()? * unit;
    (0.0..1e12).contains(&milliseconds).then(|| milliseconds.round() as u64)
}

/// `name{label="value",...} count`
struct Series<'a> {
    name: &'a str,
    labels: &'a str,
    count: u64,
}

impl<'a> Series<'a> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
    fn read(line: &'a str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let (name, rest) = match line.split_once('{') {
            Some((name, rest)) => (name, rest),
            None => (line.split(' ').next()?, "} 0"),
        };
        let (labels, value) = rest.rsplit_once('}')?;
        let count: f64 = value.split_whitespace().next()?.parse().ok()?;
        (0.0..1e18).contains(&count).then_some(Self { name, labels, count: count as u64 })
    }

    fn label(&self, name: &str) -> Option<&'a str> {
        let mut rest = self.labels;
        loop {
            let (key, after) = rest.split_once("=\"")?;
            let end = end_of_value(after)?;
            if key.trim_start_matches([',', ' ']) == name {
                return Some(&after[..end]);
            }
            rest = &after[end + 1..];
        }
    }
}

/// Where the closing quote of a label's value is.
fn end_of_value(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        end
    })
}
