//! Scheduling, ports, image pull secrets and monitoring of the pods.

use linkerd_linger::cluster::install::{Options, manifests as objects};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{find, placed};

/// The pod templates of all objects that have one, by kind.
fn templates(options: &Options) -> Vec<(String, Value)> {
    let template = |object: &Value| {
        let found = ["/spec/template", "/spec/jobTemplate/spec/template"]
            .iter()
            .find_map(|pointer| object.pointer(pointer));
        Some((object["kind"].as_str().unwrap().to_owned(), found?.clone()))
    };
    objects(options).iter().filter_map(template).collect()
}

#[test]
fn pods_run_where_the_options_say() {
    let secrets = json!([{"name": "registry"}, {"name": "mirror"}]);
    let tolerations = json!([
        {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "pool", "operator": "Equal", "value": "system"},
    ]);
    let templates = templates(&placed());
    assert_eq!(
        templates.iter().map(|(kind, _)| &**kind).collect::<Vec<_>>(),
        ["Deployment", "Job", "CronJob", "DaemonSet", "CronJob"]
    );
    for (kind, template) in templates {
        let pod = &template["spec"];
        assert_eq!(pod["imagePullSecrets"], secrets, "{kind}");
        let (nodes, taints) = match kind.as_str() {
            "DaemonSet" => (json!({"kubernetes.io/os": "linux"}), json!([{"operator": "Exists"}])),
            _ => (json!({"kubernetes.io/os": "linux", "pool": "system"}), tolerations.clone()),
        };
        assert_eq!((&pod["nodeSelector"], &pod["tolerations"]), (&nodes, &taints), "{kind}");
    }
    for (kind, template) in self::templates(&Options { sockets: true, ..Options::default() }) {
        let pod = &template["spec"];
        assert_eq!(pod["nodeSelector"], json!({"kubernetes.io/os": "linux"}), "{kind}");
        assert_eq!(pod.get("imagePullSecrets"), None, "{kind}");
        assert_eq!(pod.get("tolerations").is_some(), kind == "DaemonSet");
    }
}

#[test]
fn on_the_host_network_two_replicas_do_not_collide() {
    let options = placed();
    let deployment = find(&options, "Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!((&pod["hostNetwork"], &pod["dnsPolicy"]), (&json!(true), &json!("ClusterFirstWithHostNet")));
    // A new replica cannot start beside an old one.
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"], json!({"maxSurge": 0, "maxUnavailable": 1}));
    // The scheduler places no two pods with a host port on a node.
    assert_eq!(
        pod["containers"][0]["ports"],
        json!([
            {"name": "https", "containerPort": 10260, "hostPort": 10260},
            {"name": "admin", "containerPort": 10261, "hostPort": 10261},
        ])
    );
    assert_eq!(
        find(&options, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        "privileged"
    );
    for (kind, template) in templates(&options) {
        assert_eq!(
            template["spec"].get("hostNetwork").is_some(),
            kind == "Deployment",
            "only the server is called"
        );
    }
}

/// The value of a flag in the server's arguments.
fn argument(deployment: &Value, flag: &str) -> Option<String> {
    let args = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
    let position = args.iter().position(|arg| arg == flag)?;
    Some(args[position + 1].as_str().unwrap().to_owned())
}

#[rstest]
#[case::pod_network(false, false, None, None)]
#[case::pod_network_with_metrics(false, true, None, None)]
#[case::host_network(true, false, Some("127.0.0.1:9990"), Some("127.0.0.1"))]
#[case::host_network_with_metrics(true, true, None, None)]
fn on_the_host_network_only_prometheus_opens_the_admin_port(
    #[case] host_network: bool,
    #[case] monitored: bool,
    #[case] address: Option<&str>,
    #[case] probed: Option<&str>,
) {
    let pod_monitor = monitored.then(Default::default);
    let deployment = find(&Options { host_network, pod_monitor, ..Options::default() }, "Deployment");
    assert_eq!(argument(&deployment, "--admin-listen").as_deref(), address);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"].get("host").and_then(Value::as_str), probed);
    }
}

#[test]
fn the_server_listens_at_the_ports_of_its_container() {
    let options = Options { webhook_port: 10_260, admin_port: 10_261, ..Options::default() };
    let deployment = find(&options, "Deployment");
    assert_eq!(argument(&deployment, "--listen").as_deref(), Some("[::]:10260"));
    assert_eq!(argument(&deployment, "--admin-listen").as_deref(), Some("[::]:10261"));
    let ports = &deployment["spec"]["template"]["spec"]["containers"][0]["ports"];
    assert_eq!(
        *ports,
        json!([{"name": "https", "containerPort": 10260}, {"name": "admin", "containerPort": 10261}])
    );
    let service = find(&options, "Service");
    assert_eq!(service["spec"]["ports"], json!([{"name": "https", "port": 443, "targetPort": "https"}]));
}

#[test]
fn a_pod_monitor_selects_the_pods_with_metrics() {
    let options = placed();
    let all = objects(&options);
    let monitors: Vec<_> = all.iter().filter(|object| object["kind"] == "PodMonitor").collect();
    assert_eq!(monitors.len(), 2);
    let workloads = ["Deployment", "DaemonSet"].map(|kind| find(&options, kind));
    for (monitor, workload) in monitors.iter().zip(workloads) {
        let metadata = &monitor["metadata"];
        assert_eq!(metadata["namespace"], workload["metadata"]["namespace"]);
        assert_eq!(metadata["labels"]["release"], "prometheus");
        assert_eq!(monitor["spec"]["selector"], workload["spec"]["selector"]);
        let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
        let ports = workload["spec"]["template"]["spec"]["containers"][0]["ports"].as_array().unwrap();
        assert!(ports.iter().any(|port| port["name"] == endpoint["port"]), "{endpoint}");
    }
    assert!(objects(&Options::default()).iter().all(|object| object["kind"] != "PodMonitor"));
}
