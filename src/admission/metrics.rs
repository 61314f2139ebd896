//! Every metric: its name, help text and labels. Each is registered once.
//!
//! Label values come from the `as_str` of closed enums, and every series exists from the start, so the number of series
//! never changes.

use std::time::Duration;

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric as Registrable, Registry},
};

use crate::{
    judgement::finding::{Action, RuleId},
    review::{Mode, Outcome, Record, WebhookKind},
};

/// A metric, as scrapers and the documentation see it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Metric {
    /// The exposed name.
    pub name: &'static str,
    /// The help text, without a full stop.
    pub help: &'static str,
    /// The kind of metric.
    pub kind: MetricKind,
    /// The label names.
    pub labels: &'static [&'static str],
}

/// The kinds of metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricKind {
    /// Only increases; the name ends in `_total`.
    Counter,
    /// Increases and decreases.
    Gauge,
    /// Counts observations by bucket.
    Histogram,
    /// Labels of a constant 1; the name ends in `_info`.
    Info,
}

impl MetricKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Counter, Self::Gauge, Self::Histogram, Self::Info];

    /// The name in the exposition format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }

    /// The suffix that the exposition format adds to the registered name.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }
}

const REVIEWS: Metric = Metric {
    name: "linger_reviews_total",
    help: "Answered admission reviews",
    kind: MetricKind::Counter,
    labels: &["door", "mode", "outcome"],
};
const FINDINGS: Metric = Metric {
    name: "linger_findings_total",
    help: "Findings in reviewed objects, by action",
    kind: MetricKind::Counter,
    labels: &["rule", "action"],
};
const REVIEW_DURATION: Metric = Metric {
    name: "linger_review_duration_seconds",
    help: "Time from the complete request body to the response",
    kind: MetricKind::Histogram,
    labels: &[],
};
const REFUSED: Metric = Metric {
    name: "linger_refused_requests_total",
    help: "Requests that were not a valid admission review",
    kind: MetricKind::Counter,
    labels: &["reason"],
};
const HANDSHAKES_FAILED: Metric = Metric {
    name: "linger_tls_handshake_failures_total",
    help: "Connections that ended before the TLS handshake completed, including port checks",
    kind: MetricKind::Counter,
    labels: &[],
};
const CONNECTIONS: Metric = Metric {
    name: "linger_connections",
    help: "Open connections of the webhook port",
    kind: MetricKind::Gauge,
    labels: &[],
};
const CERTIFICATE_NOT_AFTER: Metric = Metric {
    name: "linger_certificate_not_after_timestamp_seconds",
    help: "Expiry time of the certificate in use, in seconds since the Unix epoch",
    kind: MetricKind::Gauge,
    labels: &[],
};
const CERTIFICATE_RELOADS: Metric = Metric {
    name: "linger_certificate_reloads_total",
    help: "Reloads of the certificate files since the start; after a failed reload, the last valid certificate \
         stays in use",
    kind: MetricKind::Counter,
    labels: &["result"],
};
const POLICY_RELOADS: Metric = Metric {
    name: "linger_policy_reloads_total",
    help: "Reloads of the policy file since the start; after a failed reload, the last valid policy stays in use",
    kind: MetricKind::Counter,
    labels: &["result"],
};
const POLICY_VALID: Metric = Metric {
    name: "linger_policy_valid",
    help: "1 if the policy in use is the policy in the file, 0 if the file is not valid",
    kind: MetricKind::Gauge,
    labels: &[],
};
const FACTS_RELOADS: Metric = Metric {
    name: "linger_facts_reloads_total",
    help: "Reloads of the facts file since the start; after a failed reload, the last valid facts stay in use",
    kind: MetricKind::Counter,
    labels: &["result"],
};
const FACTS_VALID: Metric = Metric {
    name: "linger_facts_valid",
    help: "1 if the facts in use are the facts in the file, 0 if the file is not valid",
    kind: MetricKind::Gauge,
    labels: &[],
};
const DROPPED_LOG_LINES: Metric = Metric {
    name: "linger_dropped_log_lines_total",
    help: "Log lines that were not written, because the log was not read in time or could not be written",
    kind: MetricKind::Counter,
    labels: &[],
};
const BUILD: Metric = Metric {
    name: "linger_build_info",
    help: "The running version",
    kind: MetricKind::Info,
    labels: &["version"],
};

/// Every metric, in the order of `/metrics`.
pub const METRICS: &[Metric] = &[
    REVIEWS,
    FINDINGS,
    REVIEW_DURATION,
    REFUSED,
    HANDSHAKES_FAILED,
    CONNECTIONS,
    CERTIFICATE_NOT_AFTER,
    CERTIFICATE_RELOADS,
    POLICY_RELOADS,
    POLICY_VALID,
    FACTS_RELOADS,
    FACTS_VALID,
    DROPPED_LOG_LINES,
    BUILD,
];

/// Upper bounds in seconds. A review takes about 100 µs; 10 s is the API server's default `timeoutSeconds`.
const BUCKETS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// The result of reloading a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reload {
    /// The new content is in use.
    Ok,
    /// The last valid content stays in use.
    Failed,
}

impl Reload {
    /// Every result.
    pub const ALL: [Self; 2] = [Self::Ok, Self::Failed];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
        }
    }
}

/// Why a request was not reviewed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// No webhook has this path.
    Path,
    /// The method is not POST.
    Method,
    /// The content type is not JSON.
    MediaType,
    /// The body is longer than any review.
    TooLarge,
    /// The body did not arrive in time.
    TooSlow,
    /// The memory for request bodies was exhausted.
    Overloaded,
    /// The connection was closed before the body was complete.
    Interrupted,
    /// The body is not an AdmissionReview.
    InvalidReview,
    /// The review failed, and so did the response for that case.
    Failed,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Path,
        Self::Method,
        Self::MediaType,
        Self::TooLarge,
        Self::TooSlow,
        Self::Overloaded,
        Self::Interrupted,
        Self::InvalidReview,
        Self::Failed,
    ];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Method => "method",
            Self::MediaType => "media_type",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Overloaded => "overloaded",
            Self::Interrupted => "interrupted",
            Self::InvalidReview => "not_a_review",
            Self::Failed => "failed",
        }
    }
}

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;

/// The metrics of a server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reviews: Counters<3>,
    findings: Counters<2>,
    review_duration: Histogram,
    refused: Counters<1>,
    handshakes_failed: Counter,
    connections: Gauge,
    certificate_not_after: Gauge,
    certificate_reloads: Counters<1>,
    policy_reloads: Counters<1>,
    policy_valid: Gauge,
    facts_reloads: Counters<1>,
    facts_valid: Gauge,
}

impl Metrics {
    /// Registers every metric, with each series at 0.
    pub fn new() -> Self {
        Self::with_dropped_log_lines(Counter::default())
    }

    /// Registers every metric, with the counter of a log that is older than the metrics.
    pub fn with_dropped_log_lines(dropped: Counter) -> Self {
        let mut registry = Registry::default();
        let it = &mut registry;
        let reviews = add(it, &REVIEWS, Counters::default());
        let findings = add(it, &FINDINGS, Counters::default());
        let review_duration = add(it, &REVIEW_DURATION, Histogram::new(BUCKETS));
        let refused = add(it, &REFUSED, Counters::default());
        let handshakes_failed = add(it, &HANDSHAKES_FAILED, Counter::default());
        let connections = add(it, &CONNECTIONS, Gauge::default());
        let certificate_not_after = add(it, &CERTIFICATE_NOT_AFTER, Gauge::default());
        let certificate_reloads = add(it, &CERTIFICATE_RELOADS, Counters::default());
        let policy_reloads = add(it, &POLICY_RELOADS, Counters::default());
        let policy_valid = add(it, &POLICY_VALID, Gauge::default());
        let facts_reloads = add(it, &FACTS_RELOADS, Counters::default());
        let facts_valid = add(it, &FACTS_VALID, Gauge::default());
        add(it, &DROPPED_LOG_LINES, dropped);
        it.register(wire_root(&BUILD), BUILD.help, Info::new([(BUILD.labels[0], env!("CARGO_PKG_VERSION"))]));
        let metrics = Self {
            registry,
            reviews,
            findings,
            review_duration,
            refused,
            handshakes_failed,
            connections,
            certificate_not_after,
            certificate_reloads,
            policy_reloads,
            policy_valid,
            facts_reloads,
            facts_valid,
        };
        metrics.start_series();
        metrics
    }

    /// Creates each series, so that `rate` sees the first event and dashboards are never empty.
    fn start_series(&self) {
        for webhook in WebhookKind::ALL {
            for mode in Mode::ALL {
                for outcome in Outcome::ALL {
                    drop(self.reviews.get_or_create(&review_labels(webhook, mode, outcome)));
                }
            }
        }
        for rule in RuleId::ALL {
            for action in Action::ALL.into_iter().filter(|action| *action != Action::Ignore) {
                drop(self.findings.get_or_create(&finding_labels(rule, action)));
            }
        }
        for reason in Refusal::ALL {
            drop(self.refused.get_or_create(&[(REFUSED.labels[0], reason.as_str())]));
        }
        for result in Reload::ALL {
            drop(self.certificate_reloads.get_or_create(&reload_labels(result)));
            drop(self.policy_reloads.get_or_create(&reload_labels(result)));
            drop(self.facts_reloads.get_or_create(&reload_labels(result)));
        }
        self.policy_valid.set(1);
        self.facts_valid.set(1);
    }

    /// Counts a review, with its findings and its duration.
    pub fn reviewed(&self, webhook: WebhookKind, mode: Mode, record: &Record, took: Duration) {
        self.reviews.get_or_create(&review_labels(webhook, mode, record.outcome)).inc();
        for (rule, action) in record.findings.iter().filter(|(_, action)| *action != Action::Ignore) {
            self.findings.get_or_create(&finding_labels(*rule, *action)).inc();
        }
        self.review_duration.observe(took.as_secs_f64());
    }

    /// Counts a request that was not reviewed.
    pub fn refused(&self, reason: Refusal) {
        self.refused.get_or_create(&[(REFUSED.labels[0], reason.as_str())]).inc();
    }

    /// Counts a connection that ended during the TLS handshake.
    pub fn handshake_failed(&self) {
        self.handshakes_failed.inc();
    }

    /// Sets the number of open connections of the webhook port.
    pub fn connections(&self, open: usize) {
        self.connections.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// Sets the expiry of the certificate in use, in seconds since 1970.
    pub fn certificate_ends(&self, not_after: i64) {
        self.certificate_not_after.set(not_after);
    }

    /// Counts a reload of the certificate files.
    pub fn certificate_reloaded(&self, result: Reload) {
        self.certificate_reloads.get_or_create(&reload_labels(result)).inc();
    }

    /// Counts a reload of the policy file, and sets whether the file is in use.
    pub fn policy_reloaded(&self, result: Reload) {
        self.policy_reloads.get_or_create(&reload_labels(result)).inc();
        self.policy_valid.set(i64::from(result == Reload::Ok));
    }

    /// Counts a reload of the facts file, and sets whether the file is in use.
    pub fn facts_reloaded(&self, result: Reload) {
        self.facts_reloads.get_or_create(&reload_labels(result)).inc();
        self.facts_valid.set(i64::from(result == Reload::Ok));
    }

    /// Encodes every metric as OpenMetrics text.
    ///
    /// # Errors
    ///
    /// Writing to a string does not fail.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn add<M: Clone + Registrable>(registry: &mut Registry, metric: &Metric, value: M) -> M {
    registry.register(wire_root(metric), metric.help, value.clone());
    value
}

/// The name to register. The encoder appends the suffix of the kind.
fn wire_root(metric: &Metric) -> &'static str {
    metric.name.strip_suffix(metric.kind.suffix()).unwrap_or(metric.name)
}

fn review_labels(webhook: WebhookKind, mode: Mode, outcome: Outcome) -> Labels<3> {
    let [webhooks, modes, outcomes] = [REVIEWS.labels[0], REVIEWS.labels[1], REVIEWS.labels[2]];
    [(webhooks, webhook.as_str()), (modes, mode.as_str()), (outcomes, outcome.as_str())]
}

fn finding_labels(rule: RuleId, action: Action) -> Labels<2> {
    [(FINDINGS.labels[0], rule.as_str()), (FINDINGS.labels[1], action.as_str())]
}

/// The labels of both reload metrics.
fn reload_labels(result: Reload) -> Labels<1> {
    [("result", result.as_str())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_is_exposed_with_its_kind_and_labels() {
        let text = Metrics::new().encode().unwrap();
        for metric in METRICS {
            let root = wire_root(metric);
            assert!(text.contains(&format!("# HELP {root} {}.\n", metric.help)), "{text}");
            assert!(text.contains(&format!("# TYPE {root} {}\n", metric.kind.as_str())), "{text}");
            let series = text.lines().find(|line| line.starts_with(metric.name)).unwrap();
            for label in metric.labels {
                assert!(series.contains(&format!("{label}=\"")), "{series} lacks {label}");
            }
        }
        assert_eq!(text.matches("# TYPE ").count(), METRICS.len());
    }

    #[test]
    fn names_follow_the_conventions() {
        for metric in METRICS {
            assert!(metric.name.starts_with("linger_"));
            assert!(metric.name.ends_with(metric.kind.suffix()));
            assert!(!metric.help.ends_with('.'));
        }
    }

    #[test]
    fn the_set_of_series_is_constant() {
        let metrics = Metrics::new();
        let series = |text: &str| text.lines().count();
        let before = series(&metrics.encode().unwrap());
        for outcome in Outcome::ALL {
            let record = Record {
                uid: "7d2f".to_owned(),
                kind: "Pod".into(),
                namespace: "shop".to_owned(),
                name: "web".to_owned(),
                operation: "CREATE".to_owned(),
                dry_run: false,
                outcome,
                findings: RuleId::ALL.into_iter().flat_map(|r| Action::ALL.map(|a| (r, a))).collect(),
            };
            metrics.reviewed(WebhookKind::Mutating, Mode::Enforce, &record, Duration::from_micros(80));
        }
        metrics.refused(Refusal::TooLarge);
        metrics.policy_reloaded(Reload::Failed);
        assert_eq!(series(&metrics.encode().unwrap()), before);
    }
}
