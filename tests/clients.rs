//! Tests `--client-ca` and `--client-name` on a real listener: which clients are accepted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{path::Path, time::Duration};

use linkerd_linger::admission::serve::{
    self, CertificateFiles, CertificateSource, Clients, Config, Running, Timeouts,
};

use self::support::{Authority, Connection, Mount, Pair, eventually, get, metric, review_of_a_pod};

const PATH: &str = "/validate/enforce?timeout=10s";

/// Starts a server that accepts clients with certificates of these CAs and with these names; the CA file is in `dir`.
async fn start_for(mount: &Mount, dir: &Path, authorities: &str, names: &[&str]) -> Running {
    let path = dir.join("clients.crt");
    std::fs::write(&path, authorities).unwrap();
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let clients = Some(Clients { authorities: path, names });
    let certificate = CertificateSource::Files(CertificateFiles { clients, ..mount.files() });
    let timeouts = Timeouts { poll: Duration::from_millis(20), ..Timeouts::default() };
    serve::start(Config { certificate, timeouts, ..Config::loopback() }).await.unwrap()
}

async fn answers(server: &Running, authority: &Authority, identity: Option<&Pair>) -> bool {
    let offered = &["http/1.1"];
    let opened =
        Connection::introduce(server.addr(), &authority.pem(), rustls::ALL_VERSIONS, offered, identity).await;
    // With TLS 1.3 a rejection arrives after the client has completed its side of the handshake.
    match opened {
        Ok(mut connection) => connection.is_answered(PATH, &review_of_a_pod("7d2f")).await,
        Err(_) => false,
    }
}

#[tokio::test]
async fn only_clients_of_the_authority_are_answered() {
    let (authority, theirs, other) = (Authority::new(), Authority::new(), Authority::new());
    let mount = Mount::new(&authority.issue());
    let dir = tempfile::tempdir().unwrap();
    let server = start_for(&mount, dir.path(), &theirs.pem(), &[]).await;
    assert!(answers(&server, &authority, Some(&theirs.issue_to("anyone", &[]))).await);
    assert!(!answers(&server, &authority, Some(&other.issue_to("anyone", &[]))).await);
    assert!(!answers(&server, &authority, None).await);
    // A local client without a certificate is taken for the readiness check, and not counted.
    eventually("the stranger is counted", async || {
        metric(server.admin_addr(), "linger_tls_handshake_failures_total").await == 1.0
    })
    .await;
}

#[tokio::test]
async fn only_clients_with_a_name_are_answered() {
    let (authority, theirs) = (Authority::new(), Authority::new());
    let mount = Mount::new(&authority.issue());
    let dir = tempfile::tempdir().unwrap();
    let allowed = ["kube-apiserver", "api.example.com"];
    let server = start_for(&mount, dir.path(), &theirs.pem(), &allowed).await;
    for (common_name, names, expected) in [
        ("kube-apiserver", &[][..], true),
        ("other", &["api.example.com"][..], true),
        ("other", &["example.com"][..], false),
        ("kube-apiserver.evil", &[][..], false),
    ] {
        let client = theirs.issue_to(common_name, names);
        assert_eq!(answers(&server, &authority, Some(&client)).await, expected, "{common_name} {names:?}");
    }
}

#[tokio::test]
async fn new_client_authorities_are_taken_and_bad_ones_are_not() {
    let (authority, first, second) = (Authority::new(), Authority::new(), Authority::new());
    let mount = Mount::new(&authority.issue());
    let dir = tempfile::tempdir().unwrap();
    let server = start_for(&mount, dir.path(), &first.pem(), &[]).await;
    let path = dir.path().join("clients.crt");
    let (one, two) = (first.issue_to("one", &[]), second.issue_to("two", &[]));
    assert!(!answers(&server, &authority, Some(&two)).await);
    std::fs::write(&path, second.pem()).unwrap();
    eventually("the new authority is trusted", async || answers(&server, &authority, Some(&two)).await).await;
    assert!(!answers(&server, &authority, Some(&one)).await);
    // An empty file must neither allow all clients nor none.
    std::fs::write(&path, "").unwrap();
    eventually("the empty file is counted", async || {
        metric(server.admin_addr(), "linger_certificate_reloads_total{result=\"failed\"}").await >= 1.0
    })
    .await;
    assert!(answers(&server, &authority, Some(&two)).await);
    assert!(!answers(&server, &authority, None).await);
}

#[tokio::test]
async fn readiness_calls_the_webhook_port_and_is_not_counted() {
    let (authority, theirs) = (Authority::new(), Authority::new());
    let mount = Mount::new(&authority.issue());
    let dir = tempfile::tempdir().unwrap();
    let open = CertificateSource::Files(mount.files());
    let open = serve::start(Config { certificate: open, ..Config::loopback() }).await.unwrap();
    let closed = start_for(&mount, dir.path(), &theirs.pem(), &["nobody"]).await;
    for server in [&open, &closed] {
        let answer = get(server.admin_addr(), "/readyz").await;
        assert_eq!((answer.status, &*answer.body), (200, "ready\n"));
        eventually("the call has ended", async || {
            metric(server.admin_addr(), "linger_connections").await == 0.0
        })
        .await;
        assert_eq!(metric(server.admin_addr(), "linger_tls_handshake_failures_total").await, 0.0);
    }
}
