//! Tests `--images` with a real registry, servers that misbehave, and archives.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/registry.rs"]
mod registry;
mod support;

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ring::digest::{SHA256, digest};
use rstest::rstest;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use self::{
    registry::Registry,
    support::{Authority, NotRun},
};

/// Pods with one container each, with these images.
fn pods(images: &[&str]) -> String {
    let pod = |(number, image): (usize, &&str)| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{number}, annotations: {{linkerd.io/inject: enabled}}}}\n\
             spec: {{containers: [{{name: web, image: '{image}'}}]}}\n---\n"
        )
    };
    images.iter().enumerate().map(pod).collect()
}

/// The result of `explain -o json` with its own home directory.
struct Explained {
    home: TempDir,
    output: Output,
    took: Duration,
}

impl Explained {
    fn run(flags: &[&str], images: &[&str]) -> Self {
        Self::run_in(tempfile::tempdir().unwrap(), flags, images)
    }

    fn run_in(home: TempDir, flags: &[&str], images: &[&str]) -> Self {
        Self::run_with(home, flags, images, &[])
    }

    fn run_with(home: TempDir, flags: &[&str], images: &[&str], env: &[(&str, &Path)]) -> Self {
        let started = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_linkerd-linger"));
        command.args(["explain", "-o", "json"]).args(flags).arg("-").current_dir(home.path());
        command.env("HOME", home.path()).env_remove("DOCKER_CONFIG").env_remove("XDG_CACHE_HOME");
        command.env_remove("XDG_CONFIG_HOME").envs(env.iter().copied());
        command.env("NO_PROXY", "localhost,127.0.0.1");
        let path = std::env::join_paths(
            std::iter::once(home.path().to_owned())
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        command.env("PATH", path.unwrap());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(pods(images).as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        Self { home, output, took: started.elapsed() }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.output.stdout).unwrap_or_else(|_| panic!("{}", self.stderr()))
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    /// The server of a pod, and the evidence for its idle timeout.
    fn server(&self, pod: usize) -> (String, String) {
        let json = self.json();
        let container = &json["objects"][pod]["containers"][0];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&container["server"]), text(&container["idle"]["evidence"]))
    }

    /// The errors, as `place: message`.
    fn errors(&self) -> Vec<String> {
        let json = self.json();
        let errors = json["errors"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        errors.map(|error| format!("{}: {}", text(&error["file"]), text(&error["message"]))).collect()
    }
}

fn told<T>(result: Result<T, NotRun>) -> Option<T> {
    result.inspect_err(NotRun::tell).ok()
}

fn sha256(bytes: &[u8]) -> String {
    let hex: String = digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[test]
fn images_of_a_real_registry_are_read() {
    let Some(registry) = told(Registry::start()) else { return };
    let host = &registry.host.clone();
    let layer = tempfile::tempdir().unwrap();
    let file = layer.path().join("layer.tar");
    tar::Builder::new(fs::File::create(&file).unwrap()).finish().unwrap();
    let file = file.to_str().unwrap();

    // A manifest of Docker's schema 2, as crane's empty image has.
    let docker = format!("{host}/shop/docker:3");
    registry.crane(&["append", "-f", file, "-t", &docker]);
    registry.crane(&[
        "mutate",
        &docker,
        "-t",
        &docker,
        "--entrypoint",
        "gunicorn,-k,gthread,a:b",
        "--cmd",
        "--keep-alive,10",
    ]);
    let manifest: Value = serde_json::from_str(&registry.crane(&["manifest", &docker])).unwrap();
    assert_eq!(manifest["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");

    // An index of OCI with an image for each platform.
    let many = format!("{host}/shop/many:3");
    let mut parts = Vec::new();
    for (platform, version) in [("linux/amd64", "18.20.8"), ("linux/arm64", "24.1.0")] {
        let part = format!("{host}/shop/many:{}", version);
        registry.crane(&["append", "--oci-empty-base", "-f", file, "-t", &part]);
        let env = format!("NODE_VERSION={version}");
        registry.crane(&[
            "mutate",
            &part,
            "-t",
            &part,
            "--cmd",
            "node,server.mjs",
            "--env",
            &env,
            "--set-platform",
            platform,
        ]);
        parts.push(part);
    }
    registry.crane(&["index", "append", "-m", &parts[0], "-m", &parts[1], "-t", &many]);
    let digest = registry.crane(&["digest", &many]);
    let by_digest = format!("{host}/shop/many@{digest}");

    let insecure = ["--images", "--insecure-registry", host];
    let explained = Explained::run(&insecure, &[&docker, &many, &by_digest]);
    assert_eq!(explained.code(), Some(0), "{}", explained.stderr());
    let (server, evidence) = explained.server(0);
    let docker_digest = registry.crane(&["digest", &docker]);
    assert_eq!(server, "gunicorn");
    assert_eq!(
        evidence,
        format!(
            "--keep-alive 10 at CMD of {docker}@{docker_digest}; as shown by ENTRYPOINT and CMD of {docker}@{docker_digest}"
        )
    );
    for pod in [1, 2] {
        let (server, evidence) = explained.server(pod);
        assert_eq!(server, "node-http");
        assert!(evidence.contains("node-http 18.20.8"), "{evidence}");
        assert!(evidence.contains(&format!("NODE_VERSION in ENV of {host}/shop/many")), "{evidence}");
        assert!(evidence.contains(&digest), "{evidence}");
    }

    let flags = ["--images", "--insecure-registry", host, "--platform", "linux/arm64"];
    let (_, evidence) = Explained::run(&flags, &[&many]).server(0);
    assert!(evidence.contains("node-http 24.1.0"), "{evidence}");
    let flags = ["--images", "--insecure-registry", host, "--platform", "windows/amd64"];
    let errors = Explained::run(&flags, &[&many]).errors();
    let message = "it has no image for windows/amd64; it has linux/amd64, linux/arm64";
    assert_eq!(errors, [format!("{many}: {message}")]);

    // A mirror of Docker Hub, below a path.
    let mirror = format!("docker.io={host}/shop");
    registry.crane(&["copy", &docker, &format!("{host}/shop/library/cart:3")]);
    let flags = ["--images", "--insecure-registry", host, "--registry-mirror", &mirror];
    let explained = Explained::run(&flags, &["cart:3"]);
    assert_eq!(explained.server(0).0, "gunicorn", "{}", explained.stderr());

    // Cached content needs no registry.
    let explained = Explained::run(&insecure, &[&by_digest]);
    drop(registry);
    let again = Explained::run_in(explained.home, &insecure, &[&by_digest, &many]);
    assert_eq!(again.server(0).0, "node-http");
    assert_eq!(again.errors().len(), 1, "a tag is not cached: {:?}", again.errors());
}

/// A TLS server on loopback that forwards to a registry; the thread ends with the test process.
fn over_tls(registry: &str, authority: &Authority) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let host = format!("localhost:{}", listener.local_addr().unwrap().port());
    let pair = authority.issue();
    let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let (acceptor, registry) = (TlsAcceptor::from(Arc::new(config)), registry.to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    thread::spawn(move || {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, registry) = (acceptor.clone(), registry.clone());
                tokio::spawn(async move {
                    // A client that does not trust the certificate aborts the handshake.
                    let Ok(mut client) = acceptor.accept(stream).await else { return };
                    let mut server = tokio::net::TcpStream::connect(registry).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
    });
    host
}

/// Writes a CA certificate below Docker's `certs.d`.
fn write_authority(home: &Path, host: &str, pem: &str) {
    let directory = home.join(".docker/certs.d").join(host);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("ca.crt"), pem).unwrap();
}

#[test]
fn a_registry_over_https_is_read_where_its_authority_is_known() {
    let Some(registry) = told(Registry::start()) else { return };
    let layer = tempfile::tempdir().unwrap();
    let file = layer.path().join("layer.tar");
    tar::Builder::new(fs::File::create(&file).unwrap()).finish().unwrap();
    let plain = format!("{}/shop/cart:3", registry.host);
    registry.crane(&["append", "-f", file.to_str().unwrap(), "-t", &plain]);
    registry.crane(&["mutate", &plain, "-t", &plain, "--cmd", "gunicorn,-k,gthread,--keep-alive,10,a:b"]);

    let authority = Authority::new();
    let host = over_tls(&registry.host, &authority);
    let image = format!("{host}/shop/cart:3");

    let unknown = Explained::run(&["--images"], &[&image]);
    let why = "its certificate is signed by a CA that this machine does not trust";
    assert_eq!(unknown.errors(), [format!("registry {host}: {why}; not read: {image}")]);
    let help = format!("/etc/docker/certs.d/{host}/ca.crt or ~/.docker/certs.d/{host}/ca.crt");
    assert!(unknown.stderr().contains(&help), "{}", unknown.stderr());
    assert_eq!(unknown.code(), Some(2));

    let home = tempfile::tempdir().unwrap();
    write_authority(home.path(), &host, &authority.pem());
    let known = Explained::run_in(home, &["--images"], &[&image]);
    assert_eq!(known.server(0).0, "gunicorn", "{}", known.stderr());

    // The CA of one registry is not used for another.
    let home = tempfile::tempdir().unwrap();
    write_authority(home.path(), "localhost:1", &authority.pem());
    let other = Explained::run_in(home, &["--images"], &[&image]);
    assert_eq!(other.errors(), unknown.errors());

    let home = tempfile::tempdir().unwrap();
    let bundle = home.path().join("bundle.pem");
    fs::write(&bundle, authority.pem()).unwrap();
    let named = Explained::run_with(home, &["--images"], &[&image], &[("SSL_CERT_FILE", &bundle)]);
    assert_eq!(named.server(0).0, "gunicorn", "{}", named.stderr());
}

#[test]
fn a_file_of_an_authority_without_a_certificate_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    write_authority(home.path(), "localhost:1", "hello\n");
    let path = home.path().join(".docker/certs.d/localhost:1/ca.crt");
    let explained = Explained::run_in(home, &["--images"], &["localhost:1/cart:3"]);
    let why = format!("cannot create a client for it: {} contains no certificate in PEM", path.display());
    assert_eq!(explained.errors(), [format!("registry localhost:1: {why}; not read: localhost:1/cart:3")]);
}

/// A request: its first line, and its headers in lower case.
struct Request {
    line: String,
    headers: HashMap<String, String>,
}

/// The response of a handler.
enum Reply {
    /// Status, headers and body.
    Send(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// No response, as long as the client waits.
    Silence,
    /// The start of a response, byte by byte.
    Drip,
}

/// A server on loopback with a handler function; the threads end with the test process.
fn serve(handle: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("localhost:{}", listener.local_addr().unwrap().port());
    let handle = Arc::new(handle);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let handle = Arc::clone(&handle);
            thread::spawn(move || connection(stream.unwrap(), &*handle));
        }
    });
    host
}

fn connection(mut stream: TcpStream, handle: &dyn Fn(&Request) -> Reply) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut headers = HashMap::new();
        loop {
            let mut header = String::new();
            let _ = reader.read_line(&mut header);
            match header.trim().split_once(": ") {
                Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
                None => break,
            };
        }
        let is_head = line.starts_with("HEAD");
        match handle(&Request { line: line.trim().to_owned(), headers }) {
            Reply::Silence => {
                let _ = stream.read(&mut [0]);
                return;
            }
            Reply::Drip => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
                while stream.write_all(b" ").is_ok() {
                    thread::park_timeout(Duration::from_millis(100));
                }
                return;
            }
            Reply::Send(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    head += &format!("{name}: {value}\r\n");
                }
                head += "\r\n";
                let _ = stream.write_all(head.as_bytes());
                if !is_head {
                    let _ = stream.write_all(&body);
                }
            }
        }
    }
}

/// An image that runs gunicorn, as stored in a registry.
struct Image {
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl Image {
    fn new() -> Self {
        Self::of_author("shop")
    }

    /// Images of different authors have different digests, so that one is not cached for the other.
    fn of_author(author: &str) -> Self {
        let cmd = ["gunicorn", "-k", "gthread", "--keep-alive", "10", "a:b"];
        let config = json!({"author": author, "config": {"Cmd": cmd}});
        let config = config.to_string().into_bytes();
        let media_type = "application/vnd.oci.image.config.v1+json";
        let descriptor = json!({"mediaType": media_type, "digest": sha256(&config), "size": config.len()});
        let manifest = json!({"schemaVersion": 2, "config": descriptor, "layers": []});
        Self { config, manifest: manifest.to_string().into_bytes() }
    }

    /// The response of a registry that allows anonymous reads.
    fn answer(&self, request: &Request) -> Reply {
        let path = request.line.split(' ').nth(1).unwrap();
        let send =
            |bytes: &[u8]| Reply::Send(200, vec![("docker-content-digest", sha256(bytes))], bytes.to_vec());
        if path == "/v2/" {
            Reply::Send(200, vec![], vec![])
        } else if path.contains("/manifests/") {
            send(&self.manifest)
        } else if path.ends_with(&sha256(&self.config)) {
            send(&self.config)
        } else {
            Reply::Send(404, vec![], vec![])
        }
    }
}

/// A working registry, which is queried next to broken ones.
fn good() -> String {
    let image = Image::of_author("good");
    serve(move |request| image.answer(request))
}

const SHORT: [&str; 2] = ["--registry-timeout", "1s"];

/// Reads `count` images from a host, and one from a working registry.
fn beside_a_good_one(host: &str, count: usize) -> Explained {
    let good = good();
    let good_image = format!("{good}/cart:3");
    let others: Vec<_> = (0..count).map(|number| format!("{host}/shop/cart:{number}")).collect();
    let mut images = vec![good_image.as_str()];
    images.extend(others.iter().map(String::as_str));
    let flags = ["--images", "--insecure-registry", host, "--insecure-registry", &good];
    let explained = Explained::run(&[&flags[..], &SHORT[..]].concat(), &images);
    assert_eq!(explained.server(0).0, "gunicorn", "the other registry is read: {}", explained.stderr());
    explained
}

#[test]
fn a_dead_registry_is_reported_once() {
    let host = serve(|_| Reply::Silence);
    let explained = beside_a_good_one(&host, 20);
    let message = format!(
        "registry {host}: it did not respond within 1s; not read: {host}/shop/cart:0, {host}/shop/cart:1, \
         {host}/shop/cart:10 and 17 more images"
    );
    let errors = explained.errors();
    assert!(errors == [message.clone()] || errors == [message.replace("within 1s", "in time")], "{errors:?}");
    assert_eq!(explained.code(), Some(2));
    assert!(explained.took < Duration::from_secs(10), "{:?}", explained.took);
}

#[test]
fn a_registry_that_refuses_connections_is_reported_once() {
    // Nothing listens there after the listener is dropped.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = format!("localhost:{port}");
    let errors = beside_a_good_one(&host, 2).errors();
    let message = "Connection refused (os error 111); not read: ";
    assert_eq!(errors, [format!("registry {host}: {message}{host}/shop/cart:0, {host}/shop/cart:1")]);
}

#[test]
fn a_registry_that_drips_ends_in_time() {
    let image = Image::new();
    let host = serve(move |request| match request.line.contains("/blobs/") {
        true => Reply::Drip,
        false => image.answer(request),
    });
    let explained = beside_a_good_one(&host, 1);
    let message = format!("registry {host}: it did not respond within 1s; not read: {host}/shop/cart:0");
    assert_eq!(explained.errors(), [message]);
    assert!(explained.took < Duration::from_secs(10), "{:?}", explained.took);
}

#[test]
fn retry_after_is_waited_for() {
    let (image, asked) = (Image::new(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let host = serve(move |request| {
        let is_first = request.line.starts_with("HEAD") && count.fetch_add(1, Ordering::SeqCst) == 0;
        if is_first {
            Reply::Send(429, vec![("retry-after", "2".to_owned())], vec![])
        } else {
            image.answer(request)
        }
    });
    let explained = Explained::run(&["--images", "--insecure-registry", &host], &[&format!("{host}/cart:3")]);
    assert_eq!(explained.server(0).0, "gunicorn", "{}", explained.stderr());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert!(explained.took >= Duration::from_secs(2), "{:?}", explained.took);
}

#[test]
fn a_long_retry_after_is_not_waited_for() {
    let host = serve(|request| match request.line.contains("/v2/ ") {
        true => Reply::Send(200, vec![], vec![]),
        false => Reply::Send(429, vec![("retry-after", "3600".to_owned())], vec![]),
    });
    let explained = beside_a_good_one(&host, 2);
    let message = format!(
        "registry {host}: it limits requests (429 Too Many Requests) and asks to wait 1h; the limit is 30s; \
         not read: {host}/shop/cart:0, {host}/shop/cart:1"
    );
    assert_eq!(explained.errors(), [message]);
    assert!(explained.took < Duration::from_secs(10), "{:?}", explained.took);
}

/// A registry with basic auth for user `cart` and password `secret`, and the received authorizations.
fn basic() -> (String, Arc<Mutex<Vec<String>>>) {
    let (image, seen) = (Image::new(), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&seen);
    let host = serve(move |request| {
        let authorization = request.headers.get("authorization").cloned();
        log.lock().unwrap().extend(authorization.clone());
        // cart:secret
        if authorization.as_deref() == Some("Basic Y2FydDpzZWNyZXQ=") {
            image.answer(request)
        } else {
            Reply::Send(401, vec![("www-authenticate", "Basic realm=\"r\"".to_owned())], vec![])
        }
    });
    (host, seen)
}

fn write_docker_config(home: &Path, config: &Value) {
    fs::create_dir_all(home.join(".docker")).unwrap();
    fs::write(home.join(".docker/config.json"), config.to_string()).unwrap();
}

#[test]
fn credentials_of_docker_are_sent() {
    let (host, _) = basic();
    let home = tempfile::tempdir().unwrap();
    write_docker_config(home.path(), &json!({"auths": {&host: {"auth": "Y2FydDpzZWNyZXQ="}}}));
    let image = format!("{host}/cart:3");
    let explained = Explained::run_in(home, &["--images", "--insecure-registry", &host], &[&image]);
    assert_eq!(explained.server(0).0, "gunicorn", "{}", explained.stderr());
}

#[rstest]
#[case::answers(
    "#!/bin/sh\ncat > asked\necho '{\"ServerURL\": \"x\", \"Username\": \"cart\", \"Secret\": \"secret\"}'\n",
    None
)]
#[case::knows_nothing(
    "#!/bin/sh\necho credentials not found in native keychain\nexit 1\n",
    Some("its registry denies access")
)]
#[case::fails(
    "#!/bin/sh\nexit 3\n",
    Some("its registry denies access; credential helper docker-credential-test: ended with exit status: 3")
)]
#[case::is_not_valid(
    "#!/bin/sh\necho hello\n",
    Some("its registry denies access; credential helper docker-credential-test: its output is not valid")
)]
#[case::hangs(
    "#!/bin/sh\nexec sleep 600\n",
    Some("its registry denies access; credential helper docker-credential-test: did not answer within 15s")
)]
fn credential_helpers_are_asked(#[case] script: &str, #[case] error: Option<&str>) {
    let (host, _) = basic();
    let home = tempfile::tempdir().unwrap();
    write_docker_config(home.path(), &json!({"credHelpers": {&host: "test"}}));
    let helper = home.path().join("docker-credential-test");
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let image = format!("{host}/cart:3");
    let explained = Explained::run_in(home, &["--images", "--insecure-registry", &host], &[&image]);
    match error {
        None => {
            assert_eq!(explained.server(0).0, "gunicorn", "{}", explained.stderr());
            assert_eq!(fs::read_to_string(explained.home.path().join("asked")).unwrap(), host);
        }
        Some(error) => assert_eq!(explained.errors(), [format!("{image}: {error}")]),
    }
}

#[test]
fn a_registry_that_denies_access_is_one_error_for_each_image() {
    let (host, seen) = basic();
    let explained = beside_a_good_one(&host, 2);
    let denied = |number| format!("{host}/shop/cart:{number}: its registry denies access");
    assert_eq!(explained.errors(), [denied(0), denied(1)]);
    assert_eq!(explained.code(), Some(2));
    assert!(explained.stderr().contains("log in with `docker login`"), "{}", explained.stderr());
    assert_eq!(*seen.lock().unwrap(), [""; 0]);
}

#[test]
fn a_token_is_fetched_and_sent() {
    let image = Image::new();
    let own = Arc::new(Mutex::new(String::new()));
    let realm = Arc::clone(&own);
    let host = serve(move |request| {
        if request.line.starts_with("GET /token?") {
            let scope = request.line.contains("scope=repository%3Ashop%2Fcart%3Apull");
            let login = request.headers.get("authorization").is_some_and(|it| it == "Basic Y2FydDpzZWNyZXQ=");
            let token = json!({"token": if scope && login { "t0ken" } else { "other" }}).to_string();
            Reply::Send(200, vec![], token.into_bytes())
        } else if request.headers.get("authorization").is_some_and(|it| it == "Bearer t0ken") {
            image.answer(request)
        } else {
            let challenge = format!("Bearer realm=\"http://{}/token\",service=\"s\"", realm.lock().unwrap());
            Reply::Send(401, vec![("www-authenticate", challenge)], vec![])
        }
    });
    own.lock().unwrap().clone_from(&host);
    let home = tempfile::tempdir().unwrap();
    write_docker_config(home.path(), &json!({"auths": {&host: {"auth": "Y2FydDpzZWNyZXQ="}}}));
    let image = format!("{host}/shop/cart:3");
    let explained = Explained::run_in(home, &["--images", "--insecure-registry", &host], &[&image]);
    assert_eq!(explained.server(0).0, "gunicorn", "{}", explained.stderr());
}

#[test]
fn a_config_that_is_not_what_its_digest_says_is_refused() {
    let image = Image::new();
    let host = serve(move |request| match request.line.contains("/blobs/") {
        true => Reply::Send(200, vec![], b"{}".to_vec()),
        false => image.answer(request),
    });
    let errors = beside_a_good_one(&host, 1).errors();
    assert!(errors[0].contains("sent content that does not match the digest"), "{errors:?}");
}

#[test]
fn an_endless_config_is_refused() {
    let image = Image::new();
    let host = serve(move |request| match request.line.contains("/blobs/") {
        true => Reply::Send(200, vec![], vec![b' '; 3 << 20]),
        false => image.answer(request),
    });
    let errors = beside_a_good_one(&host, 1).errors();
    let message = "the image config has more than 1048576 bytes, which is the limit";
    assert_eq!(errors, [format!("{host}/shop/cart:0: {message}")]);
}

#[test]
fn an_image_that_is_not_there_and_a_name_that_is_none_are_told_apart() {
    let host =
        serve(|request| Reply::Send(if request.line.contains("/v2/ ") { 200 } else { 404 }, vec![], vec![]));
    let image = format!("{host}/shop/cart:3");
    let explained = Explained::run(&["--images", "--insecure-registry", &host], &[&image, "Cart"]);
    let errors = explained.errors();
    assert!(errors[0].starts_with("Cart: it is not an image name: "), "{errors:?}");
    assert_eq!(errors[1], format!("{image}: its registry does not have it"));
}

#[test]
fn an_archive_is_read_and_its_gaps_are_noted() {
    let home = tempfile::tempdir().unwrap();
    let config = Image::new().config;
    let list = json!([{"Config": "c.json", "RepoTags": ["shop/cart:3"], "Layers": []}]).to_string();
    let mut tar = tar::Builder::new(fs::File::create(home.path().join("cart.tar")).unwrap());
    for (name, bytes) in [("c.json", config.as_slice()), ("manifest.json", list.as_bytes())] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes).unwrap();
    }
    tar.into_inner().unwrap();
    let explained = Explained::run_in(home, &["--images=cart.tar"], &["shop/cart:3", "shop/other:1"]);
    let (server, evidence) = explained.server(0);
    assert_eq!(server, "gunicorn");
    assert!(evidence.contains(&format!("at CMD of shop/cart:3@{}", sha256(&config))), "{evidence}");
    let note = "note: the archives of --images do not contain shop/other:1; add --images without a PATH to read from the registries, too\n";
    assert_eq!((explained.stderr().as_str(), explained.code()), (note, Some(0)));
}

#[rstest]
#[case::no_archive(&["--images=none.tar"], "none.tar: cannot read it: No such file or directory (os error 2)")]
fn invalid_archives_are_errors(#[case] flags: &[&str], #[case] error: &str) {
    let explained = Explained::run(flags, &["cart:3"]);
    assert_eq!((explained.errors(), explained.code()), (vec![error.to_owned()], Some(2)));
}

#[rstest]
#[case::platform(&["--platform", "amd64"], "write it like linux/amd64")]
#[case::mirror(&["--images", "--registry-mirror", "docker.io"], "write it like docker.io=mirror.example.com")]
#[case::insecure(&["--images", "--insecure-registry", "http://localhost"], "write it like localhost:5000")]
#[case::mirror_without_images(&["--registry-mirror", "docker.io=a.example.com"], "--images")]
#[case::no_time(&["--images", "--registry-timeout", "0s"], "the timeout cannot be 0s")]
fn wrong_flags_are_refused(#[case] flags: &[&str], #[case] message: &str) {
    let explained = Explained::run(flags, &["cart:3"]);
    assert_eq!(explained.code(), Some(2));
    assert!(explained.stderr().contains(message), "{}", explained.stderr());
}
