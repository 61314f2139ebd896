//! Two pods that are created for show: one that must come back patched, one that must be refused.
//!
//! Nothing else proves the whole live path: that the API server calls us, reaches us, trusts us and takes the answer.
//! What to expect is judged here as the server judges it; sending is left to `cluster`.

use jiff::civil::Date;
use serde_json::{Value, json};

use super::{CheckId, CheckResult, Outcome, ReadError, Snapshot, namespaces, webhook_entries};
use crate::{
    admission::review::Mode,
    judgement::{
        close_wait::{self, CurrentState},
        finding::Action,
        judge::judge,
        policy::Policy,
    },
    linkerd::Injection,
    lint::manifest,
    workload::{
        annotations::CLOSE_WAIT_TIMEOUT,
        context::{Context, NEVER, PRIVILEGED_LABEL, Unprivileged},
        object::{Kind, Object},
    },
};

/// As Linkerd 2.17 injects them: the first has nothing but a close-wait timeout to be mended, the second's probe meets
/// its server's idle timeout. `demo` shows the same two.
const PODS: [(CheckId, &str); 2] = [
    (CheckId::DryRunPatched, include_str!("../../../examples/pods/1-patched.yaml")),
    (CheckId::DryRunRejected, include_str!("../../../examples/pods/2-rejected.yaml")),
];

/// How our warnings begin.
const WARNING_PREFIX: &str = "linkerd-linger: ";

/// A pod to create for show, and what must come of it.
#[derive(Clone, Debug, PartialEq)]
pub struct DryRun {
    id: CheckId,
    /// The namespace, which opts in.
    pub namespace: String,
    /// The pod.
    pub pod: Value,
    expected: Expected,
}

/// What must come of it.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Expected {
    /// It sets so many seconds.
    SetsTimeout(u32),
    /// It is refused by us.
    Refused,
    /// It is admitted with a warning of ours.
    Warned,
}

/// What the API server answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The pod as it would be stored, and the warnings that came with it.
    Admitted {
        /// The pod as JSON.
        pod: String,
        /// The warnings.
        warnings: Vec<String>,
    },
    /// The message of the refusal.
    Refused(String),
    /// It could not be asked.
    NotSent(ReadError),
}

/// The trials that make sense in this cluster, and results in place of those that do not.
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
                let why = "not checked: the policy cannot be used, so what to expect is not known";
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

/// A namespace that opts in, and admits linkerd-init: the webhooks never look at our own.
fn target_namespace(snapshot: &Snapshot) -> Result<(String, Mode), String> {
    let all = snapshot.namespaces.as_ref().map_err(ToString::to_string)?;
    let candidates: Vec<_> = namespaces::opted_in(snapshot, all)
        .into_iter()
        .filter(|it| it.mode != Mode::Audit && !it.terminating)
        .collect();
    if candidates.is_empty() {
        return Err("no namespace is in the mode enforce or warn".to_owned());
    }
    // Where only our label refuses privilege, pods may be created all the same, and nothing is patched.
    [None, Some(Unprivileged::Label)]
        .into_iter()
        .flat_map(|unprivileged| [Mode::Enforce, Mode::Warn].map(|mode| (unprivileged, mode)))
        .find_map(|(reason, mode)| candidates.iter().find(|it| it.mode == mode && it.unprivileged == reason))
        .map(|it| (it.name.to_owned(), it.mode))
        .ok_or_else(|| "Pod Security refuses linkerd-init in every namespace that opts in".to_owned())
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
    let context = context(snapshot);
    let judgement = judge(&object, namespace, &context, policy, today, Injection::AsAnnotated);
    let expected = match id {
        CheckId::DryRunPatched => {
            let patched = judgement.verdict.with_action(Action::Patch).next().is_some();
            match judgement.plan.seconds.filter(|_| patched) {
                Some(seconds) => Expected::SetsTimeout(seconds),
                None if judgement.survey.unprivileged.is_some() => return skip(&judgement.plan.why),
                None => return skip(&format!("by the policy: {}", judgement.plan.why)),
            }
        }
        _ if !judgement.verdict.rejects() => return skip("by the policy"),
        _ if mode == Mode::Enforce => Expected::Refused,
        _ => Expected::Warned,
    };
    Ok(DryRun { id, namespace: namespace.to_owned(), pod, expected })
}

/// The annotations of namespaces, by which Linkerd's injector goes, and which of them refuse privileged containers.
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

/// The example under a name that is taken by nothing, with what quotas ask for, and nothing that a Service selects.
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
    /// The same pod as one that our webhook does not patch, if something else than our webhook refused it: should that
    /// one pass, our patch is the reason.
    pub fn without_patch(&self, answer: &Answer) -> Option<Value> {
        let Answer::Refused(message) = answer else { return None };
        if names_our_webhook(message) {
            return None;
        }
        let mut pod = self.pod.clone();
        pod["metadata"]["annotations"][CLOSE_WAIT_TIMEOUT] = "off".into();
        Some(pod)
    }
}

/// What a trial has proved, with the answer for the pod [without our patch](DryRun::without_patch) where that was sent.
pub fn result(dry_run: &DryRun, answer: &Answer, without_patch: Option<&Answer>) -> CheckResult {
    match (answer, without_patch) {
        (Answer::Refused(message), Some(unpatched)) if admitted_by_others(unpatched) => {
            let (namespace, who) = (&dry_run.namespace, rejecting_plugin(message));
            let why = format!(
                "in {namespace} {who} refuses a pod that the webhook has patched, and admits it unpatched: {message}; \
                 label the namespace {PRIVILEGED_LABEL}={NEVER}, or have {who} admit the patch"
            );
            CheckResult::of(CheckId::PatchAdmitted, Outcome::Error(why))
        }
        _ => result_of(dry_run, answer),
    }
}

/// Whether nothing but our own webhook refuses the pod.
fn admitted_by_others(answer: &Answer) -> bool {
    match answer {
        Answer::Admitted { .. } => true,
        Answer::Refused(message) => is_denied_by_us(message),
        Answer::NotSent(_) => false,
    }
}

/// Who refuses a pod, by the words of API servers (apiserver `pkg/admission/plugin/webhook/errors/statuserror.go`,
/// `pkg/admission/plugin/policy/validating`; pod-security-admission `admission/admission.go`).
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
            good("refused, as it must be")
        }
        (Answer::Refused(message), _) if names_our_webhook(message) => {
            fails(format!("the API server says in {namespace}: {message}"))
        }
        (Answer::Refused(message), _) => {
            let why = format!("not checked: something else refuses the pod in {namespace}: {message}");
            CheckResult::of(id, Outcome::Warning(why))
        }
        (Answer::Admitted { pod, .. }, Expected::SetsTimeout(wanted)) => {
            match Object::read_as(Kind::Pod, pod) {
                Err(error) => fails(format!("what came back in {namespace} cannot be read: {error}")),
                Ok(object) => match close_wait::current(&object.pod, None) {
                    CurrentState::Sets(method, seconds) if seconds == *wanted => {
                        good(&method.describe(seconds))
                    }
                    CurrentState::Sets(method, seconds) => {
                        fails(format!("in {namespace} {}; expected are {wanted}s", method.describe(seconds)))
                    }
                    CurrentState::Unset => {
                        fails(not_called_message(namespace, "came back without the patch"))
                    }
                    CurrentState::Fails(why) => fails(format!("in {namespace} it would not start: {why}")),
                },
            }
        }
        (Answer::Admitted { .. }, Expected::Refused) => fails(not_called_message(namespace, "was admitted")),
        (Answer::Admitted { warnings, .. }, Expected::Warned)
            if !warnings.iter().any(|it| it.contains(WARNING_PREFIX)) =>
        {
            fails(not_called_message(namespace, "was admitted without a warning"))
        }
        (Answer::Admitted { .. }, Expected::Warned) => good("admitted with a warning, as its mode is warn"),
    }
}

fn not_called_message(namespace: &str, what: &str) -> String {
    format!(
        "in {namespace} it {what}: the API server did not call the webhook, or could not and the failurePolicy let \
         the pod pass"
    )
}

/// The words of API servers (apiserver `pkg/admission/plugin/webhook/errors/statuserror.go`).
fn is_denied_by_us(message: &str) -> bool {
    names_our_webhook(message) && message.contains("denied the request")
}

/// The API server quotes the name of the entry that it called, or could not call.
fn names_our_webhook(message: &str) -> bool {
    message.split('"').skip(1).step_by(2).any(webhook_entries::is_ours)
}
