//! Tests `certs rotate` with an in-memory API server: what it writes, what it leaves unchanged, and the failures that
//! it tolerates.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::{Method, Request, Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use kube::{Client, client::Body};
use linkerd_linger::{
    admission::certs::{
        Step,
        rotate::{RotateError, Timeouts, rotate},
    },
    cluster::install::{self, Options},
};
use rcgen::{
    BasicConstraints, CertificateParams, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints,
    date_time_ymd,
};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::service_fn;

const SECRET: &str = "/api/v1/namespaces/linkerd-linger/secrets/linkerd-linger-tls";
const MUTATING: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/zz-linkerd-linger-webhook-config";
const VALIDATING: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/zz-linkerd-linger-webhook-config";

/// Answers instead of the store, or changes the store first.
type Meddler = Box<dyn FnMut(&str, &str, &mut Store) -> Option<u16> + Send>;

#[derive(Default)]
struct Store {
    objects: BTreeMap<String, Value>,
    version: u64,
    requests: Vec<String>,
}

impl Store {
    fn put(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn answer(&mut self, method: &Method, path: &str, query: &str, body: &[u8]) -> (u16, Value) {
        self.requests.push(format!("{method} {path}"));
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        let found = self.objects.get(path).cloned();
        match (method.as_str(), found) {
            ("GET", Some(found)) => (200, found),
            ("POST", _) => {
                let path = format!("{path}/{}", sent["metadata"]["name"].as_str().unwrap());
                if self.objects.contains_key(&path) { failure(409) } else { (201, self.put(&path, sent)) }
            }
            ("PUT" | "PATCH", Some(found))
                if sent["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"] =>
            {
                failure(409)
            }
            ("PUT", Some(_)) => (200, self.put(path, sent)),
            ("PATCH", Some(found)) => {
                assert!(query.contains("fieldManager=linkerd-linger-certs") && !query.contains("force"));
                (200, self.put(path, patched(found, &sent)))
            }
            _ => failure(404),
        }
    }

    fn bundles(&self, path: &str) -> Vec<Value> {
        let webhooks = self.objects[path]["webhooks"].as_array().unwrap();
        webhooks.iter().map(|webhook| webhook["clientConfig"]["caBundle"].clone()).collect()
    }
}

/// A strategic merge patch of nothing but `caBundle`, by the name of each webhook.
fn patched(mut found: Value, sent: &Value) -> Value {
    for patch in sent["webhooks"].as_array().unwrap() {
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            (keys(patch), keys(&patch["clientConfig"])),
            (vec!["clientConfig".to_owned(), "name".to_owned()], vec!["caBundle".to_owned()])
        );
        let webhooks = found["webhooks"].as_array_mut().unwrap();
        let webhook = webhooks.iter_mut().find(|webhook| webhook["name"] == patch["name"]).unwrap();
        webhook["clientConfig"]["caBundle"] = patch["clientConfig"]["caBundle"].clone();
    }
    found
}

fn failure(code: u16) -> (u16, Value) {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "InternalError",
    };
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code}),
    )
}

#[derive(Clone, Default)]
struct Cluster(Arc<Mutex<Store>>);

impl Cluster {
    /// As after `kubectl apply`.
    fn applied() -> Self {
        let cluster = Self::default();
        for object in install::manifests(&Options::default()) {
            match object["kind"].as_str().unwrap() {
                "MutatingWebhookConfiguration" => cluster.store().put(MUTATING, object),
                "ValidatingWebhookConfiguration" => cluster.store().put(VALIDATING, object),
                _ => continue,
            };
        }
        cluster
    }

    fn store(&self) -> std::sync::MutexGuard<'_, Store> {
        self.0.lock().unwrap()
    }

    fn client(&self, meddler: Meddler) -> Client {
        let (store, meddler) = (Arc::clone(&self.0), Arc::new(Mutex::new(meddler)));
        let service = service_fn(move |request: Request<Body>| {
            let (store, meddler) = (Arc::clone(&store), Arc::clone(&meddler));
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let mut store = store.lock().unwrap();
                let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
                let refused = meddler.lock().unwrap()(head.method.as_str(), path, &mut store);
                let (code, answer) = match refused {
                    Some(code) => failure(code),
                    None => store.answer(&head.method, path, query, &body),
                };
                let answer = Body::from(answer.to_string().into_bytes());
                Ok::<_, Infallible>(Response::builder().status(code).body(answer).unwrap())
            }
        });
        Client::new(service, "default")
    }

    async fn rotate(&self, after: SignedDuration, meddler: Meddler) -> Result<Vec<Step>, RotateError> {
        let started = Instant::now();
        let base: Timestamp = "2026-08-01T00:00:00Z".parse().unwrap();
        let clock = move || base + after + SignedDuration::try_from(started.elapsed()).unwrap();
        rotate(self.client(meddler), clock, Timeouts::default()).await
    }
}

fn nobody() -> Meddler {
    Box::new(|_, _, _| None)
}

const TODAY: SignedDuration = SignedDuration::ZERO;

#[tokio::test(start_paused = true)]
async fn a_first_run_makes_all_and_a_second_nothing() {
    let cluster = Cluster::applied();
    assert_eq!(cluster.rotate(TODAY, nobody()).await.unwrap().len(), 3);
    let (secret, bundles) = {
        let store = cluster.store();
        let bundles = [store.bundles(MUTATING), store.bundles(VALIDATING)].concat();
        (store.objects[SECRET].clone(), bundles)
    };
    let keys: Vec<_> = secret["data"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["ca.crt", "ca.key", "tls.crt", "tls.key"]);
    assert_eq!(bundles.len(), 18, "nine entries in each of the two configurations");
    assert!(bundles.iter().all(|bundle| *bundle == secret["data"]["ca.crt"]));

    cluster.store().requests.clear();
    assert_eq!(cluster.rotate(SignedDuration::from_hours(24), nobody()).await.unwrap(), []);
    // Its daily cost, and all that its RBAC must allow when nothing is due.
    assert_eq!(cluster.store().requests, [MUTATING, VALIDATING, SECRET].map(|path| format!("GET {path}")));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_waits_until_api_servers_know() {
    let cluster = Cluster::applied();
    cluster.rotate(TODAY, nobody()).await.unwrap();
    let started = Instant::now();
    let steps = cluster.rotate(SignedDuration::from_hours(250 * 24), nobody()).await.unwrap();
    assert!(matches!(
        steps[..],
        [
            Step::RenewAuthority { with_leaf: false },
            Step::Publish { .. },
            Step::Publish { .. },
            Step::RenewLeaf
        ]
    ));
    assert!(started.elapsed() >= Timeouts::default().propagation);
}

#[tokio::test(start_paused = true)]
async fn changes_by_others_are_kept() {
    let cluster = Cluster::applied();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"note": "aGk="},
        "metadata": {"name": "linkerd-linger-tls", "labels": {"linkerd.io/extension": "linger"},
                     "annotations": {"note": "ours"}}});
    cluster.store().put(SECRET, secret);
    cluster.rotate(TODAY, nobody()).await.unwrap();
    let store = cluster.store();
    assert_eq!(store.objects[SECRET]["metadata"]["annotations"]["note"], "ours");
    assert_eq!(store.objects[SECRET]["data"]["note"], "aGk=");
}

/// Another process renews just before each of our writes; whoever comes second looks again.
#[tokio::test(start_paused = true)]
async fn two_at_once_end_with_one_authority() {
    let cluster = Cluster::applied();
    let other = Cluster::applied();
    other.rotate(TODAY, nobody()).await.unwrap();
    let theirs = other.store().objects[SECRET].clone();
    let mut once = Some(theirs.clone());
    let steps = cluster.rotate(
        TODAY,
        Box::new(move |method, _, store| {
            if method == "POST"
                && let Some(theirs) = once.take()
            {
                store.put(SECRET, theirs);
            }
            None
        }),
    );
    assert_eq!(steps.await.unwrap().len(), 2);
    let store = cluster.store();
    assert_eq!(store.objects[SECRET]["data"], theirs["data"]);
    assert!(store.bundles(MUTATING).iter().all(|bundle| *bundle == theirs["data"]["ca.crt"]));
}

#[tokio::test(start_paused = true)]
async fn a_change_under_us_is_seen_before_anything_is_written() {
    let cluster = Cluster::applied();
    let mut left = 3;
    let steps = cluster.rotate(
        TODAY,
        Box::new(move |method, path, store| {
            if method == "PATCH" && left > 0 {
                left -= 1;
                let object = store.objects[path].clone();
                store.put(path, object);
            }
            None
        }),
    );
    assert_eq!(steps.await.unwrap().len(), 3);
    assert_eq!(cluster.store().requests.iter().filter(|request| request.starts_with("PATCH")).count(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_stumbles_is_asked_again() {
    let cluster = Cluster::applied();
    let mut codes = vec![500, 429, 403, 503];
    let steps = cluster.rotate(TODAY, Box::new(move |_, _, _| codes.pop())).await.unwrap();
    assert_eq!(steps.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_it_and_says_of_what() {
    let cluster = Cluster::applied();
    let error =
        cluster.rotate(TODAY, Box::new(|method, _, _| (method == "POST").then_some(422))).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the API server did not allow the request to write the Secret linkerd-linger-tls: 422 InternalError: no"
    );
}

#[tokio::test(start_paused = true)]
async fn configurations_that_do_not_come_end_it_at_the_deadline() {
    let cluster = Cluster::default();
    let started = Instant::now();
    let error = cluster.rotate(TODAY, nobody()).await.unwrap_err().to_string();
    assert!(
        error.contains(
            "gave up after 300s; the last failed step was to find the MutatingWebhookConfiguration"
        ),
        "{error}"
    );
    assert_eq!(started.elapsed().as_secs(), Duration::from_secs(300).as_secs());
    // Pods can start all the same.
    assert!(cluster.store().objects.contains_key(SECRET));
}

#[tokio::test(start_paused = true)]
async fn configurations_that_come_later_are_awaited() {
    let cluster = Cluster::default();
    let mut later = Some(Cluster::applied());
    let mut looks = 0;
    let steps = cluster.rotate(
        TODAY,
        Box::new(move |_, _, store| {
            looks += 1;
            if looks == 20 {
                let applied = later.take().unwrap();
                for (path, object) in &applied.store().objects {
                    store.put(path, object.clone());
                }
            }
            None
        }),
    );
    assert_eq!(steps.await.unwrap().len(), 3);
}

#[rstest]
#[case::made_by_kubectl(json!({"type": "kubernetes.io/tls", "metadata": {}}), "(its type is kubernetes.io/tls)")]
#[case::of_cert_manager(
    json!({"type": "kubernetes.io/tls", "metadata": {"annotations": {"cert-manager.io/certificate-name": "x"}}}),
    "(its type is kubernetes.io/tls)"
)]
#[case::made_by_hand(json!({"type": "Opaque", "metadata": {}}), "(it has no label linkerd.io/extension=linger)")]
#[tokio::test(start_paused = true)]
async fn a_secret_of_somebody_else_is_left_alone(#[case] mut secret: Value, #[case] why: &str) {
    let cluster = Cluster::applied();
    secret["metadata"]["name"] = "linkerd-linger-tls".into();
    secret["data"] = json!({"tls.crt": "aGk="});
    cluster.store().put(SECRET, secret);
    let error = cluster.rotate(TODAY, nobody()).await.unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
    assert!(error.contains("kubectl -n linkerd-linger delete cronjob linkerd-linger-certs"), "{error}");
    let store = cluster.store();
    assert_eq!(store.objects[SECRET]["data"], json!({"tls.crt": "aGk="}));
    assert!(!store.requests.iter().any(|request| !request.starts_with("GET")), "{:?}", store.requests);
}

/// Somebody wants only one of the two.
#[tokio::test(start_paused = true)]
async fn one_missing_configuration_is_reported_and_keeps_nothing_from_being_renewed() {
    let cluster = Cluster::applied();
    cluster.rotate(TODAY, nobody()).await.unwrap();
    cluster.store().objects.remove(VALIDATING);
    let before = cluster.store().objects[SECRET]["data"]["tls.crt"].clone();
    let error = cluster.rotate(SignedDuration::from_hours(24 * 70), nobody()).await.unwrap_err().to_string();
    assert!(error.contains("the last failed step was to find the ValidatingWebhookConfiguration"), "{error}");
    assert_ne!(cluster.store().objects[SECRET]["data"]["tls.crt"], before);
}

/// It would be asked for a new certificate again and again.
#[tokio::test(start_paused = true)]
async fn an_authority_that_may_not_vouch_for_us_ends_it() {
    let cluster = Cluster::applied();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2036, 1, 1);
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("corp.example".to_owned())],
        excluded_subtrees: vec![],
    });
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let data = json!({"ca.crt": STANDARD.encode(&authority), "ca.key": STANDARD.encode(key.serialize_pem())});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data,
        "metadata": {"name": "linkerd-linger-tls", "labels": {"linkerd.io/extension": "linger"}}});
    cluster.store().put(SECRET, secret);
    let error = cluster.rotate(TODAY, nobody()).await.unwrap_err().to_string();
    assert!(error.contains("remove ca.key from the Secret"), "{error}");
    assert!(!cluster.store().requests.iter().any(|request| request.starts_with("PUT")));
}
