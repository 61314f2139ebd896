//! Runs the program under test: `explain` for a case, and `measure` for its server.

use std::{fs, process::Command, time::Duration};

use serde_json::Value;

use super::{
    case::Case,
    judge::{Expected, Reported},
    relay::{End, Relay},
    run::Server,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_linkerd-linger");
/// What `measure` takes at most besides the wait: for a response, and for the close of a connection that it half-closes.
const BESIDES: Duration = Duration::from_secs(40);

/// Runs `explain` on the manifest of the case.
pub(crate) fn explain(case: &Case, server: &Server) -> Expected {
    let file = server.place.dir.join("manifest.yaml");
    fs::write(&file, case.manifest(&server.place)).unwrap();
    let output = Command::new(PROGRAM).args(["explain", "-o", "json"]).arg(&file).output().unwrap();
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
            let [first, last] = seconds(&idle["windowSeconds"]);
            Expected::ClosesAfter(first, last)
        }
        Some("closes-each-response") => Expected::ClosesEachResponse,
        Some("never-closes") => Expected::NeverCloses,
        _ => Expected::Unknown(evidence()),
    }
}

/// What `measure` reports of a server, and what was seen of its connections.
pub(crate) struct Measured {
    pub(crate) reported: Reported,
    /// How many connections had a response, as it reports.
    pub(crate) answered: usize,
    pub(crate) ends: Vec<End>,
}

/// Runs `measure` on the server through a relay.
pub(crate) fn measure(server: &Server, path: &str, max: Duration, connections: usize) -> Measured {
    let relay = Relay::start(server.addr).unwrap();
    let output = Command::new("timeout")
        .args(["-k", "2", &(max + BESIDES).as_secs().to_string(), PROGRAM, "measure", "-o", "json"])
        .args(["--max", &format!("{}ms", max.as_millis())])
        .args(["--connections", &connections.to_string()])
        .arg(format!("http://{}{path}", relay.addr))
        .output()
        .unwrap();
    let report = serde_json::from_slice::<Value>(&output.stdout);
    let reported = match &report {
        Ok(report) => read(&report["servers"][0]),
        Err(_) => Reported::Failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    };
    let count = |key| report.as_ref().map_or(0, |report| report["servers"][0][key].as_u64().unwrap_or(0));
    let answered = usize::try_from(count("connections") - count("failed")).unwrap();
    Measured { reported, answered, ends: relay.ends(connections) }
}

fn read(report: &Value) -> Reported {
    match report["kind"].as_str() {
        Some("closes-after") => {
            let [first, last] = seconds(&report["closesAfterSeconds"]);
            Reported::ClosesAfter(first, last)
        }
        Some("closes-each-response") => Reported::ClosesEachResponse,
        Some("still-open") => Reported::StillOpen,
        Some("differs") => Reported::Differs(seconds(&report["closesAfterSeconds"])[0]),
        _ => Reported::Failed(report["error"].as_str().unwrap_or("no result").to_owned()),
    }
}

fn seconds(window: &Value) -> [Duration; 2] {
    [0, 1].map(|index| Duration::from_secs_f64(window[index].as_f64().unwrap()))
}
