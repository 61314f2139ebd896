//! One HTTP request -> one review -> one HTTP answer, with its metric and its log line.
//!
//! What to answer is left to [`crate::review`]; sockets, TLS and time limits of connections to [`super`].

use std::{
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
    bodies::{Bodies, Body},
    refused::{Refused, status},
    repeats::{Repeats, Turn},
};
use crate::{
    admission::{
        metrics::{Metrics, Refusal},
        review::{self, Entry, Fault, NotAReview, Outcome, Record, Reviewed},
    },
    base::{clock::today, duration},
    judgement::{facts::Facts, policy::Policy},
    workload::object::Kind,
};

/// Longest text of a client in a log line or an answer, in characters: a DNS subdomain (RFC 1123).
const LONGEST_NAME: usize = 253;

/// How many reviews are made at once. More than there are processors, so that the kernel shares them out between one
/// that takes long and the others.
const REVIEWERS: usize = 16;

/// The function that reviews: [`review::review`], or in tests another.
pub type Review = fn(&[u8], Entry, &Policy, Date) -> Result<Reviewed, NotAReview>;

/// What all requests share.
pub struct State {
    policy: ArcSwap<Policy>,
    metrics: Arc<Metrics>,
    review: Review,
    reviewers: Arc<Semaphore>,
    bodies: Bodies,
    longest_answer: Duration,
    stopping: CancellationToken,
    repeats: Mutex<Repeats>,
}

impl State {
    /// Reviews by `policy`; once `stopping` is cancelled, answers ask clients to connect elsewhere. What has no answer
    /// after `longest_answer`, or when its client is about to give up, falls open.
    pub fn new(
        policy: Policy,
        metrics: Arc<Metrics>,
        review: Review,
        longest_answer: Duration,
        stopping: CancellationToken,
    ) -> Self {
        let (policy, repeats) = (ArcSwap::from_pointee(policy), Mutex::default());
        let (reviewers, bodies) = (Arc::new(Semaphore::new(REVIEWERS)), Bodies::default());
        Self { policy, metrics, review, reviewers, bodies, longest_answer, stopping, repeats }
    }

    /// Where its reviews are counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Reviews by another policy from now on; what a flag said holds on.
    pub(crate) fn replace_policy(&self, mut policy: Policy) {
        let old = self.policy.load();
        policy.close_wait.init_image.clone_from(&old.close_wait.init_image);
        policy.facts = old.facts.clone();
        self.policy.store(Arc::new(policy));
    }

    /// Reviews by other facts from now on.
    pub(crate) fn replace_facts(&self, facts: Facts) {
        let policy = Policy { facts, ..Policy::clone(&self.policy.load()) };
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
    // A path that is wrong in a webhook configuration shows only here.
    let stray = |reason: Refusal, message: &'static str| {
        let state = Arc::clone(&state);
        async move |request: Request| {
            let refused = Refused { reason, message: message.to_owned() };
            // One key for all: their paths are without number.
            refuse(&state, short(request.uri().path()), "", &refused)
        }
    };
    router
        .fallback(stray(Refusal::Path, "there is no such path"))
        .method_not_allowed_fallback(stray(Refusal::Method, "reviews come by POST"))
}

async fn reply(state: Arc<State>, entry: Entry, request: Request) -> Response {
    let closes = state.stopping.is_cancelled() && request.version() < Version::HTTP_2;
    let deadline = Deadline::now() + patience(request.uri().query(), state.longest_answer);
    let answer = async {
        let body = state.bodies.read(request, deadline).await?;
        judge(&state, entry, Arc::new(body), deadline).await
    };
    let mut response = match answer.await {
        Ok(answer) => {
            ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], answer).into_response()
        }
        Err(refused) => {
            let path = entry.path();
            refuse(&state, &path, &path, &refused)
        }
    };
    if closes {
        // So that kept connections move to another replica before we close them under a request.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// How long we may take. The API server says in the query how long it waits, from before it connects (apiserver
/// `pkg/admission/plugin/webhook/mutating/dispatcher.go`): a fifth of it is for the way here and back.
fn patience(query: Option<&str>, longest: Duration) -> Duration {
    let timeout = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("timeout=")));
    let waits = timeout.and_then(|text| duration::read(text).ok()).filter(|waits| !waits.is_zero());
    waits.map_or(longest, |waits| longest.min(waits / 5 * 4))
}

fn refuse(state: &State, path: &str, repeated: &str, refused: &Refused) -> Response {
    let Refused { reason, message } = refused;
    state.metrics.refused(*reason);
    // Unlike `%message`, a string is printed with its line ends escaped: parts of it are the client's.
    let (label, why) = (reason.as_str(), short(message));
    match state.turn((repeated, label)) {
        Turn::Say { withheld } => warn!(path, reason = label, why, withheld, "refused"),
        Turn::Withhold => debug!(path, reason = label, why, "refused"),
    }
    let mut response = (status(*reason), format!("{why}\n")).into_response();
    if *reason == Refusal::Method {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// Answers before the deadline: with the review, or else that there was none.
async fn judge(
    state: &Arc<State>,
    entry: Entry,
    body: Arc<Body>,
    deadline: Deadline,
) -> Result<Vec<u8>, Refused> {
    let started = Instant::now();
    let fault = match timeout_at(deadline, review(state, entry, Arc::clone(&body))).await {
        Ok(Some(reviewed)) => return Ok(answered(state, entry, reviewed?, started.elapsed())),
        Ok(None) => Fault::Bug,
        Err(_) => Fault::Late,
    };
    let fallen = spawn_blocking(move || review::fall_open(&body, fault)).await;
    let fallen = fallen
        .map_err(|_| Refused { reason: Refusal::Failed, message: "the review failed twice".to_owned() });
    Ok(answered(state, entry, fallen??, started.elapsed()))
}

/// Reviews on a thread that may block, for a review that takes long must not stop the connections of others. One that
/// has begun ends by itself, and holds its place and its body until then. `None` after a panic.
async fn review(state: &Arc<State>, entry: Entry, body: Arc<Body>) -> Option<Result<Reviewed, NotAReview>> {
    let place = Arc::clone(&state.reviewers).acquire_owned().await.ok()?;
    let (review, policy) = (state.review, state.policy.load_full());
    let reviewing = spawn_blocking(move || {
        let reviewed = review(&body, entry, &policy, today());
        drop((body, place));
        reviewed
    });
    reviewing.await.ok()
}

fn answered(state: &State, entry: Entry, reviewed: Reviewed, took: Duration) -> Vec<u8> {
    state.metrics.reviewed(entry.door, entry.mode, &reviewed.record, took);
    log(state, entry, &reviewed.record, took);
    reviewed.body
}

/// One event for each review; one that repeats another of the last minute only at debug level.
fn log(state: &State, entry: Entry, record: &Record, took: Duration) {
    let findings = review::counted(record.findings.iter().map(|(rule, action)| (*rule, action.as_str())));
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
    fn answers_come_before_the_client_gives_up() {
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
            assert_eq!(patience(query, longest), Duration::from_millis(expected), "{query:?}");
        }
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(short("web"), "web");
        assert_eq!(short(&"ä".repeat(300)).chars().count(), LONGEST_NAME);
    }
}
