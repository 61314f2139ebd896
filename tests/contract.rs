//! The contract with the API server: every recorded object goes through the admission chain of `support/api_server`,
//! with our webhook configurations and a running server. It says what kube-apiserver does, and what we promise because of it.
//!
//! Other parts of the contract have their tests beside them: connections in `tls.rs`, HTTP in `router.rs`, the protocol
//! in `review.rs`, the configurations in `manifests.rs`, and all of it with a real API server in `cluster.rs`.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/api_server/mod.rs"]
mod api_server;
#[path = "support/cluster/mod.rs"]
mod cluster;
#[path = "support/oracles.rs"]
mod oracles;
#[path = "manifests/selector.rs"]
mod selector;
mod support;

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    sync::LazyLock,
    thread::park_timeout,
    time::{Duration, Instant},
};

use jiff::civil::Date;
use linkerd_linger::{
    admission::serve::{self, CertificateSource, Config, MAX_SMALL_BODY_BYTES, Running},
    base::names,
    cluster::install::{self, FailurePolicy, Options},
    judgement::policy::Policy,
    lint::manifest,
    review::{self, Endpoint, InvalidReview, Mode, ReviewFailure, Reviewed, WebhookKind},
};
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::task::JoinSet;

use self::{
    api_server::{Admitted, ApiServer, Refused, Request, default, fails_to_start, violations_of_baseline},
    cluster::{
        others::{OTHER_WEBHOOKS, Other},
        pods::{GUNICORN, deployment, injected, pod_of, template},
    },
    selector::{Labels, labels},
    support::{Authority, Connection, Mount, head, metric, review_of_a_pod},
};

/// An API server with our server behind it.
struct Bed {
    api: ApiServer,
    _server: Running,
    _policy: NamedTempFile,
    _mount: Mount,
}

impl Bed {
    async fn start() -> Self {
        Self::with(&Options::default(), &[], "").await
    }

    /// With these options of `install`, webhooks of others, and policy.
    async fn with(options: &Options, others: &[&str], policy: &str) -> Self {
        let authority = Authority::new();
        let mount = Mount::new(&authority.issue_to("linkerd-linger", &names::SERVICE_NAMES));
        let file = NamedTempFile::new().unwrap();
        fs::write(file.path(), policy).unwrap();
        let server = serve::start(Config {
            certificate: CertificateSource::Files(mount.files()),
            policy: Some(file.path().to_owned()),
            init_image: Some(oracles::IMAGE.to_owned()),
            ..Config::loopback()
        });
        let server = server.await.unwrap();
        let others: Vec<_> =
            others.iter().map(|key| OTHER_WEBHOOKS.iter().find(|other| other.key == *key).unwrap()).collect();
        let api = ApiServer::new(&install::manifests(options), &others, server.addr(), &authority.pem());
        Self { api, _server: server, _policy: file, _mount: mount }
    }

    async fn admit(&self, request: &Request) -> Admitted {
        self.api.admit(request).await.unwrap_or_else(|refused| panic!("{refused}"))
    }
}

/// The labels of a namespace in a mode, which calls these webhooks of others.
fn namespace(mode: &str, others: &[&str]) -> Labels {
    let mut labels = labels(&[(names::MODE_LABEL, mode)]);
    labels.extend(others.iter().map(|key| (Other::label(key), "called".to_owned())));
    labels
}

/// An object of the recorded reviews or of the cases.
struct Sample {
    file: String,
    object: Value,
}

/// Every object that has a pod template or is a pod, once.
static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    let (mut samples, mut seen) = (vec![], BTreeSet::new());
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/");
    for directory in ["fixtures/reviews", "cases"] {
        let mut files: Vec<_> = walkdir::WalkDir::new(format!("{root}{directory}"))
            .into_iter()
            .map(|it| it.unwrap().into_path())
            .collect();
        files.sort();
        for path in
            files.iter().filter(|path| path.extension().is_some_and(|it| it == "json" || it == "yaml"))
        {
            let file = path.to_str().unwrap().trim_start_matches(root).to_owned();
            let documents = manifest::read(&file, &fs::read_to_string(path).unwrap()).documents;
            for document in documents
                .iter()
                .filter(|document| document.objects().is_ok_and(|objects| !objects.is_empty()))
            {
                let object: Value = serde_json::from_str(document.json()).unwrap();
                // Names of API versions that no API server has any more.
                let served =
                    ["v1", "apps/v1", "batch/v1"].iter().any(|version| object["apiVersion"] == *version);
                if served && seen.insert(object.to_string()) {
                    samples.push(Sample { file: file.clone(), object });
                }
            }
        }
    }
    assert!(samples.len() > 200, "only {} objects", samples.len());
    samples
});

/// Whether the API server can read an object, before any webhook is called.
fn is_typed(object: &Value) -> bool {
    use k8s_openapi::api::{apps::v1 as apps, batch::v1 as batch, core::v1 as core};
    fn is<T: serde::de::DeserializeOwned>(object: &Value) -> bool {
        serde_json::from_value::<T>(object.clone()).is_ok()
    }
    match object["kind"].as_str().unwrap() {
        "Pod" => is::<core::Pod>(object),
        "PodTemplate" => is::<core::PodTemplate>(object),
        "ReplicationController" => is::<core::ReplicationController>(object),
        "DaemonSet" => is::<apps::DaemonSet>(object),
        "Deployment" => is::<apps::Deployment>(object),
        "ReplicaSet" => is::<apps::ReplicaSet>(object),
        "StatefulSet" => is::<apps::StatefulSet>(object),
        "CronJob" => is::<batch::CronJob>(object),
        "Job" => is::<batch::Job>(object),
        kind => panic!("{kind} is new"),
    }
}

/// What must hold for every object that the API server admits or refuses because of our webhooks.
fn check(request: &Request, mode: Mode, unprivileged: bool, result: &Result<Admitted, Refused>) {
    let mut sent = request.object.clone();
    default(&mut sent);
    let admitted = match result {
        Ok(admitted) => admitted,
        Err(Refused::Denied { code, text }) => {
            assert_eq!((*code, mode), (403, Mode::Enforce), "{text}");
            // As an event of a ReplicaSet, whose length is limited to 1024 (kubernetes `pkg/apis/core/validation`).
            assert!(format!("Error creating: {text}").chars().count() <= 1024, "{text}");
            assert!(
                text.contains("denied the request: linkerd-linger: ") && text.contains("To fix: "),
                "{text}"
            );
            return;
        }
        Err(refused) => panic!("{refused}"),
    };
    assert_eq!(admitted.failed_open, [""; 0]);
    for (key, value) in &admitted.audit {
        // An audit annotation is dropped if its prefix is no DNS name or its name is too long.
        let (webhook, name) = key.split_once('/').unwrap();
        assert!(webhook.len() <= 253 && !name.contains('/') && name.len() <= 63, "{key}");
        assert!(value != "unreadable" && value != "failed", "{key}: {value}");
    }
    // The budget of 4096 characters is shared with all other webhooks.
    let length: usize = admitted.warnings.iter().map(|warning| warning.chars().count()).sum();
    assert!(length <= 1200, "{:?}", admitted.warnings);
    if mode == Mode::Audit {
        assert_eq!(admitted.warnings, [""; 0]);
        assert_eq!(admitted.patches, [""; 0]);
    }
    if request.object["kind"] != "Pod" {
        assert_eq!(admitted.patches, [""; 0], "workloads are not changed, since GitOps tools would see it");
        return;
    }
    let stored = &admitted.object;
    assert_eq!(oracles::untouched(&without_name(stored)), oracles::untouched(&without_name(&sent)));
    assert_eq!(fails_to_start(stored), fails_to_start(&sent));
    if unprivileged {
        assert_eq!(violations_of_baseline(stored), violations_of_baseline(&sent));
    }
    for patch in &admitted.patches {
        // It is in the audit log, so it must be short and must not tell what the pod keeps in its environment.
        assert!(patch.len() <= 1024, "{patch}");
        assert!(!patch.contains("\"env\"") && !patch.contains("valueFrom"), "{patch}");
    }
}

/// The name and the namespace are set by the API server.
fn without_name(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let metadata = pod["metadata"].as_object_mut().unwrap();
    metadata.remove("name");
    metadata.remove("namespace");
    pod
}

#[rstest]
#[case::privileged(&[], false)]
#[case::baseline(&[("pod-security.kubernetes.io/enforce", "baseline")], true)]
#[case::never_privileged(&[("linkerd-linger.io/privileged", "never")], true)]
#[tokio::test(flavor = "multi_thread")]
async fn every_object_gets_a_response_that_the_api_server_can_use(
    #[case] security: &[(&str, &str)],
    #[case] unprivileged: bool,
    #[values(Mode::Enforce, Mode::Warn, Mode::Audit)] mode: Mode,
) {
    let bed = Bed::with(&Options::default(), &[], "closeWait: {cni: true}\n").await;
    let (mut patched, mut denied, mut warned) = (0, 0, 0);
    for sample in SAMPLES.iter().filter(|sample| is_typed(&sample.object)) {
        let mut labels = namespace(mode.as_str(), &[]);
        labels.extend(selector::labels(security));
        let request = Request::creation("shop", labels, sample.object.clone());
        let result = bed.api.admit(&request).await;
        println!("{}: {result:?}", sample.file);
        check(&request, mode, unprivileged, &result);
        let Ok(admitted) = result else {
            denied += 1;
            continue;
        };
        patched += usize::from(!admitted.patches.is_empty());
        warned += usize::from(!admitted.warnings.is_empty());
        // The stored object is applied again, such as from a backup.
        let again = bed.admit(&Request { object: admitted.object.clone(), ..request }).await;
        assert_eq!(again.object, admitted.object, "{}", sample.file);
        assert_eq!(again.patches, [""; 0], "{}", sample.file);
    }
    let all = SAMPLES.len();
    println!("{all} objects: {patched} patched, {denied} denied, {warned} warned");
    let expected = (mode != Mode::Audit && !unprivileged, mode == Mode::Enforce, mode != Mode::Audit);
    assert_eq!((patched > 40, denied > 20, warned > 20), expected, "{patched}, {denied}, {warned}");
}

#[rstest]
#[case::excluded_namespace("linkerd", &[], |_: &mut Request| {})]
#[case::mode_off("shop", &[], |request: &mut Request| drop(request.labels.insert(names::MODE_LABEL.to_owned(), "off".to_owned())))]
#[case::no_label("shop", &[], |request: &mut Request| request.labels.clear())]
#[case::control_plane("shop", &[], |request: &mut Request| {
    request.object["metadata"]["labels"]["linkerd.io/control-plane-component"] = "destination".into();
})]
#[case::ephemeral_containers("shop", &[], |request: &mut Request| (request.operation, request.sub_resource) = ("UPDATE", "ephemeralcontainers"))]
#[case::resize("shop", &[], |request: &mut Request| (request.operation, request.sub_resource) = ("UPDATE", "resize"))]
#[case::status("shop", &[], |request: &mut Request| (request.operation, request.sub_resource) = ("UPDATE", "status"))]
#[case::eviction("shop", &[], |request: &mut Request| request.sub_resource = "eviction")]
#[case::exec("shop", &[], |request: &mut Request| (request.operation, request.sub_resource) = ("CONNECT", "exec"))]
#[case::update_of_a_pod("shop", &[], |request: &mut Request| {
    (request.operation, request.old_object) = ("UPDATE", request.object.clone());
})]
#[case::deletion("shop", &[], |request: &mut Request| {
    (request.operation, request.old_object) = ("DELETE", request.object.take());
})]
#[case::another_kind("shop", &[], |request: &mut Request| request.object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {}}))]
#[case::another_group("shop", &[], |request: &mut Request| request.object["apiVersion"] = "example.com/v1".into())]
#[case::deployment_in_place("shop", &["enforce.validate.linkerd-linger.io"], |request: &mut Request| {
    request.object = deployment(&template(GUNICORN, 7));
})]
#[case::scale_of_a_deployment("shop", &[], |request: &mut Request| {
    request.object = deployment(&template(GUNICORN, 7));
    (request.operation, request.sub_resource) = ("UPDATE", "scale");
})]
#[case::pod("shop", &["enforce.mutate.linkerd-linger.io", "enforce.validate.linkerd-linger.io"], |_: &mut Request| {})]
#[tokio::test]
async fn the_api_server_calls_us_only_where_we_have_something_to_say(
    #[case] name: &str,
    #[case] expected: &[&str],
    #[case] change: fn(&mut Request),
) {
    let bed = Bed::start().await;
    let mut request = Request::creation(name, namespace("enforce", &[]), injected("front-nginx"));
    change(&mut request);
    assert_eq!(bed.admit(&request).await.called, expected);
}

/// A pod without the order of its containers and volumes, which depends on the webhooks before ours.
fn unordered(pod: &Value) -> Value {
    let mut pod = pod.clone();
    for list in ["containers", "volumes"] {
        if let Some(list) = pod["spec"][list].as_array_mut() {
            list.sort_by_key(|item| item["name"].to_string());
        }
    }
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn an_injector_before_us_and_one_after_us_lead_to_the_same_pod() {
    let bed = Bed::with(&Options::default(), &["injector", "late-injector"], "").await;
    let (mut injected, mut patched) = (0, 0);
    for sample in SAMPLES.iter().filter(|sample| is_typed(&sample.object) && sample.object["kind"] == "Pod") {
        let names = |list: &str| sample.object["spec"][list].to_string();
        if names("containers").contains("linkerd-proxy") || names("initContainers").contains("linkerd-") {
            continue;
        }
        injected += 1;
        let mut results = vec![];
        for injector in ["injector", "late-injector"] {
            let request = Request::creation("shop", namespace("warn", &[injector]), sample.object.clone());
            let admitted = bed.admit(&request).await;
            let ours = admitted.called.iter().filter(|name| name.contains(".mutate.linkerd-linger")).count();
            assert_eq!(
                ours,
                if injector == "injector" { 1 } else { 2 },
                "{}: {:?}",
                sample.file,
                admitted.called
            );
            results.push(admitted);
        }
        assert_eq!(unordered(&results[0].object), unordered(&results[1].object), "{}", sample.file);
        assert_eq!(results[0].patches.len(), results[1].patches.len(), "{}", sample.file);
        patched += results[1].patches.len();
    }
    println!("{injected} injected, {patched} patched");
    assert!(injected > 50 && patched > 20, "{injected}, {patched}");
}

#[tokio::test]
async fn a_webhook_that_adds_a_container_after_us_leads_to_another_review() {
    let bed = Bed::with(&Options::default(), &["injector", "late-server"], "").await;
    let pod = pod_of(&template(GUNICORN, 7));
    let request = Request::creation("shop", namespace("enforce", &["injector", "late-server"]), pod);
    let Err(Refused::Denied { text, .. }) = bed.api.admit(&request).await else { panic!("it is admitted") };
    assert!(text.contains("sidecar: Uvicorn closes idle connections after 5s"), "{text}");
}

#[rstest]
#[case::ignored(FailurePolicy::Ignore, Mode::Enforce, true)]
#[case::fails(FailurePolicy::Fail, Mode::Enforce, false)]
#[case::warn_never_fails(FailurePolicy::Fail, Mode::Warn, true)]
#[case::audit_never_fails(FailurePolicy::Fail, Mode::Audit, true)]
#[tokio::test]
async fn without_our_server_the_failure_policy_decides(
    #[case] failure_policy: FailurePolicy,
    #[case] mode: Mode,
    #[case] admits: bool,
) {
    let authority = Authority::new().pem();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = Options { failure_policy, ..Options::default() };
    let api = ApiServer::new(&install::manifests(&options), &[], nobody, &authority);
    let request = Request::creation("shop", namespace(mode.as_str(), &[]), injected("cart-gunicorn"));
    match api.admit(&request).await {
        Ok(admitted) => {
            assert!(admits);
            let mut sent = request.object.clone();
            default(&mut sent);
            assert_eq!(without_name(&admitted.object), without_name(&sent));
            assert_eq!(admitted.failed_open.len(), 2, "{:?}", admitted.failed_open);
        }
        Err(Refused::Failed(text)) => assert!(!admits, "{text}"),
        Err(refused) => panic!("{refused}"),
    }
}

#[tokio::test]
async fn a_dry_run_gets_the_same_response() {
    let bed = Bed::start().await;
    for (name, mode) in [("front-nginx", "enforce"), ("cart-gunicorn", "enforce"), ("cart-gunicorn", "warn")]
    {
        let request = Request::creation("shop", namespace(mode, &[]), injected(name));
        let dry_run = Request { dry_run: true, ..request.clone() };
        let (real, dry) = (bed.api.admit(&request).await, bed.api.admit(&dry_run).await);
        assert_eq!(format!("{real:?}"), format!("{dry:?}"));
    }
}

#[tokio::test]
async fn an_update_of_a_workload_is_judged_only_if_its_pods_change() {
    let bed = Bed::start().await;
    let mut template = template(GUNICORN, 10);
    template["metadata"]["annotations"] = json!({"linkerd.io/inject": "enabled"});
    let new = deployment(&template);
    let mut old = new.clone();
    old["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "1"});
    let mut request = Request::creation("shop", namespace("enforce", &[]), new);
    assert!(matches!(bed.api.admit(&request).await, Err(Refused::Denied { code: 403, .. })));
    request.operation = "UPDATE";
    default(&mut old);
    request.old_object = old;
    assert_eq!(bed.admit(&request).await.warnings, [""; 0], "a rollback of its labels is not our business");
    request.old_object["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["sleep"]);
    assert!(matches!(bed.api.admit(&request).await, Err(Refused::Denied { code: 403, .. })));
}

/// Posts an object as it is, and returns the response without its uid.
async fn response(connection: &mut Connection, endpoint: Endpoint, object: &Value) -> Value {
    let review = linkerd_linger::cluster::apiserver::creation(object, "7d2f");
    connection.post(&endpoint.path(), &review.to_string()).await.json()
}

/// The API server sets defaults before it calls a webhook, and `lint` reads files without them.
#[tokio::test]
async fn an_object_without_defaults_gets_the_same_response() {
    let server = serve::start(Config::loopback()).await.unwrap();
    let mut connection = Connection::open(server.addr(), server.authority().unwrap()).await;
    for sample in SAMPLES.iter().filter(|sample| is_typed(&sample.object) && sample.object["kind"] == "Pod") {
        let mut defaulted = sample.object.clone();
        default(&mut defaulted);
        for webhook in WebhookKind::ALL {
            let endpoint = Endpoint::new(webhook, Mode::Warn);
            let without = response(&mut connection, endpoint, &sample.object).await;
            assert_eq!(response(&mut connection, endpoint, &defaulted).await, without, "{}", sample.file);
        }
    }
}

/// `request.namespace` decides: old API servers do not set the one in the object.
#[tokio::test]
async fn the_namespace_is_that_of_the_request() {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), "exemptions: [{namespace: shop, reason: known, until: 2999-12-31}]\n").unwrap();
    let config = Config { policy: Some(file.path().to_owned()), ..Config::loopback() };
    let server = serve::start(config).await.unwrap();
    let mut connection = Connection::open(server.addr(), server.authority().unwrap()).await;
    let mut object = injected("cart-gunicorn");
    for inner in [None, Some("shop"), Some("other")] {
        object["metadata"]["namespace"] = json!(inner);
        for (outer, allowed) in [("shop", true), ("other", false)] {
            let mut review = linkerd_linger::cluster::apiserver::creation(&object, "7d2f");
            review["request"]["namespace"] = outer.into();
            let answer = connection.post("/mutate/enforce", &review.to_string()).await.json();
            assert_eq!(answer["response"]["allowed"], allowed, "{inner:?} in {outer}");
        }
    }
}

/// Longer than the API server waits, for reviews that get a thread of their own.
fn slow(body: &[u8], endpoint: Endpoint, policy: &Policy, today: Date) -> Result<Reviewed, InvalidReview> {
    let end = Instant::now() + Duration::from_secs(3);
    while body.len() > MAX_SMALL_BODY_BYTES && Instant::now() < end {
        park_timeout(end - Instant::now());
    }
    review::review(body, endpoint, policy, today)
}

/// Sends a review as the API server does, which waits for `timeout`.
async fn call(addr: SocketAddr, authority: &str, timeout: Duration, review: &str) -> Value {
    let started = Instant::now();
    let mut connection = Connection::open(addr, authority).await;
    connection.send(&head(&format!("/mutate/enforce?timeout={}s", timeout.as_secs()), review.len())).await;
    connection.send(review.as_bytes()).await;
    let answer = connection.answer().await;
    assert!(started.elapsed() < timeout, "the API server has given up after {:?}", started.elapsed());
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["response"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn under_overload_every_review_is_answered_before_the_api_server_gives_up() {
    const TIMEOUT: Duration = Duration::from_secs(5);
    let server = serve::start(Config { review: slow, ..Config::loopback() }).await.unwrap();
    let (addr, authority) = (server.addr(), server.authority().unwrap().to_owned());
    let mut clients = JoinSet::new();
    // Three rounds of those that are reviewed at the same time.
    for number in 0..48 {
        let authority = authority.clone();
        clients.spawn(async move {
            let uid = format!("long-{number}");
            let review = review_of_a_pod(&uid) + &" ".repeat(MAX_SMALL_BODY_BYTES);
            let response = call(addr, &authority, TIMEOUT, &review).await;
            assert_eq!((&response["uid"], &response["allowed"]), (&json!(uid), &json!(true)));
            response["warnings"].as_array().cloned().unwrap_or_default()
        });
    }
    // The reviews of pods go on meanwhile.
    for _ in 0..100 {
        let response = call(addr, &authority, TIMEOUT, &review_of_a_pod("small")).await;
        assert_eq!((&response["uid"], response.get("warnings")), (&json!("small"), None));
    }
    let warnings = clients.join_all().await;
    let shed = warnings.iter().filter(|warnings| !warnings.is_empty()).count();
    println!("{shed} of {} were admitted without a review", warnings.len());
    assert!((1..=32).contains(&shed), "{shed}");
    let failed = "linger_reviews_total{door=\"mutate\",mode=\"enforce\",outcome=\"failed\"}";
    assert_eq!(metric(server.admin_addr(), failed).await, shed as f64, "each is counted");
}

/// The API server writes the uid before the object, so that it is known when the rest is not.
#[test]
fn any_beginning_of_a_review_has_its_uid_or_is_refused() {
    let recorded = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/reviews");
    let mut reviews = 0;
    for path in walkdir::WalkDir::new(recorded).into_iter().map(|it| it.unwrap().into_path()) {
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let review = fs::read(&path).unwrap();
        let uid = &serde_json::from_slice::<Value>(&review).unwrap()["request"]["uid"];
        let object = review.windows(11).position(|at| at == b",\"object\":{").unwrap();
        // As much as is kept of a body that gets no memory.
        assert!(object < 4096, "{}", path.display());
        for end in (0..review.len()).step_by(97) {
            let failed = review::fail_open_beginning(&review[..end], Mode::Enforce, ReviewFailure::Memory);
            assert_eq!(failed.is_ok(), end >= object + 11, "{} to {end}", path.display());
            let Ok(failed) = failed else { continue };
            let response = serde_json::from_slice::<Value>(&failed.body).unwrap()["response"].take();
            assert_eq!((&response["uid"], &response["allowed"]), (uid, &json!(true)));
        }
        reviews += 1;
    }
    assert!(reviews > 90, "{reviews}");
}

#[test]
fn the_serving_certificate_is_for_the_name_that_api_servers_use() {
    use jiff::{SignedDuration, Timestamp};
    use linkerd_linger::admission::certs::issue;
    use x509_parser::{parse_x509_certificate, prelude::GeneralName, public_key::PublicKey};

    let (_, leaf) =
        issue::leaf_and_authority(&names::SERVICE_NAMES, SignedDuration::from_hours(1), Timestamp::now())
            .unwrap();
    let (_, certificate) = parse_x509_certificate(leaf.certificate.der()).unwrap();
    // The name in the SNI, which must be an alternative name: Go ignores common names.
    let alternatives = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
    let expected = format!("{}.{}.svc", names::SERVER, names::NAMESPACE);
    assert!(alternatives.contains(&GeneralName::DNSName(&expected)), "{alternatives:?}");
    // ecdsa-with-SHA256, since API servers refuse SHA-1, and an EC key, since bursts of API servers cost a handshake each.
    assert_eq!(certificate.signature_algorithm.algorithm.to_id_string(), "1.2.840.10045.4.3.2");
    assert!(matches!(certificate.public_key().parsed().unwrap(), PublicKey::EC(_)));
}
