//! Reads request bodies before a deadline and within a memory budget.
//!
//! [`super::router`] handles their content.

use std::{ops::Deref, sync::Arc};

use axum::{
    body::{self, Bytes, HttpBody as _},
    extract::Request,
    http::{HeaderMap, header::CONTENT_TYPE},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::http_error::HttpError;
use crate::{admission::metrics::Refusal, review::ReviewFailure};

/// The maximum length of a body in bytes. A review contains the object and its old version, up to 3 MiB each (apiserver
/// `MaxRequestBodyBytes`). controller-runtime has the same limit of 7 MiB (`pkg/webhook/admission/http.go`).
pub const MAX_BODY_BYTES: usize = 7 * 1024 * 1024;

/// The maximum length of a small body in bytes. The reviews of most pods are shorter: an injected pod takes 9 to 27 KiB.
pub const MAX_SMALL_BODY_BYTES: usize = 64 * 1024;

/// The memory for small bodies, in bytes. Long bodies cannot use it, so that they do not delay the reviews of pods.
const SMALL_BUDGET: usize = 16 * 1024 * 1024;

/// The memory for long bodies, in bytes. Both budgets together are a quarter of the 256Mi that `install` sets as limit.
const LARGE_BUDGET: usize = 48 * 1024 * 1024;

/// The maximum length of a beginning for which there is no memory, in bytes. The fields before the object
/// take about 1 KiB, and `userInfo` is the longest.
const BEGINNING: usize = 4 * 1024;

/// Reads the bodies of all requests.
#[derive(Debug)]
pub(super) struct Bodies {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// A body, or the beginning of one that could not be read. Its bytes count against a budget until it is dropped.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Bytes,
    /// Why only its beginning was read.
    pub(super) failure: Option<ReviewFailure>,
    _permit: OwnedSemaphorePermit,
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Default for Bodies {
    fn default() -> Self {
        Self { small: Arc::new(Semaphore::new(SMALL_BUDGET)), large: Arc::new(Semaphore::new(LARGE_BUDGET)) }
    }
}

/// The bytes of a body that were received so far. A body that comes in one frame is not copied.
#[derive(Default)]
struct Received {
    /// The first frame, until there is a second one.
    first: Bytes,
    all: Vec<u8>,
}

impl Received {
    fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    /// Adds a frame of a body that probably has `expected` bytes.
    fn add(&mut self, frame: Bytes, expected: usize) {
        if self.len() == 0 {
            self.first = frame;
            return;
        }
        self.all.reserve(expected.saturating_sub(self.all.len()));
        self.all.extend_from_slice(&std::mem::take(&mut self.first));
        self.all.extend_from_slice(&frame);
    }
}

impl From<Received> for Bytes {
    fn from(received: Received) -> Self {
        if received.all.is_empty() { received.first } else { received.all.into() }
    }
}

impl Bodies {
    /// Reads a body. A client that announces a body and sends nothing reserves no memory.
    ///
    /// If there is no memory for a body at half of the time, or it is not complete before the deadline, its beginning is
    /// returned, which has the uid to answer with.
    pub(super) async fn read(&self, request: Request, deadline: Instant) -> Result<Body, HttpError> {
        if !is_json(request.headers()) {
            let message = "the content type is not application/json".to_owned();
            return Err(HttpError { reason: Refusal::MediaType, message });
        }
        let now = Instant::now();
        let memory_deadline = now + deadline.saturating_duration_since(now) / 2;
        let announced = usize::try_from(request.body().size_hint().lower()).unwrap_or(usize::MAX);
        let mut body = Limited::new(request.into_body(), MAX_BODY_BYTES);
        let mut bytes = Received::default();
        let mut permit = reserve(&self.small, 0, deadline).await?;
        let first_of_long = loop {
            let data = match next(&mut body, deadline).await {
                Ok(Some(data)) => data,
                Ok(None) => return Ok(Body { bytes: bytes.into(), failure: None, _permit: permit }),
                Err(HttpError { reason: Refusal::TooSlow, .. }) if bytes.len() > 0 => {
                    let failure = Some(ReviewFailure::Timeout);
                    return Ok(Body { bytes: bytes.into(), failure, _permit: permit });
                }
                Err(error) => return Err(error),
            };
            if bytes.len() + data.len() > MAX_SMALL_BODY_BYTES {
                break data;
            }
            let Ok(more) = reserve(&self.small, data.len(), memory_deadline).await else {
                return Ok(without_memory(bytes, &data, permit, body, deadline).await);
            };
            permit.merge(more);
            bytes.add(data, announced.min(MAX_SMALL_BODY_BYTES));
        };
        let mut data = first_of_long;
        let reserved = announced.min(MAX_BODY_BYTES).max(bytes.len() + data.len());
        let Ok(mut large) = reserve(&self.large, reserved, memory_deadline).await else {
            return Ok(without_memory(bytes, &data, permit, body, deadline).await);
        };
        drop(permit);
        loop {
            // Only a body without an announced length grows beyond it.
            let more = (bytes.len() + data.len()).saturating_sub(large.num_permits());
            let Ok(more) = reserve(&self.large, more, memory_deadline).await else {
                return Ok(without_memory(bytes, &data, large, body, deadline).await);
            };
            large.merge(more);
            bytes.add(data, large.num_permits());
            data = match next(&mut body, deadline).await {
                Ok(Some(data)) => data,
                Ok(None) => return Ok(Body { bytes: bytes.into(), failure: None, _permit: large }),
                Err(HttpError { reason: Refusal::TooSlow, .. }) => {
                    let failure = Some(ReviewFailure::Timeout);
                    return Ok(Body { bytes: bytes.into(), failure, _permit: large });
                }
                Err(error) => return Err(error),
            };
        }
    }
}

/// Returns the next bytes of a body, or `None` at its end.
async fn next(body: &mut Limited<body::Body>, deadline: Instant) -> Result<Option<Bytes>, HttpError> {
    match timeout_at(deadline, body.frame()).await.map_err(|_| HttpError::too_slow())? {
        Some(frame) => Ok(Some(frame.map_err(|error| interrupted(&*error))?.into_data().unwrap_or_default())),
        None => Ok(None),
    }
}

/// Reserves memory.
async fn reserve(
    budget: &Arc<Semaphore>,
    bytes: usize,
    deadline: Instant,
) -> Result<OwnedSemaphorePermit, HttpError> {
    let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
    // The semaphore is never closed, so the only error is the timeout.
    match timeout_at(deadline, Arc::clone(budget).acquire_many_owned(permits)).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => Err(HttpError::overloaded()),
    }
}

/// Returns the beginning of a body. Reads its rest without keeping it, since a client may read the answer only after it
/// has sent its request.
async fn without_memory(
    mut bytes: Received,
    data: &Bytes,
    permit: OwnedSemaphorePermit,
    mut body: Limited<body::Body>,
    deadline: Instant,
) -> Body {
    let missing = BEGINNING.saturating_sub(bytes.len());
    bytes.add(Bytes::copy_from_slice(&data[..data.len().min(missing)]), 0);
    while let Ok(Some(_)) = next(&mut body, deadline).await {}
    Body { bytes: bytes.into(), failure: Some(ReviewFailure::Memory), _permit: permit }
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

    use axum::{body::HttpBody, http::HeaderValue};

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
        let long = || bodies.read(request(vec![b' '; MAX_BODY_BYTES]), deadline_in_4s());
        let mut permit = Vec::new();
        for _ in 0..LARGE_BUDGET / MAX_BODY_BYTES {
            permit.push(long().await.unwrap());
        }
        let cut = long().await.unwrap();
        assert_eq!((cut.failure, cut.len() <= MAX_SMALL_BODY_BYTES), (Some(ReviewFailure::Memory), true));
        let common = bodies.read(request("{}"), deadline_in_4s()).await.unwrap();
        assert_eq!(&*common, b"{}");
        permit.pop();
        assert_eq!(long().await.unwrap().failure, None);
    }

    #[tokio::test(start_paused = true)]
    async fn long_bodies_take_no_memory_from_small_ones() {
        let bodies = Arc::new(Bodies::default());
        let mut long = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let bodies = Arc::clone(&bodies);
            let stalled = body::Body::new(StalledBody(Some(vec![b' '; 100_000].into())));
            long.spawn(async move { bodies.read(request(stalled), deadline_in_4s()).await });
        }
        tokio::task::yield_now().await;
        let started = Instant::now();
        for _ in 0..1000 {
            assert_eq!(bodies.read(request("{}"), deadline_in_4s()).await.unwrap().failure, None);
        }
        assert_eq!(started.elapsed(), Duration::ZERO);
        while let Some(read) = long.join_next().await {
            assert_eq!(read.unwrap().unwrap().failure, Some(ReviewFailure::Timeout));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pending_body_reserves_no_memory() {
        let bodies = Arc::new(Bodies::default());
        let mut silent = tokio::task::JoinSet::new();
        for _ in 0..1000 {
            let bodies = Arc::clone(&bodies);
            let never = body::Body::new(StalledBody(None));
            silent.spawn(async move { bodies.read(request(never), deadline_in_4s()).await.map(drop) });
        }
        tokio::task::yield_now().await;
        assert_eq!(&*bodies.read(request("{}"), deadline_in_4s()).await.unwrap(), b"{}");
        while let Some(read) = silent.join_next().await {
            assert_eq!(read.unwrap().unwrap_err().reason, Refusal::TooSlow);
        }
    }

    /// A client that sends the beginning of a body, or nothing, and never its end.
    struct StalledBody(Option<Bytes>);

    impl HttpBody for StalledBody {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
            match self.0.take() {
                Some(data) => std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(data)))),
                None => std::task::Poll::Pending,
            }
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
