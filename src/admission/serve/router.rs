//! Handles an HTTP request: review, response, metric and log line.
//!
//! [`crate::review`] decides the response; [`super`] handles sockets, TLS and connection timeouts.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use axum::{
    Router,
    extract::Request,
    http::{
        HeaderValue, Version,
        header::{ALLOW, CONNECTION, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::post,
};
use jiff::civil::Date;
use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant as Deadline, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    bodies::{Bodies, Body, MAX_SMALL_BODY_BYTES},
    http_error::{HttpError, status},
    repeat_filter::{LogDecision, RepeatFilter},
};
use crate::{
    admission::{
        metrics::{Metrics, Refusal},
        traces::Traces,
    },
    base::{clock::today, duration},
    judgement::{facts::Facts, policy::Policy},
    review::{self, Endpoint, InvalidReview, Outcome, Record, ReviewFailure, Reviewed},
};

/// The maximum length of text from a client in a log line or a response, in characters: that of a DNS subdomain (RFC
/// 1123).
const MAX_NAME_LEN: usize = 253;

/// The maximum number of concurrent reviews of long bodies. More than the number of CPUs, so that the kernel shares them
/// between a slow review and the others.
const MAX_CONCURRENT_REVIEWS: usize = 16;

/// The maximum length of all long bodies that are reviewed at once, in bytes. A review took up to 38 MB for a body of 7.3
/// MB, and the memory limit of `install` is 256Mi.
const MAX_REVIEWED_BYTES: usize = 16 * 1024 * 1024;

/// The review function: [`review::review`], or another one in tests.
pub type Review = fn(&[u8], Endpoint, &Policy, Date) -> Result<Reviewed, InvalidReview>;

/// The state that all requests share.
pub struct State {
    policy: ArcSwap<Policy>,
    metrics: Arc<Metrics>,
    review: Review,
    /// A permit for each byte of a long body under review.
    review_permits: Arc<Semaphore>,
    bodies: Bodies,
    max_answer_time: Duration,
    stopping: CancellationToken,
    repeat_filter: Mutex<RepeatFilter>,
    traces: Option<Traces>,
}

impl State {
    /// Creates the state. Once `stopping` is cancelled, responses ask clients to reconnect. A review that takes longer
    /// than `max_answer_time`, or than the client waits, fails open.
    pub fn new(
        policy: Policy,
        metrics: Arc<Metrics>,
        review: Review,
        max_answer_time: Duration,
        stopping: CancellationToken,
    ) -> Self {
        let (policy, repeat_filter) = (ArcSwap::from_pointee(policy), Mutex::default());
        let (review_permits, bodies) = (Arc::new(Semaphore::new(MAX_REVIEWED_BYTES)), Bodies::default());
        Self {
            policy,
            metrics,
            review,
            review_permits,
            bodies,
            max_answer_time,
            stopping,
            repeat_filter,
            traces: None,
        }
    }

    /// The same state, with spans of requests sent there.
    #[must_use]
    pub fn with_traces(self, traces: Option<Traces>) -> Self {
        Self { traces, ..self }
    }

    /// The metrics of the server.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Replaces the policy. Values set by flags are kept.
    pub(crate) fn replace_policy(&self, mut policy: Policy) {
        let old = self.policy.load();
        policy.close_wait.init_image.clone_from(&old.close_wait.init_image);
        policy.facts = old.facts.clone();
        self.policy.store(Arc::new(policy));
    }

    /// Replaces the facts.
    pub(crate) fn replace_facts(&self, facts: Facts) {
        let policy = Policy { facts, ..Policy::clone(&self.policy.load()) };
        self.policy.store(Arc::new(policy));
    }

    /// Decides whether to log an event; repeats within a minute are suppressed.
    pub(crate) fn log_decision(&self, key: impl std::hash::Hash) -> LogDecision {
        self.repeat_filter.lock().unwrap_or_else(PoisonError::into_inner).log_decision(key, Instant::now())
    }
}

/// Builds the routes `POST /{mutate,validate}/{enforce,warn,audit}`, each also with `/unprivileged` appended. The API
/// server selects the path by the labels of the namespace, which a review does not contain. `/unprivileged` is for
/// namespaces with `pod-security.kubernetes.io/enforce in (baseline, restricted)`. [`Endpoint::path`] builds the paths.
pub fn router(state: Arc<State>) -> Router {
    let mut router = Router::new();
    for endpoint in Endpoint::all() {
        let state = Arc::clone(&state);
        let handle = move |request| handle(Arc::clone(&state), endpoint, request);
        router = router.route(&endpoint.path(), post(handle));
    }
    // The log is the only place that shows a wrong path in a webhook configuration.
    let fallback = |reason: Refusal, message: &'static str| {
        let state = Arc::clone(&state);
        async move |request: Request| {
            let http_error = HttpError { reason, message: message.to_owned() };
            // One key for all paths, since a client can send any number of them.
            reply_error(&state, truncate(request.uri().path()), "", &http_error)
        }
    };
    router
        .fallback(fallback(Refusal::Path, "unknown path"))
        .method_not_allowed_fallback(fallback(Refusal::Method, "use POST for admission reviews"))
}

async fn handle(state: Arc<State>, endpoint: Endpoint, request: Request) -> Response {
    let closes = state.stopping.is_cancelled() && request.version() < Version::HTTP_2;
    let deadline = Deadline::now() + answer_timeout(request.uri().query(), state.max_answer_time);
    let mut span = state.traces.as_ref().map(|traces| traces.begin(request.headers(), endpoint));
    let answer = async {
        let body = state.bodies.read(request, deadline).await?;
        if let Some(failure) = body.failure {
            let started = Instant::now();
            let admitted =
                review::fail_open_beginning(&body, endpoint.mode, failure).map_err(|_| no_uid(failure))?;
            return Ok((admitted, started.elapsed()));
        }
        if body.len() <= MAX_SMALL_BODY_BYTES {
            return review_small(&state, endpoint, &body);
        }
        review_before_deadline(&state, endpoint, Arc::new(body), deadline).await
    };
    let mut response = match answer.await {
        Ok((reviewed, took)) => {
            if let Some(span) = &mut span {
                span.reviewed(&reviewed.record);
            }
            let answer = answered(&state, endpoint, reviewed, took);
            ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], answer).into_response()
        }
        Err(http_error) => {
            if let Some(span) = &mut span {
                span.failed(http_error.reason.as_str());
            }
            let path = endpoint.path();
            reply_error(&state, &path, &path, &http_error)
        }
    };
    if closes {
        // Makes clients move idle connections to another replica before this one closes them during a request.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The time limit of a response. The query contains the API server's timeout, which starts before it connects
/// (apiserver `pkg/admission/plugin/webhook/mutating/dispatcher.go`). A fifth of it is reserved for the network.
fn answer_timeout(query: Option<&str>, longest: Duration) -> Duration {
    let timeout = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("timeout=")));
    let client_timeout = timeout
        .and_then(|text| duration::parse(text).ok())
        .filter(|client_timeout| !client_timeout.is_zero());
    client_timeout.map_or(longest, |client_timeout| longest.min(client_timeout / 5 * 4))
}

fn reply_error(state: &State, path: &str, repeated: &str, http_error: &HttpError) -> Response {
    let HttpError { reason, message } = http_error;
    state.metrics.refused(*reason);
    // Unlike `%message`, a string field is printed with escaped line ends; parts of it come from the client.
    let (label, why) = (reason.as_str(), truncate(message));
    match state.log_decision((repeated, label)) {
        LogDecision::Log { suppressed } => warn!(path, reason = label, why, withheld = suppressed, "refused"),
        LogDecision::Suppress => debug!(path, reason = label, why, "refused"),
    }
    let mut response = (status(*reason), format!("{why}\n")).into_response();
    if *reason == Refusal::Method {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// Reviews a small body on this thread. The limits of what a review follows keep it short, and a change of threads takes
/// longer than most reviews.
fn review_small(state: &State, endpoint: Endpoint, body: &Body) -> Result<(Reviewed, Duration), HttpError> {
    let started = Instant::now();
    let policy = state.policy.load();
    let reviewed = caught(|| (state.review)(body, endpoint, &policy, today()))
        .or_else(|| caught(|| review::fail_open(body, endpoint.mode, ReviewFailure::Panic)))
        .ok_or_else(failed_twice)?;
    Ok((reviewed?, started.elapsed()))
}

/// The error if even the uid of a request was not read.
fn no_uid(failure: ReviewFailure) -> HttpError {
    match failure {
        ReviewFailure::Memory => HttpError::overloaded(),
        ReviewFailure::Timeout | ReviewFailure::Panic => HttpError::too_slow(),
    }
}

/// Returns `None` after a panic, which the panic hook has logged.
fn caught<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

fn failed_twice() -> HttpError {
    HttpError { reason: Refusal::Failed, message: "the review failed twice".to_owned() }
}

/// Answers before the deadline: with the review, or with a failure that admits the object.
async fn review_before_deadline(
    state: &Arc<State>,
    endpoint: Endpoint,
    body: Arc<Body>,
    deadline: Deadline,
) -> Result<(Reviewed, Duration), HttpError> {
    let started = Instant::now();
    let failure = match timeout_at(deadline, review(state, endpoint, Arc::clone(&body))).await {
        Ok(Some(reviewed)) => return Ok((reviewed?, started.elapsed())),
        Ok(None) => ReviewFailure::Panic,
        Err(_) => ReviewFailure::Timeout,
    };
    let admitted = spawn_blocking(move || review::fail_open(&body, endpoint.mode, failure)).await;
    let admitted = admitted.map_err(|_| failed_twice())?;
    Ok((admitted?, started.elapsed()))
}

/// Reviews on a blocking thread, so that a slow review does not stall other connections. A started review runs to its
/// end and keeps its permit and body until then. Returns `None` after a panic.
async fn review(
    state: &Arc<State>,
    endpoint: Endpoint,
    body: Arc<Body>,
) -> Option<Result<Reviewed, InvalidReview>> {
    let permits = u32::try_from(body.len().max(MAX_REVIEWED_BYTES / MAX_CONCURRENT_REVIEWS)).ok()?;
    let permit = Arc::clone(&state.review_permits).acquire_many_owned(permits).await.ok()?;
    let (review, policy) = (state.review, state.policy.load_full());
    let reviewing = spawn_blocking(move || {
        let reviewed = review(&body, endpoint, &policy, today());
        drop((body, permit));
        reviewed
    });
    reviewing.await.ok()
}

fn answered(state: &State, endpoint: Endpoint, reviewed: Reviewed, took: Duration) -> Vec<u8> {
    state.metrics.reviewed(endpoint.webhook, endpoint.mode, &reviewed.record, took);
    log(state, endpoint, &reviewed.record, took);
    reviewed.body
}

/// Logs one event for each review. A repeat within a minute is logged at debug level.
fn log(state: &State, endpoint: Endpoint, record: &Record, took: Duration) {
    let findings = || review::counted(record.findings.iter().map(|(rule, action)| (*rule, action.as_str())));
    macro_rules! event {
        ($level:ident, $suppressed:expr) => {
            $level!(
                uid = truncate(&record.uid),
                kind = &*record.kind,
                namespace = truncate(&record.namespace),
                name = truncate(&record.name),
                operation = truncate(&record.operation),
                door = endpoint.webhook.as_str(),
                mode = endpoint.mode.as_str(),
                unprivileged = endpoint.unprivileged,
                dry_run = record.dry_run,
                outcome = record.outcome.as_str(),
                findings = findings(),
                duration_seconds = took.as_secs_f64(),
                withheld = $suppressed,
                "reviewed"
            )
        };
    }
    let key = (endpoint, &record.kind, &record.namespace, without_ordinal(&record.name), record.outcome);
    match (state.log_decision(key), record.outcome) {
        (LogDecision::Suppress, _) => event!(debug, 0_u64),
        (LogDecision::Log { suppressed }, Outcome::Failed | Outcome::Unreadable) => event!(warn, suppressed),
        (LogDecision::Log { suppressed }, _) => event!(info, suppressed),
    }
}

/// Returns `db` for `db-0`, so that the pods of a StatefulSet count as one. Other pods have no name yet at admission.
fn without_ordinal(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((set, ordinal)) if ordinal.bytes().all(|byte| byte.is_ascii_digit()) => set,
        _ => name,
    }
}

/// Truncates a text to the length of a name, since any client can send megabytes.
fn truncate(text: &str) -> &str {
    text.char_indices().nth(MAX_NAME_LEN).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_are_cut() {
        for (name, set) in
            [("db-0", "db"), ("db-main-12", "db-main"), ("web-5d9c*", "web-5d9c*"), ("web", "web")]
        {
            assert_eq!(without_ordinal(name), set);
        }
    }

    #[test]
    fn answers_are_sent_before_the_client_timeout() {
        let longest = Duration::from_secs(10);
        for (query, expected) in [
            (Some("timeout=5s"), 4_000),
            (Some("a=b&timeout=500ms"), 400),
            (Some("timeout=30s"), 10_000),
            (Some("timeout=0s"), 10_000),
            (Some("timeout=-1s"), 10_000),
            (Some("timeouts=5s"), 10_000),
            (Some(""), 10_000),
            (None, 10_000),
        ] {
            assert_eq!(answer_timeout(query, longest), Duration::from_millis(expected), "{query:?}");
        }
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(truncate("web"), "web");
        assert_eq!(truncate(&"ä".repeat(300)).chars().count(), MAX_NAME_LEN);
    }
}
