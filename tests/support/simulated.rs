//! A minimal simulated API server: fixed answers, and faults that happen once.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a test fails by panicking, and each test uses a part of this"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Responses by method and path; others are 404.
pub(crate) type Answers = BTreeMap<&'static str, (u16, Value)>;

/// What goes wrong with one request.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// The status 429, with a pause of one second.
    TooManyRequests,
    /// The connection is closed within the answer.
    Closes,
}

/// The server.
pub(crate) struct ApiServer {
    pub(crate) address: SocketAddr,
    /// The requests: line, headers, an empty line and the body.
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
}

impl ApiServer {
    pub(crate) fn start(answers: Answers) -> Self {
        Self::start_with(answers, Vec::new())
    }

    pub(crate) fn start_with(answers: Answers, faults: Vec<(&'static str, Fault)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answers, seen) = (Arc::new(answers), Arc::clone(&requests));
        let faults = Arc::new(Mutex::new(faults));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answers, seen, faults) = (Arc::clone(&answers), Arc::clone(&seen), Arc::clone(&faults));
                thread::spawn(move || serve(stream.unwrap(), &answers, &faults, &seen));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    answers: &Answers,
    faults: &Mutex<Vec<(&'static str, Fault)>>,
    seen: &Mutex<Vec<String>>,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
        seen.lock().unwrap().push(head + &String::from_utf8_lossy(&body));
        let found = answers.iter().filter(|(key, _)| line.starts_with(*key)).max_by_key(|(key, _)| key.len());
        let missing_namespace = (404, json!({"kind": "Status", "message": "not found", "code": 404}));
        let (code, body) = found.map_or(&missing_namespace, |(_, answer)| answer);
        let body = body.to_string();
        let mut pending = faults.lock().unwrap();
        let fault = pending.iter().position(|(key, _)| line.starts_with(key)).map(|at| pending.remove(at).1);
        drop(pending);
        let (code, body, sent) = match fault {
            None => (*code, body, usize::MAX),
            Some(Fault::TooManyRequests) => {
                let details = json!({"retryAfterSeconds": 1});
                let status = json!({"kind": "Status", "message": "too many requests", "code": 429, "details": details});
                (429, status.to_string(), usize::MAX)
            }
            Some(Fault::Closes) => (*code, body, 200),
        };
        let answer = format!(
            "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let bytes = &answer.as_bytes()[..answer.len().min(sent)];
        if stream.write_all(bytes).is_err() || bytes.len() < answer.len() {
            return;
        }
    }
}

/// A directory with the kubeconfig `config` for this server.
pub(crate) fn kubeconfig(address: SocketAddr) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "none",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
    });
    fs::write(directory.path().join("config"), text.to_string()).unwrap();
    directory
}
