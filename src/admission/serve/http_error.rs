//! Requests that get no review: why, and with which HTTP status.

use axum::http::StatusCode;

use crate::admission::{metrics::Refusal, review::InvalidReview};

/// A request that gets no review.
#[derive(Debug)]
pub(super) struct HttpError {
    pub(super) reason: Refusal,
    pub(super) message: String,
}

impl From<InvalidReview> for HttpError {
    fn from(why: InvalidReview) -> Self {
        Self { reason: Refusal::InvalidReview, message: why.to_string() }
    }
}

/// Anything but 200 makes the API server apply the failure policy, so these only have to say what is wrong.
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
