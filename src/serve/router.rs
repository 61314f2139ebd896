//! One HTTP request -> one review -> one HTTP answer, with its metric and its log line.
//!
//! What to answer is left to [`crate::review`]; sockets, TLS and time limits of connections to [`super`].

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Request},
    http::{
        HeaderMap, HeaderValue, StatusCode, Version,
        header::{CONNECTION, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::post,
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::repeats::{Repeats, Turn};
use crate::{
    finding::{Action, RuleId},
    metrics::{Metrics, Refusal},
    policy::Policy,
    review::{self, Entry, NotAReview, Outcome, Record, Reviewed},
    workload::Kind,
};

/// Longest body in bytes. A review holds the object and its old version, of up to 3 MiB each (apiserver
/// `MaxRequestBodyBytes`); controller-runtime takes the same 7 MiB (`pkg/webhook/admission/http.go`).
pub const LONGEST_BODY: usize = 7 * 1024 * 1024;

/// Longest name in a log line, in characters: a DNS subdomain (RFC 1123).
const LONGEST_NAME: usize = 253;

/// The function that reviews: [`review::review`], or in tests another.
pub type Review = fn(&[u8], Entry, &Policy, Date) -> Result<Reviewed, NotAReview>;

/// What all requests share.
pub struct State {
    policy: ArcSwap<Policy>,
    metrics: Arc<Metrics>,
    review: Review,
    body_deadline: Duration,
    stopping: CancellationToken,
    repeats: Mutex<Repeats>,
}

impl State {
    /// Reviews by `policy`; once `stopping` is cancelled, answers ask clients to connect elsewhere. A request body that
    /// takes longer than `body_deadline` is refused.
    pub fn new(
        policy: Policy,
        metrics: Arc<Metrics>,
        review: Review,
        body_deadline: Duration,
        stopping: CancellationToken,
    ) -> Self {
        let (policy, repeats) = (ArcSwap::from_pointee(policy), Mutex::default());
        Self { policy, metrics, review, body_deadline, stopping, repeats }
    }

    /// Where its reviews are counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Reviews by another policy from now on; what a flag said holds on.
    pub(crate) fn replace_policy(&self, mut policy: Policy) {
        policy.close_wait.init_image.clone_from(&self.policy.load().close_wait.init_image);
        self.policy.store(Arc::new(policy));
    }

    /// Whether an event is new, or repeats one of the last minute.
    pub(crate) fn turn(&self, key: impl std::hash::Hash) -> Turn {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner).turn(key, Instant::now())
    }
}

/// `POST /{mutate,validate}/{enforce,warn,audit}`, and the same with `/unprivileged` behind it: both are in the path,
/// because the API server chooses them by the labels of the namespace, which a review does not hold. The latter is for
/// namespaces with `pod-security.kubernetes.io/enforce in (baseline, restricted)`; the paths are [`Entry::path`]'s.
pub fn router(state: Arc<State>) -> Router {
    let mut router = Router::new();
    for entry in Entry::all() {
        let state = Arc::clone(&state);
        let reply = move |request| reply(Arc::clone(&state), entry, request);
        router = router.route(&entry.path(), post(reply));
    }
    router.layer(DefaultBodyLimit::max(LONGEST_BODY))
}

async fn reply(state: Arc<State>, entry: Entry, request: Request) -> Response {
    let closes = state.stopping.is_cancelled() && request.version() < Version::HTTP_2;
    let mut response = match body(&state, request).await.and_then(|body| judge(&state, entry, &body)) {
        Ok(answer) => {
            ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], answer).into_response()
        }
        Err(refused) => refuse(&state, entry, &refused),
    };
    if closes {
        // So that kept connections move to another replica before we close them under a request.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn refuse(state: &State, entry: Entry, refused: &Refused) -> Response {
    let Refused { reason, message } = refused;
    state.metrics.refused(*reason);
    // Unlike `%message`, a string is printed with its line ends escaped: parts of it are the client's.
    let (path, label, why) = (entry.path(), reason.as_str(), short(message));
    match state.turn((&path, label)) {
        Turn::Say { withheld } => warn!(path, reason = label, why, withheld, "refused"),
        Turn::Withhold => debug!(path, reason = label, why, "refused"),
    }
    (status(*reason), format!("{message}\n")).into_response()
}

/// A request that gets no review.
struct Refused {
    reason: Refusal,
    message: String,
}

impl From<NotAReview> for Refused {
    fn from(why: NotAReview) -> Self {
        Self { reason: Refusal::NotAReview, message: why.to_string() }
    }
}

/// Anything but 200 makes the API server apply the failure policy, so these only have to say what is wrong.
const fn status(reason: Refusal) -> StatusCode {
    match reason {
        Refusal::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Refusal::Interrupted | Refusal::NotAReview => StatusCode::BAD_REQUEST,
        Refusal::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

async fn body(state: &State, request: Request) -> Result<Bytes, Refused> {
    if !is_json(request.headers()) {
        let message = "the content type is not application/json".to_owned();
        return Err(Refused { reason: Refusal::MediaType, message });
    }
    match timeout(state.body_deadline, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(Refused {
            reason: Refusal::TooLarge,
            message: format!("the body is longer than {LONGEST_BODY} bytes"),
        }),
        Ok(Err(error)) => Err(Refused { reason: Refusal::Interrupted, message: error.body_text() }),
        Err(_) => {
            let message = format!("the body was not complete after {:?}", state.body_deadline);
            Err(Refused { reason: Refusal::TooSlow, message })
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Reviews on this thread: that takes far less time than handing it to another.
fn judge(state: &State, entry: Entry, body: &[u8]) -> Result<Vec<u8>, Refused> {
    let started = Instant::now();
    let policy = state.policy.load();
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let reviewed = catch_unwind(AssertUnwindSafe(|| (state.review)(body, entry, &policy, today)))
        .or_else(|_| catch_unwind(|| review::fall_open(body)))
        .map_err(|_| Refused { reason: Refusal::Failed, message: "the review failed twice".to_owned() })??;
    let took = started.elapsed();
    state.metrics.reviewed(entry.door, entry.mode, &reviewed.record, took);
    log(state, entry, &reviewed.record, took);
    Ok(reviewed.body)
}

/// One event for each review; one that repeats another of the last minute only at debug level.
fn log(state: &State, entry: Entry, record: &Record, took: Duration) {
    let finding = |(rule, action): &(RuleId, Action)| format!("{}={}", rule.as_str(), action.as_str());
    let findings = record.findings.iter().map(finding).collect::<Vec<_>>().join(",");
    macro_rules! event {
        ($level:ident, $withheld:expr) => {
            $level!(
                uid = short(&record.uid),
                kind = record.kind.map_or("", Kind::as_str),
                namespace = short(&record.namespace),
                name = short(&record.name),
                operation = short(&record.operation),
                door = entry.door.as_str(),
                mode = entry.mode.as_str(),
                unprivileged = entry.unprivileged,
                dry_run = record.dry_run,
                outcome = record.outcome.as_str(),
                findings,
                duration_seconds = took.as_secs_f64(),
                withheld = $withheld,
                "reviewed"
            )
        };
    }
    let key = (entry, record.kind, &record.namespace, without_ordinal(&record.name), record.outcome);
    match (state.turn(key), record.outcome) {
        (Turn::Withhold, _) => event!(debug, 0_u64),
        (Turn::Say { withheld }, Outcome::Failed | Outcome::Unreadable) => event!(warn, withheld),
        (Turn::Say { withheld }, _) => event!(info, withheld),
    }
}

/// `db` of `db-0`, so that the pods of a StatefulSet count as one. Those of others have no name yet at admission.
fn without_ordinal(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((set, ordinal)) if ordinal.bytes().all(|byte| byte.is_ascii_digit()) => set,
        _ => name,
    }
}

/// No more of a text than a name may have: anybody in the cluster can send us one of megabytes.
fn short(text: &str) -> &str {
    text.char_indices().nth(LONGEST_NAME).map_or(text, |(end, _)| &text[..end])
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
    fn json_is_recognised_by_its_essence() {
        for (value, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/jsonl", false),
            ("text/plain", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(is_json(&headers), expected, "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(short("web"), "web");
        assert_eq!(short(&"ä".repeat(300)).chars().count(), LONGEST_NAME);
    }
}
