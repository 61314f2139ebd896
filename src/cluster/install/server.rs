//! The Deployment of the server and the objects that belong to it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Options, container_security, labels, namespaced, pod_security, pods, with};
use crate::{admission::serve::Timeouts, base::names};

/// The label that distinguishes the pods of the server from those of `certs rotate`.
const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
const COMPONENT: &str = "server";
/// The default ports of `serve`.
pub(super) const WEBHOOK_PORT: u16 = 8443;
pub(super) const ADMIN_PORT: u16 = 9990;
/// The name of the port with the metrics.
pub(super) const ADMIN: &str = "admin";
/// The address for probes on the host network, which is not reachable from outside of the node.
const LOOPBACK: &str = "127.0.0.1";
/// The part of the grace period in addition to the shutdown delay and the drain.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(5);
/// The priority class for critical pods.
const CRITICAL: &str = "system-cluster-critical";

pub(super) fn service_account() -> Value {
    let account = namespaced("v1", "ServiceAccount", names::SERVER);
    with(account, json!({"automountServiceAccountToken": false}))
}

pub(super) fn policy(options: &Options) -> Value {
    let config_map = namespaced("v1", "ConfigMap", names::POLICY_CONFIG_MAP);
    with(config_map, json!({"data": {names::POLICY_KEY: options.policy}}))
}

pub(super) fn facts(options: &Options) -> Option<Value> {
    let facts = options.facts.as_ref()?;
    let config_map = namespaced("v1", "ConfigMap", names::FACTS_CONFIG_MAP);
    Some(with(config_map, json!({"data": {names::FACTS_KEY: facts}})))
}

pub(super) fn service() -> Value {
    let spec = json!({
        "selector": selector(),
        "ports": [{"name": "https", "port": 443, "targetPort": "https"}],
    });
    with(namespaced("v1", "Service", names::SERVER), json!({"spec": spec}))
}

/// Allows one disruption at a time, for any number of replicas.
pub(super) fn disruption_budget() -> Value {
    let spec = json!({"maxUnavailable": 1, "selector": {"matchLabels": selector()}});
    with(namespaced("policy/v1", "PodDisruptionBudget", names::SERVER), json!({"spec": spec}))
}

/// Some clouds admit critical pods only in namespaces with a quota for their priority class.
pub(super) fn quota() -> Value {
    let scope = json!({"scopeName": "PriorityClass", "operator": "In", "values": [CRITICAL]});
    let spec = json!({"hard": {"pods": "20"}, "scopeSelector": {"matchExpressions": [scope]}});
    with(namespaced("v1", "ResourceQuota", names::SERVER), json!({"spec": spec}))
}

/// The server needs no egress, except to a collector of traces and to DNS servers, which find its address. The rules have
/// no addresses: API servers and kubelets are outside of the pod network, and a collector may be, too.
pub(super) fn network_policy(options: &Options) -> Value {
    let port = |port: &str| json!({"port": port, "protocol": "TCP"});
    let egress = options.otlp_endpoint.iter().map(|collector| {
        let dns = |protocol: &str| json!({"port": 53, "protocol": protocol});
        json!({"ports": [{"port": collector.port(), "protocol": "TCP"}, dns("UDP"), dns("TCP")]})
    });
    let egress: Vec<_> = egress.collect();
    let spec = json!({
        "podSelector": {"matchLabels": selector()},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [port("https"), port(ADMIN)]}],
        "egress": egress,
    });
    with(namespaced("networking.k8s.io/v1", "NetworkPolicy", names::SERVER), json!({"spec": spec}))
}

pub(super) fn deployment(options: &Options) -> Value {
    let pod = json!({
        "metadata": {
            "labels": with(labels(), json!({COMPONENT_LABEL: COMPONENT})),
            // The API server is not meshed.
            "annotations": {"linkerd.io/inject": "disabled"},
        },
        "spec": pod(options),
    });
    let spec = json!({
        "replicas": if options.ha { 3 } else { 2 },
        "selector": {"matchLabels": selector()},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling_update(options)},
        "template": pod,
    });
    with(namespaced("apps/v1", "Deployment", names::SERVER), json!({"spec": spec}))
}

/// On the host network a new pod cannot use the ports of a node until the old pod is gone, and there may be no other
/// node.
fn rolling_update(options: &Options) -> Value {
    if options.host_network {
        json!({"maxSurge": 0, "maxUnavailable": 1})
    } else {
        json!({"maxSurge": 1, "maxUnavailable": 0})
    }
}

pub(super) fn selector() -> Value {
    json!({"app.kubernetes.io/name": names::SERVER, COMPONENT_LABEL: COMPONENT})
}

fn pod(options: &Options) -> Value {
    let timeouts = Timeouts::default();
    let files = |mode: u32| json!({"defaultMode": mode});
    // Mounts only the certificate and its key, not the key of the CA in the same Secret. kubelet waits until the Secret
    // exists.
    let pair = json!({
        "secretName": names::CERTIFICATE_SECRET,
        "items": [{"key": "tls.crt", "path": "tls.crt"}, {"key": "tls.key", "path": "tls.key"}],
    });
    let mut volumes = vec![
        json!({"name": "tls", "secret": with(pair, files(0o440))}),
        json!({"name": "policy", "configMap": with(json!({"name": names::POLICY_CONFIG_MAP}), files(0o444))}),
    ];
    if options.facts.is_some() {
        volumes.push(json!({"name": "facts", "configMap": with(json!({"name": names::FACTS_CONFIG_MAP}), files(0o444))}));
    }
    let pod = json!({
        "serviceAccountName": names::SERVER,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": pod_security(),
        "terminationGracePeriodSeconds": (timeouts.shutdown_delay + timeouts.drain + SHUTDOWN_MARGIN).as_secs(),
        "topologySpreadConstraints": spread(options.ha),
        "containers": [container(options)],
        "volumes": volumes,
    });
    let pod = with(pod, pods::placement(options));
    let host_network = json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"});
    let pod = if options.host_network { with(pod, host_network) } else { pod };
    if options.ha { with(pod, json!({"priorityClassName": CRITICAL})) } else { pod }
}

/// Spreads replicas over hosts, and over zones if there are any. Tainted nodes are not counted; otherwise control plane
/// nodes would block the rollout.
fn spread(ha: bool) -> Value {
    let over = |key: &str, when_unsatisfiable: &str| {
        json!({
            "topologyKey": key,
            "maxSkew": 1,
            "whenUnsatisfiable": when_unsatisfiable,
            "labelSelector": {"matchLabels": selector()},
            "matchLabelKeys": ["pod-template-hash"],
            "nodeTaintsPolicy": "Honor",
        })
    };
    let hosts = if ha { "DoNotSchedule" } else { "ScheduleAnyway" };
    json!([over("kubernetes.io/hostname", hosts), over("topology.kubernetes.io/zone", "ScheduleAnyway")])
}

fn container(options: &Options) -> Value {
    // On the host network the metrics are only reachable from the node, unless Prometheus needs them.
    let loopback = options.host_network && options.pod_monitor.is_none();
    let probe = |path: &str, period: u32, failures: u32| {
        let target = json!({"path": path, "port": ADMIN});
        json!({
            "httpGet": if loopback { with(target, json!({"host": LOOPBACK})) } else { target },
            "periodSeconds": period,
            "timeoutSeconds": 3,
            "failureThreshold": failures,
        })
    };
    let mut args = vec![
        "serve".to_owned(),
        "--tls-cert".to_owned(),
        "/tls/tls.crt".to_owned(),
        "--tls-key".to_owned(),
        "/tls/tls.key".to_owned(),
        "--policy".to_owned(),
        format!("/policy/{}", names::POLICY_KEY),
        names::INIT_IMAGE_FLAG.to_owned(),
        options.image.clone(),
        "--log-format".to_owned(),
        "json".to_owned(),
    ];
    let mut mounts = vec![
        json!({"name": "tls", "mountPath": "/tls", "readOnly": true}),
        json!({"name": "policy", "mountPath": "/policy", "readOnly": true}),
    ];
    if options.facts.is_some() {
        args.extend(["--facts".to_owned(), format!("/facts/{}", names::FACTS_KEY)]);
        mounts.push(json!({"name": "facts", "mountPath": "/facts", "readOnly": true}));
    }
    if let Some(collector) = &options.otlp_endpoint {
        args.extend(["--otlp-endpoint".to_owned(), collector.to_string()]);
    }
    if options.webhook_port != WEBHOOK_PORT {
        args.extend(["--listen".to_owned(), format!("[::]:{}", options.webhook_port)]);
    }
    if loopback || options.admin_port != ADMIN_PORT {
        let address = if loopback { LOOPBACK } else { "[::]" };
        args.extend(["--admin-listen".to_owned(), format!("{address}:{}", options.admin_port)]);
    }
    let port = |name: &str, number: u16| {
        let port = json!({"name": name, "containerPort": number});
        // The API server would add the host port, and GitOps tools would report a difference. The scheduler uses it to
        // keep replicas on different nodes. An anti-affinity would also keep pods of the pod network off these nodes
        // when switching back.
        if options.host_network { with(port, json!({"hostPort": number})) } else { port }
    };
    json!({
        "name": "server",
        "image": options.image,
        "imagePullPolicy": "IfNotPresent",
        "args": args,
        "ports": [port("https", options.webhook_port), port(ADMIN, options.admin_port)],
        // Far shorter than the server's keep-alive timeout of 180 s.
        "readinessProbe": probe("/readyz", 5, 2),
        "livenessProbe": probe("/livez", 10, 3),
        // No CPU limit: throttling would delay every pod creation
        // (https://github.com/open-policy-agent/gatekeeper/issues/266).
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": container_security(),
        "volumeMounts": mounts,
    })
}
