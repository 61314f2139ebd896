//! Spans of requests, sent to an OpenTelemetry collector over HTTP, if one is configured.
//!
//! A span continues the trace of the API server's `traceparent`. The queue is bounded, and a thread of its own sends it:
//! a collector that is slow or gone costs spans, and no review waits for it.

use std::{fmt, str::FromStr, time::Duration};

use axum::http::HeaderMap;
use opentelemetry::{
    KeyValue,
    propagation::TextMapPropagator,
    trace::{Span, SpanKind, Status, Tracer, TracerProvider},
};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider, Span as SdkSpan},
};
use reqwest::Url;

use crate::review::{Endpoint, Record};

/// The path of traces at a collector (OpenTelemetry Protocol 1, OTLP/HTTP request).
const PATH: &str = "/v1/traces";
/// How long sending one batch may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last spans may take when the server stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// The URL of a collector, such as `http://collector.traces:4318`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CollectorUrl {
    text: String,
    port: u16,
}

/// The text is not the URL of a collector.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text:?} {reason}; expected a URL such as http://collector.traces:4318")]
pub struct CollectorUrlError {
    text: String,
    reason: String,
}

impl CollectorUrl {
    /// The URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The port of the collector.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL to which spans are posted.
    fn traces(&self) -> String {
        format!("{}{PATH}", self.text.trim_end_matches('/').trim_end_matches(PATH))
    }
}

impl FromStr for CollectorUrl {
    type Err = CollectorUrlError;

    fn from_str(text: &str) -> Result<Self, CollectorUrlError> {
        let error = |reason: &str| CollectorUrlError { text: text.to_owned(), reason: reason.to_owned() };
        // `Url` corrects these silently, but the text is what a manifest shows.
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err(error("contains a space or a backslash"));
        }
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Err(error("does not begin with http:// or https://"));
        }
        let url = Url::parse(text).map_err(|source| error(&format!("is not a URL: {source}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(error("contains credentials, which everyone who reads the command line sees"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(error("has a query or a fragment, but only a path can be added to"));
        }
        match url.port_or_known_default() {
            Some(port @ 1..) => Ok(Self { text: text.to_owned(), port }),
            Some(0) | None => Err(error("has no port that can be connected to")),
        }
    }
}

impl fmt::Display for CollectorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The collector cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot send traces to {collector}")]
pub struct TracesError {
    collector: CollectorUrl,
    source: ExporterBuildError,
}

/// Sends spans to a collector.
#[derive(Clone, Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
}

impl Traces {
    /// Starts the thread that sends spans to this collector. Must not be called within an async runtime.
    ///
    /// # Errors
    ///
    /// Returns an error if the HTTP client cannot be built.
    pub fn start(collector: &CollectorUrl) -> Result<Self, TracesError> {
        // Another part may have set it already: this is the provider of the whole program.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(collector.traces())
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|source| TracesError { collector: collector.clone(), source })?;
        let resource = Resource::builder()
            .with_service_name(env!("CARGO_PKG_NAME"))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
        Ok(Self { provider, tracer, propagator: TraceContextPropagator::new() })
    }

    /// Begins the span of a request.
    pub(crate) fn begin(&self, headers: &HeaderMap, endpoint: Endpoint) -> RequestSpan {
        let parent = self.propagator.extract(&HeaderExtractor(headers));
        let builder =
            self.tracer.span_builder("AdmissionReview").with_kind(SpanKind::Server).with_attributes([
                KeyValue::new("linkerd_linger.webhook", endpoint.webhook.as_str()),
                KeyValue::new("linkerd_linger.mode", endpoint.mode.as_str()),
                KeyValue::new("linkerd_linger.unprivileged", endpoint.unprivileged),
            ]);
        RequestSpan(self.tracer.build_with_context(builder, &parent))
    }

    /// Sends the last spans. Waits for a bounded time.
    pub fn stop(&self) {
        // The collector is not the server's: if it does not answer, the last spans are lost.
        let _ = self.provider.shutdown_with_timeout(SHUTDOWN_TIMEOUT);
    }
}

/// The span of a request, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct RequestSpan(SdkSpan);

impl RequestSpan {
    /// Adds what the review was about, and its outcome.
    pub(crate) fn reviewed(&mut self, record: &Record) {
        self.0.set_attributes([
            KeyValue::new("linkerd_linger.outcome", record.outcome.as_str()),
            KeyValue::new("linkerd_linger.kind", record.kind.clone()),
            KeyValue::new("linkerd_linger.dry_run", record.dry_run),
            KeyValue::new("k8s.namespace.name", record.namespace.clone()),
            KeyValue::new("linkerd_linger.request.uid", record.uid.clone()),
        ]);
    }

    /// Marks it as failed, with the name of the reason.
    pub(crate) fn failed(&mut self, reason: &'static str) {
        self.0.set_status(Status::error(reason));
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::service("http://collector.traces:4318", 4318, "http://collector.traces:4318/v1/traces")]
    #[case::slash("http://collector:4318/", 4318, "http://collector:4318/v1/traces")]
    #[case::whole_path("http://collector:4318/v1/traces", 4318, "http://collector:4318/v1/traces")]
    #[case::path("https://otlp.example.com/otlp", 443, "https://otlp.example.com/otlp/v1/traces")]
    #[case::no_port("http://collector", 80, "http://collector/v1/traces")]
    #[case::ipv6("http://[fd00::1]:4318", 4318, "http://[fd00::1]:4318/v1/traces")]
    fn urls(#[case] text: &str, #[case] port: u16, #[case] traces: &str) {
        let url: CollectorUrl = text.parse().unwrap();
        assert_eq!((url.as_str(), url.port(), &*url.traces()), (text, port, traces));
    }

    #[rstest]
    #[case::empty("", "does not begin with http://")]
    #[case::no_scheme("collector:4318", "does not begin with http://")]
    #[case::grpc("grpc://collector:4317", "does not begin with http://")]
    #[case::no_host("http://", "empty host")]
    #[case::two_ports("http://collector:4318:1", "invalid port number")]
    #[case::large_port("http://collector:99999", "invalid port number")]
    #[case::port_0("http://collector:0", "no port")]
    #[case::password("http://user:secret@collector", "credentials")]
    #[case::query("http://collector?key=1", "query")]
    #[case::space("http://collector:4318 ", "space")]
    fn other_texts(#[case] text: &str, #[case] reason: &str) {
        let error = text.parse::<CollectorUrl>().unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("http://collector.traces:4318"), "{error}");
    }
}
