//! Two pods that are created with `dryRun=All`: one that the webhook must patch, and one that it must reject.
//!
//! Only this checks the whole path: that the API server calls the webhook, reaches it, trusts it and accepts the
//! response; or that it evaluates the admission policies. The expected results are computed as in the server; `cluster` sends the requests.

use jiff::civil::Date;
use serde_json::{Value, json};

use super::{CheckId, CheckResult, Outcome, ReadError, Snapshot, namespaces, policies, webhook_entries};
use crate::{
    base::names,
    judgement::{
        close_wait::{self, CurrentState},
        finding::Action,
        judge::judge,
        policy::Policy,
    },
    linkerd::Injection,
    lint::manifest,
    review::Mode,
    workload::{
        annotations::CLOSE_WAIT_TIMEOUT,
        context::{Context, NEVER, PRIVILEGED_LABEL, Unprivileged},
        object::{Kind, Object},
    },
};

/// Pods as injected by Linkerd 2.17. The first needs only a close-wait timeout; the probe of the second meets the idle
/// timeout of its server. `demo` shows the same two.
const PODS: [(CheckId, &str); 2] = [
    (CheckId::DryRunPatched, include_str!("../../../examples/pods/1-patched.yaml")),
    (CheckId::DryRunRejected, include_str!("../../../examples/pods/2-rejected.yaml")),
];

/// The prefix of our warnings.
const WARNING_PREFIX: &str = "linkerd-linger: ";

/// A pod to create with `dryRun=All`, and the expected result.
#[derive(Clone, Debug, PartialEq)]
pub struct DryRun {
    id: CheckId,
    /// The namespace, which is opted in.
    pub namespace: String,
    /// The pod.
    pub pod: Value,
    expected: Expected,
    /// Whether admission policies judge it, and not the webhook.
    by_policies: bool,
}

/// The expected result.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Expected {
    /// The pod sets the timeout to this number of seconds.
    SetsTimeout(u32),
    /// Our webhook rejects the pod.
    Refused,
    /// The pod is admitted with a warning of our webhook.
    Warned,
}

/// The answer of the API server.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The pod as it would be stored, and the warnings.
    Admitted {
        /// The pod as JSON.
        pod: String,
        /// The warnings.
        warnings: Vec<String>,
    },
    /// The message of the rejection.
    Refused(String),
    /// The request could not be sent.
    NotSent(ReadError),
}

/// The dry runs that make sense in this cluster, and results for the skipped ones.
pub fn dry_runs(snapshot: &Snapshot, today: Date) -> (Vec<DryRun>, Vec<CheckResult>) {
    let mut dry_runs = Vec::new();
    let mut skipped = Vec::new();
    let target_namespace = target_namespace(snapshot);
    let policy = snapshot.policy_in_force();
    for (id, text) in PODS {
        let dry_run = match (&target_namespace, &policy) {
            (Ok((namespace, mode)), Ok(policy)) => {
                dry_run(id, text, snapshot, namespace, *mode, policy, today)
            }
            (Err(why), _) => Err(CheckResult::of(id, Outcome::Warning(format!("not checked: {why}")))),
            (_, Err(_)) => {
                let why = "not checked: the policy cannot be used, so the expected result is not known";
                Err(CheckResult::of(id, Outcome::Warning(why.to_owned())))
            }
        };
        match dry_run {
            Ok(dry_run) => dry_runs.push(dry_run),
            Err(result) => skipped.push(result),
        }
    }
    (dry_runs, skipped)
}

/// A namespace that is opted in and admits linkerd-init. The webhooks exclude our own namespace.
fn target_namespace(snapshot: &Snapshot) -> Result<(String, Mode), String> {
    let all = snapshot.namespaces.as_ref().map_err(ToString::to_string)?;
    let candidates: Vec<_> = namespaces::opted_in(snapshot, all)
        .into_iter()
        .filter(|it| it.mode != Mode::Audit && !it.terminating)
        .collect();
    if candidates.is_empty() {
        return Err("no namespace is in enforce or warn mode".to_owned());
    }
    // If only our label forbids privileged containers, pods can be created, and nothing is patched.
    [None, Some(Unprivileged::Label)]
        .into_iter()
        .flat_map(|unprivileged| [Mode::Enforce, Mode::Warn].map(|mode| (unprivileged, mode)))
        .find_map(|(reason, mode)| candidates.iter().find(|it| it.mode == mode && it.unprivileged == reason))
        .map(|it| (it.name.to_owned(), it.mode))
        .ok_or_else(|| "Pod Security rejects linkerd-init in every namespace that opts in".to_owned())
}

fn dry_run(
    id: CheckId,
    text: &str,
    snapshot: &Snapshot,
    namespace: &str,
    mode: Mode,
    policy: &Policy,
    today: Date,
) -> Result<DryRun, CheckResult> {
    let pod = pod(text, namespace);
    let json = pod.to_string();
    let skip = |why: &str| Err(CheckResult::good(id, format!("{}: not expected, {why}", id.description())));
    let Ok(Some(object)) = Object::read(&json) else { return skip("the example cannot be read") };
    let (context, by_policies) = (context(snapshot), snapshot.has_policy_engine());
    let judgement = judge(&object, namespace, &context, policy, today, Injection::AsAnnotated);
    let expected = match id {
        CheckId::DryRunPatched => {
            let patched = judgement.verdict.with_action(Action::Patch).next().is_some();
            match judgement.plan.seconds.filter(|_| patched) {
                Some(seconds) => Expected::SetsTimeout(seconds),
                None if judgement.survey.unprivileged.is_some() => return skip(&judgement.plan.why),
                None => return skip(&format!("because of the policy: {}", judgement.plan.why)),
            }
        }
        _ if !judgement.verdict.rejects() => return skip("because of the policy"),
        _ if by_policies && !policies::has_probe_policy(policy) => {
            return skip("because admission policies cannot evaluate `reject: reachable`");
        }
        _ if mode == Mode::Enforce => Expected::Refused,
        _ => Expected::Warned,
    };
    Ok(DryRun { id, namespace: namespace.to_owned(), pod, expected, by_policies })
}

/// The annotations of namespaces, which Linkerd's injector uses, and the namespaces that refuse privileged containers.
pub(super) fn context(snapshot: &Snapshot) -> Context {
    let mut context = Context::default();
    for namespace in snapshot.namespaces.iter().flatten() {
        let annotations = namespace.metadata.annotations.clone().unwrap_or_default();
        let name = namespace.metadata.name.clone().unwrap_or_default();
        if let Some(unprivileged) = namespaces::unprivileged(namespace) {
            context.unprivileged.insert(name.clone(), unprivileged);
        }
        context.namespaces.insert(name, annotations);
    }
    context
}

/// The example pod with a generated name, resource requests for quotas, and no labels that a Service could select.
fn pod(text: &str, namespace: &str) -> Value {
    let manifests = manifest::read("example", text);
    let json = manifests.documents.first().map(manifest::Document::json).unwrap_or_default();
    let mut pod: Value = serde_json::from_str(json).unwrap_or_default();
    let annotations = pod["metadata"]["annotations"].take();
    pod["metadata"] = json!({
        "generateName": "linkerd-linger-check-",
        "namespace": namespace,
        "labels": {"linkerd.io/control-plane-ns": "linkerd"},
        "annotations": annotations,
    });
    let small = json!({"cpu": "10m", "memory": "16Mi"});
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            container["resources"] = json!({"requests": small, "limits": small});
        }
    }
    pod
}

impl DryRun {
    /// The same pod with our patch disabled, if something other than our webhook rejected it. If this one is admitted,
    /// our patch is the reason.
    pub fn without_patch(&self, answer: &Answer) -> Option<Value> {
        let Answer::Refused(message) = answer else { return None };
        if names_our_webhook(message) || message.contains(&our_policy()) {
            return None;
        }
        let mut pod = self.pod.clone();
        pod["metadata"]["annotations"][CLOSE_WAIT_TIMEOUT] = "off".into();
        Some(pod)
    }

    /// Why the pod may have been admitted although it is expected to be changed or rejected.
    fn unjudged(&self, what: &str) -> String {
        let namespace = &self.namespace;
        if !self.by_policies {
            return format!(
                "in {namespace} the pod {what}: the API server did not call the webhook, or could not reach it and the \
                 failurePolicy admitted the pod"
            );
        }
        let (kind, name, metric) = match self.expected {
            Expected::SetsTimeout(_) => ("MutatingAdmissionPolicy", names::CLOSE_WAIT_POLICY, "mutating"),
            Expected::Refused | Expected::Warned => {
                ("ValidatingAdmissionPolicy", names::PROBE_POLICY, "validating")
            }
        };
        format!(
            "in {namespace} the pod {what}: the API server did not evaluate the {kind} {name}, or an expression failed and \
             the failurePolicy admitted the pod; apply the output of `install --engine policy` again. The API server's \
             metric apiserver_{metric}_admission_policy_check_total counts failed evaluations by error_type"
        )
    }
}

/// The result of a dry run, with the answer for the pod [without our patch](DryRun::without_patch), if that was sent.
pub fn result(dry_run: &DryRun, answer: &Answer, without_patch: Option<&Answer>) -> CheckResult {
    match (answer, without_patch) {
        (Answer::Refused(message), Some(unpatched)) if admitted_by_others(unpatched) => {
            let (namespace, who) = (&dry_run.namespace, rejecting_plugin(message));
            let why = format!(
                "in {namespace}, {who} rejects the pod only if linkerd-linger has patched it: {message}; label \
                 the namespace {PRIVILEGED_LABEL}={NEVER}, or configure {who} to admit the patch"
            );
            CheckResult::of(CheckId::PatchAdmitted, Outcome::Error(why))
        }
        _ => result_of(dry_run, answer),
    }
}

/// Whether nothing except our webhook rejects the pod.
fn admitted_by_others(answer: &Answer) -> bool {
    match answer {
        Answer::Admitted { .. } => true,
        Answer::Refused(message) => is_denied_by_us(message),
        Answer::NotSent(_) => false,
    }
}

/// The plugin that rejects a pod, from the message of the API server (apiserver
/// `pkg/admission/plugin/webhook/errors/statuserror.go`, `pkg/admission/plugin/policy/validating`;
/// pod-security-admission `admission/admission.go`).
fn rejecting_plugin(message: &str) -> String {
    let quoted =
        |before: &str, quote: char| message.split_once(before)?.1.split_once(quote).map(|(name, _)| name);
    if let Some(name) = quoted("admission webhook \"", '"') {
        format!("the webhook {name}")
    } else if let Some(name) = quoted("ValidatingAdmissionPolicy '", '\'') {
        format!("the ValidatingAdmissionPolicy {name}")
    } else if let Some(level) = quoted("violates PodSecurity \"", '"') {
        format!("Pod Security {level}")
    } else if message.contains("security context constraint") {
        "a security context constraint of OpenShift".to_owned()
    } else {
        "an admission plugin".to_owned()
    }
}

fn result_of(dry_run: &DryRun, answer: &Answer) -> CheckResult {
    let (id, namespace) = (dry_run.id, &dry_run.namespace);
    let good = |what: &str| CheckResult::good(id, format!("{} in {namespace}: {what}", id.description()));
    let fails = |why: String| CheckResult::of(id, Outcome::Error(why));
    match (answer, &dry_run.expected) {
        (Answer::NotSent(error), _) => CheckResult::unread(id, error),
        (Answer::Refused(message), Expected::Refused) if is_denied_by_us(message) => {
            good("rejected, as expected")
        }
        (Answer::Refused(message), _) if names_our_webhook(message) => {
            fails(format!("the API server's response in {namespace}: {message}"))
        }
        (Answer::Refused(message), _) => {
            let why =
                format!("not checked: another admission check rejects the pod in {namespace}: {message}");
            CheckResult::of(id, Outcome::Warning(why))
        }
        (Answer::Admitted { pod, .. }, Expected::SetsTimeout(wanted)) => {
            match Object::read_as(Kind::Pod, pod) {
                Err(error) => fails(format!(
                    "the pod that the API server returned in {namespace} cannot be read: {error}"
                )),
                Ok(object) => match close_wait::current(&object.pod, None) {
                    CurrentState::Sets(method, seconds) if seconds == *wanted => {
                        good(&method.describe(seconds))
                    }
                    CurrentState::Sets(method, seconds) => {
                        fails(format!("in {namespace} {}; expected {wanted}s", method.describe(seconds)))
                    }
                    CurrentState::Unset => fails(dry_run.unjudged("was admitted without the patch")),
                    CurrentState::Fails(why) => {
                        fails(format!("in {namespace} the pod would not start: {why}"))
                    }
                },
            }
        }
        (Answer::Admitted { .. }, Expected::Refused) => fails(dry_run.unjudged("was admitted")),
        (Answer::Admitted { warnings, .. }, Expected::Warned)
            if !warnings.iter().any(|it| it.contains(WARNING_PREFIX)) =>
        {
            fails(dry_run.unjudged("was admitted without a warning"))
        }
        (Answer::Admitted { .. }, Expected::Warned) => {
            good("admitted with a warning, because the mode is warn")
        }
    }
}

/// Whether our webhook denied the request, from the message of the API server (apiserver
/// `pkg/admission/plugin/webhook/errors/statuserror.go`).
fn is_denied_by_us(message: &str) -> bool {
    message.contains(&our_policy()) || names_our_webhook(message) && message.contains("denied the request")
}

/// What the API server writes if our policy denies a request (apiserver
/// `pkg/admission/plugin/policy/validating/dispatcher.go`).
fn our_policy() -> String {
    format!("ValidatingAdmissionPolicy '{}'", names::PROBE_POLICY)
}

/// Whether the message quotes one of our webhook entries; API servers do so if a call is denied or fails.
fn names_our_webhook(message: &str) -> bool {
    message.split('"').skip(1).step_by(2).any(webhook_entries::is_ours)
}
