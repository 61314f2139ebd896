//! Reports of measurements, as text and JSON.

use std::{fmt::Write as _, time::Duration};

use serde::Serialize;

use super::{
    connection::{MeasureError, Protocol, Sample},
    half_close::HalfClose,
    samples::{Behaviour, behaviour},
};
use crate::{
    base::{duration, plural::count},
    servers::Idle,
    workload::annotations::IDLE_TIMEOUT,
};

/// The measurement of a server.
#[derive(Debug)]
pub struct Measurement {
    /// The name of the server in messages.
    pub title: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The result of each connection.
    pub samples: Vec<Result<Sample, MeasureError>>,
    /// What the server does when the client closes its side; `None` if that was not measured.
    pub half_close: Option<HalfClose>,
    /// The idle timeout from the spec, if there is one.
    pub known: Option<Idle>,
    /// How much earlier than measured the server may have closed.
    pub uncertain: Duration,
}

/// A measurement in JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MeasurementReport {
    server: String,
    protocol: &'static str,
    connections: usize,
    /// The number of connections without a complete response.
    failed: usize,
    /// `closes-after`, `closes-each-response`, `still-open`, `differs` or `error`.
    kind: &'static str,
    /// The shortest and the longest measured time.
    closes_after_seconds: Option<[f64; 2]>,
    /// How long open connections were watched.
    watched_seconds: Option<f64>,
    error: Option<String>,
    status: Option<u16>,
    /// The `timeout` of the `Keep-Alive` header.
    announced_seconds: Option<u64>,
    half_close: Option<HalfClose>,
    /// The idle timeout from the spec, as text.
    spec: Option<String>,
    /// Whether the measurement agrees with the spec; `None` if the spec does not show the timeout.
    agrees: Option<bool>,
    /// The annotation that declares the measured timeout.
    annotation: Option<String>,
}

/// The tolerance between a measurement and the spec, for network delays and coarse timers.
const TOLERANCE: Duration = Duration::from_millis(250);

impl Measurement {
    /// The behaviour of the server.
    ///
    /// # Errors
    ///
    /// Returns an error if no connection has a result.
    pub fn behaviour(&self) -> Result<Behaviour, MeasureError> {
        Ok(match behaviour(&self.samples)? {
            Behaviour::ClosesAfter { earliest, latest } => {
                Behaviour::ClosesAfter { earliest: earliest.saturating_sub(self.uncertain), latest }
            }
            other => other,
        })
    }

    /// Whether the measurement agrees with the spec; `None` if one of them is unknown.
    pub fn agrees(&self) -> Option<bool> {
        match (self.behaviour().ok()?, self.known.as_ref()?) {
            (_, Idle::Unknown(_)) | (Behaviour::Differs { .. }, _) => None,
            (Behaviour::ClosesAfter { earliest, latest }, Idle::ClosesAfter(window, _)) => {
                Some(earliest + TOLERANCE >= window.from && latest <= window.to + TOLERANCE)
            }
            (Behaviour::StillOpen(watched), Idle::ClosesAfter(window, _)) => {
                // The connections were not watched long enough for a server that closes later.
                if watched <= window.to + TOLERANCE { None } else { Some(false) }
            }
            (Behaviour::ClosesEachResponse, Idle::ClosesEachResponse(_))
            | (Behaviour::StillOpen(_), Idle::NeverCloses(_)) => Some(true),
            (
                Behaviour::ClosesAfter { .. } | Behaviour::ClosesEachResponse | Behaviour::StillOpen(_),
                Idle::ClosesAfter(..) | Idle::ClosesEachResponse(_) | Idle::NeverCloses(_),
            ) => Some(false),
        }
    }

    /// The number of connections without a complete response.
    fn failed(&self) -> usize {
        self.samples.iter().filter(|sample| sample.is_err()).count()
    }

    fn answered(&self) -> Option<&Sample> {
        self.samples.iter().flatten().next()
    }

    /// The report for JSON.
    pub fn report(&self) -> MeasurementReport {
        let behaviour = self.behaviour();
        let seconds = |time: Duration| (time.as_secs_f64() * 1000.0).round() / 1000.0;
        let (kind, closes, watched) = match &behaviour {
            Ok(Behaviour::ClosesAfter { earliest, latest }) => {
                ("closes-after", Some([seconds(*earliest), seconds(*latest)]), None)
            }
            Ok(Behaviour::ClosesEachResponse) => ("closes-each-response", None, None),
            Ok(Behaviour::StillOpen(max)) => ("still-open", None, Some(seconds(*max))),
            Ok(Behaviour::Differs { earliest, watched }) => {
                ("differs", Some([seconds(*earliest); 2]), Some(seconds(*watched)))
            }
            Err(_) => ("error", None, None),
        };
        MeasurementReport {
            server: self.title.clone(),
            protocol: self.protocol.as_str(),
            connections: self.samples.len(),
            failed: self.failed(),
            kind,
            closes_after_seconds: closes,
            watched_seconds: watched,
            error: behaviour.as_ref().err().map(ToString::to_string),
            status: self.answered().map(|sample| sample.status),
            announced_seconds: self.answered().and_then(|sample| sample.announced),
            half_close: self.half_close,
            spec: self.known.as_ref().map(spec),
            agrees: self.agrees(),
            annotation: self.annotation(),
        }
    }

    /// The annotation that declares the measured timeout.
    pub fn annotation(&self) -> Option<String> {
        self.behaviour().ok()?.annotation()
    }

    /// The report as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let connections = count(self.samples.len(), "connection");
        let _ = writeln!(text, "{} ({}, {connections})", self.title, self.protocol.as_str());
        match self.behaviour() {
            Ok(behaviour) => {
                let _ = writeln!(text, "  measured    {}", behaviour.describe());
            }
            Err(error) => {
                let _ = writeln!(text, "  error       {error}");
                return text;
            }
        }
        let lost = self.failed();
        if let (true, Some(error)) = (lost > 0, self.samples.iter().find_map(|sample| sample.as_ref().err()))
        {
            let _ = writeln!(text, "  failed      {}: {error}", count(lost, "connection"));
        }
        if let Some(sample) = self.answered() {
            let announced = sample.announced.map(|seconds| format!(", Keep-Alive: timeout={seconds}"));
            let _ = writeln!(text, "  response    {}{}", sample.status, announced.unwrap_or_default());
        }
        if let Some(half_close) = self.half_close {
            let _ = writeln!(text, "  half-close  {}", half_close.describe());
        }
        if let Some(known) = &self.known {
            let differs = self.agrees() == Some(false);
            let verdict = if differs { ": the measurement differs" } else { "" };
            let _ = writeln!(text, "  spec        {}{verdict}", spec(known));
        }
        if let Some(value) = self.annotation() {
            let _ = writeln!(text, "  annotation  {IDLE_TIMEOUT}: {value}");
        }
        text
    }
}

/// Describes the idle timeout from a spec.
fn spec(idle: &Idle) -> String {
    let fact = match idle {
        Idle::ClosesAfter(window, _) => {
            let (from, to) = (duration::format(window.from), duration::format(window.to));
            if from == to {
                format!("closes idle connections after {from}")
            } else {
                format!("closes idle connections after {from} to {to}")
            }
        }
        Idle::ClosesEachResponse(_) => "closes the connection after each response".to_owned(),
        Idle::NeverCloses(_) => "never closes idle connections".to_owned(),
        Idle::Unknown(why) => return format!("unknown: {why}"),
    };
    match idle.evidence() {
        Some(evidence) => format!("{}: {fact} ({evidence})", evidence.certainty.as_str()),
        None => fact,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        measure::connection::{Close, End},
        servers::{Evidence, Why, Window},
    };

    fn measured(ends: &[End], known: Option<Idle>) -> Measurement {
        let sample = |end: &End| Ok(Sample { status: 200, announced: Some(5), end: *end });
        Measurement {
            title: "deploy/web".to_owned(),
            protocol: Protocol::Http1,
            samples: ends.iter().map(sample).collect(),
            half_close: Some(HalfClose::AnswersAndCloses),
            known,
            uncertain: Duration::ZERO,
        }
    }

    fn after(millis: u64) -> End {
        End::After(Duration::from_millis(millis), Close::Closed)
    }

    fn closes_after(seconds: u64) -> Option<Idle> {
        let window = Window::exactly(Duration::from_secs(seconds));
        Some(Idle::ClosesAfter(window, Evidence::set_by("/spec", "--keep-alive 5")))
    }

    #[test]
    fn a_measurement_is_compared_with_the_spec() {
        let open = End::StillOpen(Duration::from_secs(130));
        let never = || Some(Idle::NeverCloses(Evidence::set_by("/spec", "x")));
        let unknown = || Some(Idle::Unknown(Why("x".to_owned())));
        let agrees = |ends: &[End], known| measured(ends, known).agrees();
        assert_eq!(agrees(&[after(5_004)], closes_after(5)), Some(true));
        assert_eq!(agrees(&[after(4_990)], closes_after(5)), Some(true));
        assert_eq!(agrees(&[after(65_000)], closes_after(5)), Some(false));
        assert_eq!(agrees(&[open], closes_after(5)), Some(false));
        assert_eq!(agrees(&[open], closes_after(180)), None, "it was not watched for so long");
        assert_eq!(agrees(&[open], never()), Some(true));
        assert_eq!(agrees(&[after(5_000)], never()), Some(false));
        assert_eq!(agrees(&[End::WithResponse], closes_after(5)), Some(false));
        assert_eq!(agrees(&[after(5_000)], unknown()), None);
        assert_eq!(agrees(&[after(5_000)], None), None);
    }

    #[test]
    fn an_uncertain_measurement_is_a_window() {
        let mut it = measured(&[after(6_010)], None);
        it.uncertain = Duration::from_secs(1);
        let window = Behaviour::ClosesAfter {
            earliest: Duration::from_millis(5_010),
            latest: Duration::from_millis(6_010),
        };
        assert_eq!(it.behaviour(), Ok(window));
    }

    #[test]
    fn its_text_has_what_to_paste() {
        assert_eq!(
            measured(&[after(65_004), after(65_031)], closes_after(5)).text(),
            "deploy/web (HTTP/1.1, 2 connections)\n\
             \x20 measured    closes idle connections after 65.0s\n\
             \x20 response    200, Keep-Alive: timeout=5\n\
             \x20 half-close  responds and closes\n\
             \x20 spec        certain: closes idle connections after 5s (--keep-alive 5 at /spec): the measurement differs\n\
             \x20 annotation  linkerd-linger.io/idle-timeout: 65s\n"
        );
    }

    #[test]
    fn an_error_is_a_sentence() {
        let mut failed = measured(&[], None);
        failed.samples = vec![Err(MeasureError::Tls)];
        let text = failed.text();
        assert!(text.contains("  error       the port uses TLS, which the proxy forwards as TCP"), "{text}");
        assert_eq!(serde_json::to_value(failed.report()).unwrap()["kind"], "error");
    }
}
