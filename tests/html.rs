//! Tests the HTML pages of `lint`, `diagnose` and `demo`: their structure with a strict tokenizer, hostile names, and in
//! a real browser what it shows, what it sends, and what axe-core finds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/recordings.rs"]
#[allow(dead_code, reason = "tests/diagnose.rs uses all of it")]
mod recordings;
#[path = "support/simulated.rs"]
mod simulated;
#[allow(unused_imports, reason = "other tests use all of it")]
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use html5gum::{DefaultEmitter, Token, Tokenizer};
use linkerd_linger::diagnose::{cause, html, log::Log, metrics::Metrics, report::Report};
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{runtime::Runtime, time::timeout};

use self::{
    recordings::{Form, record},
    simulated::{Answers, ApiServer, kubeconfig},
    support::NotRun,
};

/// Names that end an element, an attribute or a script, if they are not escaped.
const HOSTILE: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: "</script><img src=x onerror='window.hacked=1'>"
  namespace: "\"><svg onload='window.hacked=1'>"
  annotations:
    linkerd.io/inject: enabled
    linkerd-linger.io/exempt: "' onmouseover='window.hacked=1"
spec:
  containers:
  - name: "</style><script>window.hacked=1</script>"
    command: [uvicorn, --timeout-keep-alive, "10", "</title><script>window.hacked=1</script>", "\u001b[31m\u202e<!--"]
    ports: [{containerPort: 8000}]
    livenessProbe: {httpGet: {path: "/]]><script>window.hacked=1</script>", port: 8000}, periodSeconds: 10}
"#;

/// A pod whose probe meets the server's idle timeout.
const RACE: &str = include_str!("../examples/pods/2-rejected.yaml");

/// A pod whose server is not known.
const UNKNOWN: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: web, annotations: {linkerd.io/inject: enabled}}
spec:
  containers:
  - {name: web, image: registry.example.com/web, ports: [{containerPort: 80}], livenessProbe: {httpGet: {port: 80}}}
";

const RACED: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: web, annotations: {linkerd-linger.io/idle-timeout: 1s}}
spec:
  containers:
  - name: web
    image: web
    ports: [{containerPort: 9000}]
    readinessProbe: {httpGet: {port: 9000}, periodSeconds: 1}
";

fn run(args: &[&str], stdin: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_linkerd-linger"))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0..=2)), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn lint(manifests: &str) -> String {
    run(&["lint", "-o", "html", "-"], manifests)
}

/// The page about a recording, with a manifest that shows the idle timeout.
fn diagnosis() -> String {
    let dir = tempfile::tempdir().unwrap();
    let manifest = dir.path().join("web.yaml");
    fs::write(&manifest, RACED).unwrap();
    let manifest = manifest.to_str().unwrap();
    run(
        &["diagnose", "--logs", "-", "--manifest", manifest, "-o", "html"],
        &record(Form::Apache, false, 1).log,
    )
}

/// The page about several workloads, as `diagnose -A` prints it.
fn workloads() -> String {
    let report = |name: &str, seed| {
        let mut log = Log::default();
        log.feed(record(Form::Plain, seed % 2 == 0, seed).log.as_bytes());
        log.end();
        let logs = log.finish();
        let ports = cause::diagnose(&logs, &Metrics::default(), &BTreeMap::new());
        Report::new(Some(name.to_owned()), ports, &logs, vec!["a <note>".to_owned()])
    };
    let reports = [report("deploy/<b>web</b>", 1), report("sts/db", 2)];
    html::workloads(&reports, &["shop/cart: </ul><script>window.hacked=1</script>".to_owned()])
}

/// A pod of a Deployment, as Linkerd 2.14 injects it, with a server that closes idle connections after this time.
fn injected(deployment: &str, number: usize, command: &[&str]) -> Value {
    let replica_set = format!("{deployment}-7c9f8b6d5");
    json!({
        "metadata": {
            "name": format!("{replica_set}-{number}"), "namespace": "shop",
            "labels": {"pod-template-hash": "7c9f8b6d5", "linkerd.io/control-plane-ns": "linkerd"},
            "annotations": {"linkerd.io/inject": "enabled", "linkerd.io/proxy-version": "stable-2.14.10"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": replica_set, "controller": true}],
        },
        "spec": {
            "initContainers": [{
                "name": "linkerd-init", "image": "cr.l5d.io/linkerd/proxy-init:v2.2.3",
                "args": ["--incoming-proxy-port", "4143"],
                "securityContext": {"privileged": false, "runAsUser": 65534, "runAsNonRoot": true},
            }],
            "containers": [
                {
                    "name": "web", "image": "web:1", "command": command, "ports": [{"containerPort": 8000}],
                    "livenessProbe": {"httpGet": {"port": 8000}, "periodSeconds": 10},
                },
                {"name": "linkerd-proxy", "image": "cr.l5d.io/linkerd/proxy:stable-2.14.10"},
            ],
        },
    })
}

/// The policy of the audited cluster. No exemption covers a finding.
const POLICY: &str = r#"
exemptions:
- {owner: gone, rules: [probe-matches-idle-timeout], reason: "<b>SHOP-1</b>", until: 2126-01-31}
- {owner: cart, rules: [close-wait-unset], reason: SHOP-2, until: 2026-01-31}
"#;

/// The page about a cluster: one Deployment whose pods would be rejected, one that needs a restart, one whose server is
/// not known, and a kind that may not be read.
fn audit() -> String {
    let list = |items: Value| (200, json!({"metadata": {}, "items": items}));
    let mut answers = Answers::new();
    for (path, items) in [
        (
            "GET /api/v1/namespaces?",
            json!([{"metadata": {"name": "shop", "annotations": {"linkerd.io/inject": "enabled"}}}]),
        ),
        ("GET /apis/apps/v1/deployments?", json!([])),
        ("GET /apis/apps/v1/statefulsets?", json!([])),
        ("GET /apis/apps/v1/daemonsets?", json!([])),
        ("GET /apis/apps/v1/replicasets?", json!([])),
        ("GET /apis/batch/v1/jobs?", json!([])),
        ("GET /api/v1/replicationcontrollers?", json!([])),
    ] {
        answers.insert(path, list(items));
    }
    let rejected =
        ["uvicorn", "app:app", "--timeout-keep-alive", "10", "</code><script>window.hacked=1</script>"];
    let patched = ["uvicorn", "app:app", "--timeout-keep-alive", "75"];
    let unknown = ["/app/server"];
    let pods = json!([
        injected("cart", 1, &rejected),
        injected("cart", 2, &rejected),
        injected("front", 1, &patched),
        injected("orders", 1, &unknown),
    ]);
    answers.insert("GET /api/v1/pods?", list(pods));
    for forbidden in
        ["GET /apis/batch/v1/cronjobs?", "GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions?"]
    {
        answers.insert(forbidden, (403, json!({"kind": "Status", "message": "forbidden", "code": 403})));
    }
    let server = ApiServer::start(answers);
    let directory = kubeconfig(server.address);
    let policy = directory.path().join("policy.yaml");
    fs::write(&policy, POLICY).unwrap();
    let kubeconfig = format!("--kubeconfig={}", directory.path().join("config").display());
    let policy = format!("--policy={}", policy.display());
    let args = [
        "audit",
        &kubeconfig,
        "--context=test",
        "-A",
        "--mode=enforce",
        &policy,
        "--only-permitted",
        "-o",
        "html",
    ];
    run(&args, "")
}

/// Two findings for each of the objects.
fn many(objects: usize) -> String {
    let object = |number| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: cart-{number}, annotations: {{linkerd.io/inject: enabled}}}}\n\
             spec:\n  containers:\n  - name: web\n    command: [uvicorn, app:app, --timeout-keep-alive, '2']\n    \
             ports: [{{containerPort: 8000}}]\n    livenessProbe: {{httpGet: {{port: 8000}}, periodSeconds: 2}}\n"
        )
    };
    lint(&(0..objects).map(object).collect::<Vec<_>>().join("---\n"))
}

/// What a page consists of.
#[derive(Default)]
struct Page {
    /// The elements, with how often each is in it.
    elements: BTreeMap<String, usize>,
    /// Its text.
    text: String,
    /// Its attributes: element, name and value.
    attributes: Vec<(String, String, String)>,
}

/// Elements that have no end tag.
const VOID: [&str; 3] = ["br", "input", "meta"];

impl Page {
    /// Reads a page. Each error of the HTML standard, and each element that is not closed in order, fails.
    fn read(text: &str) -> Self {
        let mut emitter = DefaultEmitter::default();
        emitter.naively_switch_states(true);
        let mut page = Self::default();
        let mut open: Vec<String> = Vec::new();
        for token in Tokenizer::new_with_emitter(text, emitter) {
            match token.unwrap() {
                Token::StartTag(tag) => {
                    let name = String::from_utf8(tag.name.0).unwrap();
                    *page.elements.entry(name.clone()).or_default() += 1;
                    for (key, value) in tag.attributes {
                        let (key, value) = (String::from_utf8(key.0), String::from_utf8(value.value.0));
                        page.attributes.push((name.clone(), key.unwrap(), value.unwrap()));
                    }
                    if !VOID.contains(&name.as_str()) {
                        open.push(name);
                    }
                }
                Token::EndTag(tag) => {
                    assert_eq!(open.pop(), Some(String::from_utf8(tag.name.0).unwrap()), "closed in order");
                }
                Token::String(text)
                    if !matches!(open.last().map(String::as_str), Some("style" | "script")) =>
                {
                    page.text.push_str(std::str::from_utf8(&text.value.0).unwrap());
                }
                Token::String(_) | Token::Doctype(_) => {}
                Token::Comment(comment) => panic!("a comment: {comment:?}"),
                Token::Error(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(open, [""; 0], "everything is closed");
        page
    }

    fn values<'p>(&'p self, attribute: &'p str) -> impl Iterator<Item = &'p str> {
        let of = self.attributes.iter().filter(move |(_, name, _)| name == attribute);
        of.map(|(.., value)| value.as_str())
    }

    fn count(&self, element: &str) -> usize {
        self.elements.get(element).copied().unwrap_or_default()
    }
}

/// What holds for every page.
fn check(text: &str) -> Page {
    let page = Page::read(text);
    let known = [
        "a",
        "article",
        "b",
        "bdi",
        "body",
        "br",
        "button",
        "caption",
        "code",
        "dd",
        "desc",
        "details",
        "div",
        "dl",
        "dt",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "head",
        "header",
        "html",
        "input",
        "label",
        "li",
        "line",
        "main",
        "meta",
        "ol",
        "option",
        "p",
        "rect",
        "script",
        "section",
        "select",
        "span",
        "style",
        "summary",
        "svg",
        "table",
        "tbody",
        "td",
        "text",
        "th",
        "thead",
        "title",
        "tr",
        "ul",
    ];
    let unknown: Vec<_> = page.elements.keys().filter(|name| !known.contains(&name.as_str())).collect();
    assert_eq!(unknown, [""; 0]);
    assert_eq!(
        (page.count("script"), page.count("style"), page.count("h1"), page.count("main")),
        (1, 1, 1, 1)
    );
    for (element, name, value) in &page.attributes {
        assert!(!name.starts_with("on") && name != "style", "{element} {name}={value}");
        assert!(name != "src" && (name != "href" || value == "#content"), "{element} {name}={value}");
    }
    let ids: Vec<_> = page.values("id").collect();
    let unique: BTreeSet<_> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len(), "each id is unique");
    let references = page.values("aria-labelledby").chain(page.values("aria-describedby"));
    for reference in references {
        assert!(unique.contains(reference), "nothing has the id {reference}");
    }
    assert_eq!(page.count("svg"), page.count("desc"));
    assert!(page.values("content").any(|it| it.starts_with("default-src 'none'; style-src 'sha256-")));
    page
}

#[test]
fn a_finding_has_its_picture_its_evidence_and_its_fix() {
    let page = check(&lint(RACE));
    assert_eq!(page.count("svg"), 2, "{}", page.text);
    for part in [
        "Pod shop/cart",
        "liveness, every 10s",
        "the server closes after 10s to 11s, ±100ms",
        "the proxy re-uses the connection for up to 20s",
        "At that moment the server may close the connection, and the proxy still re-uses it.",
        "set by --keep-alive 10; can fail now",
        "raise Gunicorn's idle timeout (--keep-alive) well above 10s",
    ] {
        assert!(page.text.contains(part), "{part:?} is not in {}", page.text);
    }
}

#[test]
fn an_unknown_timeout_is_said_and_not_drawn() {
    let page = check(&lint(UNKNOWN));
    assert_eq!(page.count("svg"), 0);
    assert!(page.text.contains("idle timeout unknown"), "{}", page.text);
}

#[test]
fn hostile_names_are_text() {
    let page = check(&lint(HOSTILE));
    assert!(page.text.contains("</script><img src=x onerror='window.hacked=1'>"), "{}", page.text);
    assert!(page.text.contains("</style><script>window.hacked=1</script>"), "{}", page.text);
    assert_eq!((page.count("img"), page.count("svg")), (0, 1));
    assert!(!page.text.contains('\u{1b}'));
}

#[rstest]
#[case::no_pod("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", "0 objects that run pods")]
#[case::unreadable("kind: Pod\nspec: [\n", "1 error while reading")]
fn a_page_without_objects_says_so(#[case] manifests: &str, #[case] expected: &str) {
    let page = check(&lint(manifests));
    assert!(page.text.contains(expected), "{}", page.text);
}

#[test]
fn other_commands_have_pages_of_the_same_frame() {
    let page = check(&diagnosis());
    assert!(page.text.contains("idle-timeout-race"), "{}", page.text);
    assert_eq!(page.count("svg"), 1, "the race whose timeouts the manifest shows");
    let page = check(&workloads());
    assert!(page.text.contains("deploy/<b>web</b>") && page.count("b") < 10, "{}", page.text);
    let page = check(&run(&["demo", "-o", "html"], ""));
    assert!(page.text.contains("POST /mutate/enforce") && page.text.contains("denied the request"));
}

#[test]
fn the_page_of_an_audit_says_what_to_do() {
    let page = check(&audit());
    for part in [
        "What a drain would break",
        "shop deployment/cart",
        "web: Uvicorn closes idle connections after 10s; the liveness probe on port 8000 runs every 10s",
        "Fix its findings first, because its new pods would be rejected.",
        "kubectl rollout restart -n shop deployment/front",
        "linkerd linger measure -n shop deployment/orders",
        "<b>SHOP-1</b>",
        "it covers no finding",
        "it expired on 2026-01-31",
        "no permission to list cronjobs",
        "no permission to list customresourcedefinitions",
        "2 patched; 1 rejected",
    ] {
        assert!(page.text.contains(part), "{part:?} is not in {}", page.text);
    }
}

/// Longer than Chromium with all pages takes on a loaded machine: axe-core has 30 seconds for the large page.
const LONGEST: Duration = Duration::from_secs(300);

/// A program on the PATH.
fn program(names: &[&str]) -> Result<PathBuf, NotRun> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = names
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |dir| dir.join(name)))
        .find(|path| path.is_file());
    found.ok_or_else(|| NotRun(format!("{} is not installed", names[0])))
}

/// Runs a program, but not longer than `LONGEST`; returns what it prints.
fn finish(command: Command) -> Result<String, String> {
    let name = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    let output = runtime
        .block_on(async { timeout(LONGEST, command.output()).await })
        .map_err(|_| format!("{name} does not end"))?
        .map_err(|error| format!("{name}: {error}"))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(format!("{name}: {}", text(output.stderr)))
    }
}

/// axe-core, in the version and with the digest of tests/html/package-lock.json.
fn axe(dir: &Path) -> Result<PathBuf, NotRun> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/html");
    for file in ["package.json", "package-lock.json"] {
        fs::copy(source.join(file), dir.join(file)).unwrap();
    }
    let npm = program(&["npm"])?;
    let args = ["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries", "1"];
    let mut command = Command::new(npm);
    command.args(args).current_dir(dir);
    finish(command).map_err(NotRun)?;
    Ok(dir.join("node_modules/axe-core/axe.min.js"))
}

/// What happened to each page in a browser.
fn browse(dir: &TempDir, pages: &[(&str, String)]) -> Result<Vec<Value>, NotRun> {
    let chromium = program(&["chromium", "chromium-browser", "google-chrome"])?;
    let node = program(&["node"])?;
    let axe = axe(dir.path())?;
    let mut command = Command::new(node);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/html/browser.mjs"));
    command.args([&chromium, &axe, &dir.path().join("profile")]);
    for (name, page) in pages {
        let path = dir.path().join(format!("{name}.html"));
        fs::write(&path, page).unwrap();
        command.arg(path);
    }
    let text = finish(command).unwrap_or_else(|error| panic!("{error}"));
    Ok(serde_json::from_str(&text).unwrap())
}

#[test]
fn pages_work_in_a_browser() {
    let pages = [
        ("lint", run(&["lint", "-o", "html", "tests/cases/probe-matches-idle-timeout"], "")),
        ("hostile", lint(HOSTILE)),
        ("unknown", lint(UNKNOWN)),
        ("diagnose", diagnosis()),
        ("workloads", workloads()),
        ("demo", run(&["demo", "-o", "html"], "")),
        ("audit", audit()),
        ("many", many(1000)),
    ];
    let dir = tempfile::tempdir().unwrap();
    let results = match browse(&dir, &pages) {
        Ok(results) => results,
        Err(why) => return why.tell(),
    };
    assert_eq!(results.len(), pages.len());
    for result in &results {
        let name = result["name"].as_str().unwrap();
        let is_large = name == "many";
        for scheme in ["light", "dark"] {
            let axe = &result["axe"][scheme];
            let number = |field: &str| axe[field].as_u64().unwrap();
            // Of the large page, as many objects as there is time for: they differ only in their names.
            let enough = if is_large { 10 } else { number("all") };
            assert!(number("objects") >= enough, "{name}, {scheme}: {axe}");
            if is_large {
                println!("axe-core: {} of {} objects in {} ms", axe["objects"], axe["all"], axe["ms"]);
            }
            assert_eq!(axe["violations"], Value::Array(Vec::new()), "{name}, {scheme}");
            assert!(axe["rules"].as_u64().unwrap() > 20, "{name}, {scheme}: {axe}");
        }
        assert_ne!(result["background"]["light"], result["background"]["dark"], "{name}");
        assert_eq!(result["print"]["background"], "rgb(255, 255, 255)", "{name} on paper");
        assert_eq!(
            (&result["print"]["hasForm"], &result["print"]["hidden"]),
            (&false.into(), &0.into()),
            "{name}"
        );
        for width in ["1100", "320"] {
            assert!(result["overflow"][width].as_i64().unwrap() <= 0, "{name} is wider than {width} pixels");
        }
        for nothing in ["requests", "messages", "escaped"] {
            assert_eq!(result[nothing], Value::Array(Vec::new()), "{name}: {nothing}");
        }
        assert_eq!((&result["asked"], &result["hacked"]), (&0.into(), &false.into()), "{name}");
        let filter = &result["filter"];
        let start = &filter["start"];
        assert_eq!(result["withoutScript"]["findings"], start["findings"], "{name} without its script");
        assert_eq!(result["withoutScript"]["forms"], 0, "{name} without its script");
        assert_eq!(filter["end"], *start, "{name}: the button shows all again");
        assert!(filter["presses"].as_u64().unwrap() <= 3, "{name}: {filter}");
        // The first is what a person waits for while a machine is not loaded; this is only a bound.
        for time in result["filterMs"].as_array().unwrap() {
            assert!(time.as_u64().unwrap() < 5_000, "{name}: {}", result["filterMs"]);
        }
    }
    let lint = &results[0]["filter"];
    let number = |step: &str, what: &str| lint[step][what].as_u64().unwrap();
    assert!(number("text", "findings") > 10 && number("text", "findings") < number("start", "findings"));
    assert_eq!(number("text", "objects"), 0, "objects without findings are not rejected");
    assert_eq!(lint["chosen"], "probe-matches-idle-timeout");
    assert_eq!(number("choice", "findings"), number("text", "findings"));
    assert!(lint["text"]["status"].as_str().unwrap().starts_with("Shown: "));
    assert_eq!(results[7]["filter"]["start"]["findings"], 2000);
}
