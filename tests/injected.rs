//! Manifests injected by four release lines of Linkerd: the facts, the planned changes, and that a workload before
//! injection gets the same findings as its pod.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use jiff::civil::{Date, date};
use linkerd_linger::{
    judgement::{close_wait::Plan, finding::RuleId, judge, policy::Policy, verdict::Verdict},
    linkerd::{
        Mesh,
        expected::{Redirection, Setup},
        ports::PortSet,
        proxy_init::ProxyInit,
    },
    lint::{manifest, report::ObjectReport},
    workload::{
        context::{Context, Unprivileged},
        object::Object,
    },
};
use serde_json::Value;

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/linkerd-injected");
const TODAY: Date = date(2026, 11, 23);

fn goldens() -> Vec<PathBuf> {
    files(GOLDENS, &["yml", "yaml"])
}

fn files(directory: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut files: Vec<_> = walkdir::WalkDir::new(directory)
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension().is_some_and(|found| extensions.iter().any(|known| found == *known)))
        .collect();
    files.sort();
    files
}

#[test]
fn injected_pods_of_each_release_line_are_read() {
    let policy = Policy::default();
    let (mut table, mut objects) = (String::new(), 0);
    for path in goldens() {
        let name = path.strip_prefix(GOLDENS).unwrap().to_str().unwrap();
        writeln!(table, "{name}").unwrap();
        let read = manifest::read(name, &fs::read_to_string(&path).unwrap());
        assert!(read.errors.is_empty(), "{:?}", read.errors);
        let context = manifest::context(&read.documents);
        for document in &read.documents {
            let Some(object) = document.objects().unwrap().pop() else { continue };
            objects += 1;
            let namespace = object.namespace.as_deref().unwrap_or_default();
            let injection = policy.injection(object.kind);
            let judgement =
                judge::judge(&object, namespace, &context, &policy, date(2026, 11, 23), injection);
            let (report, _) = ObjectReport::of(&object, &judgement);
            let mesh = &report.mesh;
            let found: Vec<_> = report.findings.iter().map(|finding| finding.rule.as_str()).collect();
            writeln!(
                table,
                "  {:<10} {:<10} {:<16} line {:<9} {:<8} {:<14} {} edits  {}",
                report.kind,
                report.name,
                mesh.state.as_str(),
                mesh.line.as_deref().unwrap_or("?"),
                if mesh.cni { "cni" } else { "" },
                report.close_wait.action.as_str(),
                report.patch.len(),
                found.join(" ")
            )
            .unwrap();
        }
    }
    assert!(objects > 40, "the golden manifests are there, {objects} objects are");
    insta::assert_snapshot!("linkerd_injected", table);
}

/// A workload as written by its team, and its pod as injected by Linkerd.
struct Pair {
    name: String,
    before: Value,
    after: Value,
    namespace: String,
    context: Context,
    /// The policy of the case, if it has its own.
    policy: Option<Policy>,
    /// Whether a cluster-wide setting of Linkerd makes linkerd-init set the timeout; an annotation represents it.
    set_by_linkerd: bool,
}

/// The report of a workload or pod.
struct Told {
    mesh: Mesh,
    plan: Plan,
    verdict: Verdict,
}

impl Told {
    fn of(object: &Value, namespace: &str, context: &Context, policy: &Policy) -> Self {
        let json = object.to_string();
        let object = Object::read(&json).unwrap().unwrap();
        let injection = policy.injection(object.kind);
        let told = judge::judge(&object, namespace, context, policy, TODAY, injection);
        Self { mesh: told.survey.mesh.clone(), plan: told.plan, verdict: told.verdict }
    }

    /// The findings of the close-wait rules, or of all others.
    fn findings(&self, of_close_wait: bool) -> Vec<(RuleId, &str, &str)> {
        let judged = self.verdict.judged.iter();
        judged
            .filter(|judged| judged.finding.rule.as_str().starts_with("close-wait") == of_close_wait)
            .map(|it| (it.finding.rule, it.action.as_str(), it.finding.message.as_str()))
            .collect()
    }

    fn ports(&self) -> Option<(&PortSet, &PortSet)> {
        self.mesh.proxy().map(|proxy| (&proxy.skipped, &proxy.opaque))
    }
}

/// Whether the injector can produce such a pod, so that there is a corresponding workload. Linkerd's `runAsRoot` is
/// left out: it does not show in the workload, and a working linkerd-init is kept.
fn is_injectors(object: &Value, policy: &Policy) -> bool {
    let json = object.to_string();
    let object = Object::read(&json).unwrap().unwrap();
    let proxy = object.pod.all_containers().find(|container| &*container.name == "linkerd-proxy").unwrap();
    let Some(init) = ProxyInit::find(&object.pod) else { return proxy.env_from.is_empty() };
    let by_injector =
        init.combined || init.untrusted_reason(&object.pod, &policy.close_wait.images).is_none();
    let told_by_linkerd = object.pod.annotations.get("config.linkerd.io/close-wait-timeout").is_some();
    let as_root =
        init.requested_seconds().is_some() && init.missing_fields(&object.pod).is_empty() && !init.combined;
    by_injector
        && proxy.env_from.is_empty()
        && !init.container.args.is_empty()
        && init.effective_seconds().is_ok()
        && init.flags.len() < 2
        && !(told_by_linkerd && init.flags.is_empty())
        && !as_root
}

/// The pod template of an object.
fn template(object: &mut Value) -> &mut Value {
    let at = match object["kind"].as_str().unwrap() {
        "Pod" => "",
        "PodTemplate" => "/template",
        "CronJob" => "/spec/jobTemplate/spec/template",
        _ => "/spec/template",
    };
    object.pointer_mut(at).unwrap()
}

/// The object without Linkerd's additions, and with the annotations that produce them.
fn uninjected(after: &Value, told: &Told) -> Value {
    let json = after.to_string();
    let object = Object::read(&json).unwrap().unwrap();
    let seconds = ProxyInit::find(&object.pod).and_then(|init| init.requested_seconds());
    let mut before = after.clone();
    let pod = template(&mut before);
    let mut removed = Vec::new();
    for list in ["initContainers", "containers"] {
        let Some(containers) = pod["spec"][list].as_array_mut() else { continue };
        let is_linkerds = |container: &Value| {
            let name = container["name"].as_str().unwrap();
            ["linkerd-init", "linkerd-proxy", "linkerd-network-validator", "noop"].contains(&name)
        };
        removed.extend(containers.extract_if(.., |container| is_linkerds(container)));
    }
    let by_name = |name: &str| removed.iter().find(|container| container["name"] == name);
    let mut annotations = pod["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    let mut annotate = |key: &str, value: Value| {
        annotations.entry(key).or_insert(value);
    };
    annotate("linkerd.io/inject", "enabled".into());
    let proxy = by_name("linkerd-proxy").unwrap();
    let of_mesh = told.mesh.proxy().unwrap();
    let version = of_mesh.version.map(|version| version.to_string()).or_else(|| of_mesh.line_text());
    annotate("config.linkerd.io/proxy-version", version.into());
    let mut env = proxy["env"].as_array().cloned().unwrap_or_default();
    let opaque = "LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION";
    let ports = env.iter().rev().find(|var| var["name"] == opaque).and_then(|var| var["value"].as_str());
    annotate("config.linkerd.io/opaque-ports", ports.unwrap_or_default().into());
    env.retain(|var| var["name"] != opaque);
    annotate("config.linkerd.io/proxy-additional-env", Value::Array(env).to_string().into());
    if let Some(init) = by_name("linkerd-init") {
        let args = init["args"].as_array().cloned().unwrap_or_default();
        let value_of = |flag: &str| {
            let at = args.iter().position(|arg| arg == flag)?;
            args.get(at + 1)?.as_str().map(str::to_owned)
        };
        annotate(
            "config.linkerd.io/skip-inbound-ports",
            value_of("--inbound-ports-to-ignore").unwrap_or_default().into(),
        );
        if let Some(seconds) = seconds {
            annotate("config.linkerd.io/close-wait-timeout", format!("{seconds}s").into());
        }
        annotate("config.linkerd.io/init-image", init["image"].as_str().unwrap().split(':').next().into());
    } else {
        annotate("config.linkerd.io/skip-inbound-ports", "".into());
    }
    for key in ["linkerd.io/proxy-version", "linkerd.io/created-by", "linkerd.io/trust-root-sha256"] {
        annotations.remove(key);
    }
    pod["metadata"]["annotations"] = annotations.into();
    before
}

fn manifests(path: &Path) -> (String, Vec<Value>, Context) {
    let text = fs::read_to_string(path).unwrap();
    let read = manifest::read("", &text);
    let context = manifest::context(&read.documents);
    let runs_pods = read.documents.iter().filter(|it| !it.objects().unwrap().is_empty());
    let objects = runs_pods.map(|it| serde_json::from_str(it.json()).unwrap()).collect();
    (text, objects, context)
}

fn name_of(path: &Path) -> String {
    path.strip_prefix(TESTS).unwrap().display().to_string()
}

/// Every injected fixture, with its workload if there is one, otherwise with a reconstructed one.
fn pairs() -> Vec<Pair> {
    let mut pairs = Vec::new();
    for path in [goldens(), files(&format!("{TESTS}/cases"), &["yaml"])].concat() {
        let (text, objects, context) = manifests(&path);
        let policy = text.lines().find_map(|line| line.strip_prefix("# policy: "));
        let policy = policy.map(|text| Policy::parse(text).unwrap());
        let of_policy = policy.clone().unwrap_or_default();
        for after in objects {
            let namespace = after["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
            let told = Told::of(&after, &namespace, &context, &of_policy);
            if !matches!(told.mesh, Mesh::Injected(_)) || !is_injectors(&after, &of_policy) {
                continue;
            }
            let (before, policy, context) = (uninjected(&after, &told), policy.clone(), context.clone());
            let annotated =
                |object: &Value| object.to_string().contains("config.linkerd.io/close-wait-timeout");
            let set_by_linkerd = annotated(&before) && !annotated(&after);
            pairs.push(Pair {
                name: name_of(&path),
                before,
                after,
                namespace,
                context,
                policy,
                set_by_linkerd,
            });
        }
    }
    let recorded = format!("{TESTS}/fixtures/reviews/real-injector");
    let (_, workloads, _) = manifests(Path::new(&format!("{recorded}/apps.yaml")));
    for path in files(&recorded, &["json"]) {
        let request: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let request = &request["request"];
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let workload = workloads.iter().find(|it| it["metadata"]["name"] == stem).unwrap();
        let namespace = request["namespace"].as_str().unwrap().to_owned();
        let mut before = workload.clone();
        let set_by_linkerd = namespace.ends_with("-cw");
        if set_by_linkerd {
            template(&mut before)["metadata"]["annotations"]["config.linkerd.io/close-wait-timeout"] =
                "1h".into();
        }
        let mut context = Context::default();
        let inject = [("linkerd.io/inject".to_owned(), "enabled".to_owned())];
        context.namespaces.insert(namespace.clone(), inject.into());
        let mut after = request["object"].clone();
        (after["apiVersion"], after["kind"]) = ("v1".into(), "Pod".into());
        let policy = None;
        pairs.push(Pair { name: name_of(&path), before, after, namespace, context, policy, set_by_linkerd });
    }
    pairs
}

/// The setup of an injected pod.
fn setup(object: &Value, mesh: &Mesh) -> Setup {
    let json = object.to_string();
    let object = Object::read(&json).unwrap().unwrap();
    let redirection = match ProxyInit::find(&object.pod) {
        Some(init) if init.combined => Redirection::CombinedInit,
        Some(_) => Redirection::ProxyInit,
        None => Redirection::Cni,
    };
    Setup { redirection, native: mesh.proxy().unwrap().native == Some(true) }
}

const POLICIES: [&str; 6] = [
    "",
    "closeWait: {cni: true}",
    "closeWait: {via: init-container}",
    "closeWait: {via: proxy-init}",
    "closeWait: {via: pod-sysctl}",
    "closeWait: {timeout: off}",
];
const NAMESPACES: [Option<Unprivileged>; 3] =
    [None, Some(Unprivileged::PodSecurity), Some(Unprivileged::Label)];

#[test]
fn a_workload_gets_the_same_findings_as_its_pod() {
    let pairs = pairs();
    let policies = POLICIES.map(|text| Policy::parse(text).unwrap());
    let policies = with_and_without_image(&policies);
    let (mut compared, mut differ) = (0, BTreeMap::new());
    for pair in &pairs {
        for policy in with_and_without_image(pair.policy.as_slice()).iter().chain(&policies) {
            if pair.set_by_linkerd && policy.close_wait.timeout.is_none() {
                continue;
            }
            let close_wait = &policy.close_wait;
            for unprivileged in NAMESPACES {
                let mut context = pair.context.clone();
                context.unprivileged.extend(unprivileged.map(|it| (pair.namespace.clone(), it)));
                let told = |object| Told::of(object, &pair.namespace, &context, policy);
                let (before, after) = (told(&pair.before), told(&pair.after));
                if let Err(why) = same(pair, &before, &after, unprivileged) {
                    let told = format!("\n{}, {close_wait:?}, {unprivileged:?}: {why}", pair.name);
                    differ.entry(&pair.name).or_insert(told);
                }
                compared += 1;
            }
        }
    }
    let told: String = differ.values().map(String::as_str).collect();
    assert!(
        differ.is_empty(),
        "{} of {} pairs, compared {compared} times, differ:{told}",
        differ.len(),
        pairs.len()
    );
    assert!(pairs.len() > 100, "the fixtures are there, {} are", pairs.len());
}

fn with_and_without_image(policies: &[Policy]) -> Vec<Policy> {
    let with = policies.iter().cloned().map(|mut policy| {
        policy.close_wait.init_image = Some("registry.example.com/linkerd-linger:1".to_owned());
        policy
    });
    policies.iter().cloned().chain(with).collect()
}

fn same(pair: &Pair, before: &Told, after: &Told, unprivileged: Option<Unprivileged>) -> Result<(), String> {
    let (Mesh::WillBeInjected(_), Mesh::Injected(_)) = (&before.mesh, &after.mesh) else {
        return match (&before.mesh, &after.mesh) {
            (Mesh::Not(before), Mesh::Not(after)) if before == after => Ok(()),
            (before, after) => Err(format!("{} is {}", before.as_str(), after.as_str())),
        };
    };
    let setup = setup(&pair.after, &after.mesh);
    if unprivileged == Some(Unprivileged::PodSecurity) && setup.redirection != Redirection::Cni {
        // Pod Security refuses linkerd-init, so there is no such pod.
        return Ok(());
    }
    let equal = |what: &str, before: String, after: String| {
        if before == after { Ok(()) } else { Err(format!("{what}: {before}\n    is {after}")) }
    };
    let (of_before, of_after) = (before.findings(false), after.findings(false));
    equal("findings", format!("{of_before:?}"), format!("{of_after:?}"))?;
    equal("ports", format!("{:?}", before.ports()), format!("{:?}", after.ports()))?;
    let pool = |told: &Told| format!("{:?}", told.mesh.proxy().map(|proxy| proxy.pool.timeout));
    equal("pool", pool(before), pool(after))?;
    let warns = |rule: Option<RuleId>| rule.filter(|rule| !rule.can_patch());
    let plan = &after.plan;
    let due = format!("{:?}", (plan.method, plan.seconds, warns(plan.rule)));
    match before.plan.forecasts.iter().find(|forecast| forecast.setup == setup) {
        Some(it) => equal("forecast", format!("{:?}", (it.method, it.seconds, warns(it.rule))), due)?,
        // No timeout is wanted, which does not depend on the setup.
        None if before.plan.forecasts.is_empty() && plan.rule.is_none() => {}
        None => return Err(format!("no forecast for {setup:?}, which is {due}")),
    }
    let early = before.findings(true);
    let late = after.findings(true);
    let told_of = |rule| late.iter().any(|(late, ..)| *late == rule);
    match early.iter().find(|(rule, ..)| !told_of(*rule)) {
        Some(early) => Err(format!("{early:?} is not said of the pod: {late:?}")),
        None => Ok(()),
    }
}
