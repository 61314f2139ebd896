//! What is installed in a cluster: options -> Kubernetes objects.
//!
//! Pure: applying them is left to kubectl or a GitOps tool, so the same options always give the same text.

mod certificates;
mod monitor;
mod pods;
mod server;
mod sockets;
mod webhooks;
mod yaml;

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub use self::{
    pods::{Effect, ReadError, Toleration, read_label, read_secret_name},
    sockets::READ_SOCKETS,
    yaml::print,
};
use crate::{
    admission::review::{Mode, WebhookKind},
    base::names,
};

/// What to install.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// The mode of namespaces without the label; `None` leaves them alone.
    pub default_mode: Option<Mode>,
    /// Three replicas, spread over hosts and zones, before which other pods give way.
    pub ha: bool,
    /// Who makes the serving certificate.
    pub tls: Tls,
    /// The image of the server and of the init container that it puts into pods.
    pub image: String,
    /// The policy file's text.
    pub policy: String,
    /// The facts file's text; without one the server has no facts.
    pub facts: Option<String>,
    /// What becomes of objects in enforcing namespaces while no server answers.
    pub failure_policy: FailurePolicy,
    /// Whether to restrict the traffic of the server's pods.
    pub network_policy: bool,
    /// Whether a pod on each node exposes metrics about half-closed connections.
    pub sockets: bool,
    /// Whether the server's pods use the network of their nodes, for API servers that cannot reach pods.
    pub host_network: bool,
    /// The port of the webhook on the server's pods.
    pub webhook_port: u16,
    /// The port of probes and metrics on the server's pods.
    pub admin_port: u16,
    /// The Secrets in our namespaces that nodes need to pull the image.
    pub image_pull_secrets: Vec<String>,
    /// The labels of the nodes on which the server and `certs rotate` may run.
    pub node_selector: BTreeMap<String, String>,
    /// The taints of nodes on which the server and `certs rotate` may run.
    pub tolerations: Vec<Toleration>,
    /// The labels of PodMonitors; without this there are none.
    pub pod_monitor: Option<BTreeMap<String, String>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            default_mode: None,
            ha: false,
            tls: Tls::SelfSigned,
            image: format!("{}:{}", names::IMAGE_REPOSITORY, env!("CARGO_PKG_VERSION")),
            policy: "# Nothing but the defaults: see docs/policy.md.\n".to_owned(),
            facts: None,
            failure_policy: FailurePolicy::Ignore,
            network_policy: false,
            sockets: false,
            host_network: false,
            webhook_port: server::WEBHOOK_PORT,
            admin_port: server::ADMIN_PORT,
            image_pull_secrets: Vec::new(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            pod_monitor: None,
        }
    }
}

/// Who makes the serving certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Tls {
    /// `certs rotate`, in a Job now and in a CronJob every day.
    SelfSigned,
    /// cert-manager and its cainjector.
    CertManager,
    /// The user, who also makes the Secret.
    Byo {
        /// The certificates, in PEM, of the authorities to trust.
        ca_bundle: String,
    },
}

/// What the API server does with an object when no server answers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum FailurePolicy {
    /// Admit it.
    #[default]
    Ignore,
    /// Reject it.
    Fail,
}

impl FailurePolicy {
    /// Every policy.
    pub const ALL: [Self; 2] = [Self::Ignore, Self::Fail];

    /// Its name in webhook configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "Ignore",
            Self::Fail => "Fail",
        }
    }
}

/// Every object of an installation, in the order in which to apply them.
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
        objects.push(server::network_policy());
    }
    // Before the webhooks: where cert-manager is missing, applying its objects fails, and no API server must then call
    // a server that never gets a certificate.
    objects.extend(certificates::rotation_jobs(options));
    objects.extend(webhooks::configurations(options));
    if options.sockets {
        objects.extend(sockets::objects(options));
    }
    objects.extend(monitor::objects(options));
    objects
}

/// By name only, every object that is outside our namespace, whatever the options were, and the namespaces themselves: the
/// webhook configurations first, so that nothing is sent to servers that are on their way out.
pub fn cluster_scoped() -> Vec<Value> {
    let mut objects = Vec::new();
    for webhook in WebhookKind::ALL {
        let kind = webhook.configuration();
        objects.push(object("admissionregistration.k8s.io/v1", kind, names::WEBHOOK_CONFIGURATION));
    }
    for kind in ["ClusterRoleBinding", "ClusterRole"] {
        objects.push(object("rbac.authorization.k8s.io/v1", kind, names::CERTIFICATE_CRON_JOB));
    }
    for name in [names::SOCKETS, names::NAMESPACE] {
        objects.push(object("v1", "Namespace", name));
    }
    objects
}

fn namespace(options: &Options) -> Value {
    let mut namespace = object("v1", "Namespace", names::NAMESPACE);
    // Linkerd's injector has nothing to do here either. Every pod of ours is restricted, but for the host network, which
    // Pod Security allows only in privileged namespaces.
    let labels = &mut namespace["metadata"]["labels"];
    labels["config.linkerd.io/admission-webhooks"] = json!("disabled");
    labels["pod-security.kubernetes.io/enforce"] =
        json!(if options.host_network { "privileged" } else { "restricted" });
    namespace
}

/// A cluster-scoped object that holds nothing yet.
fn object(api_version: &str, kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "labels": labels()},
    })
}

/// An object in our namespace that holds nothing yet.
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

/// What every container of ours may do: nothing.
fn container_security() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
    })
}

/// As whom every pod of ours runs.
fn pod_security() -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// `nonroot` of distroless images, and `USER` of our Dockerfile.
const USER: u32 = 65532;
