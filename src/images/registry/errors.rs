//! Turns errors of HTTP and of `oci-client` into sentences about an image or its registry.

use std::{error::Error, io};

use oci_client::errors::{OciDistributionError, OciErrorCode};
use rustls::CertificateError;

use super::{HostError, RequestError};

/// The maximum length of quoted text from a registry.
const MAX_LEN: usize = 200;

/// The innermost cause of an error: `Connection refused (os error 111)`.
pub(super) fn cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    printable(&innermost.to_string())
}

/// An error and its causes.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    printable(&text)
}

fn printable(text: &str) -> String {
    text.trim().chars().take(MAX_LEN).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The registry denies access to the image.
pub(super) fn denied(unusable: Option<&str>) -> RequestError {
    let why = unusable.map_or_else(String::new, |why| format!("; {why}"));
    RequestError::image(
        format!("its registry denies access{why}"),
        "log in with `docker login`, or check the name",
    )
}

/// The registry does not have the image.
pub(super) fn no_such_image() -> RequestError {
    RequestError::image("its registry does not have it", "check the repository and the tag")
}

/// The registry returns an unexpected status.
pub(super) fn unexpected(status: u16) -> RequestError {
    RequestError::image(format!("its registry returned status {status}"), "try again later")
}

/// Finds a TLS error in an error; `source` does not return the inner error of an `io::Error`.
fn of_tls<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let next = held.map(|held| held as &(dyn Error + 'static)).or_else(|| error.source());
    error.downcast_ref().or_else(|| of_tls(next?))
}

/// The error of a request without a response.
pub(super) fn of_send(error: &reqwest::Error, host: &str) -> RequestError {
    if let Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) = of_tls(error) {
        return RequestError::Host(HostError {
            why: "its certificate is signed by a CA that this machine does not trust".to_owned(),
            help: format!(
                "put the CA certificate into /etc/docker/certs.d/{host}/ca.crt or \
                 ~/.docker/certs.d/{host}/ca.crt, or into a file that SSL_CERT_FILE names"
            ),
        });
    }
    if error.is_timeout() {
        return RequestError::host_failure(if error.is_connect() {
            "the connection timed out"
        } else {
            "it did not respond in time"
        });
    }
    if error.is_redirect() {
        return RequestError::image(
            format!("its registry returned an invalid redirect: {}", cause(error)),
            "check the registry",
        );
    }
    RequestError::host_failure(cause(error))
}

/// An error of `oci-client` for this registry; `unusable` says why configured credentials cannot be used.
pub(super) fn of_client(error: OciDistributionError, host: &str, unusable: Option<&str>) -> RequestError {
    match error {
        OciDistributionError::RequestError(error) => match error.status() {
            Some(status) => of_status(status.as_u16(), unusable),
            None => of_send(&error, host),
        },
        OciDistributionError::UnauthorizedError { .. } => denied(unusable),
        OciDistributionError::AuthenticationFailure(reason) => {
            let reason = printable(&reason);
            let why = unusable.map_or_else(String::new, |why| format!("; {why}"));
            let message = format!("its registry refuses the login: {reason}{why}");
            RequestError::image(message, "log in with `docker login`, or check the name")
        }
        OciDistributionError::ServerError { code, .. } => of_status(code, unusable),
        OciDistributionError::RegistryError { envelope, .. } => match envelope.errors.first() {
            Some(first) => of_code(&first.code, &first.message, unusable),
            None => {
                RequestError::image("its registry returned an error without a message", "check the registry")
            }
        },
        OciDistributionError::IoError(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
            RequestError::image(error.to_string(), "check the name of the image")
        }
        OciDistributionError::DigestError(_) => RequestError::image(
            format!("its registry sent content that does not match the digest: {}", cause(&error)),
            "check the registry or the mirror",
        ),
        other => {
            let message = format!("its registry sent an invalid response: {}", printable(&other.to_string()));
            RequestError::image(message, "check the registry")
        }
    }
}

fn of_status(status: u16, unusable: Option<&str>) -> RequestError {
    match status {
        429 => RequestError::Limited(None),
        401 | 403 => denied(unusable),
        404 => no_such_image(),
        status => unexpected(status),
    }
}

fn of_code(code: &OciErrorCode, message: &str, unusable: Option<&str>) -> RequestError {
    match code {
        OciErrorCode::Toomanyrequests => RequestError::Limited(None),
        OciErrorCode::Unauthorized | OciErrorCode::Denied => denied(unusable),
        OciErrorCode::ManifestUnknown
        | OciErrorCode::ManifestBlobUnknown
        | OciErrorCode::NameUnknown
        | OciErrorCode::BlobUnknown
        | OciErrorCode::NotFound => no_such_image(),
        _ => RequestError::image(
            format!("its registry returned an error: {}", printable(message)),
            "check the registry",
        ),
    }
}
