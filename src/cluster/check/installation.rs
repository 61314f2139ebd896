//! Checks that the objects of the installation, and Linkerd, exist.

use jiff::civil::Date;
use k8s_openapi::api::apps::v1::Deployment;

use super::{CheckId, CheckResult, Outcome, Snapshot, namespaces, policies, webhook_entries};
use crate::{
    base::names,
    judgement::policy::{Exemption, Policy},
    linkerd::version::Version,
    review::{Mode, WebhookKind},
    workload::image::ImageRef,
};

/// The name of the container of Linkerd's proxy injector.
const INJECTOR_CONTAINER: &str = "proxy-injector";

pub(super) fn checks(snapshot: &Snapshot, today: Date) -> Vec<CheckResult> {
    let mut results = namespace(snapshot);
    if !snapshot.is_installed() {
        return results;
    }
    if !snapshot.has_policy_engine() {
        results.push(server(snapshot));
    }
    results.push(policy(snapshot, today));
    if !snapshot.has_policy_engine() {
        results.push(configurations(snapshot));
    }
    results.extend(snapshot.own_policies().map(|own| policies::check(snapshot, own)));
    results
}

/// Linkerd's injector with its version. Without it there is nothing to patch.
pub(super) fn injector(snapshot: &Snapshot) -> CheckResult {
    let id = CheckId::LinkerdInjector;
    match &snapshot.injector {
        Err(error) => CheckResult::unread(id, error),
        Ok(None) => CheckResult::of(
            id,
            Outcome::Warning(
                "there is no Deployment linkerd-proxy-injector in Linkerd's namespace; if Linkerd is in another \
                 namespace, set --linkerd-namespace"
                    .to_owned(),
            ),
        ),
        Ok(Some(deployment)) => {
            let version = version(deployment).map(|text| {
                let line = Version::parse(&text).and_then(Version::line);
                line.map_or_else(|| format!(" ({text})"), |line| format!(" ({text}, line {line})"))
            });
            CheckResult::good(id, format!("{}{}", id.description(), version.unwrap_or_default()))
        }
    }
}

/// The tag of the injector's image, which is the version of Linkerd.
fn version(deployment: &Deployment) -> Option<String> {
    let pod = deployment.spec.template.spec.as_ref()?;
    let container = pod.containers.iter().find(|container| container.name == INJECTOR_CONTAINER)?;
    Some(ImageRef::of(container.image.as_deref()?).tag.to_owned()).filter(|tag| !tag.is_empty())
}

fn namespace(snapshot: &Snapshot) -> Vec<CheckResult> {
    let all = match &snapshot.namespaces {
        Ok(all) => all,
        Err(error) => return vec![CheckResult::unread(CheckId::Namespace, error)],
    };
    let Some(own) = namespaces::own_namespace(all) else {
        let why = format!(
            "the \"{}\" Namespace does not exist: linkerd-linger is not installed in this cluster",
            names::NAMESPACE
        );
        return vec![CheckResult::of(CheckId::Namespace, Outcome::Error(why))];
    };
    let label = own.metadata.labels.iter().flatten().find(|(key, _)| *key == names::EXTENSION_LABEL);
    let outcome = match label {
        Some((_, value)) if value == names::EXTENSION => Outcome::Good,
        Some((_, value)) => Outcome::Error(format!(
            "{} is {value:?}, so `linkerd check` looks for an extension with that name",
            names::EXTENSION_LABEL
        )),
        None => Outcome::Error("it is missing, so `linkerd check` does not find this extension".to_owned()),
    };
    let exists = CheckResult::of(CheckId::Namespace, Outcome::Good);
    vec![exists, CheckResult::of(CheckId::ExtensionLabel, outcome)]
}

fn server(snapshot: &Snapshot) -> CheckResult {
    let id = CheckId::Server;
    let deployment = match &snapshot.server {
        Err(error) => return CheckResult::unread(id, error),
        Ok(None) => {
            let why =
                format!("there is no Deployment {} in the namespace {}", names::SERVER, names::NAMESPACE);
            return CheckResult::of(id, Outcome::Error(why));
        }
        Ok(Some(deployment)) => deployment,
    };
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    let ready = status.available_replicas.unwrap_or_default();
    let seen = status.observed_generation >= deployment.metadata.generation;
    let updated = status.updated_replicas.unwrap_or_default();
    let text = format!("{ready} of {wanted} pods are available");
    match (ready, seen) {
        (0, _) => CheckResult::of(
            id,
            Outcome::Error(format!(
                "{text}: no pod is patched or rejected; find the reason with {}",
                describe()
            )),
        ),
        (_, false) => CheckResult::of(id, Outcome::Error("its rollout has not started yet".to_owned())),
        // With maxUnavailable 0 the old pods stay until the new ones are ready, so all can be available although none
        // is new.
        _ if updated < wanted => {
            let why = format!(
                "its rollout is not complete: {updated} of {wanted} pods are updated; find the reason with {}",
                describe()
            );
            CheckResult::of(id, Outcome::Error(why))
        }
        _ if ready < wanted => CheckResult::of(id, Outcome::Warning(format!("{text}; see {}", describe()))),
        _ => CheckResult::good(id, format!("{} ({text})", id.description())),
    }
}

fn describe() -> String {
    format!("`kubectl -n {} describe deployment,pods`", names::NAMESPACE)
}

fn policy(snapshot: &Snapshot, today: Date) -> CheckResult {
    let id = CheckId::Policy;
    match &snapshot.policy {
        Err(error) => return CheckResult::unread(id, error),
        Ok(None) => {
            return CheckResult::good(
                id,
                format!("{} (there is none, so the default policy applies)", id.description()),
            );
        }
        Ok(Some(_)) => {}
    }
    let outcome = match snapshot.policy_in_force() {
        Ok(policy) => Outcome::warn_about(
            "these exemptions have no effect; remove them",
            &idle_exemptions(snapshot, &policy, today),
        ),
        Err(errors) => {
            let mistakes: Vec<_> = errors.iter().map(ToString::to_string).collect();
            Outcome::fail_about("the server keeps using the last valid policy", &mistakes)
        }
    };
    CheckResult::of(id, outcome)
}

/// Exemptions that have expired, and those for namespaces that do not exist.
fn idle_exemptions(snapshot: &Snapshot, policy: &Policy, today: Date) -> Vec<String> {
    let names: Option<Vec<_>> = snapshot.namespaces.as_ref().ok().map(|all| {
        all.iter().map(|namespace| namespace.metadata.name.as_deref().unwrap_or_default()).collect()
    });
    let idle = |exemption: &Exemption| {
        if exemption.until < today {
            return Some(format!("it expired on {}", exemption.until));
        }
        let (pattern, names) = (exemption.namespace.as_ref()?, names.as_ref()?);
        (!names.iter().any(|name| pattern.matches(name))).then(|| "no namespace matches it".to_owned())
    };
    let describe = |exemption: &Exemption| {
        let why = idle(exemption)?;
        Some(format!("line {}: {why} (reason: {})", exemption.line, exemption.reason))
    };
    policy.exemptions.iter().filter_map(describe).collect()
}

/// Both configurations must have an entry for every mode; a namespace in a mode without an entry would be ignored
/// silently.
fn configurations(snapshot: &Snapshot) -> CheckResult {
    let id = CheckId::Configurations;
    let unread = [snapshot.mutating.as_ref().err(), snapshot.validating.as_ref().err()];
    if let Some(error) = unread.into_iter().flatten().next() {
        return CheckResult::unread(id, error);
    }
    let entries = webhook_entries::own_entries(snapshot);
    let mut missing = Vec::new();
    for webhook in WebhookKind::ALL {
        let kind = webhook.configuration();
        let of_webhook: Vec<_> = entries.iter().filter(|entry| entry.webhook == webhook).collect();
        if of_webhook.is_empty() {
            missing.push(format!("{kind} {} does not exist", names::WEBHOOK_CONFIGURATION));
            continue;
        }
        let lacks = |mode: &Mode| !of_webhook.iter().any(|entry| entry.mode() == Some(*mode));
        for mode in Mode::ALL.into_iter().filter(lacks) {
            missing.push(format!(
                "{kind} {} has no webhook for {}",
                of_webhook[0].configuration,
                mode.as_str()
            ));
        }
    }
    CheckResult::of(id, Outcome::fail_about("the API server does not call the webhook", &missing))
}
