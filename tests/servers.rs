//! Compares the catalog with real servers: starts servers from package registries, measures on loopback when each
//! closes an idle connection, and compares the result with `explain` for the same command line.
//!
//! `SERVERS=all cargo test --locked --test servers` runs all cases within ten minutes, as CI does. `linkerd-linger
//! measure` measures each server at the same time, and must report the result of an independent measurement of the same
//! connections. Differing results are measured again alone. If the machine stalls, the case is reported as not
//! measured. An unavailable server is reported as not run. docs/catalog.md lists the variables.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "servers/case.rs"]
mod case;
#[path = "servers/install.rs"]
mod install;
#[path = "servers/judge.rs"]
mod judge;
#[path = "servers/measure.rs"]
mod measure;
#[path = "servers/program.rs"]
mod program;
#[path = "servers/relay.rs"]
mod relay;
#[path = "servers/run.rs"]
mod run;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{Read, Write, stderr},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use rstest::rstest;
use serde_json::{Value, json};

use self::{
    case::Case,
    install::{Installer, Package},
    judge::{Attempt, Difference, Expected, MAX_LEN, Verdict, describe, judge, show},
    measure::{Closed, StallWatch, independent, samples},
    program::Measured,
    run::Server,
};

/// How often a server that differs is measured alone.
const ATTEMPTS: usize = 3;
/// How long a server stays under watch after it should have closed the connection.
const AFTERWARDS: Duration = Duration::from_secs(2);
/// When the connections of one case start to be idle, so that a server that looks at its timers now and then shows it.
const OFFSETS: [u64; 3] = [0, 370, 710];
/// The longest timeout that is measured without `SERVERS_LONG`.
const SHORT: Duration = Duration::from_secs(20);
/// How long a connection that never closes is watched, without and with `SERVERS_LONG`.
const NEVER: [Duration; 2] = [Duration::from_secs(15), Duration::from_secs(130)];
/// Most servers are idle most of the time.
const WORKERS: usize = 10;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers");

/// Until when each part of a run begins its work. What it has begun ends within 90 s, so that all of it takes ten minutes.
#[derive(Clone, Copy)]
struct Deadlines {
    /// Packages are installed.
    install: Instant,
    /// Servers are measured among others.
    together: Instant,
    /// Servers are measured alone.
    alone: Instant,
    /// Whether long timeouts are measured, which takes as long as it takes.
    long: bool,
}

impl Deadlines {
    fn of_a_run() -> Self {
        let (start, long) = (Instant::now(), env::var_os("SERVERS_LONG").is_some());
        let after = |seconds| start + Duration::from_secs(if long { 3 * seconds } else { seconds });
        Self { install: after(330), together: after(420), alone: after(510), long }
    }
}

/// What a case came to.
enum Outcome {
    Agrees {
        says: String,
        measured: String,
        version: String,
    },
    Differs(String),
    /// The machine stalled.
    NotMeasured(String),
    /// The server cannot be had.
    NotRun(String),
    /// It takes longer than was asked for.
    Long,
}

/// What a case among others came to.
enum First {
    Done(Outcome),
    /// It differs, and is to be measured again alone.
    Differs(Difference),
    /// It did not start or answer, and is to be tried again alone.
    Silent(String),
}

#[test]
fn the_catalog_agrees_with_the_servers() {
    let Ok(wanted) = env::var("SERVERS") else {
        say(
            "the servers are not started: SERVERS=all starts them, SERVERS=gunicorn,uvicorn those of these cases",
        );
        return;
    };
    let (start, deadlines) = (Instant::now(), Deadlines::of_a_run());
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("servers");
    fs::create_dir_all(&cache).unwrap();
    let is_wanted =
        |case: &Case| wanted == "all" || wanted.split(',').any(|part| case.name.starts_with(part));
    let cases: Vec<Case> = case::read(Path::new(FOLDER)).into_iter().filter(is_wanted).collect();
    assert!(!cases.is_empty(), "no case starts with {wanted}");
    let firsts = measure_together(&cases, &cache, deadlines);
    let mut outcomes = measure_alone(firsts, &cache, deadlines);
    outcomes.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    if env::var_os("UPDATE_DOCS").is_some() {
        update(&outcomes);
    }
    summarize(&outcomes, start.elapsed());
}

/// Where and until when servers are started and measured.
struct Bench<'r> {
    cache: &'r Path,
    until: Instant,
    long: bool,
    /// Servers start one at a time, as starting is most of what a server does here.
    starting: Mutex<()>,
}

/// A case with its package, which may not be had.
type Ready<'c> = (&'c Case, Result<Package, String>);

/// Installs the packages of all registries at the same time, and measures servers as their packages come.
fn measure_together<'c>(
    cases: &'c [Case],
    cache: &Path,
    deadlines: Deadlines,
) -> Vec<(&'c Case, Option<Package>, First)> {
    let mut registries: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
    for case in cases {
        registries.entry(case.from.registry()).or_default().push(case);
    }
    let (installed, queue) = mpsc::channel();
    let queue = Mutex::new(queue);
    let bench = Bench { cache, until: deadlines.together, long: deadlines.long, starting: Mutex::new(()) };
    thread::scope(|scope| {
        for cases in registries.into_values() {
            let installed = installed.clone();
            scope.spawn(move || {
                let mut installer = Installer::new(cache, deadlines.install);
                for case in cases {
                    installed.send((case, installer.package(&case.from))).unwrap();
                }
            });
        }
        drop(installed);
        let work = || work(&queue, &bench);
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

/// Measures one server after the other.
fn work<'c>(
    queue: &Mutex<Receiver<Ready<'c>>>,
    bench: &Bench<'_>,
) -> Vec<(&'c Case, Option<Package>, First)> {
    let mut firsts = Vec::new();
    loop {
        let next = queue.lock().unwrap().recv();
        let Ok((case, package)) = next else { return firsts };
        let (package, first) = match package {
            Err(why) => (None, First::Done(Outcome::NotRun(why))),
            Ok(package) => {
                let first = bench.examine(case, &package);
                (Some(package), first)
            }
        };
        match &first {
            First::Done(outcome) => tell(case, outcome),
            First::Differs(difference) => say(&format!("{}: again: {}", case.name, difference.text)),
            First::Silent(why) => say(&format!("{}: again: {why}", case.name)),
        }
        firsts.push((case, package, first));
    }
}

/// Measures again what differs, and starts again what did not start, one after the other.
fn measure_alone<'c>(
    mut firsts: Vec<(&'c Case, Option<Package>, First)>,
    cache: &Path,
    deadlines: Deadlines,
) -> Vec<(&'c Case, Outcome)> {
    firsts.sort_by_key(|(_, _, first)| matches!(first, First::Silent(_)));
    let bench = Bench { cache, until: deadlines.alone, long: deadlines.long, starting: Mutex::new(()) };
    let alone = firsts.into_iter().map(|(case, package, first)| {
        let again = || {
            let package = package.as_ref().filter(|_| Instant::now() < bench.until)?;
            Some(bench.examine(case, package))
        };
        let outcome = match first {
            First::Done(outcome) => return (case, outcome),
            First::Differs(difference) => settle(&difference, again),
            First::Silent(why) => match again() {
                None => Outcome::NotRun(why),
                Some(First::Silent(why)) => Outcome::NotRun(why),
                Some(First::Differs(difference)) => settle(&difference, again),
                Some(First::Done(outcome)) => outcome,
            },
        };
        tell(case, &outcome);
        (case, outcome)
    });
    alone.collect()
}

/// What a server that differs does alone; `again` measures it, while time is left.
fn settle(difference: &Difference, again: impl Fn() -> Option<First>) -> Outcome {
    let mut alone = Vec::new();
    for _ in 0..ATTEMPTS {
        match again() {
            Some(First::Differs(difference)) => alone.push(difference),
            Some(First::Done(outcome)) => return outcome,
            // It answered before.
            Some(First::Silent(_)) => {}
            None => break,
        }
    }
    match judge(difference, &alone) {
        Verdict::Differs(how) => Outcome::Differs(how),
        Verdict::Stalled(why) => Outcome::NotMeasured(why),
    }
}

/// Prints how many cases came to what, and fails if the catalog is wrong.
fn summarize(outcomes: &[(&Case, Outcome)], took: Duration) {
    let of = |wanted: fn(&Outcome) -> bool| -> Vec<&str> {
        let found = outcomes.iter().filter(|(_, outcome)| wanted(outcome));
        found.map(|(case, _)| case.name.as_str()).collect()
    };
    let named = |what: &str, names: &[&str]| match names {
        [] => format!("0 {what}"),
        names => format!("{} {what} ({})", names.len(), names.join(", ")),
    };
    let agree = of(|outcome| matches!(outcome, Outcome::Agrees { .. })).len();
    let long = of(|outcome| matches!(outcome, Outcome::Long)).len();
    let differ = of(|outcome| matches!(outcome, Outcome::Differs(_)));
    let stalled = of(|outcome| matches!(outcome, Outcome::NotMeasured(_)));
    let not_run = of(|outcome| matches!(outcome, Outcome::NotRun(_)));
    say(&format!(
        "{} cases in {} s: {agree} agree, {}, {long} need SERVERS_LONG=1, {}, {}",
        outcomes.len(),
        took.as_secs(),
        named("differ", &differ),
        named("not measured because the machine stalled", &stalled),
        named("not run", &not_run),
    ));
    assert!(differ.is_empty(), "the catalog or measure is wrong about {}", differ.join(", "));
    assert!(agree + long > 0, "no server was measured");
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
        Outcome::NotMeasured(why) => say(&format!("{name}: not measured: {why}")),
        Outcome::NotRun(why) => say(&format!("{name}: not run: {why}")),
        Outcome::Long => {}
    }
}

impl Bench<'_> {
    /// Starts the server of a case, measures it, and compares.
    fn examine(&self, case: &Case, package: &Package) -> First {
        let mut server = {
            let _turn = self.starting.lock().unwrap();
            if Instant::now() > self.until {
                return First::Silent("no time is left".to_owned());
            }
            match Server::start(case, package, self.cache) {
                Ok(server) => server,
                Err(why) => return First::Silent(why),
            }
        };
        let says = program::explain(case, &server);
        let watch = match &says {
            Expected::ClosesAfter(_, last) if *last > MAX_LEN => NEVER[usize::from(self.long)],
            Expected::ClosesAfter(_, last) if *last > SHORT && !self.long => {
                return First::Done(Outcome::Long);
            }
            Expected::ClosesAfter(_, last) => *last + AFTERWARDS,
            Expected::ClosesEachResponse => AFTERWARDS,
            Expected::NeverCloses => NEVER[usize::from(self.long)],
            Expected::Unknown(why) if case.unknown.is_none() => {
                return First::Done(Outcome::Differs(format!("explain says unknown: {why}")));
            }
            Expected::Unknown(_) if !self.long => SHORT,
            Expected::Unknown(_) => NEVER[1],
        };
        let attempt = match attempt(&server, &case.path, watch) {
            Ok(attempt) => attempt,
            Err(error) => return First::Silent(format!("it did not answer: {error}")),
        };
        if let Some(status) = server.ended() {
            return First::Silent(format!("it ended with {status} while it was measured"));
        }
        match attempt.difference(&says) {
            Some(difference) => First::Differs(difference),
            None => First::Done(Outcome::Agrees {
                says: describe(&says),
                measured: show(&attempt.closed),
                version: package.version.clone(),
            }),
        }
    }
}

/// Measures a server by itself and by `linkerd-linger measure` at the same time.
fn attempt(server: &Server, path: &str, watch: Duration) -> std::io::Result<Attempt> {
    let stall = StallWatch::start();
    let (closed, measured) = thread::scope(|scope| {
        let measured = scope.spawn(|| program::measure(server, path, watch, OFFSETS.len()));
        (samples(server.addr, path, watch, &OFFSETS), measured.join().unwrap())
    });
    let Measured { reported, answered, ends } = measured;
    Ok(Attempt { closed: closed?, relayed: ends, reported, answered, stall: stall.end() })
}

/// Writes what was measured; cases that did not run keep what was measured before.
fn update(outcomes: &[(&Case, Outcome)]) {
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
