use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    servers::{Answer, Idle, detected},
    workload::{context::Context, object::Object},
};

fn literal(id: &str) -> Result<LiteralServer<'static>, String> {
    let catalog = Catalog::builtin();
    catalog.literal(catalog.find(id).unwrap())
}

/// The server and the answer of a container.
fn resolved(container: &Value) -> (Option<String>, Answer) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container]}}).to_string();
    let object = Object::read(&pod).unwrap().unwrap();
    let container = &object.pod.containers[0];
    let found = detected(Catalog::builtin(), &object.pod, container, &[8000], "", &Context::default());
    (found.server.map(|server| server.id.clone()), found.at(Some(8000)).clone())
}

fn started(start: &Start) -> Value {
    let image = "registry.example.com/app:1";
    match start {
        Start::Command(words) => {
            json!({"name": "app", "image": image, "command": words.split(' ').collect::<Vec<_>>()})
        }
        Start::Module(words) => {
            let words: Vec<_> = ["python3", "-m"].into_iter().chain(words.split(' ')).collect();
            json!({"name": "app", "image": image, "command": words})
        }
        Start::Image(repository) => json!({"name": "app", "image": repository}),
    }
}

#[test]
fn every_start_and_default_is_what_the_resolver_says() {
    let catalog = Catalog::builtin();
    let literals: Vec<_> = catalog.servers().filter_map(|server| catalog.literal(server).ok()).collect();
    assert!(literals.len() > 40, "{}", literals.len());
    for literal in literals {
        for start in &literal.starts {
            let (id, answer) = resolved(&started(start));
            assert_eq!(id.as_ref(), Some(&literal.server.id), "{start:?}");
            let Behaviour { default, early, late, .. } = &literal.behaviours[0];
            let Some((from, to)) = default else { continue };
            match answer.idle {
                Idle::ClosesAfter(window, evidence) => {
                    assert_eq!((window.from, window.to), (*from - *early, *to + *late), "{start:?}");
                    assert!(evidence.certainty.is_certain(), "{start:?}");
                }
                idle => panic!("{start:?}: {idle:?}"),
            }
        }
    }
}

#[rstest]
#[case::one_bound("falcosidekick", Some([2, 28, 0]))]
#[case::settings_of_newer_releases("kube-state-metrics", Some([2, 13, 0]))]
#[case::no_version("waitress", Some([0, 0, 0]))]
#[case::several_ranges("kserve-model-server", None)]
fn the_first_release_with_the_answers_of_the_latest(#[case] id: &str, #[case] expected: Option<[u64; 3]>) {
    assert_eq!(literal(id).unwrap().since, expected);
}

#[test]
fn ports_of_other_listeners_are_left_out() {
    let thruster = literal("thruster").unwrap();
    assert_eq!(thruster.other_ports, [3000]);
    assert_eq!(thruster.behaviours[0].doubtful_variables.matches("TARGET_PORT").count(), 2);
    assert_eq!(thruster.behaviours[0].default, Some((Duration::from_secs(60), Duration::from_secs(60))));
}

#[rstest]
#[case::ports("traefik", "its ports have different timeouts")]
#[case::properties("spring-boot-tomcat", "it reads Java properties")]
#[case::likely("puma", "config/puma.rb in the image may set persistent_timeout")]
fn what_is_not_literal_has_a_reason(#[case] id: &str, #[case] why: &str) {
    assert_eq!(literal(id).unwrap_err(), why);
}

#[test]
fn wrappers_run_the_words_after_them() {
    for (wrapper, subcommand) in wrappers() {
        for separator in ["", "--"] {
            let words = [wrapper, subcommand, separator, "uvicorn", "app:app", "--timeout-keep-alive", "7"];
            let command: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
            let (id, answer) = resolved(&json!({"name": "app", "image": "app:1", "command": command}));
            let Idle::ClosesAfter(window, _) = answer.idle else { panic!("{command:?}: {answer:?}") };
            assert_eq!((id.as_deref(), window.from.as_secs()), (Some("uvicorn"), 7), "{command:?}");
        }
    }
}

#[test]
fn modes_have_their_own_settings() {
    let gunicorn = literal("gunicorn").unwrap();
    let [sync, gthread] =
        ["sync", "gthread"].map(|mode| gunicorn.behaviours.iter().find(|it| it.mode == mode).unwrap());
    assert!(sync.settings.is_empty(), "sync closes after each response, whatever is set");
    assert_eq!(gthread.settings.len(), 1);
    assert_eq!((gthread.default, gthread.late), (None, Duration::from_secs(1)));
    assert_eq!(gunicorn.steps.len(), 2);
}

#[rstest]
#[case::abbreviation("--kee[p-alive]", "--kee(p(\\-(a(l(i(v(e)?)?)?)?)?)?)?")]
#[case::short("-k", "-k")]
fn flags_are_patterns(#[case] flag: &str, #[case] expected: &str) {
    let full = flag.replace(['[', ']'], "");
    let shortest = flag.find('[').unwrap_or(flag.len());
    assert_eq!(pattern(&Flag { full, shortest }), expected.replace("\\-", "-"));
}
