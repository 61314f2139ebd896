//! Generates logs and metrics of a proxy whose ports have known faults, in the formats of linkerd2-proxy.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use jiff::Timestamp;

/// How the proxy logs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// Plain, without an access log.
    Plain,
    /// Plain, with an access log in apache's form.
    Apache,
    /// JSON, with an access log in JSON.
    Json,
}

/// What is wrong with the app at a port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// It closes idle connections as the next request comes; the proxy sees the end.
    RaceClosed,
    /// The same, with a reset.
    RaceReset,
    /// Nobody listens.
    Refused,
    /// It resets a request after a while.
    ResetsRequest,
    /// It closes a request after a while.
    ClosesRequest,
    /// It does not accept in time.
    ConnectTimeout,
    /// It speaks no HTTP.
    NotHttp,
    /// Nothing.
    Healthy,
}

impl Fault {
    pub(crate) const ALL: [Self; 8] = [
        Self::RaceClosed,
        Self::RaceReset,
        Self::Refused,
        Self::ResetsRequest,
        Self::ClosesRequest,
        Self::ConnectTimeout,
        Self::NotHttp,
        Self::Healthy,
    ];

    /// The cause that `diagnose` should name.
    pub(crate) const fn cause(self) -> &'static str {
        match self {
            Self::RaceClosed | Self::RaceReset => "idle-timeout-race",
            Self::Refused => "connection-refused",
            Self::ResetsRequest | Self::ClosesRequest => "app-ended-request",
            Self::ConnectTimeout => "connect-timeout",
            Self::NotHttp => "not-http",
            Self::Healthy => "-",
        }
    }

    const fn status(self) -> u16 {
        match self {
            Self::RaceClosed | Self::ClosesRequest | Self::NotHttp => 500,
            Self::RaceReset | Self::Refused | Self::ResetsRequest => 502,
            Self::ConnectTimeout => 504,
            Self::Healthy => 200,
        }
    }

    const fn sources(self) -> (&'static str, &'static str) {
        match self {
            Self::RaceClosed | Self::ClosesRequest => {
                ("client error (SendRequest)", "connection closed before message completed")
            }
            Self::RaceReset | Self::ResetsRequest => (
                "client error (SendRequest)",
                "connection error, client: Connection reset by peer (os error 104)",
            ),
            Self::Refused => ("client error (Connect)", "Connection refused (os error 111)"),
            Self::ConnectTimeout => ("client error (Connect)", "connect timed out after 100ms"),
            Self::NotHttp => ("client error (SendRequest)", "invalid HTTP version parsed"),
            Self::Healthy => ("", ""),
        }
    }
}

/// A recording.
pub(crate) struct Recording {
    pub(crate) log: String,
    pub(crate) metrics: String,
    /// By port, the fault and how many requests failed.
    pub(crate) truth: BTreeMap<u16, (Fault, u64)>,
}

/// As many seconds are recorded.
const SECONDS: i64 = 120;
/// When the proxy started, in microseconds since 1970.
const STARTED: i64 = 1_790_000_000_000_000;

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((self.0 >> 33) % limit).unwrap()
    }
}

struct Request {
    port: u16,
    client: String,
    start: i64,
    took: i64,
    status: u16,
    fault: Fault,
}

/// Records the ports from 9000 on, one for each fault; each is asked once a second.
pub(crate) fn record(form: Form, outbound: bool, seed: u64) -> Recording {
    let mut random = Random(seed);
    let mut requests = Vec::new();
    let mut truth = BTreeMap::new();
    for (port, fault) in (9000..).zip(Fault::ALL) {
        let phase = random.below(900_000);
        let (mut failed, mut raced) = (0, false);
        // The pool's connection was used last.
        let mut last_end = None;
        for second in 1..SECONDS {
            let mut start = STARTED + second * 1_000_000 + phase + random.below(900);
            let is_race = matches!(fault, Fault::RaceClosed | Fault::RaceReset);
            if is_race && let Some(last) = last_end {
                start = last + 1_000_000 + random.below(4_000);
            }
            // A race never meets a stream of requests twice in a row.
            raced = is_race && !raced && last_end.is_some() && random.below(100) < 12;
            let fails = raced || !is_race && fault != Fault::Healthy;
            let took = match fault {
                Fault::ResetsRequest | Fault::ClosesRequest => 300_000 + random.below(5_000),
                Fault::ConnectTimeout => 100_000 + random.below(2_000),
                _ => 400 + random.below(2_000),
            };
            last_end = Some(start + took);
            failed += u64::from(fails);
            requests.push(Request {
                port,
                client: format!("192.0.2.1:{}", 20_000 + requests.len()),
                start,
                took,
                status: if fails { fault.status() } else { 200 },
                fault,
            });
        }
        truth.insert(port, (fault, failed));
    }
    requests.sort_by_key(|request| request.start + request.took);
    let mut lines = vec![banner(form)];
    for request in &requests {
        lines.extend(failure_lines(form, outbound, request));
        if !outbound && form != Form::Plain {
            // A line of the access log comes when its connection ends, which may be late.
            let at = lines.len().saturating_sub(usize::try_from(random.below(40)).unwrap()).max(1);
            lines.insert(at, access_line(form, request));
        }
    }
    Recording { log: lines.join("\n") + "\n", metrics: metrics(outbound, &requests), truth }
}

fn banner(form: Form) -> String {
    match form {
        Form::Json => format!(
            r#"{{"timestamp":"{}","level":"INFO","fields":{{"message":"Admin interface on 0.0.0.0:4191"}},"target":"linkerd2_proxy","threadId":"ThreadId(1)"}}"#,
            time(STARTED)
        ),
        Form::Plain | Form::Apache => {
            "[     0.007253s]  INFO ThreadId(01) linkerd2_proxy: Admin interface on 0.0.0.0:4191".to_owned()
        }
    }
}

fn time(micros: i64) -> String {
    format!("{:.6}", Timestamp::from_microsecond(micros).unwrap())
}

fn failure_lines(form: Form, outbound: bool, request: &Request) -> Vec<String> {
    if request.status == 200 {
        return Vec::new();
    }
    let (kind, source) = request.fault.sources();
    let (port, client) = (request.port, &request.client);
    let end = request.start + request.took;
    let context = if outbound {
        format!(
            "logical service 198.51.100.7:{port}: route default.default: endpoint 198.51.100.8:{port}: {kind}"
        )
    } else {
        format!("client {client}: server: 192.0.2.9:{port}: server 192.0.2.9:{port}: {kind}")
    };
    let inner = if outbound { format!("endpoint 198.51.100.8:{port}: {kind}") } else { kind.to_owned() };
    // (message, error, sources, at the endpoint)
    let mut told = vec![("HTTP/1.1 request failed", inner, source.to_owned(), true)];
    if request.status == 500 {
        let sources = format!("{kind}, {source}");
        told.push(("HTTP/1.1 request failed", context.clone(), sources.clone(), false));
        told.push(("Unexpected error", context, sources, false));
    }
    let line = |(index, (message, error, sources, at_endpoint)): (usize, (&str, String, String, bool))| {
        let at = end + 90 * i64::try_from(index).unwrap();
        let unexpected = message == "Unexpected error";
        let (level, target) = match (unexpected, outbound) {
            (true, true) => ("WARN", "linkerd_app_outbound::http::server"),
            (true, false) => ("WARN", "linkerd_app_inbound::http::server"),
            (false, _) => ("INFO", "linkerd_app_core::errors::respond"),
        };
        if form == Form::Json {
            let spans = match (outbound, at_endpoint) {
                (false, _) => format!(r#"{{"name":"inbound"}},{{"port":{port},"name":"server"}}"#),
                (true, false) => {
                    format!(r#"{{"name":"outbound"}},{{"addr":"198.51.100.7:{port}","name":"proxy"}}"#)
                }
                (true, true) => format!(
                    r#"{{"name":"outbound"}},{{"addr":"198.51.100.7:{port}","name":"proxy"}},{{"addr":"198.51.100.8:{port}","name":"endpoint"}}"#
                ),
            };
            return format!(
                r#"{{"timestamp":"{}","level":"{level}","fields":{{"message":"{message}","error":"{error}"}},"target":"{target}","spans":[{spans},{{"client.addr":"{client}","name":"rescue"}}],"threadId":"ThreadId(1)"}}"#,
                time(at)
            );
        }
        let spans = match (outbound, at_endpoint) {
            (false, _) => format!("inbound:server{{port={port}}}"),
            (true, false) => format!("outbound:proxy{{addr=198.51.100.7:{port}}}"),
            (true, true) => format!(
                "outbound:proxy{{addr=198.51.100.7:{port}}}:service{{ns=shop name=web port={port}}}:endpoint{{addr=198.51.100.8:{port}}}"
            ),
        };
        let path = if unexpected { "" } else { " path=\"/ready\"" };
        let since = at - STARTED;
        format!(
            "[{:>6}.{:06}s] {level:>5} ThreadId(01) {spans}:rescue{{client.addr={client}}}: {target}: {message} error={error} \
             error.sources=[{sources}]{path}",
            since / 1_000_000,
            since % 1_000_000
        )
    };
    told.into_iter().enumerate().map(line).collect()
}

fn access_line(form: Form, request: &Request) -> String {
    let (client, status) = (&request.client, request.status);
    let start = time(request.start);
    match form {
        Form::Json => format!(
            r#"{{"client.addr":"{client}","client.id":"-","host":"192.0.2.9:{}","method":"GET","processing_ns":"200000","request_bytes":"","response_bytes":"2","status":{status},"timestamp":"{start}","total_ns":"{}","trace_id":"","uri":"/ready","user_agent":"kube-probe/1.36","version":"HTTP/1.1"}}"#,
            request.port,
            request.took * 1000
        ),
        Form::Plain | Form::Apache => format!(r#"{client} - - [{start}] "GET /ready HTTP/1.1" {status}"#),
    }
}

/// The bounds of the proxy's buckets for latencies, in milliseconds (linkerd2-proxy `linkerd/metrics/src/latency.rs`).
const LATENCIES: [i64; 26] = [
    1,
    2,
    3,
    4,
    5,
    10,
    20,
    30,
    40,
    50,
    100,
    200,
    300,
    400,
    500,
    1000,
    2000,
    3000,
    4000,
    5000,
    10_000,
    20_000,
    30_000,
    40_000,
    50_000,
    i64::MAX,
];
/// The same for durations of inbound and of outbound requests, in seconds.
const INBOUND: [&str; 8] = ["0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "10.0", "+Inf"];
const OUTBOUND: [&str; 5] = ["0.05", "0.5", "1.0", "10.0", "+Inf"];

fn metrics(outbound: bool, requests: &[Request]) -> String {
    let direction = if outbound { "outbound" } else { "inbound" };
    let mut out = String::new();
    let ports: BTreeSet<u16> = requests.iter().map(|request| request.port).collect();
    let longer = |request: &Request, le: &str| {
        le.parse::<f64>().is_ok_and(|le| f64::from(i32::try_from(request.took).unwrap()) > le * 1e6)
    };
    for port in ports {
        let of = || requests.iter().filter(move |request| request.port == port);
        let labels = if outbound {
            format!(
                r#"direction="outbound",authority="web.shop:{port}",target_addr="198.51.100.8:{port}",target_port="{port}""#
            )
        } else {
            format!(
                r#"direction="inbound",target_addr="192.0.2.9:{port}",target_port="{port}",srv_port="{port}""#
            )
        };
        for status in of().map(|request| request.status).collect::<BTreeSet<_>>() {
            let with = || of().filter(move |request| request.status == status);
            let label = if status == 500 { String::new() } else { format!(r#",status_code="{status}""#) };
            let class = if status == 200 { "success" } else { "failure" };
            writeln!(out, r#"response_total{{{labels}{label},classification="{class}"}} {}"#, with().count())
                .unwrap();
            if status == 500 {
                continue;
            }
            for le in LATENCIES {
                let count = with().filter(|request| request.took <= le.saturating_mul(1000)).count();
                let le = if le == i64::MAX { "+Inf".to_owned() } else { le.to_string() };
                writeln!(out, r#"response_latency_ms_bucket{{{labels}{label},le="{le}"}} {count}"#).unwrap();
            }
        }
        for le in INBOUND.iter().filter(|_| !outbound) {
            let count = of().filter(|request| !longer(request, le)).count();
            writeln!(
                out,
                r#"inbound_http_request_duration_seconds_bucket{{le="{le}",parent_kind="default",parent_port="{port}"}} {count}"#
            )
            .unwrap();
        }
    }
    for le in OUTBOUND.iter().filter(|_| outbound) {
        let count = requests.iter().filter(|request| !longer(request, le)).count();
        writeln!(
            out,
            r#"outbound_http_route_request_duration_seconds_bucket{{le="{le}",parent_kind="default",hostname=""}} {count}"#
        )
        .unwrap();
    }
    writeln!(out, r#"tcp_open_total{{direction="{direction}",peer="src"}} 1"#).unwrap();
    out
}
