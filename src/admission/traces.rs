//! Spans of requests, sent to an OpenTelemetry collector over HTTP, if one is configured.
//!
//! A span continues the trace of the API server's `traceparent`. The queue is bounded, and a thread of its own sends it:
//! a collector that is slow or gone costs spans, and no review waits for it.

use std::time::Duration;

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

use crate::review::{Endpoint, Record};

/// The path of traces at a collector (OpenTelemetry Protocol 1, OTLP/HTTP request).
const PATH: &str = "/v1/traces";
/// How long sending one batch may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last spans may take when the server stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// The collector cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot send traces to {endpoint}")]
pub struct TracesError {
    endpoint: String,
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
    /// Starts the thread that sends spans to the collector at this URL, such as `http://collector.traces.svc:4318`. Must not
    /// be called within an async runtime.
    ///
    /// # Errors
    ///
    /// Returns an error if the URL cannot be used.
    pub fn start(endpoint: &str) -> Result<Self, TracesError> {
        // Another part may have set it already: this is the provider of the whole program.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = endpoint.trim_end_matches('/').trim_end_matches(PATH);
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{base}{PATH}"))
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|source| TracesError { endpoint: endpoint.to_owned(), source })?;
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
