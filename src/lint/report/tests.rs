use json_patch::jsonptr::PointerBuf;

use super::{text::Styles, *};
use crate::judgement::finding::Change;

fn seconds(millis: u64) -> Seconds {
    Seconds(Duration::from_millis(millis))
}

fn line(line: usize, text: &str) -> LineReport {
    LineReport { file: "shop.yaml".into(), line, text: text.into() }
}

fn finding(rule: RuleId, action: Action, message: &str, help: &str, lines: Vec<LineReport>) -> FindingReport {
    let (message, help) = (message.to_owned(), help.to_owned());
    FindingReport {
        rule,
        action,
        reachable: action == Action::Reject,
        certainty: "certain",
        container: None,
        message,
        help,
        lines,
        exempt: None,
        note: "set by --flag 5; reachable".to_owned(),
        timeline: None,
        suppressed: None,
    }
}

fn cart() -> ObjectReport {
    ObjectReport {
        kind: "Deployment".into(),
        namespace: "shop".into(),
        name: "cart".into(),
        template: None,
        file: Some("shop.yaml".into()),
        line: Some(1),
        rendered_from: None,
        mesh: MeshReport {
            state: MeshState::WillBeInjected,
            why: "namespace shop has linkerd.io/inject: enabled".into(),
            line: Some("2.18".into()),
            pool_idle_timeout: Some(seconds(60_000)),
            pool_idle_timeout_from: "default of Linkerd".into(),
            cni: false,
        },
        containers: vec![
            ContainerReport {
                name: "web".into(),
                server: "uvicorn".into(),
                idle: IdleReport {
                    kind: IdleKind::ClosesAfter,
                    certainty: Some("certain"),
                    seconds: Some(seconds(5_000)),
                    window_seconds: Some([seconds(5_000), seconds(6_500)]),
                    evidence: "default of uvicorn 0.30 (uvicorn/config.py)".into(),
                },
                ports: Vec::new(),
            },
            ContainerReport {
                name: "log-shipper".into(),
                server: "unknown".into(),
                idle: IdleReport {
                    kind: IdleKind::Unknown,
                    certainty: None,
                    seconds: None,
                    window_seconds: None,
                    evidence: "no server is recognised in /bin/ship".into(),
                },
                ports: Vec::new(),
            },
        ],
        probes: vec![
            ProbeReport {
                container: "web".into(),
                probe: "liveness",
                handler: "httpGet",
                port: Some(8000),
                period: seconds(5_000),
                proxied: true,
                why: "kubelet asks over the pod's network".into(),
            },
            ProbeReport {
                container: "web".into(),
                probe: "startup",
                handler: "exec",
                port: None,
                period: seconds(10_000),
                proxied: false,
                why: "it runs inside the container".into(),
            },
        ],
        close_wait: CloseWaitReport {
            action: PlanAction::Patch,
            seconds: Some(seconds(3_600_000)),
            why: "nothing sets it".into(),
        },
        findings: vec![
            finding(
                RuleId::ProbeMatchesIdleTimeout,
                Action::Reject,
                "web: uvicorn closes idle connections after 5s (its default); the liveness probe on 8000 comes every 5s",
                "pass --timeout-keep-alive 75",
                vec![
                    line(12, "          periodSeconds: 5"),
                    line(9, "        command: [uvicorn]"),
                    line(10, "        livenessProbe:"),
                ],
            ),
            finding(
                RuleId::CloseWaitUnset,
                Action::Patch,
                "nothing sets the close-wait timeout",
                "",
                vec![line(6, "spec:")],
            ),
            finding(RuleId::InvalidAnnotation, Action::Warn, "a \u{1b}[31mbad\n one", "mend it", vec![]),
            finding(RuleId::CloseWaitBroken, Action::Ignore, "ignored", "", vec![]),
        ],
        remarks: Vec::new(),
        verdict: Decision::Reject,
        patch: vec![
            Edit {
                at: PointerBuf::parse("/metadata/annotations/linkerd.io~1x").unwrap(),
                change: Change::Set("3600".into()),
            },
            Edit { at: PointerBuf::parse("/spec/a").unwrap(), change: Change::Remove },
        ],
    }
}

fn quiet(name: &str) -> ObjectReport {
    ObjectReport {
        name: name.into(),
        namespace: String::new(),
        containers: vec![],
        probes: vec![],
        findings: vec![],
        remarks: Vec::new(),
        verdict: Decision::Admit,
        patch: Vec::new(),
        mesh: MeshReport {
            state: MeshState::NotMeshed,
            why: "linkerd.io/inject is disabled".into(),
            line: None,
            pool_idle_timeout: None,
            pool_idle_timeout_from: String::new(),
            cni: true,
        },
        close_wait: CloseWaitReport { action: PlanAction::None, seconds: None, why: "no proxy".into() },
        ..cart()
    }
}

fn broken() -> ErrorReport {
    ErrorReport {
        file: "x.yaml".into(),
        line: Some(3),
        column: Some(7),
        message: "unclosed bracket".into(),
        help: Some("close it".into()),
    }
}

#[test]
fn lint_shows_findings_as_a_compiler_does() {
    let report = Report { objects: vec![cart(), quiet("b")], errors: vec![broken()], ..Report::default() };
    insta::assert_snapshot!(text::lint(&report, &Styles::plain()));
}

#[test]
fn explain_shows_what_is_known() {
    let report = Report { objects: vec![cart(), quiet("b")], errors: vec![], ..Report::default() };
    insta::assert_snapshot!(text::explain(&report, &Styles::plain()));
}

#[test]
fn the_json_is_an_interface() {
    let report = Report { objects: vec![cart(), quiet("b")], errors: vec![broken()], ..Report::default() };
    insta::assert_snapshot!(json::render(&report).unwrap());
}

#[test]
fn junit_and_github_have_each_finding() {
    let mut report =
        Report { objects: vec![cart(), quiet("b")], errors: vec![broken()], ..Report::default() };
    report.objects[0].remarks.push("the exemption <ended>".to_owned());
    insta::assert_snapshot!("junit", junit::render(&report, true));
    insta::assert_snapshot!("github", github::render(&report));
    report.objects[0].findings[0].suppressed = Some(Suppression::Baseline);
    assert!(junit::render(&report, false).contains("failures=\"0\" errors=\"1\""));
    assert!(roxmltree::Document::parse(&junit::render(&report, true)).is_ok());
}

#[test]
fn of_many_findings_those_that_are_identical_are_told_once() {
    let one = ObjectReport { findings: cart().findings[..1].to_vec(), ..cart() };
    let named = |number: usize| ObjectReport { name: format!("cart-{number}"), ..one.clone() };
    let mut objects: Vec<_> = (0..11).map(named).collect();
    objects[3].findings[0].message = "web: another".to_owned();
    let report = Report { objects, ..Report::default() };
    insta::assert_snapshot!(text::lint(&report, &Styles::plain()));
}

#[test]
fn a_clean_run_says_so_in_one_line() {
    let lint = |objects| text::lint(&Report { objects, ..Report::default() }, &Styles::plain());
    assert_eq!(lint(vec![quiet("a")]), "1 object, nothing found\n");
    assert_eq!(lint(vec![]), "no object runs pods\n");
}

#[test]
fn colours_change_nothing_but_colours() {
    let report = Report { objects: vec![cart(), quiet("b")], errors: vec![broken()], ..Report::default() };
    for render in [text::lint, text::explain] {
        let colored = render(&report, &Styles::colored());
        assert_ne!(colored, render(&report, &Styles::plain()));
        assert_eq!(anstream::adapter::strip_str(&colored).to_string(), render(&report, &Styles::plain()));
    }
}

#[test]
fn an_error_says_where_what_and_how() {
    let text = text::error(&broken(), &Styles::plain());
    assert_eq!(text, "x.yaml:3:7: error: unclosed bracket\n  = help: close it\n");
}
