//! Simulates the API server: the request that it sends to a webhook, and how it handles the response.
//!
//! Turns a Pod into an admission review, sends it over TLS as kube-apiserver does, and applies its rules for valid
//! responses (kubernetes `pkg/admission/plugin/webhook/request/admissionreview.go`). For `demo` and tests; `serve` does
//! not use it.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Request, StatusCode, body::Bytes, header};
use hyper_util::rt::TokioIo;
use json_patch::Patch;
use k8s_openapi::api::core::v1::Pod;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::review::WebhookKind;

/// The `timeoutSeconds` of the webhook, which includes the connection and TLS.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum length of a response.
const MAX_RESPONSE_LEN: usize = 3 << 20;
/// The budget for all warnings of an API request, in characters. Beyond it each warning is truncated to
/// [`LONG_WARNING`], and then the rest is dropped (kubernetes `pkg/endpoints/filters/warning.go`).
const WARNING_BUDGET: usize = 4096;
/// The length of truncated warnings.
const LONG_WARNING: usize = 256;

/// Why the API server cannot use the response of a webhook, and applies the failure policy.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The CA certificate cannot be parsed.
    #[error("cannot read the CA certificate")]
    Authority(#[source] rustls::pki_types::pem::Error),
    /// The name is invalid.
    #[error("cannot use the server name")]
    Name(#[from] InvalidDnsNameError),
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// The connection failed.
    #[error("cannot reach the webhook")]
    Connection(#[from] io::Error),
    /// The exchange failed.
    #[error("the request to the webhook failed")]
    Http(#[from] hyper::Error),
    /// The request cannot be built.
    #[error("cannot create the request")]
    Request(#[from] hyper::http::Error),
    /// The webhook did not respond in time.
    #[error("the webhook did not respond within {}s", TIMEOUT.as_secs())]
    Timeout,
    /// The API server does not accept the response.
    #[error("the API server would not accept the response: {0}")]
    Refused(String),
}

/// The address of a webhook, and the CA that it is trusted with.
#[derive(Clone)]
pub struct Webhook {
    address: SocketAddr,
    name: ServerName<'static>,
    tls: TlsConnector,
}

/// A response that the API server accepts.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Whether the object is admitted.
    pub allowed: bool,
    /// `status.message` of a denial, as the webhook wrote it.
    pub message: String,
    /// `status.code` of a denial.
    pub code: u16,
    /// The patch; may be empty.
    pub patch: Patch,
    /// The warnings that reach the user.
    pub warnings: Vec<String>,
    /// The audit annotations.
    pub audit: Vec<(String, String)>,
}

impl Webhook {
    /// Creates a webhook with this address and CA certificate (PEM); its certificate must be for `name`.
    ///
    /// # Errors
    ///
    /// Returns an error if the certificate or the name is invalid.
    pub fn new(address: SocketAddr, name: &str, authority: &str) -> Result<Self, CallError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
            roots.add(certificate.map_err(CallError::Authority)?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // The API server offers only this protocol to webhooks (kubernetes `pkg/util/webhook/client.go`).
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(name.to_owned())?;
        Ok(Self { address, name, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Posts a review to a path of the webhook, and reads the response as the API server does.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no response in time, or not a valid one.
    pub async fn call(&self, kind: WebhookKind, path: &str, review: &Value) -> Result<Admission, CallError> {
        let uid = review.pointer("/request/uid").and_then(Value::as_str).unwrap_or_default();
        let answer =
            timeout(TIMEOUT, self.post(path, review.to_string())).await.map_err(|_| CallError::Timeout)??;
        verify(kind, uid, &answer)
    }

    async fn post(&self, path: &str, body: String) -> Result<Bytes, CallError> {
        let stream = TcpStream::connect(self.address).await?;
        let stream = self.tls.connect(self.name.clone(), stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::post(format!("{path}?timeout={}s", TIMEOUT.as_secs()))
            .header(header::HOST, self.name.to_str().as_ref())
            .header(header::USER_AGENT, "kube-apiserver-admission")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), MAX_RESPONSE_LEN).collect().await;
        connection.abort();
        let answer = answer.map_err(|error| match error.downcast::<LengthLimitError>() {
            Ok(limit) => CallError::Refused(limit.to_string()),
            Err(error) => CallError::Refused(format!("it cannot be parsed: {error}")),
        })?;
        let answer = answer.to_bytes();
        if status != StatusCode::OK {
            let text = String::from_utf8_lossy(&answer);
            return Err(CallError::Refused(format!("status {status}: {}", text.trim())));
        }
        Ok(answer)
    }
}

/// Applies the rules of `VerifyAdmissionResponse`.
///
/// # Errors
///
/// Returns the violated rule.
pub fn verify(kind: WebhookKind, uid: &str, answer: &[u8]) -> Result<Admission, CallError> {
    let refuse = |reason: String| Err(CallError::Refused(reason));
    let answer: Value = match serde_json::from_slice(answer) {
        Ok(answer) => answer,
        Err(error) => return refuse(format!("it is not JSON: {error}")),
    };
    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if (text("/apiVersion"), text("/kind")) != ("admission.k8s.io/v1", "AdmissionReview") {
        return refuse("it is not an AdmissionReview of admission.k8s.io/v1".to_owned());
    }
    if text("/response/uid") != uid {
        return refuse(format!("its uid is {:?}, not {uid:?}", text("/response/uid")));
    }
    let Some(allowed) = answer.pointer("/response/allowed").and_then(Value::as_bool) else {
        return refuse("response.allowed is missing".to_owned());
    };
    let (patch, patch_type) = (answer.pointer("/response/patch"), answer.pointer("/response/patchType"));
    let patch = match (kind, patch, patch_type) {
        (_, None, None) => Patch::default(),
        (WebhookKind::Validating, _, _) => return refuse("a validating webhook must not patch".to_owned()),
        (WebhookKind::Mutating, Some(patch), Some(kind)) if kind == "JSONPatch" => decode(patch)?,
        (WebhookKind::Mutating, ..) => {
            return refuse("patch and patchType: JSONPatch must be used together".to_owned());
        }
    };
    Ok(Admission {
        allowed,
        message: text("/response/status/message").to_owned(),
        code: answer.pointer("/response/status/code").and_then(Value::as_u64).map_or(400, |code| code as u16),
        patch,
        warnings: delivered(strings(answer.pointer("/response/warnings"))),
        audit: audit(answer.pointer("/response/auditAnnotations"))?,
    })
}

fn decode(patch: &Value) -> Result<Patch, CallError> {
    let refuse = |reason: String| CallError::Refused(format!("the patch {reason}"));
    let text = patch.as_str().ok_or_else(|| refuse("is not a string".to_owned()))?;
    let bytes = STANDARD.decode(text).map_err(|error| refuse(format!("is not base64: {error}")))?;
    if bytes.is_empty() {
        return Err(refuse("is empty".to_owned()));
    }
    serde_json::from_slice(&bytes).map_err(|error| refuse(format!("is not a JSON Patch: {error}")))
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Parses the audit annotations. The API server prefixes each key with the name of the webhook and a slash; the result
/// must be a qualified name.
fn audit(value: Option<&Value>) -> Result<Vec<(String, String)>, CallError> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries
        .map(|(key, value)| {
            let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if key.is_empty() || key.len() > 63 || !key.chars().all(part) {
                return Err(CallError::Refused(format!("the audit annotation {key:?} would be dropped")));
            }
            Ok((key.clone(), value.as_str().unwrap_or_default().to_owned()))
        })
        .collect()
}

/// The warnings that reach the user: without those with control characters, duplicates, and those beyond the budget.
fn delivered(warnings: Vec<String>) -> Vec<String> {
    let mut delivered: Vec<String> = Vec::new();
    let over = warnings.iter().map(|warning| warning.chars().count()).sum::<usize>() > WARNING_BUDGET;
    let mut used = 0;
    for warning in warnings {
        let cut: String = if over { warning.chars().take(LONG_WARNING).collect() } else { warning };
        used += cut.chars().count();
        if cut.chars().any(char::is_control) || delivered.contains(&cut) || used > WARNING_BUDGET {
            continue;
        }
        delivered.push(cut);
    }
    delivered
}

/// Why the API server rejects a patched object, whatever the failure policy is.
#[derive(Debug, thiserror::Error)]
pub enum PatchedError {
    /// An operation does not apply.
    #[error("the patch does not apply")]
    Apply(#[from] json_patch::PatchError),
    /// A field has another type than in the Kubernetes API.
    #[error("the patched object is not a Pod")]
    Decode(#[from] serde_json::Error),
    /// Pod validation fails.
    #[error("container {container}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true")]
    Privileged {
        /// The container.
        container: String,
    },
}

/// Applies a patch to a Pod, decodes it with the API's types, and validates what a patch could make invalid.
///
/// # Errors
///
/// Returns the reason why the API server would reject it.
pub fn patched(pod: &Value, patch: &Patch) -> Result<Value, PatchedError> {
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, patch)?;
    let typed: Pod = serde_json::from_value(patched.clone())?;
    let spec = typed.spec.unwrap_or_default();
    for container in spec.init_containers.into_iter().flatten().chain(spec.containers) {
        let context = container.security_context.unwrap_or_default();
        if context.privileged == Some(true) && context.allow_privilege_escalation == Some(false) {
            return Err(PatchedError::Privileged { container: container.name });
        }
    }
    Ok(patched)
}

/// The admission review for the creation of a pod.
pub fn creation(pod: &Value, uid: &str) -> Value {
    let gvk = json!({"group": "", "version": "v1", "kind": "Pod"});
    let gvr = json!({"group": "", "version": "v1", "resource": "pods"});
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": uid,
            "kind": gvk, "resource": gvr, "requestKind": gvk, "requestResource": gvr,
            "name": text("/metadata/name"),
            "namespace": text("/metadata/namespace"),
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn answer(response: &Value) -> Vec<u8> {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
            .to_string()
            .into_bytes()
    }

    #[rstest]
    #[case::other_uid(WebhookKind::Mutating, json!({"uid": "b", "allowed": true}), "its uid is")]
    #[case::patch_without_type(WebhookKind::Mutating, json!({"uid": "a", "allowed": true, "patch": "W10="}), "must be used together")]
    #[case::type_without_patch(WebhookKind::Mutating, json!({"uid": "a", "allowed": true, "patchType": "JSONPatch"}), "must be used together")]
    #[case::empty_patch(WebhookKind::Mutating, json!({"uid": "a", "allowed": true, "patch": "", "patchType": "JSONPatch"}), "is empty")]
    #[case::validating_patch(WebhookKind::Validating, json!({"uid": "a", "allowed": true, "patch": "W10=", "patchType": "JSONPatch"}), "must not patch")]
    #[case::key_with_slash(WebhookKind::Mutating, json!({"uid": "a", "allowed": true, "auditAnnotations": {"a/b": "c"}}), "would be dropped")]
    #[case::no_decision(WebhookKind::Mutating, json!({"uid": "a"}), "response.allowed")]
    fn answers_are_refused(#[case] kind: WebhookKind, #[case] response: Value, #[case] reason: &str) {
        let error = verify(kind, "a", &answer(&response)).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }

    #[test]
    fn warnings_are_delivered_as_the_api_server_does() {
        let warnings = vec!["one".to_owned(), "one".to_owned(), "two\n".to_owned(), "three".to_owned()];
        assert_eq!(delivered(warnings), ["one", "three"]);
        let long: Vec<String> = (0..30).map(|index| format!("{index:03}{}", "x".repeat(300))).collect();
        let delivered = delivered(long);
        assert_eq!((delivered.len(), delivered[0].len()), (16, 256));
    }
}
