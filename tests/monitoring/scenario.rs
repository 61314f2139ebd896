//! Generates unit tests of rules for `promtool test rules` from pods with recorded metrics.

use std::{fmt::Write, ops::Range};

use super::exposition::{Sample, samples};

/// How long a scenario takes, in minutes.
pub(crate) const MINUTES: usize = 420;

/// A pod that Prometheus scrapes, and what its proxy counts in an hour.
pub(crate) struct Pod {
    pub(crate) recording: &'static str,
    /// Ports whose requests count; all of them if none is named.
    pub(crate) ports: &'static [&'static str],
    /// The labels that the scrape configuration adds, without `pod` and `instance`.
    pub(crate) target: &'static [(&'static str, &'static str)],
    pub(crate) name: &'static str,
    /// The minutes in which there are requests.
    pub(crate) busy: Range<usize>,
    /// The minutes in which requests fail, and how many times as often as in the recording.
    pub(crate) failing: (Range<usize>, usize),
    /// The minutes in which it is scraped.
    pub(crate) there: Range<usize>,
    /// How long its proxy had run at minute 0, in minutes.
    pub(crate) age: i64,
    /// Further labels of each series, such as the identity of a client.
    pub(crate) labels: &'static [(&'static str, &'static str)],
}

/// The labels that Linkerd's viz extension adds to the metrics of a Deployment's proxies.
pub(crate) const VIZ: &[(&str, &str)] = &[
    ("job", "linkerd-proxy"),
    ("namespace", "shop"),
    ("deployment", "web"),
    ("control_plane_ns", "linkerd"),
    ("workload_ns", "shop"),
    ("pod_template_hash", "7d9c8b5f4"),
    ("app", "web"),
];
/// The labels that the PodMonitor of Linkerd's control plane adds to those of a StatefulSet.
pub(crate) const POD_MONITOR: &[(&str, &str)] = &[
    ("job", "linkerd/linkerd-proxy"),
    ("namespace", "shop"),
    ("statefulset", "web"),
    ("container", "linkerd-proxy"),
    ("endpoint", "linkerd-admin"),
    ("controller_revision_hash", "web-6c8f9d7b4"),
];

impl Pod {
    /// A pod that is older than the scenario and busy all the time.
    pub(crate) const fn steady(recording: &'static str) -> Self {
        Self {
            recording,
            ports: &[],
            target: VIZ,
            name: "web-7d9c8b5f4-abcde",
            busy: 0..MINUTES,
            failing: (0..MINUTES, 1),
            there: 0..MINUTES,
            age: 600,
            labels: &[],
        }
    }

    fn series(&self, prometheus: Prometheus) -> Vec<(String, String)> {
        let of_ports = |sample: &Sample| {
            let port = sample.labels.get("target_port").or_else(|| sample.labels.get("parent_port"));
            self.ports.is_empty() || port.is_none_or(|port| self.ports.contains(&&**port))
        };
        let samples = samples(self.recording).into_iter().filter(of_ports);
        samples.map(|sample| self.one(sample, prometheus)).collect()
    }

    fn one(&self, mut sample: Sample, prometheus: Prometheus) -> (String, String) {
        let (when, times) = if fails(&sample) { self.failing.clone() } else { (0..MINUTES, 1) };
        let counts = self.busy.start.max(when.start)..self.busy.end.min(when.end);
        let value = |minute: usize| {
            if !self.there.contains(&minute) {
                return None;
            }
            if sample.name == "process_start_time_seconds" {
                return Some(-60 * self.age);
            }
            let minutes = minute.clamp(counts.start, counts.end) - counts.start;
            #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small counts")]
            let count = (sample.value * (minutes * times) as f64 / 60.0).floor() as i64;
            // A series begins with the first thing that it counts; buckets and sums begin with their histogram.
            (count > 0 || sample.labels.contains_key("le") || sample.name.ends_with("_count"))
                .then_some(count)
        };
        let values: Vec<_> =
            (0..MINUTES).map(|it| value(it).map_or_else(|| "_".to_owned(), |it| it.to_string())).collect();
        for (name, value) in self.target.iter().chain(self.labels) {
            sample.labels.insert((*name).to_owned(), (*value).to_owned());
        }
        sample.labels.insert("pod".to_owned(), self.name.to_owned());
        sample.labels.insert("instance".to_owned(), format!("{}:4191", self.name));
        if let (Prometheus::V3, Some(le)) = (prometheus, sample.labels.get_mut("le"))
            && le != "+Inf"
            && !le.contains('.')
        {
            le.push_str(".0");
        }
        (sample.series(), values.join(" "))
    }
}

/// Whether a sample counts requests that the proxy answered for the app.
fn fails(sample: &Sample) -> bool {
    match sample.labels.get("status_code") {
        Some(status) => status == "502",
        None => sample.labels.get("classification").is_some_and(|it| it == "failure"),
    }
}

/// How Prometheus stores the bounds of buckets: version 3 writes them as floating-point numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Prometheus {
    V2,
    V3,
}

/// A test that exactly these alerts fire at a minute: their names, and the rest of their labels.
pub(crate) fn test(
    rules: &str,
    pods: &[Pod],
    prometheus: Prometheus,
    minute: usize,
    firing: &[String],
) -> String {
    let mut text = format!(
        "rule_files: [{rules:?}]\nevaluation_interval: 5m\ntests:\n- interval: 1m\n  input_series:\n"
    );
    for (series, values) in pods.iter().flat_map(|pod| pod.series(prometheus)) {
        writeln!(text, "  - series: '{series}'\n    values: '{values}'").unwrap();
    }
    write!(
        text,
        "  promql_expr_test:\n  - expr: ALERTS{{alertstate=\"firing\"}}\n    eval_time: {minute}m\n    exp_samples:\n"
    )
    .unwrap();
    for alert in firing {
        writeln!(text, "    - labels: 'ALERTS{{alertstate=\"firing\",{alert}}}'\n      value: 1").unwrap();
    }
    text
}
