//! Requests that are not reviewed: the reason and the HTTP status.

use axum::http::StatusCode;

use crate::{admission::metrics::Refusal, review::InvalidReview};

/// A request that is not reviewed.
#[derive(Debug)]
pub(super) struct HttpError {
    pub(super) reason: Refusal,
    pub(super) message: String,
}

impl HttpError {
    /// The body did not arrive in time.
    pub(super) fn too_slow() -> Self {
        let message = "the request body was not complete before the deadline".to_owned();
        Self { reason: Refusal::TooSlow, message }
    }

    /// There is no memory for the body.
    pub(super) fn overloaded() -> Self {
        let message = "too many request bodies are in memory; retry later".to_owned();
        Self { reason: Refusal::Overloaded, message }
    }
}

impl From<InvalidReview> for HttpError {
    fn from(why: InvalidReview) -> Self {
        Self { reason: Refusal::InvalidReview, message: why.to_string() }
    }
}

/// Any status except 200 makes the API server apply the failure policy, so the status only describes the problem.
pub(super) const fn status(reason: Refusal) -> StatusCode {
    match reason {
        Refusal::Path => StatusCode::NOT_FOUND,
        Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
        Refusal::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Refusal::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Interrupted | Refusal::InvalidReview => StatusCode::BAD_REQUEST,
        Refusal::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
