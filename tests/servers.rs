//! The catalog held against the servers themselves: starts real servers from package registries, measures over loopback
//! when each closes an idle connection, and compares that with what `explain` says of the same command line.
//!
//! `SERVERS=all cargo test --locked --test servers` runs what takes less than 20 s a server; `SERVERS_LONG=1` also runs longer
//! defaults, and `SERVERS=gunicorn` only the cases that start with it. A server that cannot be had is named as not run,
//! and fails nothing. `UPDATE_DOCS=1` writes `tests/servers/measured.json`, from which `docs/servers.md` is generated.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "servers/case.rs"]
mod case;
#[path = "servers/install.rs"]
mod install;
#[path = "servers/measure.rs"]
mod measure;
#[path = "servers/run.rs"]
mod run;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{Read, Write, stderr},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use rstest::rstest;
use serde_json::{Value, json};

use self::{
    case::{Case, Origin},
    install::{Installer, Package},
    measure::{Closed, independent},
    run::Server,
};

/// How much a measurement may be off: waking up takes time on a busy machine.
const TOLERANCE: Duration = Duration::from_millis(50);
/// What is off by no more than this is measured again, as the server may not have got its turn on a busy machine. So is
/// everything during which the machine stalled for longer than `TOLERANCE`.
const NEAR: Duration = Duration::from_millis(500);
const ATTEMPTS: usize = 4;
/// How often the test looks whether the machine stalls.
const TICK: Duration = Duration::from_millis(20);
/// How long a server stays under watch after it should have closed the connection.
const AFTERWARDS: Duration = Duration::from_secs(2);
/// When the connections of one case start to be idle, so that a server that looks at its timers now and then shows it.
const OFFSETS: [u64; 3] = [0, 370, 710];
/// The longest timeout that is measured without `SERVERS_LONG`.
const SHORT: Duration = Duration::from_secs(20);
/// How long a connection that never closes is watched, without and with `SERVERS_LONG`.
const NEVER: [Duration; 2] = [Duration::from_secs(15), Duration::from_secs(130)];
/// The longest timeout that is measured at all.
const LONG: Duration = Duration::from_secs(180);
/// The longest that all of it takes.
const ALL: Duration = Duration::from_secs(600);
/// Most servers are idle most of the time.
const WORKERS: usize = 10;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers");

/// What `explain` says.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Expected {
    ClosesAfter(Duration, Duration),
    ClosesEachResponse,
    NeverCloses,
    Unknown(String),
}

/// What a case came to.
enum Outcome {
    Agrees {
        says: String,
        measured: String,
        version: String,
    },
    Differs(String),
    NotRun(String),
    /// It takes longer than was asked for.
    Long,
}

#[test]
fn the_catalog_agrees_with_the_servers() {
    let Ok(wanted) = env::var("SERVERS") else {
        say(
            "the servers are not started: SERVERS=all starts them, SERVERS=gunicorn those whose cases start with it",
        );
        return;
    };
    let wanted = if wanted == "all" { String::new() } else { wanted };
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("servers");
    fs::create_dir_all(&cache).unwrap();
    let cases: Vec<Case> =
        case::read(Path::new(FOLDER)).into_iter().filter(|case| case.name.starts_with(&wanted)).collect();
    let deadline = Instant::now() + ALL;
    let mut outcomes = Vec::new();
    let (installed, queue) = mpsc::channel();
    let queue = Mutex::new(queue);
    let starting = Mutex::new(());
    thread::scope(|scope| {
        let (cases, cache) = (&cases, &cache);
        scope.spawn(move || {
            let mut installer = Installer::new(cache, deadline);
            let mut packages: BTreeMap<&Origin, Result<Package, String>> = BTreeMap::new();
            for case in cases {
                let package =
                    packages.entry(&case.from).or_insert_with(|| installer.package(&case.from)).clone();
                installed.send((case, package)).unwrap();
            }
        });
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut outcomes = Vec::new();
                    loop {
                        let next = queue.lock().unwrap().recv();
                        let Ok((case, package)) = next else { return outcomes };
                        let outcome = match package {
                            Err(why) => Outcome::NotRun(why),
                            Ok(_) if Instant::now() + SHORT > deadline => {
                                Outcome::NotRun("the time is up".to_owned())
                            }
                            Ok(package) => examine(case, &package, cache, &starting),
                        };
                        tell(case, &outcome);
                        outcomes.push((case.clone(), outcome));
                    }
                })
            })
            .collect();
        outcomes = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
    });
    outcomes.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    if env::var_os("UPDATE_DOCS").is_some() {
        update(&outcomes);
    }
    let of = |wanted: fn(&Outcome) -> bool| -> Vec<&str> {
        let found = outcomes.iter().filter(|(_, outcome)| wanted(outcome));
        found.map(|(case, _)| case.name.as_str()).collect()
    };
    let agree = of(|outcome| matches!(outcome, Outcome::Agrees { .. })).len();
    let long = of(|outcome| matches!(outcome, Outcome::Long)).len();
    let differ = of(|outcome| matches!(outcome, Outcome::Differs(_)));
    let not_run = of(|outcome| matches!(outcome, Outcome::NotRun(_)));
    let names = if not_run.is_empty() { String::new() } else { format!(": {}", not_run.join(", ")) };
    say(&format!(
        "{agree} servers agree, {} differ, {long} wait for SERVERS_LONG=1, {} not run{names}",
        differ.len(),
        not_run.len()
    ));
    assert!(differ.is_empty(), "the catalog is wrong about {}", differ.join(", "));
}

/// Says it at once: what tests print by macros is shown only when they fail.
fn say(line: &str) {
    let _ = writeln!(stderr(), "servers: {line}");
}

fn tell(case: &Case, outcome: &Outcome) {
    let name = &case.name;
    match outcome {
        Outcome::Agrees { says, measured, version } => {
            say(&format!("{name} ({version}): {measured}; explain: {says}"));
        }
        Outcome::Differs(how) => say(&format!("{name}: DIFFERS: {how}")),
        Outcome::NotRun(why) => say(&format!("{name}: not run: {why}")),
        Outcome::Long => {}
    }
}

/// Starts the server of a case, measures it, and compares.
fn examine(case: &Case, package: &Package, cache: &Path, starting: &Mutex<()>) -> Outcome {
    let long = env::var_os("SERVERS_LONG").is_some();
    let mut server = {
        // One at a time, as starting is most of what a server does here.
        let _turn = starting.lock().unwrap();
        match Server::start(case, package, cache) {
            Ok(server) => server,
            Err(why) => return Outcome::NotRun(why),
        }
    };
    let said = explain(case, &server);
    let watch = match &said {
        Expected::ClosesAfter(_, last) if *last > LONG => NEVER[usize::from(long)],
        Expected::ClosesAfter(_, last) if *last > SHORT && !long => return Outcome::Long,
        Expected::ClosesAfter(_, last) => *last + AFTERWARDS,
        Expected::ClosesEachResponse => AFTERWARDS,
        Expected::NeverCloses => NEVER[usize::from(long)],
        Expected::Unknown(why) if case.unknown.is_none() => {
            return Outcome::Differs(format!("explain says unknown: {why}"));
        }
        Expected::Unknown(_) => SHORT,
    };
    let mut seen = None;
    for _ in 0..ATTEMPTS {
        let (measured, stall) = match samples(server.addr, &case.path, watch) {
            Ok(measured) => measured,
            Err(error) => return Outcome::NotRun(format!("it did not answer: {error}")),
        };
        if let Some(status) = server.ended() {
            return Outcome::NotRun(format!("it ended with {status} while it was measured"));
        }
        let off = measured.iter().map(|closed| distance(&said, *closed)).max().unwrap_or_default();
        let (says, shown) = (describe(&said), show(&measured));
        if off <= TOLERANCE {
            return Outcome::Agrees { says, measured: shown, version: package.version.clone() };
        }
        if stall < TOLERANCE {
            seen = Some(format!("measured {shown} with {}; explain says {says}", package.version));
            if off > NEAR {
                break;
            }
        }
    }
    seen.map_or_else(|| Outcome::NotRun("the machine stalled at each attempt".to_owned()), Outcome::Differs)
}

/// Measures several connections at the same time, which start one after the other; also returns how long this machine
/// stalled meanwhile.
fn samples(addr: SocketAddr, path: &str, watch: Duration) -> std::io::Result<(Vec<Closed>, Duration)> {
    thread::scope(|scope| {
        let (finish, finished) = mpsc::channel::<()>();
        let stall = scope.spawn(move || {
            let mut longest = Duration::ZERO;
            loop {
                let start = Instant::now();
                if finished.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout) {
                    return longest;
                }
                longest = longest.max(start.elapsed().saturating_sub(TICK));
            }
        });
        let (_keep, never) = mpsc::channel::<()>();
        let mut threads = Vec::new();
        let start = Instant::now();
        for offset in OFFSETS {
            let left = Duration::from_millis(offset).saturating_sub(start.elapsed());
            let _ = never.recv_timeout(left);
            threads.push(scope.spawn(move || independent(addr, path, watch)));
        }
        let measured: std::io::Result<Vec<_>> =
            threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        drop(finish);
        Ok((measured?, stall.join().unwrap()))
    })
}

/// How far a measurement is from what `explain` says.
fn distance(said: &Expected, closed: Closed) -> Duration {
    match (said, closed) {
        (Expected::ClosesAfter(first, last), Closed::After(time)) => {
            first.saturating_sub(time).max(time.saturating_sub(*last))
        }
        // Longer than anybody waits here: it is open, as it should be.
        (Expected::ClosesAfter(first, _), Closed::Open(time)) if *first > LONG && time < *first => {
            Duration::ZERO
        }
        (Expected::ClosesAfter(_, last), Closed::Open(time)) => {
            time.saturating_sub(*last).max(Duration::from_secs(1))
        }
        (Expected::ClosesEachResponse, Closed::After(time)) => time,
        (Expected::ClosesEachResponse, Closed::Open(time)) => time,
        (Expected::NeverCloses, Closed::Open(_)) | (Expected::Unknown(_), _) => Duration::ZERO,
        (Expected::NeverCloses, Closed::After(_)) => Duration::MAX,
    }
}

fn show(measured: &[Closed]) -> String {
    let seconds = |time: &Duration| format!("{:.2}", time.as_secs_f64());
    let closed: Vec<_> = measured
        .iter()
        .filter_map(|closed| match closed {
            Closed::After(time) => Some(*time),
            Closed::Open(_) => None,
        })
        .collect();
    let open = measured.len() - closed.len();
    let range = match (closed.iter().min(), closed.iter().max()) {
        (_, Some(last)) if *last < TOLERANCE => "closed with the response".to_owned(),
        (Some(first), Some(last)) if seconds(first) == seconds(last) => {
            format!("closed after {} s", seconds(first))
        }
        (Some(first), Some(last)) => format!("closed after {} s to {} s", seconds(first), seconds(last)),
        _ => String::new(),
    };
    let watched = measured.iter().find_map(|closed| match closed {
        Closed::Open(time) => Some(format!("open after {:.0} s", time.as_secs_f64())),
        Closed::After(_) => None,
    });
    match (range.is_empty(), watched) {
        (true, Some(watched)) => watched,
        (false, Some(watched)) => format!("{range}; {open} of {} {watched}", measured.len()),
        (_, None) => range,
    }
}

fn describe(said: &Expected) -> String {
    let seconds = |time: &Duration| format!("{} s", time.as_secs_f64());
    match said {
        Expected::ClosesAfter(first, last) if first == last => format!("closes after {}", seconds(first)),
        Expected::ClosesAfter(first, last) => format!("closes after {} to {}", seconds(first), seconds(last)),
        Expected::ClosesEachResponse => "closes after each response".to_owned(),
        Expected::NeverCloses => "never closes".to_owned(),
        Expected::Unknown(_) => "unknown".to_owned(),
    }
}

/// Runs `explain` on the manifest of the case.
fn explain(case: &Case, server: &Server) -> Expected {
    let file = server.place.dir.join("manifest.yaml");
    fs::write(&file, case.manifest(&server.place)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_linkerd-linger"))
        .args(["explain", "-o", "json"])
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{}: {error}: {}", case.name, String::from_utf8_lossy(&output.stderr))
    });
    let container = &report["objects"][0]["containers"][0];
    // A port is listed where its answer is another than that of the container.
    let ports = container["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let port = ports.iter().find(|port| port["port"] == server.addr.port());
    let idle = port.map_or(&container["idle"], |port| &port["idle"]);
    let evidence = || idle["evidence"].as_str().unwrap_or("nothing is known of it").to_owned();
    match idle["kind"].as_str() {
        Some("closes-after") => {
            let at = |index: usize| Duration::from_secs_f64(idle["windowSeconds"][index].as_f64().unwrap());
            Expected::ClosesAfter(at(0), at(1))
        }
        Some("closes-each-response") => Expected::ClosesEachResponse,
        Some("never-closes") => Expected::NeverCloses,
        _ => Expected::Unknown(evidence()),
    }
}

/// Writes what was measured; cases that did not run keep what was measured before.
fn update(outcomes: &[(Case, Outcome)]) {
    let path = PathBuf::from(FOLDER).join("measured.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|_| "[]".to_owned());
    let before: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut all: BTreeMap<String, Value> =
        before.into_iter().map(|entry| (entry["case"].as_str().unwrap().to_owned(), entry)).collect();
    let names: BTreeSet<String> = case::read(Path::new(FOLDER)).into_iter().map(|case| case.name).collect();
    all.retain(|name, _| names.contains(name));
    let today = jiff::Zoned::now().date().to_string();
    for (case, outcome) in outcomes {
        let Outcome::Agrees { says, measured, version } = outcome else { continue };
        let entry = json!({
            "case": case.name,
            "version": version,
            "set": case.set,
            "measured": measured,
            "says": says,
            "date": today,
        });
        all.insert(case.name.clone(), entry);
    }
    let text = serde_json::to_string_pretty(&all.into_values().collect::<Vec<_>>()).unwrap();
    fs::write(path, text + "\n").unwrap();
}

#[test]
fn each_case_has_a_name_of_its_own() {
    let names: Vec<_> = case::read(Path::new(FOLDER)).into_iter().map(|case| case.name).collect();
    let different: BTreeSet<_> = names.iter().collect();
    assert_eq!(names.len(), different.len());
    assert!(names.iter().all(|name| name.contains('/')));
}

/// Answers one request with these bytes, and closes the connection after so many milliseconds.
fn fake(response: &'static str, idle: u64) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(response.as_bytes()).unwrap();
        let (_keep, never) = mpsc::channel::<()>();
        let _ = never.recv_timeout(Duration::from_millis(idle));
    });
    addr
}

#[rstest]
#[case::length("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 400, Some(400))]
#[case::chunks("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 400, Some(400))]
#[case::trailers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: b\r\n\r\n", 400, Some(400))]
#[case::until_the_end("HTTP/1.0 200 OK\r\n\r\nok", 400, Some(0))]
#[case::closes_with_the_response("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, Some(0))]
#[case::open("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 2000, None)]
fn an_idle_connection_is_measured(
    #[case] response: &'static str,
    #[case] idle: u64,
    #[case] expected: Option<u64>,
) {
    let closed = independent(fake(response, idle), "/", Duration::from_millis(800)).unwrap();
    match (closed, expected.map(Duration::from_millis)) {
        (Closed::After(time), Some(expected)) => {
            assert!(time.abs_diff(expected) < Duration::from_millis(300), "{time:?}");
        }
        (Closed::Open(time), None) => assert!(time >= Duration::from_millis(800)),
        (closed, expected) => panic!("{closed:?}, not {expected:?}"),
    }
}

#[test]
fn half_a_response_is_no_measurement() {
    let addr = fake("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok", 0);
    independent(addr, "/", Duration::from_millis(100)).unwrap_err();
}
