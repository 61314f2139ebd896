//! The output of `install`: it equals the files in `manifests/`, is valid, and selects no namespace that a cluster
//! needs to start. `UPDATE_DOCS=1` rewrites the files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/cluster/mod.rs"]
mod cluster;
mod manifests {
    pub(crate) mod kustomize;
    mod placement;
    pub(crate) mod selector;
}
mod support;

use std::{collections::BTreeSet, fs, path::Path};

use clap::Parser;
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    apps::v1::{DaemonSet, Deployment},
    batch::v1::{CronJob, Job},
    core::v1::{ConfigMap, Namespace, ResourceQuota, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use linkerd_linger::{
    admission::serve::Timeouts,
    base::names,
    cli::Cli,
    cluster::install::{
        Engine, FailurePolicy, Options, PolicyEngineError, Reports, Tls, Toleration, cluster_scoped,
        manifests as objects, policies, print, read_label,
    },
    judgement::policy::Policy,
    review::Mode,
};
use rstest::rstest;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use self::manifests::{
    kustomize,
    selector::{labels, matches},
};

/// The usual ways to install, by the name of their file.
pub(crate) fn variants() -> [(&'static str, Options); 6] {
    let default = Options::default;
    [
        ("default", default()),
        ("audit", Options { default_mode: Some(Mode::Audit), ..default() }),
        ("enforce", Options { default_mode: Some(Mode::Enforce), ..default() }),
        ("ha", Options { ha: true, ..default() }),
        ("cert-manager", Options { tls: Tls::CertManager, ..default() }),
        ("reports", Options { reports: Some(Reports::default()), ..default() }),
    ]
}

/// Every combination of options.
fn all_options() -> Vec<Options> {
    let mut all = vec![];
    for default_mode in Mode::ALL.map(Some).into_iter().chain([None]) {
        for tls in [Tls::SelfSigned, Tls::CertManager, Tls::Byo { ca_bundle: "PEM".to_owned() }] {
            for failure_policy in FailurePolicy::ALL {
                let more = [
                    Options::default(),
                    Options { ha: true, network_policy: true, sockets: true, ..Options::default() },
                    placed(),
                ];
                for more in more {
                    all.push(Options { default_mode, tls: tls.clone(), failure_policy, ..more });
                }
            }
        }
    }
    all
}

/// With every option that says where pods run, how they are reached and how their image is pulled.
fn placed() -> Options {
    let label = |text: &str| read_label(text).unwrap();
    Options {
        sockets: true,
        reports: Some(Reports { schedule: "@daily".to_owned(), events: true }),
        host_network: true,
        webhook_port: 10_260,
        admin_port: 10_261,
        image_pull_secrets: vec!["registry".to_owned(), "mirror".to_owned()],
        node_selector: [label("pool=system")].into(),
        tolerations: vec![
            Toleration::read("node-role.kubernetes.io/control-plane:NoSchedule").unwrap(),
            Toleration::read("pool=system").unwrap(),
        ],
        pod_monitor: Some([label("release=prometheus")].into()),
        ..Options::default()
    }
}

/// The server that `install` prints accepts its own arguments, and a NetworkPolicy lets it reach the collector.
#[test]
fn the_server_sends_spans_to_the_collector() {
    let otlp_endpoint = Some("http://collector.traces:4318".parse().unwrap());
    let options = Options { otlp_endpoint, network_policy: true, ..Options::default() };
    let args = &find(&options, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"];
    let args = args.as_array().unwrap().iter().map(|arg| arg.as_str().unwrap());
    let parsed = Cli::try_parse_from(["linkerd-linger"].into_iter().chain(args)).unwrap();
    assert!(format!("{parsed:?}").contains("http://collector.traces:4318"), "{parsed:?}");
    let policy = find(&options, "NetworkPolicy");
    assert_eq!(
        policy["spec"]["egress"],
        json!([{"ports": [
            {"port": 4318, "protocol": "TCP"},
            {"port": 53, "protocol": "UDP"},
            {"port": 53, "protocol": "TCP"},
        ]}])
    );
}

fn webhooks(options: &Options) -> Vec<Value> {
    let of = |object: Value| object["webhooks"].as_array().cloned().unwrap_or_default();
    objects(options).into_iter().flat_map(of).collect()
}

fn find(options: &Options, kind: &str) -> Value {
    objects(options).into_iter().find(|object| object["kind"] == kind).unwrap()
}

#[test]
fn the_files_are_what_install_prints() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
    let mut files = vec![("uninstall.yaml".to_owned(), print(&cluster_scoped(Engine::Webhook)).unwrap())];
    for (name, options) in variants() {
        files.push((format!("{name}.yaml"), print(&objects(&options)).unwrap()));
    }
    let without_server = policies(&Options::default(), &Policy::default()).unwrap();
    files.push(("policy.yaml".to_owned(), print(&without_server).unwrap()));
    files.extend(kustomize::files(&variants()));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        for (name, text) in &files {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }
    for (name, text) in &files {
        let found = fs::read_to_string(directory.join(name)).unwrap_or_default();
        assert!(found == *text, "manifests/{name} is old: UPDATE_DOCS=1 cargo test --test manifests");
    }
    let expected: BTreeSet<_> = files.iter().map(|(name, _)| directory.join(name)).collect();
    // `tests/monitoring.rs` looks at what is for Prometheus and Grafana.
    let ours =
        walkdir::WalkDir::new(&directory).into_iter().filter_entry(|it| it.file_name() != "monitoring");
    for found in ours.map(Result::unwrap) {
        let is_manifest = found.path().extension().is_some_and(|extension| extension == "yaml");
        assert!(!is_manifest || expected.contains(found.path()), "{} is nobody's", found.path().display());
    }
}

/// What a kind does not know is lost on the way through its type.
fn round_trip<T: DeserializeOwned + Serialize>(object: &Value) -> Value {
    serde_json::to_value(serde_json::from_value::<T>(object.clone()).unwrap()).unwrap()
}

#[test]
fn every_object_is_of_its_type() {
    for object in all_options().iter().flat_map(objects).chain(cluster_scoped(Engine::Webhook)) {
        let typed = match object["kind"].as_str().unwrap() {
            "Namespace" => round_trip::<Namespace>(&object),
            "ServiceAccount" => round_trip::<ServiceAccount>(&object),
            "ConfigMap" => round_trip::<ConfigMap>(&object),
            "ResourceQuota" => round_trip::<ResourceQuota>(&object),
            "Role" => round_trip::<Role>(&object),
            "RoleBinding" => round_trip::<RoleBinding>(&object),
            "ClusterRole" => round_trip::<ClusterRole>(&object),
            "ClusterRoleBinding" => round_trip::<ClusterRoleBinding>(&object),
            "Service" => round_trip::<Service>(&object),
            "DaemonSet" => round_trip::<DaemonSet>(&object),
            "Deployment" => round_trip::<Deployment>(&object),
            "PodDisruptionBudget" => round_trip::<PodDisruptionBudget>(&object),
            "NetworkPolicy" => round_trip::<NetworkPolicy>(&object),
            "MutatingWebhookConfiguration" => round_trip::<MutatingWebhookConfiguration>(&object),
            "ValidatingWebhookConfiguration" => round_trip::<ValidatingWebhookConfiguration>(&object),
            "Job" => round_trip::<Job>(&object),
            "CronJob" => round_trip::<CronJob>(&object),
            // Of cert-manager and the Prometheus Operator, whose types we do not have.
            "Certificate" | "Issuer" | "PodMonitor" => continue,
            kind => panic!("{kind} is new"),
        };
        // A bare name in `uninstall` has no spec, which some types print as their default.
        if object.as_object().unwrap().len() > 3 || object["kind"] == "Namespace" {
            assert_eq!(typed, object);
        }
    }
}

#[test]
fn cluster_scoped_objects_are_uninstalled() {
    let key = |object: &Value| (object["kind"].clone().to_string(), object["metadata"]["name"].to_string());
    let removed: BTreeSet<_> = cluster_scoped(Engine::Webhook).iter().map(key).collect();
    let mut seen = BTreeSet::new();
    for object in all_options().iter().flat_map(objects) {
        match object["metadata"]["namespace"].as_str() {
            Some(namespace) => assert!([names::NAMESPACE, names::SOCKETS].contains(&namespace)),
            None => drop(seen.insert(key(&object))),
        }
        // The Linkerd CLI takes the one namespace with this label for that of the extension.
        let is_other = object["kind"] == "Namespace" && object["metadata"]["name"] == names::SOCKETS;
        let label = &object["metadata"]["labels"][names::EXTENSION_LABEL];
        assert!(if is_other { label.is_null() } else { label == names::EXTENSION }, "{object}");
    }
    assert_eq!(seen, removed);
    let namespaced =
        cluster_scoped(Engine::Webhook).iter().all(|object| object["metadata"].get("namespace").is_none());
    assert!(namespaced);
}

#[test]
fn policies_are_uninstalled() {
    let key = |object: &Value| (object["kind"].clone().to_string(), object["metadata"]["name"].to_string());
    let removed: BTreeSet<_> = cluster_scoped(Engine::Policy).iter().map(key).collect();
    let installed = policies(&Options::default(), &Policy::default()).unwrap();
    let outside = installed.iter().filter(|object| object["metadata"].get("namespace").is_none());
    let left: Vec<_> = outside.map(key).filter(|key| !removed.contains(key)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[rstest]
#[case::exemptions(
    "exemptions: [{namespace: shop, reason: moves, until: 2999-12-31}]",
    PolicyEngineError::Exemptions
)]
#[case::sysctl("closeWait: {via: pod-sysctl}", PolicyEngineError::Sysctl)]
fn a_policy_that_expressions_cannot_evaluate_is_refused(#[case] text: &str, #[case] why: PolicyEngineError) {
    assert_eq!(policies(&Options::default(), &Policy::parse(text).unwrap()), Err(why));
}

#[test]
fn no_secret_is_printed() {
    for object in all_options().iter().flat_map(objects) {
        assert_ne!(object["kind"], "Secret");
    }
}

#[test]
fn our_configurations_come_after_those_of_linkerd() {
    for linkerd in ["linkerd-proxy-injector-webhook-config", "linkerd-tap-injector-webhook-config"] {
        assert!(names::WEBHOOK_CONFIGURATION > linkerd);
    }
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        assert_eq!(find(&Options::default(), kind)["metadata"]["name"], names::WEBHOOK_CONFIGURATION);
    }
}

#[test]
fn excluded_namespaces_are_never_selected() {
    for webhook in all_options().iter().flat_map(webhooks) {
        for name in names::EXCLUDED_NAMESPACES {
            for mode in ["enforce", "warn", "audit", "off", "none", ""] {
                let namespace = labels(&[(names::NAMESPACE_NAME_LABEL, name), (names::MODE_LABEL, mode)]);
                assert!(!matches(&webhook["namespaceSelector"], &namespace), "{name} {webhook}");
            }
            assert!(!matches(&webhook["namespaceSelector"], &labels(&[(names::NAMESPACE_NAME_LABEL, name)])));
        }
        let component = labels(&[("linkerd.io/control-plane-component", "destination")]);
        assert!(!matches(&webhook["objectSelector"], &component));
        assert!(matches(&webhook["objectSelector"], &labels(&[])));
    }
}

/// The paths that are called for an object in a namespace with such labels.
fn paths(options: &Options, namespace: &[(&str, &str)]) -> Vec<String> {
    let namespace = labels(&[&[(names::NAMESPACE_NAME_LABEL, "shop")], namespace].concat());
    let selected =
        webhooks(options).into_iter().filter(|hook| matches(&hook["namespaceSelector"], &namespace));
    selected.map(|hook| hook["clientConfig"]["service"]["path"].as_str().unwrap().to_owned()).collect()
}

#[rstest]
#[case::off_by_default(None, &[], &[])]
#[case::labelled(None, &[("linkerd-linger.io/mode", "enforce")], &["/mutate/enforce", "/validate/enforce"])]
#[case::default_audit(Some(Mode::Audit), &[], &["/mutate/audit", "/validate/audit"])]
#[case::label_beats_default(Some(Mode::Audit), &[("linkerd-linger.io/mode", "warn")], &["/mutate/warn", "/validate/warn"])]
#[case::opt_out(Some(Mode::Enforce), &[("linkerd-linger.io/mode", "off")], &[])]
#[case::unknown_word_is_the_default(Some(Mode::Warn), &[("linkerd-linger.io/mode", "Enforce")], &["/mutate/warn", "/validate/warn"])]
#[case::unknown_word_without_default(None, &[("linkerd-linger.io/mode", "Enforce")], &[])]
#[case::no_privileged_pods(Some(Mode::Enforce), &[("pod-security.kubernetes.io/enforce", "baseline")], &["/mutate/enforce/unprivileged", "/validate/enforce/unprivileged"])]
#[case::never_privileged(Some(Mode::Warn), &[("linkerd-linger.io/privileged", "never")], &["/mutate/warn/unprivileged", "/validate/warn/unprivileged"])]
#[case::both_say_never(Some(Mode::Warn), &[("linkerd-linger.io/privileged", "never"), ("pod-security.kubernetes.io/enforce", "restricted")], &["/mutate/warn/unprivileged", "/validate/warn/unprivileged"])]
#[case::our_label_beats_a_privileged_level(Some(Mode::Warn), &[("linkerd-linger.io/privileged", "never"), ("pod-security.kubernetes.io/enforce", "privileged")], &["/mutate/warn/unprivileged", "/validate/warn/unprivileged"])]
#[case::unknown_value_of_our_label(Some(Mode::Warn), &[("linkerd-linger.io/privileged", "false")], &["/mutate/warn", "/validate/warn"])]
#[case::privileged_pods(Some(Mode::Enforce), &[("pod-security.kubernetes.io/enforce", "privileged")], &["/mutate/enforce", "/validate/enforce"])]
fn the_labels_choose_the_path(
    #[case] default_mode: Option<Mode>,
    #[case] namespace: &[(&str, &str)],
    #[case] expected: &[&str],
) {
    assert_eq!(paths(&Options { default_mode, ..Options::default() }, namespace), expected);
}

#[test]
fn a_namespace_has_at_most_one_entry_per_door() {
    let modes = [None, Some("enforce"), Some("warn"), Some("audit"), Some("off"), Some("on")];
    let levels = [None, Some("privileged"), Some("baseline"), Some("restricted")];
    for options in all_options() {
        for (mode, level) in modes.iter().flat_map(|mode| levels.map(|level| (*mode, level))) {
            let mode = mode.map(|mode| (names::MODE_LABEL, mode));
            let level = level.map(|level| ("pod-security.kubernetes.io/enforce", level));
            let called = paths(&options, &mode.into_iter().chain(level).collect::<Vec<_>>());
            assert!(called.is_empty() || called.len() == 2, "{called:?}");
        }
    }
}

#[test]
fn entries_ask_for_no_more_than_they_need() {
    for options in all_options() {
        let mut seen = BTreeSet::new();
        for webhook in webhooks(&options) {
            let name = webhook["name"].as_str().unwrap();
            assert!(seen.insert(name.to_owned()) && name.split('.').count() >= 3, "{name}");
            let enforces = name.starts_with("enforce");
            let policy = if enforces { options.failure_policy } else { FailurePolicy::Ignore };
            assert_eq!(webhook["failurePolicy"], policy.as_str(), "{name}");
            assert_eq!(webhook["sideEffects"], "None");
            assert_eq!(webhook["timeoutSeconds"], 5);
            assert_eq!(webhook["admissionReviewVersions"], json!(["v1"]));
            assert_eq!(webhook["matchPolicy"], "Equivalent");
            let bundled = matches!(options.tls, Tls::Byo { .. });
            assert_eq!(webhook["clientConfig"].get("caBundle").is_some(), bundled);
            let mutates = name.contains(".mutate.");
            assert_eq!(webhook["reinvocationPolicy"] == "IfNeeded", mutates);
            for rule in webhook["rules"].as_array().unwrap() {
                assert!(!rule.to_string().contains('*') && !rule.to_string().contains('/'), "{rule}");
                assert_eq!(rule["scope"], "Namespaced");
                assert!(!mutates || rule["operations"] == json!(["CREATE"]));
            }
        }
    }
}

#[test]
fn the_server_understands_its_arguments_and_stops_in_time() {
    for options in all_options() {
        let deployment = find(&options, "Deployment");
        let args = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
        let words = args.iter().map(|word| word.as_str().unwrap());
        Cli::try_parse_from(["linkerd-linger"].into_iter().chain(words)).unwrap();
    }
    let deployment = find(&Options::default(), "Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let words: Vec<_> =
        container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert!(words.windows(2).any(|pair| pair == ["--init-image", container["image"].as_str().unwrap()]));
    for object in ["Job", "CronJob"].map(|kind| find(&Options::default(), kind)) {
        let job = object.pointer("/spec/jobTemplate/spec").unwrap_or_else(|| &object["spec"]);
        let args = job["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
        Cli::try_parse_from(
            ["linkerd-linger"].into_iter().chain(args.iter().map(|word| word.as_str().unwrap())),
        )
        .unwrap();
    }
    let timeouts = Timeouts::default();
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!((timeouts.shutdown_delay + timeouts.drain).as_secs() < grace);
}

#[test]
fn the_server_has_no_access_to_the_api() {
    for options in all_options() {
        let deployment = find(&options, "Deployment");
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        let account = &pod["serviceAccountName"];
        for object in objects(&options) {
            let subjects = object["subjects"].as_array().cloned().unwrap_or_default();
            assert!(subjects.iter().all(|subject| subject["name"] != *account));
        }
        let keys: Vec<_> = pod["volumes"][0]["secret"]["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| &item["key"])
            .collect();
        assert_eq!(keys, ["tls.crt", "tls.key"]);
    }
}

#[test]
fn access_is_to_named_objects() {
    for object in objects(&Options::default()) {
        for rule in object["rules"].as_array().unwrap_or(&vec![]) {
            assert!(rule.get("resourceNames").is_some() || rule["verbs"] == json!(["create"]), "{rule}");
            assert!(!rule.to_string().contains('*'));
        }
    }
}

/// `audit` reads the whole cluster, but no Secrets, and changes only reports and Events.
#[rstest]
#[case::reports(false, &["reports", "policyreports"])]
#[case::reports_and_events(true, &["reports", "policyreports", "events"])]
fn the_reports_job_changes_only_reports_and_events(#[case] events: bool, #[case] written: &[&str]) {
    let reports = Some(Reports { events, ..Reports::default() });
    let options = Options { tls: Tls::CertManager, reports, ..Options::default() };
    let role = find(&options, "ClusterRole");
    let mut changed = Vec::new();
    for rule in role["rules"].as_array().unwrap() {
        let resources = rule["resources"].as_array().unwrap();
        assert!(!rule.to_string().contains('*') && !resources.contains(&json!("secrets")), "{rule}");
        let reads = |verb: &Value| ["get", "list"].contains(&verb.as_str().unwrap());
        if !rule["verbs"].as_array().unwrap().iter().all(reads) {
            changed.extend(resources.iter().map(|resource| resource.as_str().unwrap().to_owned()));
        }
    }
    assert_eq!(changed, written);
    let job = find(&options, "CronJob");
    let args = job.pointer("/spec/jobTemplate/spec/template/spec/containers/0/args").unwrap();
    let words = args.as_array().unwrap().iter().map(|word| word.as_str().unwrap());
    Cli::try_parse_from(["linkerd-linger"].into_iter().chain(words)).unwrap();
    assert_eq!(args.to_string().contains("--events"), events);
}

/// Pod Security at `restricted`, which our namespace enforces.
#[test]
fn our_pods_are_restricted() {
    let objects = all_options().into_iter().flat_map(|options| objects(&options));
    for object in objects.filter(|object| object["metadata"]["namespace"] == names::NAMESPACE) {
        let template = ["/spec/template", "/spec/jobTemplate/spec/template"];
        let Some(template) = template.iter().find_map(|pointer| object.pointer(pointer)) else { continue };
        let pod = &template["spec"];
        assert_eq!(template["metadata"]["annotations"]["linkerd.io/inject"], "disabled");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for container in pod["containers"].as_array().unwrap() {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false);
            assert_eq!(security["readOnlyRootFilesystem"], true);
            assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
            assert!(container["resources"]["limits"].get("cpu").is_none());
        }
    }
}

/// What `sockets --node` needs, and nothing else: no rights at the API server, and no capability that is not explained.
#[test]
fn the_pods_of_sockets_have_least_privileges() {
    let daemon_set = find(&Options { sockets: true, ..Options::default() }, "DaemonSet");
    let pod = &daemon_set["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(
        (&pod["hostPID"], &pod["hostNetwork"], &pod["volumes"]),
        (&json!(true), &Value::Null, &Value::Null)
    );
    let security = &pod["containers"][0]["securityContext"];
    assert_eq!((&security["privileged"], &security["readOnlyRootFilesystem"]), (&Value::Null, &json!(true)));
    let capabilities =
        json!({"add": ["DAC_READ_SEARCH", "NET_ADMIN", "SYS_PTRACE", "SYS_ADMIN"], "drop": ["ALL"]});
    assert_eq!(security["capabilities"], capabilities);
    let objects = objects(&Options { sockets: true, ..Options::default() });
    let bound = objects.iter().filter(|object| object["kind"].as_str().unwrap().ends_with("RoleBinding"));
    assert!(
        bound
            .flat_map(|object| object["subjects"].as_array().unwrap())
            .all(|subject| subject["name"] != names::SOCKETS)
    );
}

#[test]
fn our_probes_are_far_from_our_idle_timeout() {
    let deployment = find(&Options::default(), "Deployment");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    for probe in ["readinessProbe", "livenessProbe"] {
        let period = container[probe]["periodSeconds"].as_u64().unwrap();
        assert!(Timeouts::default().idle.as_secs() >= 10 * period);
    }
}

#[test]
fn overlays_build_to_what_install_prints() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/kustomize");
    for (name, options) in variants() {
        let layer = if name == "default" { "base".to_owned() } else { format!("overlays/{name}") };
        let mut kubectl = match cluster::kubectl() {
            Ok(kubectl) => kubectl,
            Err(why) => return why.tell(),
        };
        let built = kubectl.arg("kustomize").arg(directory.join(&layer)).output().unwrap();
        assert!(built.status.success(), "{layer}: {}", String::from_utf8_lossy(&built.stderr));
        let text = String::from_utf8(built.stdout).unwrap();
        let mut built: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let mut printed = objects(&options);
        let name = |object: &Value| format!("{}/{}", object["kind"], object["metadata"]["name"]);
        for objects in [&mut built, &mut printed] {
            objects.sort_by_key(name);
        }
        assert_eq!(
            built.iter().map(name).collect::<Vec<_>>(),
            printed.iter().map(name).collect::<Vec<_>>(),
            "{layer}"
        );
        for (built, printed) in built.iter().zip(&printed) {
            assert!(built == printed, "{layer}: {}: {built} is not {printed}", name(built));
        }
    }
}

#[test]
fn the_image_is_what_the_manifests_expect() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dockerfile = fs::read_to_string(root.join("Dockerfile")).unwrap();
    let deployment = find(&Options::default(), "Deployment");
    let user = &deployment["spec"]["template"]["spec"]["securityContext"]["runAsUser"];
    assert!(dockerfile.contains(&format!("\nUSER {user}:{user}\n")));
    let toolchain = fs::read_to_string(root.join("rust-toolchain.toml")).unwrap();
    let version =
        toolchain.lines().find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"')).unwrap();
    assert!(dockerfile.contains(&format!("rust:{version}-alpine\n")));
    let command = dockerfile.lines().find_map(|line| line.strip_prefix("CMD ")).unwrap();
    let words: Vec<String> = serde_json::from_str(command).unwrap();
    Cli::try_parse_from(["linkerd-linger".to_owned()].into_iter().chain(words)).unwrap();
}

#[test]
fn what_is_shipped_has_its_allocator() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, command) in [
        ("Dockerfile", "cargo build"),
        (".ci/dist", "cargo auditable build"),
        (".ci/sbom", "cargo cyclonedx -qq"),
    ] {
        let script = fs::read_to_string(root.join(file)).unwrap();
        let command =
            script.lines().find(|line| line.trim_start_matches("RUN ").starts_with(command)).unwrap();
        assert!(command.contains(" --features jemalloc "), "{file}: {command}");
    }
}

#[test]
fn the_image_of_a_release_runs_like_the_one_of_the_dockerfile() {
    let read = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let of = |dockerfile: &str| -> Vec<String> {
        let kept = ["ARG RUN_IMAGE", "USER", "EXPOSE", "ENTRYPOINT", "CMD"];
        let lines = dockerfile.lines().filter(|line| kept.iter().any(|word| line.starts_with(word)));
        lines.map(str::to_owned).collect()
    };
    let (dockerfile, release) = (of(&read("Dockerfile")), of(&read(".ci/release.Dockerfile")));
    assert_eq!(dockerfile.len(), 5, "{dockerfile:?}");
    assert_eq!(dockerfile, release);
}
