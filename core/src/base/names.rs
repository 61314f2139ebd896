//! The names of the objects, labels and files of an installation.

/// The namespace of the installation, which is also the name of most objects in it.
pub const NAMESPACE: &str = "linkerd-linger";
/// The name of the extension: the value of [`EXTENSION_LABEL`], and the word after `linkerd` on the command line.
pub const EXTENSION: &str = "linger";
/// The label that marks extensions for the Linkerd CLI.
pub const EXTENSION_LABEL: &str = "linkerd.io/extension";
/// The name of both webhook configurations. API servers call mutating webhooks in the byte order of these names. This
/// one must come after `linkerd-proxy-injector-webhook-config` and `linkerd-tap-injector-webhook-config`, because it
/// inspects the containers that they add.
pub const WEBHOOK_CONFIGURATION: &str = "zz-linkerd-linger-webhook-config";
/// The MutatingAdmissionPolicy of `install --engine policy`, and the prefix of its bindings.
pub const CLOSE_WAIT_POLICY: &str = "linkerd-linger-close-wait";
/// The ValidatingAdmissionPolicy of `install --engine policy`, and the prefix of its bindings.
pub const PROBE_POLICY: &str = "linkerd-linger-probes";
/// The label of a namespace that selects the mode: `enforce`, `warn`, `audit` or `off`.
pub const MODE_LABEL: &str = "linkerd-linger.io/mode";
/// The value of [`MODE_LABEL`] that disables the webhooks.
pub const MODE_OFF: &str = "off";
/// The Service, Deployment and ServiceAccount of the webhook.
pub const SERVER: &str = "linkerd-linger";
/// The Secret with the CA and the serving certificate.
pub const CERTIFICATE_SECRET: &str = "linkerd-linger-tls";
/// The ConfigMap with the policy.
pub const POLICY_CONFIG_MAP: &str = "linkerd-linger-policy";
/// The key of the policy in its ConfigMap, which is also its file name.
pub const POLICY_KEY: &str = "policy.yaml";
/// The ConfigMap with the facts.
pub const FACTS_CONFIG_MAP: &str = "linkerd-linger-facts";
/// The key of the facts in their ConfigMap, which is also their file name.
pub const FACTS_KEY: &str = "facts.yaml";
/// Our init container. The name is one that neither Linkerd's injector nor its CNI plugin mistakes for its own.
pub const INIT_CONTAINER: &str = "linger-close-wait";
/// The flag of `serve` with the image of [`INIT_CONTAINER`].
pub const INIT_IMAGE_FLAG: &str = "--init-image";
/// The label with the name of the namespace, which the API server sets on every namespace.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// The namespaces that the webhooks exclude, so that a cluster can start, and Linkerd can be repaired, without them.
pub const EXCLUDED_NAMESPACES: [&str; 9] = [
    "kube-node-lease",
    "kube-system",
    "linkerd",
    "linkerd-cni",
    "linkerd-jaeger",
    NAMESPACE,
    SOCKETS,
    "linkerd-multicluster",
    "linkerd-viz",
];
/// The namespace of `install --sockets`, which is also the name of the objects in it. Its pods need more privileges
/// than [`NAMESPACE`] allows.
pub const SOCKETS: &str = "linkerd-linger-sockets";
/// The labels of the pods of `install --sockets`.
pub const SOCKETS_SELECTOR: &str = "app.kubernetes.io/name=linkerd-linger-sockets";
/// The ServiceAccount, Role, Job and CronJob of `certs rotate`.
pub const CERTIFICATE_CRON_JOB: &str = "linkerd-linger-certs";
/// The field manager of `certs rotate`, which writes only the Secret and `caBundle`.
pub const CERTIFICATE_FIELD_MANAGER: &str = CERTIFICATE_CRON_JOB;
/// The ServiceAccount, ClusterRole and CronJob of `install --reports`.
pub const REPORTS: &str = "linkerd-linger-reports";
/// The field manager of `audit --write-reports` and `audit --events`.
pub const REPORTS_FIELD_MANAGER: &str = REPORTS;
/// The label of the objects that `audit` writes.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY_LABEL`].
pub const MANAGED_BY: &str = "linkerd-linger";
/// The DNS names of the serving certificate. API servers use the first (k8s.io/apiserver `pkg/util/webhook/client.go`),
/// other clients in the cluster also the second.
pub const SERVICE_NAMES: [&str; 2] =
    ["linkerd-linger.linkerd-linger.svc", "linkerd-linger.linkerd-linger.svc.cluster.local"];
/// The image repository.
pub const IMAGE_REPOSITORY: &str = "ghcr.io/linkerd-linger/linkerd-linger";

/// The file with the close-wait timeout, in seconds, of the current network namespace. A new network namespace has 60,
/// whatever its parent has (`nf_conntrack_tcp_init_net`).
pub const CLOSE_WAIT_FILE: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait";
