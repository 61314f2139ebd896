//! The names by which the parts of an installation find each other, and by which users find them.

/// The namespace of the installation, and the name of most objects in it.
pub const NAMESPACE: &str = "linkerd-linger";
/// The name of the extension: the value of [`EXTENSION_LABEL`], and the word after `linkerd` on the command line.
pub const EXTENSION: &str = "linger";
/// The label by which the Linkerd CLI finds extensions.
pub const EXTENSION_LABEL: &str = "linkerd.io/extension";
/// The name of both webhook configurations. API servers call mutating webhooks in the byte order of these names, and
/// ours must come after `linkerd-proxy-injector-webhook-config` and `linkerd-tap-injector-webhook-config`, whose
/// containers it looks at.
pub const WEBHOOK_CONFIGURATION: &str = "zz-linkerd-linger-webhook-config";
/// The label of a namespace that chooses the mode: `enforce`, `warn`, `audit` or `off`.
pub const MODE_LABEL: &str = "linkerd-linger.io/mode";
/// The value of [`MODE_LABEL`] that is no mode.
pub const MODE_OFF: &str = "off";
/// The Service, Deployment and ServiceAccount of the webhook.
pub const SERVER: &str = "linkerd-linger";
/// The Secret with the CA and the serving certificate.
pub const CERTIFICATE_SECRET: &str = "linkerd-linger-tls";
/// The ConfigMap with the policy.
pub const POLICY_CONFIG_MAP: &str = "linkerd-linger-policy";
/// The policy's key in its ConfigMap, and so the name of its file.
pub const POLICY_KEY: &str = "policy.yaml";
/// The ConfigMap with the facts.
pub const FACTS_CONFIG_MAP: &str = "linkerd-linger-facts";
/// The facts' key in their ConfigMap, and so the name of their file.
pub const FACTS_KEY: &str = "facts.yaml";
/// Our own init container, named so that neither Linkerd's injector nor its CNI plugin takes it for theirs.
pub const INIT_CONTAINER: &str = "linger-close-wait";
/// The flag of `serve` that gives [`INIT_CONTAINER`] its image.
pub const INIT_IMAGE_FLAG: &str = "--init-image";
/// The label that every namespace has, with its own name, put there by the API server.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// The namespaces that are never looked at: a cluster must be able to start, and Linkerd to be repaired, without us.
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
/// The namespace of `install --sockets`, and the name of the objects in it: its pods have more privileges than [`NAMESPACE`]
/// lets pods have.
pub const SOCKETS: &str = "linkerd-linger-sockets";
/// The labels of the pods of `install --sockets`.
pub const SOCKETS_SELECTOR: &str = "app.kubernetes.io/name=linkerd-linger-sockets";
/// The ServiceAccount, Role, Job and CronJob of `certs rotate`.
pub const CERTIFICATE_CRON_JOB: &str = "linkerd-linger-certs";
/// The field manager of `certs rotate`, which writes nothing but the Secret and `caBundle`.
pub const CERTIFICATE_FIELD_MANAGER: &str = CERTIFICATE_CRON_JOB;
/// The names that the serving certificate must hold: API servers ask for the first (k8s.io/apiserver
/// `pkg/util/webhook/client.go`), people in the cluster also for the second.
pub const SERVICE_NAMES: [&str; 2] =
    ["linkerd-linger.linkerd-linger.svc", "linkerd-linger.linkerd-linger.svc.cluster.local"];
/// Where the image is, without its tag.
pub const IMAGE_REPOSITORY: &str = "ghcr.io/linkerd-linger/linkerd-linger";

/// Where Linux keeps the close-wait timeout, in seconds, for the network namespace of whoever opens it: 60 in a new one,
/// whatever its parent has (`nf_conntrack_tcp_init_net`).
pub const CLOSE_WAIT_FILE: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait";
