//! Reads request bodies before a deadline and within a memory budget.
//!
//! [`super::router`] handles their content.

use std::{ops::Deref, sync::Arc};

use axum::{
    extract::Request,
    http::{HeaderMap, header::CONTENT_TYPE},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::http_error::HttpError;
use crate::admission::metrics::Refusal;

/// The maximum length of a body in bytes. A review contains the object and its old version, up to 3 MiB each (apiserver
/// `MaxRequestBodyBytes`). controller-runtime has the same limit of 7 MiB (`pkg/webhook/admission/http.go`).
pub const MAX_BODY_BYTES: usize = 7 * 1024 * 1024;

/// The memory for all bodies, in bytes: nine of the longest, or thousands of common ones, in a quarter of the 256Mi
/// that `install` sets as limit.
const BUDGET: usize = 64 * 1024 * 1024;

/// Reads the bodies of all requests.
#[derive(Debug)]
pub(super) struct Bodies {
    budget: Arc<Semaphore>,
}

/// A body. Its bytes count against the budget until it is dropped.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Vec<u8>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Default for Bodies {
    fn default() -> Self {
        Self { budget: Arc::new(Semaphore::new(BUDGET)) }
    }
}

impl Bodies {
    /// Reads a body. Only received bytes count against the budget, so that a client that announces a long body and
    /// sends nothing does not block others.
    pub(super) async fn read(&self, request: Request, deadline: Instant) -> Result<Body, HttpError> {
        if !is_json(request.headers()) {
            let message = "the content type is not application/json".to_owned();
            return Err(HttpError { reason: Refusal::MediaType, message });
        }
        let late = |_| {
            let message = "the request body was not complete before the deadline".to_owned();
            HttpError { reason: Refusal::TooSlow, message }
        };
        let mut body = Limited::new(request.into_body(), MAX_BODY_BYTES);
        let (mut bytes, mut permit) = (Vec::new(), None);
        while let Some(frame) = timeout_at(deadline, body.frame()).await.map_err(late)? {
            let Ok(data) = frame.map_err(|error| interrupted(&*error))?.into_data() else { continue };
            self.acquire(data.len(), &mut permit, deadline).await?;
            bytes.extend_from_slice(&data);
        }
        Ok(Body { bytes, _permit: permit })
    }

    /// Reserves memory for more bytes of a body.
    async fn acquire(
        &self,
        bytes_read: usize,
        permit: &mut Option<OwnedSemaphorePermit>,
        deadline: Instant,
    ) -> Result<(), HttpError> {
        let permits = u32::try_from(bytes_read).unwrap_or(u32::MAX);
        let more_permits = Arc::clone(&self.budget).acquire_many_owned(permits);
        // The semaphore is never closed, so the only error is the timeout.
        let Ok(Ok(more_permits)) = timeout_at(deadline, more_permits).await else {
            let message = "too many request bodies are in memory; retry later".to_owned();
            return Err(HttpError { reason: Refusal::Overloaded, message });
        };
        match permit {
            Some(permit) => permit.merge(more_permits),
            None => *permit = Some(more_permits),
        }
        Ok(())
    }
}

fn too_large() -> HttpError {
    HttpError {
        reason: Refusal::TooLarge,
        message: format!("the request body is longer than {MAX_BODY_BYTES} bytes"),
    }
}

fn interrupted(error: &(dyn std::error::Error + Send + Sync + 'static)) -> HttpError {
    if error.is::<LengthLimitError>() {
        return too_large();
    }
    HttpError { reason: Refusal::Interrupted, message: error.to_string() }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{
        body::{self, HttpBody},
        http::HeaderValue,
    };

    use super::*;

    fn request(body: impl Into<body::Body>) -> Request {
        Request::post("/").header(CONTENT_TYPE, "application/json").body(body.into()).unwrap()
    }

    fn deadline_in_4s() -> Instant {
        Instant::now() + Duration::from_secs(4)
    }

    #[tokio::test(start_paused = true)]
    async fn memory_for_bodies_is_limited() {
        let bodies = Bodies::default();
        let mut permit = Vec::new();
        for _ in 0..BUDGET / MAX_BODY_BYTES {
            permit.push(bodies.read(request(vec![b' '; MAX_BODY_BYTES]), deadline_in_4s()).await.unwrap());
        }
        let http_error =
            bodies.read(request(vec![b' '; MAX_BODY_BYTES]), deadline_in_4s()).await.unwrap_err();
        assert_eq!(http_error.reason, Refusal::Overloaded);
        let common = bodies.read(request("{}"), deadline_in_4s()).await.unwrap();
        assert_eq!(&*common, b"{}");
        permit.pop();
        assert!(bodies.read(request(vec![b' '; MAX_BODY_BYTES]), deadline_in_4s()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pending_body_reserves_no_memory() {
        let bodies = Arc::new(Bodies::default());
        let mut silent = tokio::task::JoinSet::new();
        for _ in 0..1000 {
            let bodies = Arc::clone(&bodies);
            let never = body::Body::new(PendingBody);
            silent.spawn(async move { bodies.read(request(never), deadline_in_4s()).await.map(drop) });
        }
        tokio::task::yield_now().await;
        assert_eq!(&*bodies.read(request("{}"), deadline_in_4s()).await.unwrap(), b"{}");
        while let Some(read) = silent.join_next().await {
            assert_eq!(read.unwrap().unwrap_err().reason, Refusal::TooSlow);
        }
    }

    /// A client that announces a body and never sends it.
    struct PendingBody;

    impl HttpBody for PendingBody {
        type Data = axum::body::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
            std::task::Poll::Pending
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
}
