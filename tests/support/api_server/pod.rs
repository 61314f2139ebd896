//! What an API server and a kubelet do with a Pod: defaults, validation, Pod Security, and the checks at the start.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value, json};

const LISTS: [&str; 2] = ["initContainers", "containers"];

/// Sets the defaults of a pod, or of the pod template of an object (kubernetes `pkg/apis/core/v1/defaults.go`).
pub(crate) fn default(object: &mut Value) {
    for pointer in ["/spec/jobTemplate/spec/template/spec", "/spec/template/spec", "/template/spec", "/spec"]
    {
        let Some(spec) = object.pointer_mut(pointer).and_then(Value::as_object_mut) else { continue };
        if spec.contains_key("containers") {
            return default_spec(spec);
        }
    }
}

fn default_spec(spec: &mut Map<String, Value>) {
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
    ] {
        set(spec, field, value);
    }
    for list in LISTS {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(container) = container.as_object_mut() {
                default_container(container);
            }
        }
    }
}

fn default_container(container: &mut Map<String, Value>) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let (repository, digest) = image.split_once('@').map_or((image, ""), |(name, digest)| (name, digest));
    let tag =
        repository.rsplit('/').next().and_then(|name| name.split_once(':')).map_or("latest", |(_, tag)| tag);
    let pull = if tag == "latest" && digest.is_empty() { "Always" } else { "IfNotPresent" };
    set(container, "imagePullPolicy", json!(pull));
    set(container, "terminationMessagePath", json!("/dev/termination-log"));
    set(container, "terminationMessagePolicy", json!("File"));
    set(container, "resources", json!({}));
    if let Some(Value::Object(limits)) = container["resources"].get("limits").cloned()
        && let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut)
    {
        set(resources, "requests", json!({}));
        for (name, limit) in limits {
            if let Some(requests) = resources.get_mut("requests").and_then(Value::as_object_mut) {
                set(requests, &name, limit);
            }
        }
    }
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            set(port, "protocol", json!("TCP"));
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) else { continue };
        for (field, value) in PROBE_DEFAULTS {
            // Zero stands for the default.
            if probe.get(field).is_none_or(|found| found.is_null() || *found == 0) {
                probe.insert(field.to_owned(), value.into());
            }
        }
        if let Some(get) = probe.get_mut("httpGet").and_then(Value::as_object_mut) {
            set(get, "path", json!("/"));
            set(get, "scheme", json!("HTTP"));
        }
    }
}

const PROBE_DEFAULTS: [(&str, u32); 4] =
    [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)];

fn set(object: &mut Map<String, Value>, field: &str, value: Value) {
    let field = object.entry(field).or_insert(Value::Null);
    if field.is_null() {
        *field = value;
    }
}

/// The init containers and the containers of a pod, by name.
fn containers(pod: &Value) -> BTreeMap<String, &Value> {
    let all = LISTS.iter().filter_map(|list| pod["spec"][list].as_array()).flatten();
    all.map(|container| (container["name"].as_str().unwrap_or_default().to_owned(), container)).collect()
}

/// Part of the validation of a pod (kubernetes `pkg/apis/core/validation/validation.go`).
pub(super) fn validate(pod: &Value) -> Result<(), String> {
    let number: usize = LISTS.iter().filter_map(|list| pod["spec"][list].as_array()).map(Vec::len).sum();
    if containers(pod).len() != number {
        return Err("two containers have the same name".to_owned());
    }
    let sysctls: Vec<_> =
        pod["spec"]["securityContext"]["sysctls"].as_array().into_iter().flatten().collect();
    let names: BTreeSet<_> = sysctls.iter().map(|sysctl| sysctl["name"].to_string()).collect();
    if names.len() != sysctls.len() {
        return Err("two sysctls have the same name".to_owned());
    }
    Ok(())
}

/// The fields that a patch added and that the types of the API do not have.
pub(super) fn unknown_fields(before: &Value, after: &Value) -> Vec<String> {
    let known =
        |value: &Value| serde_json::to_value(serde_json::from_value::<Pod>(value.clone()).unwrap()).unwrap();
    let lost = |value: &Value| {
        let (mut all, mut kept) = (BTreeSet::new(), BTreeSet::new());
        paths(value, "", &mut all);
        paths(&known(value), "", &mut kept);
        all.difference(&kept).cloned().collect::<BTreeSet<_>>()
    };
    lost(after).difference(&lost(before)).cloned().collect()
}

/// The paths of all values that are not empty, without the numbers of list items.
fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| paths(value, &format!("{at}/{key}"), found))
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, at, found)),
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => drop(found.insert(at.to_owned())),
    }
}

/// Why a kubelet does not start containers of a pod (kubernetes `pkg/kubelet/kuberuntime/security_context.go`).
pub(crate) fn fails_to_start(pod: &Value) -> Vec<String> {
    let of_pod = &pod["spec"]["securityContext"];
    let refuses = |(_, container): &(&String, &&Value)| {
        let context = &container["securityContext"];
        let effective = |field: &str| if context[field].is_null() { &of_pod[field] } else { &context[field] };
        *effective("runAsNonRoot") == true && *effective("runAsUser") == 0
    };
    containers(pod).iter().filter(refuses).map(|(name, _)| format!("{name} runs as root")).collect()
}

/// How a pod violates the level baseline (k8s.io/pod-security-admission `policy`).
pub(crate) fn violations_of_baseline(pod: &Value) -> BTreeSet<String> {
    const CAPABILITIES: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    const SYSCTLS: [&str; 10] = [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
    ];
    let spec = &pod["spec"];
    let mut found = BTreeSet::new();
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if spec[field] == true {
            found.insert(field.to_owned());
        }
    }
    let names = |list: &Value| list.as_array().cloned().unwrap_or_default();
    for volume in names(&spec["volumes"]).iter().filter(|volume| !volume["hostPath"].is_null()) {
        found.insert(format!("hostPath {}", volume["name"]));
    }
    for sysctl in names(&spec["securityContext"]["sysctls"]) {
        if !SYSCTLS.iter().any(|safe| sysctl["name"] == *safe) {
            found.insert(format!("sysctl {}", sysctl["name"]));
        }
    }
    for (name, container) in containers(pod) {
        let context = &container["securityContext"];
        if context["privileged"] == true {
            found.insert(format!("{name}: privileged"));
        }
        for capability in names(&context["capabilities"]["add"]) {
            if !CAPABILITIES.iter().any(|allowed| capability == *allowed) {
                found.insert(format!("{name}: {capability}"));
            }
        }
        for port in
            names(&container["ports"]).iter().filter(|port| port["hostPort"].as_u64().unwrap_or(0) != 0)
        {
            found.insert(format!("{name}: hostPort {}", port["hostPort"]));
        }
    }
    found
}
