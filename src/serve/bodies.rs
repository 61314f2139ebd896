//! Request bodies: read whole, before a deadline and within a budget of memory.
//!
//! What they hold is left to [`super::router`].

use std::{ops::Deref, sync::Arc};

use axum::{
    body::{Bytes, HttpBody},
    extract::Request,
    http::{HeaderMap, header::CONTENT_TYPE},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::router::Refused;
use crate::metrics::Refusal;

/// Longest body in bytes. A review holds the object and its old version, of up to 3 MiB each (apiserver
/// `MaxRequestBodyBytes`); controller-runtime takes the same 7 MiB (`pkg/webhook/admission/http.go`).
pub const LONGEST_BODY: usize = 7 * 1024 * 1024;

/// How many bytes all bodies have together: nine of the longest, or thousands of common ones. While its pieces are put
/// together a body takes twice its length, which makes half of the 256Mi that `install` allows.
const BUDGET: usize = 64 * 1024 * 1024;

/// Reads the bodies of all requests.
#[derive(Debug)]
pub(super) struct Bodies {
    budget: Arc<Semaphore>,
}

/// A body, whose bytes count as held until it is dropped.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Bytes,
    _held: OwnedSemaphorePermit,
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
    /// Reads a body. Until there is room for it, it stays with the client.
    pub(super) async fn read(&self, request: Request, deadline: Instant) -> Result<Body, Refused> {
        if !is_json(request.headers()) {
            let message = "the content type is not application/json".to_owned();
            return Err(Refused { reason: Refusal::MediaType, message });
        }
        let length = length(&request);
        let room = Arc::clone(&self.budget).acquire_many_owned(length);
        // The semaphore is never closed, so the only error is that it took too long.
        let Ok(Ok(held)) = timeout_at(deadline, room).await else {
            let message = format!("no room for a body of {length} bytes");
            return Err(Refused { reason: Refusal::Overloaded, message });
        };
        let (reason, message) =
            match timeout_at(deadline, Limited::new(request.into_body(), LONGEST_BODY).collect()).await {
                Ok(Ok(body)) => return Ok(Body { bytes: body.to_bytes(), _held: held }),
                Ok(Err(error)) if error.is::<LengthLimitError>() => {
                    (Refusal::TooLarge, format!("the body is longer than {LONGEST_BODY} bytes"))
                }
                Ok(Err(error)) => (Refusal::Interrupted, error.to_string()),
                Err(_) => (Refusal::TooSlow, "the body was not complete in time for an answer".to_owned()),
            };
        Err(Refused { reason, message })
    }
}

/// The length that the client declares; of one that declares none, the longest.
fn length(request: &Request) -> u32 {
    let declared = request.body().size_hint().upper().and_then(|length| usize::try_from(length).ok());
    let most = declared.unwrap_or(LONGEST_BODY).min(LONGEST_BODY);
    u32::try_from(most).unwrap_or(u32::MAX)
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{body, http::HeaderValue};

    use super::*;

    fn request(body: impl Into<body::Body>) -> Request {
        Request::post("/").header(CONTENT_TYPE, "application/json").body(body.into()).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(4)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_has_its_end() {
        let bodies = Bodies::default();
        let mut held = Vec::new();
        for _ in 0..BUDGET / LONGEST_BODY {
            held.push(bodies.read(request(vec![b' '; LONGEST_BODY]), soon()).await.unwrap());
        }
        let refused = bodies.read(request(vec![b' '; LONGEST_BODY]), soon()).await.unwrap_err();
        assert_eq!(refused.reason, Refusal::Overloaded);
        // One that does not say how long it is may be as long as the longest.
        let undeclared = || body::Body::new(body::Body::from("{}").map_frame(|frame| frame));
        let refused = bodies.read(request(undeclared()), soon()).await.unwrap_err();
        assert_eq!(refused.reason, Refusal::Overloaded);
        let common = bodies.read(request("{}"), soon()).await.unwrap();
        assert_eq!(&*common, b"{}");
        held.pop();
        assert_eq!(&*bodies.read(request(undeclared()), soon()).await.unwrap(), b"{}");
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
