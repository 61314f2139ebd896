//! Shared test helpers: a CA with certificates, a mounted Secret, an HTTPS client that can misbehave, and waiting for a
//! condition with a deadline.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

pub(crate) mod process;

use std::{
    env,
    io::{Write, stderr},
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use linkerd_linger::admission::serve::CertificateFiles;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::OnceCell,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Longer than any wait on a loaded machine, so that only a test that fails comes to it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Why a test cannot run: what is missing on this machine.
#[derive(Clone, Debug)]
pub(crate) struct NotRun(pub(crate) String);

impl NotRun {
    /// Says so; in CI it is a failure.
    pub(crate) fn tell(&self) {
        assert!(env::var_os("CI").is_none(), "not run: {}", self.0);
        say(&format!("{}: not run: {}", thread::current().name().unwrap_or_default(), self.0));
    }
}

/// What the tests of a file share, started by the first of them; `None` on a machine that cannot run it, which is a
/// failure only in CI.
pub(crate) async fn started<B, S: Future<Output = Result<B, NotRun>>>(
    bed: &'static OnceCell<Result<B, NotRun>>,
    start: impl FnOnce() -> S,
) -> Option<&'static B> {
    static TRIED: AtomicBool = AtomicBool::new(false);
    let once = || {
        assert!(
            !TRIED.swap(true, Ordering::Relaxed),
            "the test bed did not start: the test that started it tells why"
        );
        start()
    };
    match bed.get_or_init(once).await {
        Ok(bed) => Some(bed),
        Err(why) => {
            why.tell();
            None
        }
    }
}

/// Says it at once: what tests print by macros is shown only when they fail.
pub(crate) fn say(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

/// Polls a condition until it holds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Ends a wait that would be for ever.
pub(crate) async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}

/// A certificate chain and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) chain: String,
    pub(crate) key: String,
    pub(crate) leaf: CertificateDer<'static>,
}

/// An authority that issues pairs, for `localhost` unless told otherwise.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn issue(&self) -> Pair {
        self.issue_to("rcgen self signed cert", &["localhost", "127.0.0.1"])
    }

    pub(crate) fn issue_to(&self, common_name: &str, names: &[&str]) -> Pair {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        self.sign(&params)
    }

    /// For `localhost`, and for this time only.
    pub(crate) fn issue_for(&self, not_before: SystemTime, not_after: SystemTime) -> Pair {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (not_before.into(), not_after.into());
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        let chain = format!("{}{}", leaf.pem(), self.0.pem());
        Pair { chain, key: key.serialize_pem(), leaf: leaf.der().clone() }
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }
}

/// A directory as a kubelet mounts a Secret: `tls.crt -> ..data/tls.crt`, `..data -> ..<version>`.
pub(crate) struct Mount {
    dir: TempDir,
    version: usize,
}

impl Mount {
    pub(crate) fn new(pair: &Pair) -> Self {
        let mut mount = Self { dir: tempfile::tempdir().unwrap(), version: 0 };
        mount.swap(&pair.chain, &pair.key);
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), mount.path(name)).unwrap();
        }
        mount
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn files(&self) -> CertificateFiles {
        CertificateFiles { chain: self.path("tls.crt"), key: self.path("tls.key"), clients: None }
    }

    /// Writes a new version beside the old one, renames a symlink over `..data`, removes the old version: what
    /// `AtomicWriter` in kubernetes `pkg/volume/util/atomic_writer.go` does.
    pub(crate) fn swap(&mut self, chain: &str, key: &str) {
        let old = format!("..{}", self.version);
        self.version += 1;
        let new = format!("..{}", self.version);
        std::fs::create_dir(self.path(&new)).unwrap();
        std::fs::write(self.path(&new).join("tls.crt"), chain).unwrap();
        std::fs::write(self.path(&new).join("tls.key"), key).unwrap();
        symlink(&new, self.path("..data_tmp")).unwrap();
        std::fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
        let _ = std::fs::remove_dir_all(self.path(&old));
    }

    /// Hides the files, as if the volume were gone.
    pub(crate) fn unmount(&self) {
        std::fs::rename(self.path("..data"), self.path("..unmounted")).unwrap();
    }

    /// Shows the files again.
    pub(crate) fn mount(&self) {
        std::fs::rename(self.path("..unmounted"), self.path("..data")).unwrap();
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The header lines, in lower case.
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// One HTTPS connection, used request by request as the API server does.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
}

impl Connection {
    /// Connects, trusting one authority, with TLS 1.3 and 1.2.
    pub(crate) async fn open(addr: SocketAddr, authority: &str) -> Self {
        Self::try_open(addr, authority, rustls::ALL_VERSIONS).await.unwrap()
    }

    pub(crate) async fn try_open(
        addr: SocketAddr,
        authority: &str,
        versions: &[&'static SupportedProtocolVersion],
    ) -> std::io::Result<Self> {
        Self::negotiate(addr, authority, versions, &["http/1.1"]).await
    }

    /// Connects, offering these protocols as API servers do: `http/1.1`, and to localhost also `h2`.
    pub(crate) async fn negotiate(
        addr: SocketAddr,
        authority: &str,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> std::io::Result<Self> {
        Self::introduce(addr, authority, versions, protocols, None).await
    }

    /// Connects with a certificate of its own.
    pub(crate) async fn introduce(
        addr: SocketAddr,
        authority: &str,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
        identity: Option<&Pair>,
    ) -> std::io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![pair.leaf.clone()], key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let tcp = TcpStream::connect(addr).await?;
        // As Go's `net/http` does: otherwise a body waits 40 ms for the acknowledgement of its headers.
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { stream: within("the handshake ended", connector.connect(name, tcp)).await? })
    }

    /// The protocol that the server chose.
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.stream.get_ref().1.alpn_protocol()
    }

    /// The certificate that the server showed.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// Sends these bytes, which may be less than a request.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends bytes to a server that may have closed the connection. Returns whether they could be sent.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Sends a review to `path` and reads the answer.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Answer {
        self.send(&head(path, body.len())).await;
        self.send(body.as_bytes()).await;
        self.answer().await
    }

    /// Reads one answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        within("an answer came", read_answer(&mut self.stream)).await
    }

    /// Whether a review gets an answer, rather than an alert.
    pub(crate) async fn is_answered(&mut self, path: &str, body: &str) -> bool {
        let request = [&*head(path, body.len()), body.as_bytes()].concat();
        let answered = async {
            self.stream.write_all(&request).await.ok()?;
            self.stream.flush().await.ok()?;
            self.stream.read_u8().await.ok()
        };
        within("an answer came", answered).await.is_some()
    }

    /// Reads until the server ends the connection.
    pub(crate) async fn rest(&mut self) -> String {
        let mut bytes = vec![];
        // The end may be one without `close_notify`, or a reset.
        let _ = within("the connection was cut", self.stream.read_to_end(&mut bytes)).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the server ends the connection without an answer.
    pub(crate) async fn cut(&mut self) {
        within("the connection was cut", until_closed(&mut self.stream)).await;
    }
}

/// Waits until the peer ends the connection, having sent nothing.
pub(crate) async fn until_closed(stream: &mut (impl AsyncReadExt + Unpin)) {
    // An end without `close_notify`, or a reset, is an error to the reader: it is an end all the same.
    let mut byte = [0];
    assert!(matches!(stream.read(&mut byte).await, Ok(0) | Err(_)), "the peer sent {byte:?}");
}

/// The headers of a POST.
pub(crate) fn head(path: &str, length: usize) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")
        .into_bytes()
}

async fn read_answer(stream: &mut (impl AsyncReadExt + Unpin)) -> Answer {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let (status, headers) = head.split_once("\r\n").unwrap();
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    Answer {
        status: status.split(' ').nth(1).unwrap().parse().unwrap(),
        headers: headers.to_owned(),
        body: String::from_utf8(body).unwrap(),
    }
}

/// `GET` on the plain port.
pub(crate) async fn get(addr: SocketAddr, path: &str) -> Answer {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    within("an answer came", read_answer(&mut stream)).await
}

/// The value of a series on `/metrics`.
pub(crate) async fn metric(addr: SocketAddr, series: &str) -> f64 {
    let text = get(addr, "/metrics").await.body;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
}

/// An AdmissionReview of a plain pod.
pub(crate) fn review_of_a_pod(uid: &str) -> String {
    serde_json::json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": uid,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "shop",
            "operation": "CREATE",
            "userInfo": {},
            "dryRun": false,
            "object": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"generateName": "web-"},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    })
    .to_string()
}
