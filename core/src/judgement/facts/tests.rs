use rstest::rstest;
use serde_json::json;

use super::*;
use crate::{
    judgement::{judge::judge, policy::Policy},
    linkerd::Injection,
    workload::{context::Context, image_config::ImageConfig, object::Object},
};

const FILE: &str = "\
version: 1
servers:
- namespace: shop
  kind: Deployment
  name: web
  container: web
  port: 8080
  image: registry.example.com/web:1.2
  digest: sha256:00
  closesAfter: [65s, 65.1s]
  source: linkerd-linger 0.1.0, 4 connections
  date: 2026-11-30
";

fn fact() -> ServerFact {
    Facts::parse(FILE).unwrap().servers[0].clone()
}

/// What is said of port 8080 of the container `web`.
fn known(kind: &str, change: impl FnOnce(&mut serde_json::Value)) -> Idle {
    let mut spec = json!({"containers": [{
        "name": "web", "image": "registry.example.com/web:1.2", "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 65},
    }]});
    change(&mut spec);
    let object = match kind {
        "Pod" => json!({
            "apiVersion": "v1", "kind": "Pod", "spec": spec,
            "metadata": {"generateName": "web-6bdb4c48bb-", "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6bdb4c48bb", "controller": true},
            ]},
        }),
        kind => json!({
            "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web"}, "spec": {"template": {"spec": spec}},
        }),
    };
    let text = object.to_string();
    let object = Object::read(&text).unwrap().unwrap();
    let policy = Policy { facts: Facts::parse(FILE).unwrap(), ..Policy::default() };
    let today = "2026-12-01".parse().unwrap();
    let judgement = judge(&object, "shop", &Context::default(), &policy, today, Injection::Assumed);
    judgement.survey.apps[0].detected.at(Some(8080)).idle.clone()
}

#[rstest]
#[case::the_workload("Deployment")]
#[case::its_pod("Pod")]
fn a_fact_answers_for_a_workload(#[case] kind: &str) {
    let idle = known(kind, |_| {});
    let Idle::ClosesAfter(window, evidence) = &idle else { panic!("{idle:?}") };
    assert_eq!((window.from, window.to), (Duration::from_secs(65), Duration::from_millis(65_100)));
    assert!(evidence.certainty.is_certain());
    assert_eq!(evidence.to_string(), "measured on 2026-11-30 (linkerd-linger 0.1.0, 4 connections)");
}

#[test]
fn another_workload_has_no_fact() {
    assert!(matches!(known("StatefulSet", |_| {}), Idle::Unknown(_)));
}

#[test]
fn a_fact_about_another_image_is_likely() {
    let idle =
        known("Deployment", |spec| spec["containers"][0]["image"] = "registry.example.com/web:2".into());
    let evidence = idle.evidence().unwrap();
    let why = "the image was registry.example.com/web:1.2 during the measurement, but is \
         registry.example.com/web:2 now";
    assert_eq!(evidence.certainty, Certainty::Likely(why.to_owned()));
    let by_digest = |spec: &mut serde_json::Value| spec["containers"][0]["image"] = "web@sha256:00".into();
    assert!(known("Deployment", by_digest).evidence().unwrap().certainty.is_certain());
}

#[test]
fn settings_in_the_spec_override_facts() {
    let idle = known("Deployment", |spec| {
        spec["containers"][0]["command"] =
            json!(["gunicorn", "--keep-alive", "7", "--threads", "2", "-b", ":8080", "a:b"]);
    });
    let Idle::ClosesAfter(window, _) = &idle else { panic!("{idle:?}") };
    assert_eq!(window.from, Duration::from_secs(7));
}

#[test]
fn a_fact_comes_before_a_default() {
    let idle = known("Deployment", |spec| {
        spec["containers"][0]["command"] = json!(["uvicorn", "--port", "8080", "a:b"])
    });
    let Idle::ClosesAfter(window, _) = &idle else { panic!("{idle:?}") };
    assert_eq!(window.from, Duration::from_secs(65));
}

#[test]
fn its_text_is_read_back() {
    for behaviour in [
        Behaviour::ClosesAfter(Duration::from_millis(1_500), Duration::from_secs(2)),
        Behaviour::ClosesEachResponse,
        Behaviour::OpenAfter(Duration::from_secs(130)),
    ] {
        let servers = vec![ServerFact { behaviour, digest: None, ..fact() }, fact()];
        let facts = Facts::new(servers, vec![image_fact()]);
        let text = print(&facts).unwrap();
        assert_eq!(Facts::parse(&text).as_ref(), Ok(&facts), "{text}");
    }
}

fn image_fact() -> ImageFact {
    let config = ImageConfig {
        entrypoint: vec!["uvicorn".to_owned()],
        cmd: vec!["--port=8080".to_owned(), String::new(), "a:b".to_owned()],
        env: vec![("EMPTY".to_owned(), String::new()), ("PYTHON_VERSION".to_owned(), "3.13.1".to_owned())],
        working_dir: "/srv".to_owned(),
        ..ImageConfig::default()
    };
    ImageFact {
        image: "registry.example.com/web:1.2".to_owned(),
        facts: ImageFacts { digest: "sha256:00".to_owned(), config, doubt: None },
        source: "registry.example.com".to_owned(),
        date: "2026-11-30".parse().unwrap(),
    }
}

/// The idle timeout of a pod whose image alone says what runs.
fn by_image(image: &str) -> Idle {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"},
        "spec": {"containers": [{"name": "web", "image": image, "ports": [{"containerPort": 8080}]}]},
    });
    let text = pod.to_string();
    let object = Object::read(&text).unwrap().unwrap();
    let policy = Policy { facts: Facts::new(Vec::new(), vec![image_fact()]), ..Policy::default() };
    let context = Context { known_images: Arc::clone(&policy.facts.index), ..Context::default() };
    let judgement =
        judge(&object, "shop", &context, &policy, "2026-12-01".parse().unwrap(), Injection::Assumed);
    judgement.survey.apps[0].detected.at(Some(8080)).idle.clone()
}

#[test]
fn the_config_of_an_image_answers_for_its_digest_and_less_surely_for_its_name() {
    let by_digest = by_image("registry.example.com/web@sha256:00");
    let Idle::ClosesAfter(window, evidence) = &by_digest else { panic!("{by_digest:?}") };
    assert_eq!(window.from, Duration::from_secs(5));
    assert!(
        evidence.to_string().contains("ENTRYPOINT and CMD of registry.example.com/web@sha256:00"),
        "{evidence}"
    );
    let by_name = by_image("registry.example.com/web:1.2");
    let certainty = &by_name.evidence().unwrap().certainty;
    let why = "registry.example.com/web:1.2 was sha256:00 on 2026-11-30";
    assert!(matches!(certainty, Certainty::Likely(doubt) if doubt.contains(why)), "{certainty:?}");
    assert!(matches!(by_image("registry.example.com/web:3"), Idle::Unknown(_)));
}

#[test]
fn all_mistakes_are_found() {
    let text = "\
version: 2
servers:
- namespace: shop
  kind: Job
  name: web
  container: web
  port: 0
  image: web:1
  closesAfter: [65s, 5s]
  source: x
  date: soon
- kind: Deployment
  name: web
  container: web
  port: 80
  image: web:1
  openAfter: 130
  closesEachResponse: true
  source: x
  date: 2026-11-30
other: 1
";
    let mistakes = Facts::parse(text).unwrap_err();
    let shown: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "line 1: version: \"2\" is not supported; use 1",
            "line 4: servers[0].kind: unknown kind \"Job\"; expected one of Deployment, StatefulSet, DaemonSet, Pod",
            "line 7: servers[0].port: \"0\" is not a port; use a number from 1 to 65535",
            "line 9: servers[0].closesAfter: expected one duration, or a list of the earliest and the latest one",
            "line 11: servers[0].date: \"soon\" is not a date; write it like 2027-01-31",
            "line 12: servers[1].namespace: it is missing",
            "line 17: servers[1].openAfter: \"130\" is not a duration: it has no unit; write it like 1h, 1m30s \
             or 100ms",
            "line 21: unknown field \"other\"; expected one of version, servers, images",
        ]
    );
}
