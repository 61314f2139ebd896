//! Tests requests to the routers without a socket: responses, metrics and errors.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::park_timeout,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes, to_bytes},
    http::{
        Method, Request, StatusCode,
        header::{ALLOW, CONTENT_TYPE},
    },
};
use jiff::civil::Date;
use linkerd_linger::{
    admission::{
        metrics::Metrics,
        serve::{self, MAX_BODY_BYTES, MAX_SMALL_BODY_BYTES, Review, State},
    },
    judgement::{
        finding::{Action, RuleId},
        policy::Policy,
    },
    review::{self, Endpoint, InvalidReview, Outcome, Record, Reviewed},
};
use rstest::rstest;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use self::support::review_of_a_pod;

struct Answered {
    status: StatusCode,
    content_type: String,
    allow: String,
    body: Bytes,
    metrics: String,
}

async fn ask(
    review: Review,
    method: Method,
    path: &str,
    content_type: &str,
    body: impl Into<Body>,
) -> Answered {
    let metrics = Arc::new(Metrics::new());
    let stopping = CancellationToken::new();
    let state =
        State::new(Policy::default(), Arc::clone(&metrics), review, Duration::from_secs(10), stopping);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(CONTENT_TYPE, content_type)
        .body(body.into())
        .unwrap();
    let response = serve::router(Arc::new(state)).oneshot(request).await.unwrap();
    let header = |name| response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let (content_type, allow) = (header(CONTENT_TYPE), header(ALLOW));
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    Answered { status, content_type, allow, body, metrics: metrics.encode().unwrap() }
}

async fn post(review: Review, path: &str, body: impl Into<Body>) -> Answered {
    ask(review, Method::POST, path, "application/json", body).await
}

/// Answers with the path of the entry.
fn echo(body: &[u8], endpoint: Endpoint, _: &Policy, today: Date) -> Result<Reviewed, InvalidReview> {
    assert!(today.year() >= 2026);
    let record = Record {
        uid: "7d2f".to_owned(),
        kind: "Pod".into(),
        namespace: "shop".to_owned(),
        name: "web-*".to_owned(),
        operation: "CREATE".to_owned(),
        dry_run: false,
        outcome: Outcome::Rejected,
        findings: vec![(RuleId::CloseWaitUnset, Action::Patch), (RuleId::CloseWaitBroken, Action::Ignore)],
    };
    Ok(Reviewed { body: format!("{} {}", endpoint.path(), body.len()).into_bytes(), record })
}

fn panics(_: &[u8], _: Endpoint, _: &Policy, _: Date) -> Result<Reviewed, InvalidReview> {
    panic!("a bug")
}

#[tokio::test]
async fn each_entry_has_its_path() {
    for endpoint in Endpoint::all() {
        let (webhook, mode, path) = (endpoint.webhook.as_str(), endpoint.mode.as_str(), endpoint.path());
        let answered = post(echo, &format!("{path}?timeout=10s"), "{}").await;
        assert_eq!(answered.status, StatusCode::OK);
        assert_eq!(answered.content_type, "application/json");
        assert_eq!(answered.body, format!("{path} 2"));
        let counted =
            format!("linger_reviews_total{{door=\"{webhook}\",mode=\"{mode}\",outcome=\"rejected\"}} 1\n");
        assert!(answered.metrics.contains(&counted));
        assert!(answered.metrics.contains("{rule=\"close-wait-unset\",action=\"patch\"} 1\n"));
        assert!(answered.metrics.contains("linger_review_duration_seconds_count 1\n"));
    }
}

#[tokio::test]
async fn there_are_no_other_paths_and_methods() {
    for path in [
        "/",
        "/mutate",
        "/mutate/",
        "/mutate/enforce/",
        "/mutate/deny",
        "/mutate/enforce/baseline",
        "/Mutate/enforce",
        "/metrics",
    ] {
        let answered = post(echo, path, "{}").await;
        assert_eq!(answered.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answered.metrics.contains("linger_refused_requests_total{reason=\"path\"} 1\n"), "{path}");
    }
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        let answered = ask(echo, method.clone(), "/mutate/warn", "application/json", "{}").await;
        assert_eq!(answered.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answered.allow, "POST", "{method}");
        assert!(
            answered.metrics.contains("linger_refused_requests_total{reason=\"method\"} 1\n"),
            "{method}"
        );
    }
}

#[tokio::test]
async fn invalid_reviews_get_an_http_error() {
    for body in ["", "not json", "[]", "{}", "\u{feff}{}"] {
        let answered = post(review::review, "/validate/enforce", body).await;
        assert_eq!(answered.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answered.metrics.contains("{reason=\"not_a_review\"} 1\n"));
        assert!(!answered.body.is_empty());
    }
}

#[tokio::test]
async fn client_input_is_truncated_in_errors() {
    let body = format!(r#"{{"apiVersion":"{}","kind":"AdmissionReview"}}"#, "x".repeat(1_000_000));
    let answered = post(review::review, "/validate/enforce", body).await;
    assert_eq!(answered.status, StatusCode::BAD_REQUEST);
    assert!(answered.body.len() < 300, "{}", answered.body.len());
}

#[tokio::test]
async fn other_media_types_are_refused() {
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/yaml"] {
        let answered = ask(echo, Method::POST, "/mutate/warn", content_type, "{}").await;
        assert_eq!(answered.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert!(answered.metrics.contains("{reason=\"media_type\"} 1\n"));
    }
    let answered = ask(echo, Method::POST, "/mutate/warn", "application/json; charset=utf-8", "{}").await;
    assert_eq!(answered.status, StatusCode::OK);
}

#[tokio::test]
async fn the_longest_body_is_read_and_one_byte_more_is_not() {
    let answered = post(echo, "/mutate/warn", vec![b' '; MAX_BODY_BYTES]).await;
    assert_eq!(answered.body, format!("/mutate/warn {MAX_BODY_BYTES}"));
    let answered = post(echo, "/mutate/warn", vec![b' '; MAX_BODY_BYTES + 1]).await;
    assert_eq!(answered.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answered.metrics.contains("{reason=\"too_large\"} 1\n"));
}

#[tokio::test]
async fn a_panic_admits_with_a_warning() {
    let answered = post(panics, "/mutate/enforce", review_of_a_pod("7d2f")).await;
    assert_eq!(answered.status, StatusCode::OK);
    let answer: serde_json::Value = serde_json::from_slice(&answered.body).unwrap();
    assert_eq!(answer["response"]["uid"], "7d2f");
    assert_eq!(answer["response"]["allowed"], true);
    assert_eq!(answer["response"]["warnings"].as_array().unwrap().len(), 1);
    assert!(answered.metrics.contains("{door=\"mutate\",mode=\"enforce\",outcome=\"failed\"} 1\n"));
}

#[rstest]
#[case::panic(panics, review_of_a_pod("7d2f"))]
#[case::unreadable(review::review, review_of_a_pod("7d2f").replace("\"web\"", "7"))]
#[tokio::test]
async fn in_the_mode_audit_users_see_no_failure(#[case] review: Review, #[case] body: String) {
    let answered = post(review, "/mutate/audit", body).await;
    let answer: serde_json::Value = serde_json::from_slice(&answered.body).unwrap();
    assert_eq!(answer["response"]["allowed"], true);
    assert_eq!(answer["response"].get("warnings"), None, "{answer}");
}

#[tokio::test]
async fn a_panic_on_what_is_no_review_is_refused() {
    let answered = post(panics, "/mutate/enforce", "not json").await;
    assert_eq!(answered.status, StatusCode::BAD_REQUEST);
}

/// Longer than its client waits.
fn slow(body: &[u8], endpoint: Endpoint, policy: &Policy, today: Date) -> Result<Reviewed, InvalidReview> {
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        park_timeout(end - Instant::now());
    }
    review::review(body, endpoint, policy, today)
}

#[tokio::test]
async fn a_review_that_takes_too_long_admits_with_a_warning_before_the_client_gives_up() {
    let long_review = review_of_a_pod("7d2f") + &" ".repeat(MAX_SMALL_BODY_BYTES);
    let started = Instant::now();
    let answered = post(slow, "/mutate/enforce?timeout=1s", long_review).await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let answer: serde_json::Value = serde_json::from_slice(&answered.body).unwrap();
    assert_eq!((&answer["response"]["uid"], &answer["response"]["allowed"]), (&"7d2f".into(), &true.into()));
    let warning = "linkerd-linger: the check of this object took too long, so it was admitted unchecked";
    assert_eq!(answer["response"]["warnings"], serde_json::json!([warning]));
    assert!(answered.metrics.contains("{door=\"mutate\",mode=\"enforce\",outcome=\"failed\"} 1\n"));
}

static UNDER_REVIEW: AtomicUsize = AtomicUsize::new(0);
static MOST_UNDER_REVIEW: AtomicUsize = AtomicUsize::new(0);

/// Notes how many bytes are under review at once.
fn counted(body: &[u8], endpoint: Endpoint, policy: &Policy, today: Date) -> Result<Reviewed, InvalidReview> {
    let now = UNDER_REVIEW.fetch_add(body.len(), Ordering::SeqCst) + body.len();
    MOST_UNDER_REVIEW.fetch_max(now, Ordering::SeqCst);
    let end = Instant::now() + Duration::from_millis(200);
    while Instant::now() < end {
        park_timeout(end - Instant::now());
    }
    UNDER_REVIEW.fetch_sub(body.len(), Ordering::SeqCst);
    review::review(body, endpoint, policy, today)
}

#[tokio::test]
async fn the_memory_of_long_reviews_is_limited() {
    let state = State::new(
        Policy::default(),
        Arc::new(Metrics::new()),
        counted,
        Duration::from_secs(10),
        CancellationToken::new(),
    );
    let router = serve::router(Arc::new(state));
    let long = Bytes::from(review_of_a_pod("7d2f") + &" ".repeat(6 << 20));
    let mut answers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let request = Request::post("/mutate/enforce").header(CONTENT_TYPE, "application/json");
        answers.spawn(router.clone().oneshot(request.body(Body::from(long.clone())).unwrap()));
    }
    while let Some(answer) = answers.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), StatusCode::OK);
    }
    let most = MOST_UNDER_REVIEW.load(Ordering::SeqCst);
    assert!(most >= 2 * long.len() && most <= 16 << 20, "{most} bytes were under review at once");
}
