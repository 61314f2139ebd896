//! Connects to the server's own webhook port, as an API server would, and completes the TLS handshake.
//!
//! A bound port may still not answer, for example when the runtime is blocked or TLS cannot be set up. This check
//! detects both.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::Mutex,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

/// The timeout for TCP and TLS together. Over loopback the handshake takes a millisecond, and kubelet waits three
/// seconds for `/readyz`.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long a result is cached. Clients of `/readyz` cannot cause more connections than one per interval.
const CACHE_TTL: Duration = Duration::from_secs(2);

/// Checks whether the webhook port completes TLS handshakes.
pub struct SelfCheck {
    addrs: Vec<SocketAddr>,
    tls: TlsConnector,
    cached: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl SelfCheck {
    /// Creates a check of the port at this listening address.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub fn new(listens: SocketAddr) -> Result<Self, rustls::Error> {
        let addrs = reachable_addresses(listens.ip())
            .into_iter()
            .map(|ip| SocketAddr::new(ip, listens.port()))
            .collect();
        Ok(Self { addrs, tls: connector()?, cached: Mutex::new(None) })
    }

    /// The source addresses of its connections: the server connects to itself.
    pub fn sources(&self) -> Vec<IpAddr> {
        self.addrs.iter().map(SocketAddr::ip).collect()
    }

    /// Checks that the port completes a TLS handshake.
    ///
    /// # Errors
    ///
    /// Returns the reason why the handshake failed.
    pub async fn check(&self) -> Result<(), String> {
        let mut cached = self.cached.lock().await;
        if let Some((when, result)) = &*cached
            && when.elapsed() < CACHE_TTL
        {
            return result.clone();
        }
        let result = match timeout(DEADLINE, self.connect()).await {
            Ok(result) => result,
            Err(_) => Err(format!("no TLS handshake within {DEADLINE:?}")),
        };
        *cached = Some((Instant::now(), result.clone()));
        result
    }

    async fn connect(&self) -> Result<(), String> {
        let tcp = TcpStream::connect(&*self.addrs).await.map_err(|error| error.to_string())?;
        // The certificate is not verified, so any name works.
        let name = ServerName::from(Ipv4Addr::LOCALHOST);
        let mut stream = self.tls.connect(name, tcp).await.map_err(|error| error.to_string())?;
        // Sends close_notify; otherwise the server would count a failed connection. An error here means that the port
        // has closed first, which is fine.
        let _ = stream.shutdown().await;
        Ok(())
    }
}

/// The addresses at which a wildcard listener can be reached. A pod that listens on `[::]` may have no IPv6 address;
/// its socket then serves IPv4 only.
fn reachable_addresses(ip: IpAddr) -> Vec<IpAddr> {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![Ipv4Addr::LOCALHOST.into()],
        IpAddr::V6(ip) if ip.is_unspecified() => vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()],
        ip => vec![ip],
    }
}

fn connector() -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(rustls::ALL_VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Accepts any certificate if the server has its private key. API servers decide which certificate they trust. With an
/// expired certificate the server must keep answering, or API servers would report "connection refused" instead of the
/// real reason.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_port_without_tls_is_not_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let self_check = SelfCheck::new(listener.local_addr().unwrap()).unwrap();
        let check = tokio::spawn(async move {
            let first = self_check.check().await;
            (first, self_check)
        });
        drop(listener.accept().await.unwrap());
        let (first, self_check) = check.await.unwrap();
        assert!(first.is_err());
        // The cached result: nothing accepts connections any more.
        assert_eq!(self_check.check().await, first);
    }

    #[tokio::test]
    async fn a_silent_port_is_not_ready_after_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let self_check = SelfCheck::new(listener.local_addr().unwrap()).unwrap();
        assert_eq!(self_check.check().await, Err("no TLS handshake within 2s".to_owned()));
    }

    #[test]
    fn unspecified_addresses_are_reached_on_loopback() {
        for (listens, expected) in [
            ("0.0.0.0:1", &["127.0.0.1"][..]),
            ("[::]:1", &["::1", "127.0.0.1"]),
            ("10.0.0.7:1", &["10.0.0.7"]),
        ] {
            let sources = SelfCheck::new(listens.parse().unwrap()).unwrap().sources();
            assert_eq!(sources.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
        }
    }
}
