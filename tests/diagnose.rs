//! Tests `diagnose` with recordings of known causes, complete, truncated and shuffled, and with invalid input.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/recordings.rs"]
mod recordings;

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Output, Stdio},
};

use linkerd_linger::diagnose::{
    Cause, Direction,
    cause::{PortDiagnosis, diagnose},
    log::{Log, Logs},
    metrics::Metrics,
};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::Value;

use self::recordings::{Fault, Form, Recording, record};

fn logs(text: &str) -> Logs {
    let mut log = Log::default();
    log.feed(text.as_bytes());
    log.end();
    log.finish()
}

fn found(text: &str, metrics: Option<&str>) -> Vec<PortDiagnosis> {
    let mut read = Metrics::default();
    if let Some(page) = metrics {
        read.read(page).unwrap();
    }
    diagnose(&logs(text), &read, &BTreeMap::new())
}

/// What was found at a port: its causes and how many requests failed for each.
fn at(ports: &[PortDiagnosis], port: u16) -> Vec<(&'static str, u64)> {
    let port = ports.iter().find(|found| found.key.1 == port);
    port.into_iter().flat_map(|port| &port.findings).map(|it| (it.cause.as_str(), it.count)).collect()
}

/// Whether the log alone tells the cause, or with metrics.
const fn is_told(fault: Fault, form: Form, outbound: bool, metrics: bool) -> bool {
    let has_sources = !matches!(form, Form::Json);
    match fault {
        Fault::Refused | Fault::ConnectTimeout => has_sources || metrics || !outbound,
        // A JSON log has the same words for an app that closes at once.
        Fault::NotHttp => has_sources,
        // Where one number counts the time of all outbound requests, neither the time tells the two apart.
        Fault::ClosesRequest if !has_sources && outbound => false,
        Fault::RaceClosed | Fault::RaceReset | Fault::ResetsRequest | Fault::ClosesRequest => {
            metrics || !outbound && matches!(form, Form::Apache | Form::Json)
        }
        Fault::Healthy => true,
    }
}

#[rstest]
fn each_failure_is_counted_once_and_gets_its_cause(
    #[values(Form::Plain, Form::Apache, Form::Json)] form: Form,
    #[values(false, true)] outbound: bool,
    #[values(false, true)] with_metrics: bool,
    #[values(1, 2, 3)] seed: u64,
) {
    let Recording { log, metrics, truth } = record(form, outbound, seed);
    let ports = found(&log, with_metrics.then_some(&metrics));
    for (port, (fault, failed)) in truth {
        let at = at(&ports, port);
        if fault == Fault::Healthy {
            assert_eq!(at, [], "port {port}");
        } else if is_told(fault, form, outbound, with_metrics) {
            assert_eq!(at, [(fault.cause(), failed)], "port {port}, {fault:?}");
        } else {
            assert_eq!(at, [("undetermined", failed)], "port {port}, {fault:?}");
        }
    }
}

#[test]
fn the_number_of_requests_is_that_of_the_access_log_or_the_metrics() {
    let whole = record(Form::Json, false, 1);
    let ports = found(&whole.log, None);
    assert!(ports.iter().all(|port| port.requests == Some(119)), "{ports:?}");
    let plain = record(Form::Plain, false, 1);
    assert!(found(&plain.log, None).iter().all(|port| port.requests.is_none()));
    assert!(found(&plain.log, Some(&plain.metrics)).iter().all(|port| port.requests == Some(119)));
}

#[test]
fn timestamps_give_the_time_of_day_and_the_access_log_the_pause() {
    let json = record(Form::Json, false, 1);
    let ports = found(&json.log, None);
    let race = &ports.iter().find(|port| port.key.1 == 9000).unwrap().findings[0];
    assert!(race.times.unwrap().wall);
    let evidence = race.evidence.join("; ");
    assert!(evidence.contains("after the previous response"), "{evidence}");
    assert!(evidence.contains("probes of the kubelet"), "{evidence}");
}

/// Linkerd's lines before 2.13 write other words, and fewer or equal lines.
#[rstest]
#[case::unexpected_of_2_11(
    &["[     9.1s]  INFO ThreadId(01) inbound:server{port=80}:rescue{client.addr=192.0.2.1:5}: linkerd_app_core::errors::respond: Request failed error=connection closed before message completed",
      "[     9.1s]  INFO ThreadId(01) inbound:server{port=80}:rescue{client.addr=192.0.2.1:5}: linkerd_app_core::errors::respond: Request failed error=connection closed before message completed",
      "[     9.1s]  WARN ThreadId(01) inbound:server{port=80}:rescue{client.addr=192.0.2.1:5}: linkerd_app_inbound::http::server: Unexpected error error=connection closed before message completed"],
    1
)]
#[case::bad_gateway_of_2_12(
    &["[     9.1s]  INFO ThreadId(01) inbound:server{port=80}:rescue{client.addr=192.0.2.1:5}: linkerd_app_core::errors::respond: Request failed error=Connection reset by peer (os error 104)"],
    1
)]
#[case::two_of_one_client(
    &["[     9.1s]  WARN ThreadId(01) inbound:server{port=80}:rescue{client.addr=192.0.2.1:5}: linkerd_app_inbound::http::server: Unexpected error error=connection closed before message completed",
      "[    19.1s]  WARN ThreadId(01) inbound:server{port=80}:rescue{client.addr=192.0.2.1:5}: linkerd_app_inbound::http::server: Unexpected error error=connection closed before message completed"],
    2
)]
#[case::only_line_of_2_10(
    &["[     9.1s]  WARN ThreadId(01) inbound:server{port=80}: linkerd_app_core::errors: Failed to proxy request: connection closed before message completed client.addr=192.0.2.1:5"],
    1
)]
fn older_proxies_say_it_otherwise(#[case] lines: &[&str], #[case] expected: u64) {
    assert_eq!(at(&found(&lines.join("\n"), None), 80), [("undetermined", expected)]);
}

#[rstest]
#[case::fail_fast("logical service 192.0.2.7:80: service in fail-fast", "fail-fast")]
#[case::load_shedding("logical service 192.0.2.7:80: service unavailable", "load-shedding")]
#[case::policy("client 192.0.2.1:5: server: 192.0.2.9:80: unauthorized request on route", "unauthorized")]
#[case::looping("client 192.0.2.1:5: server: 192.0.2.9:80: gateway loop detected", "loop")]
fn what_the_proxy_names_keeps_its_name(#[case] error: &str, #[case] cause: &str) {
    let line = format!(
        "[     9.1s]  INFO ThreadId(01) inbound:server{{port=80}}:rescue{{client.addr=192.0.2.1:5}}: \
         linkerd_app_core::errors::respond: HTTP/1.1 request failed error={error}"
    );
    let ports = found(&line, None);
    assert_eq!(at(&ports, 80), [(cause, 1)]);
    assert!(ports[0].findings[0].help.starts_with("see https://linkerd.io/2/"), "{ports:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_cut_and_no_order_of_the_lines_leads_to_a_wrong_cause(
        form in prop::sample::select(vec![Form::Plain, Form::Apache, Form::Json]),
        outbound: bool,
        with_metrics: bool,
        keep in 1_u32..=100,
        seed: u64,
        shuffled: bool,
    ) {
        let Recording { log, metrics, truth } = record(form, outbound, 7);
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut lines: Vec<&str> = log.lines().filter(|_| next() % 100 < u64::from(keep)).collect();
        if shuffled {
            lines.sort_by_cached_key(|_| next());
        }
        for port in found(&lines.join("\n"), with_metrics.then_some(&metrics)) {
            let fault = truth[&port.key.1].0;
            for finding in &port.findings {
                prop_assert!(
                    finding.cause == Cause::Undetermined || finding.cause.as_str() == fault.cause(),
                    "port {} is {:?}, and not {:?}", port.key.1, fault, finding
                );
            }
            let count: u64 = port.findings.iter().map(|finding| finding.count).sum();
            prop_assert!(count <= truth[&port.key.1].1, "{} counted at {:?}", count, port.key);
        }
    }

    #[test]
    fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..2000), splits in prop::collection::vec(0_usize..40, 0..40)) {
        let mut log = Log::default();
        let mut rest = &bytes[..];
        for split in splits {
            let (chunk, more) = rest.split_at(split.min(rest.len()));
            log.feed(chunk);
            rest = more;
        }
        log.feed(rest);
        log.end();
        let ports = diagnose(&log.finish(), &Metrics::default(), &BTreeMap::new());
        prop_assert!(ports.is_empty());
        let _ = Metrics::default().read(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_change_of_a_recording_breaks_it(
        form in prop::sample::select(vec![Form::Plain, Form::Apache, Form::Json]),
        changes in prop::collection::vec((0_usize..40_000, any::<u8>()), 1..200),
    ) {
        let Recording { log, metrics, .. } = record(form, false, 7);
        let (mut log, mut metrics) = (log.into_bytes(), metrics.into_bytes());
        for (at, byte) in changes {
            let end = log.len();
            log[at % end] = byte;
            let end = metrics.len();
            metrics[at % end] = byte;
        }
        let mut read = Metrics::default();
        let _ = read.read(&String::from_utf8_lossy(&metrics));
        diagnose(&logs(&String::from_utf8_lossy(&log)), &read, &BTreeMap::new());
    }
}

#[test]
fn a_line_split_between_chunks_is_one_line() {
    let log = record(Form::Plain, false, 1).log;
    let mut split = Log::default();
    for chunk in log.as_bytes().chunks(7) {
        split.feed(chunk);
    }
    split.end();
    let split = diagnose(&split.finish(), &Metrics::default(), &BTreeMap::new());
    assert_eq!(split, found(&log, None));
}

#[test]
fn a_line_without_an_end_does_not_grow() {
    let mut log = Log::default();
    for _ in 0..64 {
        log.feed(&[b'x'; 1 << 16]);
    }
    log.feed(b"\n");
    log.feed(record(Form::Plain, false, 1).log.as_bytes());
    log.end();
    let logs = log.finish();
    assert!(logs.ports.contains_key(&(Direction::Inbound, 9000)), "what follows is read");
}

fn run(args: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_linkerd-linger"))
        .arg("diagnose")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn the_json_has_what_programs_need() {
    let Recording { log, metrics, truth } = record(Form::Plain, false, 1);
    let metrics = file(&metrics);
    let output = run(&["--logs", "-", "--metrics", metrics.path().to_str().unwrap(), "-o", "json"], &log);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let race = report["ports"].as_array().unwrap().iter().find(|port| port["port"] == 9000).unwrap();
    assert_eq!((race["direction"].as_str(), race["requests"].as_u64()), (Some("inbound"), Some(119)));
    let failure = &race["failures"][0];
    assert_eq!(failure["cause"], "idle-timeout-race");
    assert_eq!(failure["count"], truth[&9000].1);
    assert_eq!(failure["statuses"]["500"], truth[&9000].1);
    let schema = serde_json::to_value(linkerd_linger::diagnose::report::schema()).unwrap();
    assert!(jsonschema::is_valid(&schema, &report), "the schema does not hold");
    for field in ["certainty", "first", "last", "evidence", "help"] {
        assert!(failure[field].is_string(), "{field} in {failure}");
    }
}

#[test]
fn a_manifest_makes_a_race_certain_and_says_what_ends_it() {
    let manifest = file(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  annotations:\n    linkerd-linger.io/idle-timeout: 1s\nspec:\n  containers:\n  \
         - name: web\n    image: web\n    ports: [{containerPort: 9000}]\n    readinessProbe: {httpGet: {port: 9000}, periodSeconds: 1}\n",
    );
    let log = record(Form::Json, false, 1).log;
    let output = run(&["--logs", "-", "--manifest", manifest.path().to_str().unwrap(), "-o", "json"], &log);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let race = report["ports"].as_array().unwrap().iter().find(|port| port["port"] == 9000).unwrap();
    assert_eq!(race["failures"][0]["certainty"], "certain", "{race}");
    assert!(
        race["failures"][0]["help"].as_str().unwrap().contains("raise its server's idle timeout"),
        "{race}"
    );
}

#[test]
fn without_a_failure_the_exit_code_is_zero_and_sockets_is_named() {
    let log = "[     0.007253s]  INFO ThreadId(01) linkerd2_proxy: Admin interface on 0.0.0.0:4191\n";
    let output = run(&["--logs", "-"], log);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("no failed request in 1 line of the proxy's log\n"), "{text}");
    assert!(text.contains("linkerd linger sockets"), "{text}");
}

#[rstest]
#[case::nothing("", &["--logs", "-"], "stdin: it contains no line of Linkerd's proxy")]
#[case::another_container("Listening on 8080\nGET / 200\n", &["--logs", "-"], "stdin: it contains no line of Linkerd's proxy")]
#[case::no_log("", &[], "there is no log to read: use --logs FILE")]
#[case::no_file("", &["--logs", "/nonexistent"], "cannot read /nonexistent")]
fn input_that_is_none_is_told(#[case] stdin: &str, #[case] args: &[&str], #[case] expected: &str) {
    let output = run(args, stdin);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(expected), "{text}");
}

#[test]
fn metrics_of_something_else_are_told() {
    let page = file("# HELP go_goroutines x\ngo_goroutines 7\n");
    let log = record(Form::Plain, false, 1).log;
    let output = run(&["--logs", "-", "--metrics", page.path().to_str().unwrap()], &log);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("none of its 2 lines is a metric of Linkerd's proxy"), "{text}");
}
