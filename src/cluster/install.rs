//! Renders the manifests of an installation from its options.
//!
//! Pure functions: kubectl or a GitOps tool applies the objects. The same options always give the same text.

mod certificates;
mod monitor;
mod pods;
mod policies;
mod reports;
mod server;
mod sockets;
mod webhooks;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

pub use self::{
    pods::{Effect, ReadError, Toleration, read_label, read_secret_name},
    policies::{MIN_MINOR_VERSION as POLICY_ENGINE_MIN_MINOR_VERSION, PolicyEngineError, policies},
    reports::{Reports, ScheduleError, read_schedule},
    sockets::READ_SOCKETS,
    webhooks::read_workload,
    yaml::print,
};
use crate::{
    admission::traces::CollectorUrl,
    base::names,
    review::{Mode, WebhookKind},
};

/// The options of an installation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// The mode of namespaces without the label; `None` excludes them.
    pub default_mode: Option<Mode>,
    /// High availability: three replicas, spread over hosts and zones, with a high priority class.
    pub ha: bool,
    /// The source of the serving certificate.
    pub tls: Tls,
    /// The image of the server, and of the init container that the webhook adds.
    pub image: String,
    /// The text of the policy file.
    pub policy: String,
    /// The text of the facts file, if there is one.
    pub facts: Option<String>,
    /// The failure policy of namespaces in mode enforce.
    pub failure_policy: FailurePolicy,
    /// Whether to add a NetworkPolicy for the server.
    pub network_policy: bool,
    /// Whether to add a DaemonSet that exposes metrics about half-closed connections.
    pub sockets: bool,
    /// The CronJob that audits the cluster and writes reports; `None` adds none.
    pub reports: Option<Reports>,
    /// Whether the server uses the host network, for API servers that cannot reach pods.
    pub host_network: bool,
    /// The webhook port of the server.
    pub webhook_port: u16,
    /// The port of the server for probes and metrics.
    pub admin_port: u16,
    /// The image pull secrets, which must exist in our namespaces.
    pub image_pull_secrets: Vec<String>,
    /// The node selector of the server and of the Jobs.
    pub node_selector: BTreeMap<String, String>,
    /// The tolerations of the server and of the Jobs.
    pub tolerations: Vec<Toleration>,
    /// The labels of the PodMonitors; `None` adds no PodMonitors.
    pub pod_monitor: Option<BTreeMap<String, String>>,
    /// The OpenTelemetry collector to which the server sends spans, if there is one.
    pub otlp_endpoint: Option<CollectorUrl>,
    /// The custom resources that the validating webhook also reviews, each as `PLURAL.GROUP`.
    pub workloads: BTreeSet<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            default_mode: None,
            ha: false,
            tls: Tls::SelfSigned,
            image: format!("{}:{}", names::IMAGE_REPOSITORY, env!("CARGO_PKG_VERSION")),
            policy: "# The default policy; see docs/policy.md for the fields.\n".to_owned(),
            facts: None,
            failure_policy: FailurePolicy::Ignore,
            network_policy: false,
            sockets: false,
            reports: None,
            host_network: false,
            webhook_port: server::WEBHOOK_PORT,
            admin_port: server::ADMIN_PORT,
            image_pull_secrets: Vec::new(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            pod_monitor: None,
            otlp_endpoint: None,
            workloads: BTreeSet::new(),
        }
    }
}

/// The source of the serving certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Tls {
    /// `certs rotate`, in a Job now and in a CronJob every day.
    SelfSigned,
    /// cert-manager and its cainjector.
    CertManager,
    /// The user, who creates the Secret.
    Byo {
        /// The CA certificates to trust, in PEM.
        ca_bundle: String,
    },
}

/// What judges and patches pods.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Engine {
    /// A server, which API servers call.
    #[default]
    Webhook,
    /// The API servers themselves, by admission policies.
    Policy,
}

/// What the API server does with an object if no server responds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum FailurePolicy {
    /// Admits it.
    #[default]
    Ignore,
    /// Rejects it.
    Fail,
}

impl FailurePolicy {
    /// Every policy.
    pub const ALL: [Self; 2] = [Self::Ignore, Self::Fail];

    /// The name in webhook configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "Ignore",
            Self::Fail => "Fail",
        }
    }
}

/// All objects of an installation, in the order in which to apply them.
pub fn manifests(options: &Options) -> Vec<Value> {
    let mut objects = vec![namespace(options)];
    if options.ha {
        objects.push(server::quota());
    }
    objects.push(server::service_account());
    objects.push(server::policy(options));
    objects.extend(server::facts(options));
    objects.extend(certificates::access(&options.tls));
    objects.push(server::service());
    objects.push(server::deployment(options));
    objects.push(server::disruption_budget());
    if options.network_policy {
        objects.push(server::network_policy(options));
    }
    // Before the webhooks: without cert-manager applying these objects fails, and then no API server must call a server
    // that never gets a certificate.
    objects.extend(certificates::rotation_jobs(options));
    objects.extend(webhooks::configurations(options));
    if options.sockets {
        objects.extend(sockets::objects(options));
    }
    if let Some(reports) = &options.reports {
        objects.extend(reports::objects(options, reports));
    }
    objects.extend(monitor::objects(options));
    objects
}

/// Every object outside of our namespace for any options, with nothing but its name, and the namespaces. The webhook
/// configurations come first, so that API servers stop calling the servers before these are deleted. API servers without
/// MutatingAdmissionPolicies do not know the objects of `--engine policy`, so these are printed only for it.
pub fn cluster_scoped(engine: Engine) -> Vec<Value> {
    let mut objects = match engine {
        Engine::Webhook => Vec::new(),
        Engine::Policy => policies::names(),
    };
    for webhook in WebhookKind::ALL {
        let kind = webhook.configuration();
        objects.push(object("admissionregistration.k8s.io/v1", kind, names::WEBHOOK_CONFIGURATION));
    }
    for name in [names::CERTIFICATE_CRON_JOB, names::REPORTS] {
        for kind in ["ClusterRoleBinding", "ClusterRole"] {
            objects.push(object("rbac.authorization.k8s.io/v1", kind, name));
        }
    }
    for name in [names::SOCKETS, names::NAMESPACE] {
        objects.push(object("v1", "Namespace", name));
    }
    objects
}

fn namespace(options: &Options) -> Value {
    let mut namespace = object("v1", "Namespace", names::NAMESPACE);
    // Linkerd's injector is not needed here. All our pods comply with `restricted`, except on the host network, which
    // Pod Security allows only in privileged namespaces.
    let labels = &mut namespace["metadata"]["labels"];
    labels["config.linkerd.io/admission-webhooks"] = json!("disabled");
    labels["pod-security.kubernetes.io/enforce"] =
        json!(if options.host_network { "privileged" } else { "restricted" });
    namespace
}

/// A cluster-scoped object without content.
fn object(api_version: &str, kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "labels": labels()},
    })
}

/// An object in our namespace without content.
fn namespaced(api_version: &str, kind: &str, name: &str) -> Value {
    let mut object = object(api_version, kind, name);
    object["metadata"]["namespace"] = json!(names::NAMESPACE);
    object
}

fn labels() -> Value {
    json!({
        "app.kubernetes.io/name": names::SERVER,
        "app.kubernetes.io/part-of": "Linkerd",
        names::EXTENSION_LABEL: names::EXTENSION,
    })
}

/// Adds fields to an object.
fn with(mut object: Value, fields: Value) -> Value {
    if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
    object
}

/// The security context of our containers.
fn container_security() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
    })
}

/// The security context of our pods.
fn pod_security() -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// The user `nonroot` of distroless images, and the `USER` of our Dockerfile.
const USER: u32 = 65532;
