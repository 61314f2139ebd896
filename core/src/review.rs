//! Admission reviews: parses the request body and renders the response body.
//!
//! Turns a request into an object to judge, and a verdict into a response. What the response does depends on the
//! webhook and its mode.

mod answer;
mod endpoint;
mod wording;

use std::borrow::Cow;

use jiff::civil::Date;
use serde::Deserialize;
use serde_json::value::RawValue;

use self::answer::Answer;
pub use self::{
    endpoint::{Endpoint, UNPRIVILEGED},
    wording::counted,
};
use crate::{
    base::text::{Text, nullable},
    judgement::{
        finding::{Action, RuleId},
        judge, patch,
        policy::Policy,
        verdict::Verdict,
    },
    linkerd::{self, Injection},
    workload::{
        context::{Context, Unprivileged},
        object::{Kind, Manifest, Object, Reading},
    },
};

/// The kind of webhook that was called.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum WebhookKind {
    /// The mutating webhook; it sees pods on creation.
    Mutating,
    /// The validating webhook; it sees final pods, and workloads.
    Validating,
}

impl WebhookKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Mutating, Self::Validating];

    /// The name in paths and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mutating => "mutate",
            Self::Validating => "validate",
        }
    }

    /// The kind of the object that configures the webhook.
    pub const fn configuration(self) -> &'static str {
        match self {
            Self::Mutating => "MutatingWebhookConfiguration",
            Self::Validating => "ValidatingWebhookConfiguration",
        }
    }
}

/// What the webhook does with a verdict. The API server selects the mode by the path.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mode {
    /// Patches and rejects pods.
    Enforce,
    /// Patches pods, and warns where it would reject.
    Warn,
    /// Changes nothing that a user sees.
    Audit,
}

impl Mode {
    /// Every mode, the strictest first.
    pub const ALL: [Self; 3] = [Self::Enforce, Self::Warn, Self::Audit];

    /// The name in paths and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
            Self::Audit => "audit",
        }
    }
}

/// The outcome of a review.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// Admitted without findings.
    Admitted,
    /// Admitted with warnings.
    Warned,
    /// Admitted with a patch.
    Patched,
    /// Rejected.
    Rejected,
    /// Would have got a warning in another mode.
    WouldWarn,
    /// Would have been patched in another mode.
    WouldPatch,
    /// Would have been rejected in another mode.
    WouldReject,
    /// The kind, operation or change is not one that the webhook judges.
    Ignored,
    /// Admitted, because a field has another type than in the Kubernetes API.
    Unreadable,
    /// Admitted, because the review failed.
    Failed,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 10] = [
        Self::Admitted,
        Self::Warned,
        Self::Patched,
        Self::Rejected,
        Self::WouldWarn,
        Self::WouldPatch,
        Self::WouldReject,
        Self::Ignored,
        Self::Unreadable,
        Self::Failed,
    ];

    /// The name in metrics, logs and audit annotations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Warned => "warned",
            Self::Patched => "patched",
            Self::Rejected => "rejected",
            Self::WouldWarn => "would_warn",
            Self::WouldPatch => "would_patch",
            Self::WouldReject => "would_reject",
            Self::Ignored => "ignored",
            Self::Unreadable => "unreadable",
            Self::Failed => "failed",
        }
    }
}

/// A completed review.
#[derive(Clone, Debug)]
pub struct Reviewed {
    /// The AdmissionReview response, as JSON.
    pub body: Vec<u8>,
    /// The values for the log and the metrics.
    pub record: Record,
}

/// The values of a review for the log and the metrics.
#[derive(Clone, Debug)]
pub struct Record {
    /// `request.uid`.
    pub uid: String,
    /// The kind.
    pub kind: Cow<'static, str>,
    /// `request.namespace`.
    pub namespace: String,
    /// The name of the object, if it already has one.
    pub name: String,
    /// `request.operation`.
    pub operation: String,
    /// `request.dryRun`.
    pub dry_run: bool,
    /// The outcome.
    pub outcome: Outcome,
    /// The findings with their actions by the policy, independent of the mode.
    pub findings: Vec<(RuleId, Action)>,
}

/// The body is not an AdmissionReview. The API server gets an HTTP error and applies the failure policy.
#[derive(Debug, thiserror::Error)]
pub enum InvalidReview {
    /// Not JSON, or not an AdmissionReview. serde's message could quote the object, so only the position is reported.
    #[error("the request body is not an AdmissionReview: parse error at line {} column {}", .0.line(), .0.column())]
    Json(serde_json::Error),
    /// Another kind or version.
    #[error(
        "the request body is not an AdmissionReview of admission.k8s.io/v1, but {kind:?} of {api_version:?}"
    )]
    Version {
        /// `apiVersion`.
        api_version: String,
        /// `kind`.
        kind: String,
    },
    /// The request is missing, or has no uid.
    #[error("the AdmissionReview has no request with a uid")]
    NoRequest,
}

/// An AdmissionReview whose objects are deserialized as `T`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a, T: Deserialize<'de>"))]
struct Envelope<'a, T> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    api_version: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    kind: Text<'a>,
    #[serde(default = "none")]
    request: Option<Request<'a, T>>,
}

const fn none<T>() -> Option<T> {
    None
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a, T: Deserialize<'de>"))]
struct Request<'a, T> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    uid: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    kind: GroupKind<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    sub_resource: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    name: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    namespace: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    operation: Text<'a>,
    #[serde(default, deserialize_with = "nullable")]
    dry_run: bool,
    #[serde(default = "none")]
    object: Option<T>,
    #[serde(default = "none")]
    old_object: Option<T>,
}

#[derive(Default, Deserialize)]
struct GroupKind<'a> {
    #[serde(borrow, default, deserialize_with = "nullable")]
    group: Text<'a>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    kind: Text<'a>,
}

impl<'a, T: Deserialize<'a>> Envelope<'a, T> {
    fn read(body: &'a [u8]) -> Result<Request<'a, T>, InvalidReview> {
        // One check of the whole text is quicker than one for each string.
        let envelope: Self = match std::str::from_utf8(body) {
            Ok(text) => serde_json::from_str(text),
            Err(_) => serde_json::from_slice(body),
        }
        .map_err(InvalidReview::Json)?;
        if (&*envelope.api_version, &*envelope.kind) != ("admission.k8s.io/v1", "AdmissionReview") {
            return Err(InvalidReview::Version {
                api_version: envelope.api_version.to_string(),
                kind: envelope.kind.to_string(),
            });
        }
        envelope.request.filter(|request| !request.uid.is_empty()).ok_or(InvalidReview::NoRequest)
    }
}

impl<T> Request<'_, T> {
    fn kind(&self) -> Option<Kind> {
        Kind::find(&self.kind.group, &self.kind.kind)
    }

    fn record(&self, outcome: Outcome) -> Record {
        Record {
            uid: self.uid.to_string(),
            kind: match self.kind() {
                Some(kind) => Cow::Borrowed(kind.as_str()),
                None => Cow::Owned(self.kind.kind.to_string()),
            },
            namespace: self.namespace.to_string(),
            name: self.name.to_string(),
            operation: self.operation.to_string(),
            dry_run: self.dry_run,
            outcome,
            findings: Vec::new(),
        }
    }

    /// Admits without a warning.
    fn ignore(&self) -> Reviewed {
        Reviewed { body: Answer::admit(&self.uid).render(), record: self.record(Outcome::Ignored) }
    }

    /// Admits, with a warning that says why the object was not judged; the mode audit shows users nothing.
    fn admit_with_warning(&self, mode: Mode, outcome: Outcome, warning: &str) -> Reviewed {
        let warning = (mode != Mode::Audit).then(|| warning.to_owned());
        let answer = Answer::admit(&self.uid).warn(warning).audit("outcome", outcome.as_str());
        Reviewed { body: answer.render(), record: self.record(outcome) }
    }
}

/// Reviews a request.
///
/// # Errors
///
/// Returns an error if the body is not an AdmissionReview of a supported version. An object that cannot be parsed is
/// admitted with a warning.
pub fn review(
    body: &[u8],
    endpoint: Endpoint,
    policy: &Policy,
    today: Date,
) -> Result<Reviewed, InvalidReview> {
    let mut request = match Envelope::<Manifest<'_>>::read(body) {
        Ok(request) => request,
        Err(InvalidReview::Json(_)) => return review_other(body, endpoint, policy, today),
        Err(error) => return Err(error),
    };
    let Some(kind) = request.kind() else { return review_other(body, endpoint, policy, today) };
    if !is_judged(endpoint.webhook, kind, &request.operation, &request.sub_resource) {
        return Ok(request.ignore());
    }
    let (new, old) = (request.object.take(), request.old_object.take());
    let Some(object) = new.map(|manifest| manifest.into_object(kind)) else { return Ok(request.ignore()) };
    let old = old.map(|manifest| manifest.into_object(kind));
    let unchanged = &*request.operation == "UPDATE" && old.is_some_and(|old| old.pod == object.pod);
    if unchanged || linkerd::is_mirror(&object.pod) {
        return Ok(request.ignore());
    }
    Ok(answered(&request, &[object], endpoint, policy, today))
}

/// Reviews a custom resource, which the API server sends after `install --workloads`. A body that cannot be parsed
/// because of an object of a built-in kind is admitted with a warning.
fn review_other(
    body: &[u8],
    endpoint: Endpoint,
    policy: &Policy,
    today: Date,
) -> Result<Reviewed, InvalidReview> {
    let request = Envelope::<serde::de::IgnoredAny>::read(body)?;
    if let Some(kind) = request.kind() {
        let warning =
            format!("linkerd-linger: cannot parse this {}, so it was admitted unchecked", kind.as_str());
        return Ok(request.admit_with_warning(endpoint.mode, Outcome::Unreadable, &warning));
    }
    if !is_judged(endpoint.webhook, Kind::Custom, &request.operation, &request.sub_resource) {
        return Ok(request.ignore());
    }
    let Ok(request) = Envelope::<&RawValue>::read(body) else { return Ok(request.ignore()) };
    // A part that cannot be parsed is not a pod template.
    let (mut objects, old) = (read_objects(request.object), read_objects(request.old_object));
    if &*request.operation == "UPDATE" {
        objects.retain(|object| !old.iter().any(|old| old.pod == object.pod));
    }
    if objects.is_empty() {
        return Ok(request.ignore());
    }
    Ok(answered(&request, &objects, endpoint, policy, today))
}

/// The pod templates of a custom resource.
fn read_objects(json: Option<&RawValue>) -> Vec<Object<'_>> {
    let reading = json.map(|json| Object::read_all(json.get()));
    let mut objects = reading.and_then(Result::ok).map(Reading::objects).unwrap_or_default();
    // The request says that it is no built-in kind.
    objects.retain(|object| object.kind == Kind::Custom);
    objects
}

fn is_judged(webhook: WebhookKind, kind: Kind, operation: &str, sub_resource: &str) -> bool {
    let operation = match webhook {
        WebhookKind::Mutating => kind == Kind::Pod && operation == "CREATE",
        WebhookKind::Validating => matches!(operation, "CREATE" | "UPDATE"),
    };
    operation && sub_resource.is_empty()
}

/// Why a review failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReviewFailure {
    /// The review panicked.
    Panic,
    /// The review, or its body, took longer than the API server waits.
    Timeout,
    /// There was no memory for its body beside those of other requests.
    Memory,
}

impl ReviewFailure {
    const fn warning(self) -> &'static str {
        match self {
            Self::Panic => {
                "linkerd-linger: an internal error occurred, so this object was admitted unchecked; see the log of linkerd-linger"
            }
            Self::Timeout => {
                "linkerd-linger: the check of this object took too long, so it was admitted unchecked"
            }
            Self::Memory => {
                "linkerd-linger: too many requests are in memory, so this object was admitted unchecked"
            }
        }
    }
}

/// Returns the response after an internal failure. It admits the object, because our own failure must not block pods.
///
/// # Errors
///
/// Returns an error if the body is not an AdmissionReview of a supported version.
pub fn fail_open(body: &[u8], mode: Mode, failure: ReviewFailure) -> Result<Reviewed, InvalidReview> {
    let request = Envelope::<serde::de::IgnoredAny>::read(body)?;
    Ok(request.admit_with_warning(mode, Outcome::Failed, failure.warning()))
}

/// The same for the beginning of a body whose end was not read.
///
/// # Errors
///
/// As [`fail_open`]. The API server writes the uid before the object (field order of `AdmissionRequest` in k8s.io/api).
pub fn fail_open_beginning(
    beginning: &[u8],
    mode: Mode,
    failure: ReviewFailure,
) -> Result<Reviewed, InvalidReview> {
    match memchr::memmem::find(beginning, b",\"object\":{") {
        Some(object) => fail_open(&[&beginning[..object], b"}}"].concat(), mode, failure),
        None => fail_open(beginning, mode, failure),
    }
}

fn answered<T>(
    request: &Request<'_, T>,
    objects: &[Object<'_>],
    endpoint: Endpoint,
    policy: &Policy,
    today: Date,
) -> Reviewed {
    let Some(object) = objects.first() else { return request.ignore() };
    let mut alone = Context { known_images: policy.facts.index.clone(), ..Context::default() };
    if endpoint.unprivileged {
        alone.unprivileged.insert(request.namespace.to_string(), Unprivileged::PodSecurityOrLabel);
    }
    let mut verdict = Verdict::default();
    for object in objects {
        let injection = match (endpoint.webhook, object.kind) {
            (WebhookKind::Validating, Kind::Pod) => Injection::Completed,
            (_, kind) => policy.injection(kind),
        };
        let mut of_object =
            judge::judge(object, &request.namespace, &alone, policy, today, injection).verdict;
        if object.kind != Kind::Pod {
            // The pods of a workload are patched when they are created.
            of_object.judged.retain(|judged| judged.action != Action::Patch);
        }
        if let Some(template) = object.template_of_several() {
            for judged in &mut of_object.judged {
                judged.finding.message = format!("{template}: {}", judged.finding.message);
            }
        }
        verdict.judged.append(&mut of_object.judged);
        verdict.remarks.append(&mut of_object.remarks);
    }
    verdict.remarks.dedup();
    let mut record = request.record(Outcome::Admitted);
    record.name = object.own_name();
    record.findings =
        verdict.judged.iter().filter(|j| j.exempt.is_none()).map(|j| (j.finding.rule, j.action)).collect();
    let (answer, outcome) = answer(&request.uid, object, endpoint, &verdict);
    record.outcome = outcome;
    let answer = answer.audit("outcome", outcome.as_str());
    let answer =
        if verdict.judged.is_empty() { answer } else { answer.audit("findings", &wording::audit(&verdict)) };
    Reviewed { body: answer.render(), record }
}

/// Renders the verdict for a webhook and its mode.
fn answer<'u>(
    uid: &'u str,
    object: &Object<'_>,
    endpoint: Endpoint,
    verdict: &Verdict,
) -> (Answer<'u>, Outcome) {
    let edits = if endpoint.webhook == WebhookKind::Mutating { verdict.edits() } else { Vec::new() };
    let warnings = wording::warnings(verdict, endpoint.webhook, object.kind);
    let admit = Answer::admit(uid);
    match endpoint.mode {
        Mode::Audit if verdict.rejects() => (admit, Outcome::WouldReject),
        Mode::Audit if !edits.is_empty() => (admit, Outcome::WouldPatch),
        Mode::Audit if !warnings.is_empty() => (admit, Outcome::WouldWarn),
        Mode::Audit => (admit, Outcome::Admitted),
        Mode::Enforce if verdict.rejects() => {
            (Answer::deny(uid, wording::denial(verdict.with_action(Action::Reject))), Outcome::Rejected)
        }
        Mode::Enforce | Mode::Warn => {
            let would_reject = verdict.rejects();
            let warned = !warnings.is_empty();
            let answer = admit.warn(warnings);
            if edits.is_empty() {
                let outcome = match (would_reject, warned) {
                    (true, _) => Outcome::WouldReject,
                    (false, true) => Outcome::Warned,
                    (false, false) => Outcome::Admitted,
                };
                return (answer, outcome);
            }
            match patch::check(&object.pod, &edits) {
                Ok(()) => {
                    (answer.patch(&edits), if would_reject { Outcome::WouldReject } else { Outcome::Patched })
                }
                Err(error) => {
                    let warning = format!("linkerd-linger: {error}; the pod was admitted unchanged");
                    (answer.warn([warning]), Outcome::Failed)
                }
            }
        }
    }
}
