use rstest::rstest;

use super::*;

const REFUSED: &str = r#"[     1.458873s]  INFO ThreadId(01) inbound:server{port=8004}:rescue{client.addr=192.0.2.1:54074}: linkerd_app_core::errors::respond: HTTP/1.1 request failed error=client error (Connect) error.sources=[Connection refused (os error 111)] path="/healthz""#;

fn read(line: &str) -> String {
    match Reader::default().read(line.as_bytes()) {
        Line::Event(Event::Failure(failure)) => {
            let of = |time: Option<i64>| time.map_or_else(|| "-".to_owned(), |time| time.to_string());
            let shown = |it: Option<String>| it.unwrap_or_else(|| "-".to_owned());
            format!(
                "{} {} {} {} {} {:?} {:?}",
                of(failure.at.since_start),
                of(failure.at.wall),
                shown(failure.direction.map(|it| it.as_str().to_owned())),
                shown(failure.port.map(|it| it.to_string())),
                shown(failure.address.map(|it| it.to_string())),
                failure.layer,
                failure.kind,
            )
        }
        Line::Event(Event::Access(access)) => format!(
            "access {} {} {} {} {} {}",
            access.port,
            access.start,
            access.total.map_or_else(|| "-".to_owned(), |total| total.to_string()),
            access.status,
            access.from_kubelet,
            access.meshed
        ),
        Line::Proxy => "proxy".to_owned(),
        Line::Foreign => "foreign".to_owned(),
    }
}

const PLAIN: &str = "1458873 - inbound 8004 192.0.2.1 Endpoint Refused";
const TIMED: &str = "1458873 1795767021219700 inbound 8004 192.0.2.1 Endpoint Refused";

#[rstest]
#[case::plain("", PLAIN)]
#[case::timestamps("2026-11-27T08:10:21.219700123Z ", TIMED)]
#[case::prefix("[pod/web-0/linkerd-proxy] ", PLAIN)]
#[case::prefix_and_timestamps("[pod/web-0/linkerd-proxy] 2026-11-27T08:10:21.219700123Z ", TIMED)]
#[case::stern("web-6d5f linkerd-proxy ", PLAIN)]
#[case::cri("2026-11-27T08:10:21.219700123Z stderr F ", TIMED)]
fn what_others_write_before_a_line_is_passed_over(#[case] before: &str, #[case] expected: &str) {
    assert_eq!(read(&format!("{before}{REFUSED}")), expected);
}

#[test]
fn colours_are_passed_over() {
    let coloured = "\u{1b}[2m[     1.458873s]\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m ThreadId(01) \u{1b}[1minbound\u{1b}[0m:\
                    \u{1b}[1mserver\u{1b}[0m\u{1b}[1m{\u{1b}[0m\u{1b}[3mport\u{1b}[0m\u{1b}[2m=\u{1b}[0m8004\u{1b}[1m}\u{1b}[0m:\
                    rescue{client.addr=192.0.2.1:54074}: linkerd_app_core::errors::respond: HTTP/1.1 request failed error=client \
                    error (Connect) error.sources=[Connection refused (os error 111)]";
    assert_eq!(read(coloured), PLAIN);
}

#[test]
fn a_line_of_docker_is_unwrapped() {
    let wrapped = serde_json::json!({"log": format!("{REFUSED}\n"), "stream": "stderr"});
    assert_eq!(read(&format!(r#"{{"log":{}}}"#, wrapped["log"])), PLAIN);
}

#[rstest]
#[case::server_2_19(
    "[     1.4s]  INFO ThreadId(01) inbound:server{port=80}:rescue{client.addr=192.0.2.1:5}: linkerd_app_core::errors::respond: \
     HTTP/1.1 request failed error=client 192.0.2.1:5: server: 192.0.2.9:80: server 192.0.2.9:80: client error (SendRequest) \
     error.sources=[client error (SendRequest), connection closed before message completed] path=\"/\"",
    "1400000 - inbound 80 192.0.2.1 Server Closed"
)]
#[case::unexpected_2_19(
    "[     1.4s]  WARN ThreadId(01) inbound:server{port=80}:rescue{client.addr=192.0.2.1:5}: linkerd_app_inbound::http::server: \
     Unexpected error error=client 192.0.2.1:5: server: x error.sources=[connection closed before message completed]",
    "1400000 - inbound 80 192.0.2.1 Unexpected Closed"
)]
#[case::outbound_endpoint(
    "[     1.4s]  INFO ThreadId(01) outbound:proxy{addr=192.0.2.7:80}:service{ns=shop name=web port=80}:endpoint{addr=192.0.2.8:8080}:\
     rescue{client.addr=192.0.2.1:5}: linkerd_app_core::errors::respond: HTTP/1.1 request failed error=endpoint 192.0.2.8:8080: client \
     error (SendRequest) error.sources=[connection error, client: Connection reset by peer (os error 104)]",
    "1400000 - outbound 80 192.0.2.1 Endpoint Reset"
)]
#[case::outbound_server(
    "[     1.4s]  INFO ThreadId(01) outbound:proxy{addr=192.0.2.7:80}:rescue{client.addr=192.0.2.1:5}: \
     linkerd_app_core::errors::respond: HTTP/1.1 request failed error=logical service 192.0.2.7:80: service in fail-fast",
    "1400000 - outbound 80 192.0.2.1 Server Named(FailFast)"
)]
#[case::grpc(
    "[     1.4s]  INFO ThreadId(01) inbound:server{port=80}:rescue{client.addr=192.0.2.1:5}: linkerd_app_core::errors::respond: \
     gRPC request failed error=client 192.0.2.1:5: server: 192.0.2.9:80: unauthorized request on route error.sources=[x]",
    "1400000 - inbound 80 192.0.2.1 Server Named(Unauthorized)"
)]
#[case::request_failed_2_12(
    "[   299.0s]  INFO ThreadId(01) inbound:server{port=80}:rescue{client.addr=192.0.2.1:5}: linkerd_app_core::errors::respond: \
     Request failed error=connection closed before message completed",
    "299000000 - inbound 80 192.0.2.1 Endpoint Closed"
)]
#[case::unexpected_2_11(
    "[   299.0s]  WARN ThreadId(01) inbound:server{port=80}:rescue{client.addr=192.0.2.1:5}: linkerd_app_inbound::http::server: \
     Unexpected error error=connection closed before message completed",
    "299000000 - inbound 80 192.0.2.1 Unexpected Closed"
)]
#[case::only_2_10(
    "[   299.0s]  WARN ThreadId(01) inbound:server{port=80}: linkerd_app_core::errors::respond: Failed to proxy request: \
     connection closed before message completed client.addr=192.0.2.1:5",
    "299000000 - inbound 80 192.0.2.1 Only Closed"
)]
#[case::only_2_9(
    "[   299.0s]  WARN ThreadId(01) inbound:accept{peer.addr=192.0.2.1:5 target.addr=192.0.2.9:80}: linkerd2_app_core::errors: \
     Failed to proxy request: error trying to connect: Connection refused (os error 111)",
    "299000000 - inbound 80 192.0.2.1 Only Refused"
)]
#[case::only_outbound_2_10(
    "[   299.0s]  WARN ThreadId(01) outbound:server{orig_dst=192.0.2.7:8080}: linkerd_app_core::errors: Failed to proxy request: \
     HTTP Logical service in fail-fast client.addr=192.0.2.1:5",
    "299000000 - outbound 8080 192.0.2.1 Only Named(FailFast)"
)]
#[case::ipv6(
    "[     1.4s]  INFO ThreadId(01) outbound:proxy{addr=[2001:db8::7]:80}:endpoint{addr=[2001:db8::8]:80}:rescue{client.addr=\
     [2001:db8::1]:5}: linkerd_app_core::errors::respond: HTTP/1.1 request failed error=client error (Connect) \
     error.sources=[Connection refused (os error 111)]",
    "1400000 - outbound 80 2001:db8::1 Endpoint Refused"
)]
fn each_form_of_a_failure_is_read(#[case] line: &str, #[case] expected: &str) {
    assert_eq!(read(line), expected);
}

#[rstest]
#[case::inbound(
    r#"{"timestamp":"2026-11-27T08:10:21.219700Z","level":"WARN","fields":{"message":"Unexpected error","error":"client 192.0.2.1:5: server: 192.0.2.9:80: client error (SendRequest)"},"target":"linkerd_app_inbound::http::server","spans":[{"name":"inbound"},{"port":80,"name":"server"},{"client.addr":"192.0.2.1:5","name":"rescue"}],"threadId":"ThreadId(1)"}"#,
    "- 1795767021219700 inbound 80 192.0.2.1 Unexpected SendRequest"
)]
#[case::outbound(
    r#"{"timestamp":"2026-11-27T08:10:21.219700Z","level":"INFO","fields":{"message":"HTTP/1.1 request failed","error":"endpoint 192.0.2.8:81: client error (Connect)","path":"/"},"target":"linkerd_app_core::errors::respond","spans":[{"name":"outbound"},{"addr":"192.0.2.7:80","name":"proxy"},{"ns":"","name":"service","port":80},{"addr":"192.0.2.8:81","name":"endpoint"},{"client.addr":"192.0.2.1:5","name":"rescue"}],"threadId":"ThreadId(1)"}"#,
    "- 1795767021219700 outbound 80 192.0.2.1 Endpoint Connect"
)]
#[case::json_2_10(
    r#"{"timestamp":"[   299.000000s]","level":"WARN","fields":{"message":"Failed to proxy request: connection closed before message completed","client.addr":"192.0.2.1:5"},"target":"linkerd_app_core::errors","spans":[{"name":"inbound"},{"port":80,"name":"server"}],"threadId":"ThreadId(1)"}"#,
    "299000000 - inbound 80 192.0.2.1 Only Closed"
)]
fn each_form_of_a_json_failure_is_read(#[case] line: &str, #[case] expected: &str) {
    assert_eq!(read(line), expected);
}

#[rstest]
#[case::apache(
    r#"192.0.2.1:5 - - [2026-11-27T08:10:21.219700074Z] "GET /healthz HTTP/1.1" 502"#,
    "access 0 1795767021219700 - 502 false false"
)]
#[case::apache_meshed(
    r#"2026-11-27T08:10:22Z 192.0.2.1:5 web.shop.serviceaccount.identity.linkerd.cluster.local - [2026-11-27T08:10:21.219700074Z] "GET / HTTP/2.0" 200"#,
    "access 0 1795767021219700 - 200 false true"
)]
#[case::json(
    r#"{"client.addr":"192.0.2.1:5","client.id":"-","host":"web:80","method":"GET","processing_ns":"3","request_bytes":"","response_bytes":"0","status":500,"timestamp":"2026-11-27T08:10:21.219700074Z","total_ns":"4671640","trace_id":"","uri":"/","user_agent":"kube-probe/1.33","version":"HTTP/1.1"}"#,
    "access 80 1795767021219700 4671 500 true false"
)]
#[case::of_another_program(
    r#"192.0.2.1 - - [27/Nov/2026:08:10:21 +0000] "GET / HTTP/1.1" 200 12"#,
    "foreign"
)]
#[case::banner("[     0.002s]  INFO ThreadId(01) linkerd2_proxy: Admin interface on 0.0.0.0:4191", "proxy")]
#[case::without_a_beginning("ror=client error (Connect) error.sources=[x] request failed", "foreign")]
#[case::of_an_app("ERROR request failed: timeout", "foreign")]
#[case::nothing("", "foreign")]
fn other_lines_are_told_apart(#[case] line: &str, #[case] expected: &str) {
    assert_eq!(read(line), expected);
}
