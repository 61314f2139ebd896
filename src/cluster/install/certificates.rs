//! Objects for the serving certificate: `certs rotate` with its RBAC, or cert-manager.
//!
//! The Secret itself is not part of the manifests: applying an empty one would delete the certificate.

use serde_json::{Value, json};

use super::{Options, Tls, container_security, labels, namespaced, object, pod_security, pods, with};
use crate::base::{digest, names};

const RBAC: &str = "rbac.authorization.k8s.io";
/// Once a day, at a minute that few other jobs use.
const SCHEDULE: &str = "17 3 * * *";
/// Longer than the deadline of `certs rotate` itself. A run that finds no node must not delay the next one.
const DEADLINE_SECONDS: u32 = 600;

/// The RBAC objects of `certs rotate`.
pub(super) fn access(tls: &Tls) -> Vec<Value> {
    match tls {
        Tls::SelfSigned => {}
        Tls::CertManager | Tls::Byo { .. } => return Vec::new(),
    }
    let name = names::CERTIFICATE_CRON_JOB;
    let account = namespaced("v1", "ServiceAccount", name);
    let role = json!({"rules": [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": [names::CERTIFICATE_SECRET],
            "verbs": ["get", "update"],
        },
        // RBAC cannot restrict `create` to a name.
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
    ]});
    let cluster_role = json!({"rules": [{
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        "resourceNames": [names::WEBHOOK_CONFIGURATION],
        "verbs": ["get", "patch"],
    }]});
    let binding = |kind: &str| {
        json!({
            "roleRef": {"apiGroup": RBAC, "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": names::NAMESPACE}],
        })
    };
    let version = format!("{RBAC}/v1");
    vec![
        with(account, json!({"automountServiceAccountToken": false})),
        with(namespaced(&version, "Role", name), role),
        with(namespaced(&version, "RoleBinding", name), binding("Role")),
        with(object(&version, "ClusterRole", name), cluster_role),
        with(object(&version, "ClusterRoleBinding", name), binding("ClusterRole")),
    ]
}

/// The objects that create and renew the certificate.
pub(super) fn rotation_jobs(options: &Options) -> Vec<Value> {
    match &options.tls {
        Tls::SelfSigned => vec![job(options), cron_job(options)],
        Tls::CertManager => cert_manager(),
        Tls::Byo { .. } => Vec::new(),
    }
}

/// The Job that creates the certificate. Its name contains a hash, because Jobs are immutable. It has no deadline: in a
/// cluster whose nodes are added later, there would be no certificate until the CronJob runs.
fn job(options: &Options) -> Value {
    let spec = job_spec(options);
    let name = format!("{}-{}", names::CERTIFICATE_CRON_JOB, digest::short(&spec.to_string()));
    let spec = with(spec, json!({"ttlSecondsAfterFinished": 3600}));
    let mut job = with(namespaced("batch/v1", "Job", &name), json!({"spec": spec}));
    // Argo CD would report the Job as missing after the API server has deleted it. As a hook it runs with each sync.
    job["metadata"]["annotations"] = json!({
        "argocd.argoproj.io/hook": "Sync",
        "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation",
    });
    job
}

fn cron_job(options: &Options) -> Value {
    let spec = json!({
        "schedule": SCHEDULE,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 3600,
        "successfulJobsHistoryLimit": 1,
        "failedJobsHistoryLimit": 3,
        "jobTemplate": {"spec": with(job_spec(options), json!({"activeDeadlineSeconds": DEADLINE_SECONDS}))},
    });
    with(namespaced("batch/v1", "CronJob", names::CERTIFICATE_CRON_JOB), json!({"spec": spec}))
}

fn job_spec(options: &Options) -> Value {
    let container = json!({
        "name": "certs",
        "image": options.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["certs", "rotate"],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": container_security(),
    });
    let pod = json!({
        "serviceAccountName": names::CERTIFICATE_CRON_JOB,
        "automountServiceAccountToken": true,
        "enableServiceLinks": false,
        "restartPolicy": "Never",
        "securityContext": pod_security(),
        "containers": [container],
    });
    json!({
        "backoffLimit": 6,
        "template": {
            "metadata": {
                "labels": with(labels(), json!({"app.kubernetes.io/component": "certs"})),
                "annotations": {"linkerd.io/inject": "disabled"},
            },
            "spec": with(pod, pods::placement(options)),
        },
    })
}

/// A CA that is valid for ten years, because cert-manager cannot overlap an old and a new one, and serving certificates
/// for 90 days.
fn cert_manager() -> Vec<Value> {
    const API: &str = "cert-manager.io/v1";
    const ROOT: &str = "linkerd-linger-root";
    const AUTHORITY: &str = "linkerd-linger-authority";
    let key = json!({"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"});
    let issuer = |name: &str| json!({"group": "cert-manager.io", "kind": "Issuer", "name": name});
    let authority = json!({
        "secretName": AUTHORITY,
        "isCA": true,
        "commonName": AUTHORITY,
        "duration": "87600h",
        "privateKey": key,
        "issuerRef": issuer(ROOT),
    });
    let leaf = json!({
        "secretName": names::CERTIFICATE_SECRET,
        "dnsNames": names::SERVICE_NAMES,
        "duration": "2160h",
        "renewBefore": "720h",
        "usages": ["digital signature", "server auth"],
        "privateKey": key,
        "issuerRef": issuer(AUTHORITY),
    });
    let resource =
        |kind: &str, name: &str, spec: Value| with(namespaced(API, kind, name), json!({"spec": spec}));
    vec![
        resource("Issuer", ROOT, json!({"selfSigned": {}})),
        resource("Certificate", AUTHORITY, authority),
        resource("Issuer", AUTHORITY, json!({"ca": {"secretName": AUTHORITY}})),
        resource("Certificate", names::CERTIFICATE_SECRET, leaf),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_with_another_image_has_another_name() {
        let name = |image: &str| {
            job(&Options { image: image.to_owned(), ..Options::default() })["metadata"]["name"].clone()
        };
        assert_ne!(name("a:1"), name("a:2"));
        assert_eq!(name("a:1"), name("a:1"));
    }
}
