//! What must hold for any input, one function for each fuzz target of `fuzz/`.
//!
//! The fuzz targets and the property tests call the same functions. Each takes the bytes of one input and panics if a
//! property does not hold.

#![allow(dead_code, reason = "each user calls its own part")]
#![allow(unreachable_pub, reason = "the library of fuzz/ in one crate, and a module of tests in others")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "an oracle fails by panicking")]

use std::{collections::BTreeMap, sync::LazyLock};

use jiff::civil::{Date, date};
use linkerd_linger::{
    base::{names::INIT_CONTAINER, yaml},
    cluster::apiserver::{self, Admission},
    diagnose::{cause::diagnose, log::Log, metrics::Metrics},
    judgement::{facts::Facts, judge::judge, policy::Policy},
    linkerd::{Injection, proxy_init::ProxyInit},
    lint::{
        baseline::Baseline,
        comments, fix, manifest,
        report::{ErrorReport, LineReport, ObjectReport, Report, github, html, json, junit, sarif, text},
    },
    review::{self, Endpoint, Mode, WebhookKind},
    servers::{Catalog, Idle, Origin},
    workload::{context::Context, object::Object},
};
use serde_json::{Map, Value, json};

/// An oracle: panics if the input breaks a property.
pub type Oracle = fn(&[u8]);

/// Every fuzz target with its oracle.
pub const TARGETS: [(&str, Oracle); 8] = [
    ("annotations", annotations),
    ("command", command),
    ("configuration", configuration),
    ("manifests", manifests),
    ("pod", pod),
    ("policy", policy),
    ("proxy_log", proxy_log),
    ("review", review),
];

/// The image of our init container.
pub const IMAGE: &str = "registry.example.com/linkerd-linger:1.0.0";

const TODAY: Date = date(2026, 11, 23);

/// The built-in policy, and one that may add our init container to every pod.
static POLICIES: LazyLock<[Policy; 2]> = LazyLock::new(|| {
    let mut with_image = Policy::parse("closeWait: {cni: true}\n").unwrap();
    with_image.close_wait.init_image = Some(IMAGE.to_owned());
    [Policy::default(), with_image]
});

/// Any bytes as the body of an admission review, at every endpoint.
///
/// A response is one that the API server takes, with the uid of the request. A patch applies, changes nothing but what it
/// may change, and is made once.
pub fn review(body: &[u8]) {
    for policy in &*POLICIES {
        for endpoint in Endpoint::all() {
            // Not a review: the API server is told so, and applies the failure policy.
            let Ok(reviewed) = review::review(body, endpoint, policy, TODAY) else { continue };
            // What no JSON library reads whole, no API server sends.
            let Ok(review) = serde_json::from_slice::<Value>(body) else { continue };
            let admission = response(endpoint, &review, &reviewed.body);
            if !admission.patch.0.is_empty() {
                patched(endpoint, policy, review, &admission);
            }
        }
    }
}

/// The response is one that the API server takes: with the uid of the request, and within the limits for its messages.
pub fn response(endpoint: Endpoint, review: &Value, response: &[u8]) -> Admission {
    let uid = review["request"]["uid"].as_str().unwrap();
    let admission = apiserver::verify(endpoint.webhook, uid, response).unwrap();
    let sent = serde_json::from_slice::<Value>(response).unwrap();
    let warnings = sent["response"]["warnings"].as_array().map_or(0, Vec::len);
    assert_eq!(warnings, admission.warnings.len(), "every warning is one that the API server delivers");
    assert!(warnings <= 5 && admission.warnings.iter().all(|warning| warning.chars().count() <= 120));
    if !admission.allowed {
        assert_eq!((admission.code, warnings), (403, 0), "a denial is Forbidden, without warnings");
        assert!(admission.message.chars().count() <= 900 && !admission.message.chars().any(char::is_control));
        assert_eq!(endpoint.mode, Mode::Enforce, "only the mode enforce denies");
    }
    if endpoint.mode == Mode::Audit {
        assert!(admission.patch.0.is_empty(), "the mode audit patches nothing");
        assert!(admission.warnings.is_empty(), "the mode audit warns of nothing");
    }
    if endpoint.webhook == WebhookKind::Validating {
        assert!(admission.patch.0.is_empty(), "the validating webhook patches nothing");
    }
    admission
}

/// The patch of a review applies, gives no privilege to others, and is made once.
fn patched(endpoint: Endpoint, policy: &Policy, mut review: Value, admission: &Admission) {
    let before = review["request"]["object"].clone();
    let mut after = before.clone();
    json_patch(&mut after, admission);
    only_linkerd_linger_is_privileged(&before, &after, policy);
    assert_eq!(untouched(&after), untouched(&before), "the patch changes nothing else");
    if endpoint.unprivileged {
        assert_eq!(privileged(&after), privileged(&before), "nothing privileged is added");
    }
    review["request"]["object"] = after;
    let body = review.to_string();
    let again = review::review(body.as_bytes(), endpoint, policy, TODAY).unwrap();
    let again = response(endpoint, &review, &again.body);
    assert!(again.patch.0.is_empty(), "patched twice: {:?}, then {:?}", admission.patch, again.patch);
}

/// Applies the patch as the API server does: every operation must apply.
fn json_patch(object: &mut Value, admission: &Admission) {
    // A pod of the API's types is checked as the API server checks it. Others are no pods, but the patch applies.
    match apiserver::patched(object, &admission.patch) {
        Ok(patched) => *object = patched,
        Err(apiserver::PatchedError::Decode(_)) => {
            let is_pod = apiserver::patched(object, &json_patch::Patch::default()).is_ok();
            assert!(!is_pod, "the patch makes a pod unreadable: {:?}", admission.patch);
            json_patch::patch(object, &admission.patch).unwrap();
        }
        Err(error) => panic!("{error}: {:?}", admission.patch),
    }
}

/// A container that the patch makes privileged is an authentic linkerd-init or ours from end to end.
pub fn only_linkerd_linger_is_privileged(before: &Value, after: &Value, policy: &Policy) {
    if let Some(ours) = init_container(after, INIT_CONTAINER)
        && Some(ours) != init_container(before, INIT_CONTAINER)
    {
        assert_eq!(Some(&ours["image"]), policy.close_wait.init_image.clone().map(Value::from).as_ref());
        let context = json!({"privileged": true, "readOnlyRootFilesystem": true, "runAsNonRoot": false, "runAsUser": 0});
        assert_eq!(ours["securityContext"], context);
        let args = ours["args"].as_array().unwrap();
        assert!(args.len() == 2 && args[0] == "set-close-wait", "{ours}");
        assert!(args[1].as_str().unwrap().parse::<u32>().unwrap() > 0, "{ours}");
        let known = ["name", "image", "args", "securityContext", "resources", "terminationMessagePolicy"];
        assert!(ours.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{ours}");
    }
    let (init, changed) = (init_container(before, "linkerd-init"), init_container(after, "linkerd-init"));
    if init.map(|init| &init["securityContext"]) != changed.map(|init| &init["securityContext"]) {
        // The request says that it is a Pod, whatever the object says.
        let mut before = before.clone();
        (before["apiVersion"], before["kind"]) = ("v1".into(), "Pod".into());
        let json = before.to_string();
        let object = Object::read(&json).unwrap().unwrap();
        let init = ProxyInit::find(&object.pod).unwrap();
        assert_eq!(
            init.untrusted_reason(&object.pod, &policy.close_wait.images),
            None,
            "only an authentic linkerd-init"
        );
    }
}

/// The first init container of this name.
pub fn init_container<'v>(pod: &'v Value, name: &str) -> Option<&'v Value> {
    pod["spec"]["initContainers"].as_array()?.iter().find(|init| init["name"] == name)
}

/// How many containers are privileged.
fn privileged(pod: &Value) -> usize {
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let containers = lists.iter().filter_map(|list| pod["spec"][list].as_array()).flatten();
    containers.filter(|container| container["securityContext"]["privileged"] == true).count()
}

/// The pod without what a patch may touch: the arguments and privileges of linkerd-init, our container, and our sysctl.
pub fn untouched(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let Some(spec) = pod["spec"].as_object_mut() else { return pod };
    if let Some(inits) = spec.get_mut("initContainers").and_then(Value::as_array_mut) {
        inits.retain(|init| init["name"] != INIT_CONTAINER);
        let first = inits.iter_mut().find(|init| init["name"] == "linkerd-init");
        if let Some(init) = first.and_then(Value::as_object_mut) {
            init.remove("args");
            init.remove("securityContext");
        }
    }
    let context = spec.get_mut("securityContext").and_then(|context| context.get_mut("sysctls"));
    if let Some(sysctls) = context.and_then(Value::as_array_mut) {
        sysctls.retain(|sysctl| !sysctl["name"].as_str().is_some_and(|name| name.contains("close_wait")));
    }
    // What was empty or null before may be a list without ours now.
    let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    if let Some(context) = spec.get_mut("securityContext").and_then(Value::as_object_mut) {
        context.retain(|_, value| !is_empty(value));
    }
    let no_members = |value: &Value| value.as_object().is_some_and(Map::is_empty);
    spec.retain(|_, value| !is_empty(value) && !no_members(value));
    pod
}

/// Any JSON as the pod of a review, and as an object of `lint`.
pub fn pod(bytes: &[u8]) {
    let Ok(pod) = serde_json::from_slice::<Value>(bytes) else { return };
    if pod.is_object() {
        review(apiserver::creation(&pod, "0").to_string().as_bytes());
        judged(&pod, &Context::default());
    }
}

/// Lines as environment variables and, after an empty line, as the command of a container; a text that begins with `#!` is the
/// script of a shell.
pub fn command(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut container =
        json!({"name": "app", "image": "registry.example.com/app:1", "ports": [{"containerPort": 8000}]});
    if text.starts_with("#!") {
        container["command"] = json!(["/bin/sh", "-c", text]);
    } else {
        let (variables, command) = text.split_once("\n\n").unwrap_or(("", &text));
        let variables = variables.lines().filter_map(|line| line.split_once('='));
        container["env"] = variables.map(|(name, value)| json!({"name": name, "value": value})).collect();
        container["command"] = command.lines().collect();
    }
    container["livenessProbe"] = json!({"httpGet": {"port": 8000}, "periodSeconds": 10});
    judged(&meshed(container, json!([]), json!({})), &Context::default());
}

/// A text as a file of a ConfigMap. The first line names the path of the file, the image, and the command.
///
/// A timeout that comes from the file has its line, and what stands there is in the file.
pub fn configuration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Some((start, file)) = text.split_once('\n') else { return };
    let mut words = start.split(' ');
    let (Some(path), Some(image)) = (words.next(), words.next()) else { return };
    let mut container = json!({
        "name": "app", "image": image,
        "volumeMounts": [{"name": "files", "mountPath": path, "subPath": "file"}],
        "livenessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 10},
        "ports": [{"containerPort": 8080}, {"containerPort": 80}],
    });
    let command: Vec<_> = words.collect();
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    let volumes = json!([{"name": "files", "configMap": {"name": "files"}}]);
    let mut context = Context::default();
    let data = BTreeMap::from([("file".to_owned(), file.to_owned())]);
    context.config_maps.insert((String::new(), "files".to_owned()), data);
    judged(&meshed(container, volumes, json!({})), &context);
}

/// Lines `KEY: VALUE` as the annotations of a pod.
pub fn annotations(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let annotations: Map<String, Value> = text
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    let container = json!({
        "name": "web", "image": "nginx:1.27.3", "ports": [{"containerPort": 80}, {"containerPort": 8080}],
        "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 65},
        "readinessProbe": {"httpGet": {"port": 8080}},
    });
    let mut pod = meshed(container, json!([]), Value::Object(annotations));
    judged(&pod, &Context::default());
    pod["spec"]["initContainers"] =
        json!([{"name": "linkerd-init", "image": "cr.l5d.io/linkerd/proxy-init:v2.4.1"}]);
    review(apiserver::creation(&pod, "0").to_string().as_bytes());
}

/// A pod with one container that Linkerd has injected, or will.
fn meshed(container: Value, volumes: Value, mut annotations: Value) -> Value {
    annotations["linkerd.io/inject"] = "enabled".into();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "app", "namespace": "shop", "annotations": annotations},
        "spec": {"containers": [container], "volumes": volumes},
    })
}

/// A text as each of the files that a user writes for us. A baseline that can be read is the same after it is written.
///
/// Every mistake names a line of the text.
pub fn policy(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lines = yaml::lines(&text).count() as u64;
    if let Err(errors) = Policy::parse(&text) {
        assert!(!errors.is_empty() && errors.iter().all(|error| error.line <= lines), "{errors:?}");
    }
    if let Err(errors) = Facts::parse(&text) {
        assert!(!errors.is_empty() && errors.iter().all(|error| error.line <= lines), "{errors:?}");
    }
    if let Err(errors) = Catalog::parse(&text) {
        assert!(!errors.is_empty() && errors.iter().all(|error| error.line <= lines), "{errors:?}");
    }
    if let Ok(baseline) = Baseline::parse(&text) {
        let written = baseline.text().unwrap();
        assert_eq!(Baseline::parse(&written).unwrap().text().unwrap(), written);
    }
}

/// A text as a file of manifests: every document is JSON with a line of the file, and `lint --fix` changes only values.
pub fn manifests(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}');
    let manifests = manifest::read("input.yaml", text);
    let lines = yaml::lines(text).count();
    let context = manifest::context(&manifests.documents);
    let mut report = Report::default();
    report.errors.extend(manifests.errors.iter().map(|error| ErrorReport::from(error.clone())));
    for document in &manifests.documents {
        let value: Value = serde_json::from_str(document.json()).unwrap();
        assert!((1..=lines).contains(&document.line()), "line {} of {lines}", document.line());
        for object in document.objects().unwrap_or_default() {
            let namespace = object.namespace.as_deref().unwrap_or("default");
            let judgement = judge(&object, namespace, &context, &POLICIES[1], TODAY, Injection::AsAnnotated);
            let (mut object, findings) = ObjectReport::of(&object, &judgement);
            (object.file, object.line) = (Some("input.yaml".to_owned()), Some(document.line()));
            for (shown, finding) in object.findings.iter_mut().zip(&findings) {
                for at in &finding.at {
                    let line = document.line_of(at);
                    assert!((1..=lines).contains(&line), "line {line} of {lines}");
                    let text = document.line_text(line).to_owned();
                    shown.lines.push(LineReport { file: "input.yaml".to_owned(), line, text });
                }
                for proposal in fix::proposals(finding, &judgement.survey, &value).into_iter().take(2) {
                    if let Ok(changed) = fix::apply("input.yaml", text, document.line(), &proposal) {
                        assert_ne!(changed, text, "{proposal:?}");
                    }
                }
            }
            report.objects.push(object);
        }
    }
    comments::apply(&mut report, "input.yaml", text);
    rendered(&report);
}

/// Judges a pod with each policy, and prints the report in every format.
///
/// Evidence that is a pointer leads to a text of the pod.
fn judged(pod: &Value, context: &Context) {
    let json = pod.to_string();
    let Ok(Some(object)) = Object::read(&json) else { return };
    for policy in &*POLICIES {
        for injection in [Injection::AsAnnotated, Injection::Completed] {
            let judgement = judge(&object, "shop", context, policy, TODAY, injection);
            for app in &judgement.survey.apps {
                for answer in app.answers() {
                    evidence(&answer.idle, pod);
                }
            }
            let (report, _) = ObjectReport::of(&object, &judgement);
            rendered(&Report { objects: vec![report], ..Report::default() });
        }
    }
}

fn evidence(idle: &Idle, pod: &Value) {
    if let Some(Origin::SetBy { at, .. }) = idle.evidence().map(|evidence| &evidence.origin)
        && at.starts_with('/')
    {
        assert!(pod.pointer(at).is_some(), "{idle:?}");
    }
}

/// Every format can be printed, is what it should be, and has no control characters of the input.
fn rendered(report: &Report) {
    let plain = text::Styles::plain();
    let texts = [text::lint(report, &plain), text::explain(report, &plain), github::render(report)];
    for text in &texts {
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
    let commands = ["::error ", "::warning ", "::notice "];
    assert!(
        texts[2].lines().all(|line| commands.iter().any(|command| line.starts_with(command))),
        "{}",
        texts[2]
    );
    for text in [json::render(report).unwrap(), sarif::render(report).unwrap()] {
        serde_json::from_str::<Value>(&text).unwrap();
    }
    let xml = junit::render(report, true);
    assert!(!xml.chars().any(|c| c.is_control() && c != '\n'), "{xml:?}");
    let page = html::render(report, &html::About::default());
    assert!(!page.chars().any(|c| c.is_control() && c != '\n'), "{page:?}");
}

/// Any bytes as the log of a proxy and as its metrics: there are no more failures than lines.
pub fn proxy_log(bytes: &[u8]) {
    let mut log = Log::default();
    for chunk in bytes.chunks(97) {
        log.feed(chunk);
    }
    log.end();
    let logs = log.finish();
    let mut metrics = Metrics::default();
    let _ = metrics.read(&String::from_utf8_lossy(bytes));
    let lines = bytes.split(|byte| *byte == b'\n').count();
    let failed: u64 = diagnose(&logs, &metrics, &BTreeMap::new())
        .iter()
        .flat_map(|port| &port.findings)
        .map(|finding| finding.count)
        .sum();
    assert!(failed <= lines as u64, "{failed} failures in {lines} lines");
}
