//! The certificate pair: read from files or self-signed, checked, and turned into a TLS configuration.
//!
//! [`super::reload`] decides when to read the files again.

use std::{
    io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use rustls::{
    Error, InconsistentKeys, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use x509_parser::{
    prelude::{FromDer, X509Certificate, X509Version},
    public_key::PublicKey,
};

use super::clients::{self, Clients};
use crate::{
    admission::certs::{Certificate, issue},
    base::pem::{certificates, problem_in_pem},
};

/// How long a self-signed certificate is valid; the process ends long before.
const SELF_SIGNED_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// The source of the certificate pair.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CertificateSource {
    /// Files as mounted from a Secret of type `kubernetes.io/tls`.
    Files(CertificateFiles),
    /// A new in-memory CA and a certificate for `localhost`, `127.0.0.1` and these names.
    SelfSigned {
        /// DNS names or IP addresses.
        names: Vec<String>,
    },
}

/// The paths of a certificate pair.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFiles {
    /// The chain in PEM, the server's certificate first.
    pub chain: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
    /// The clients that may send reviews; all if `None`.
    pub clients: Option<Clients>,
}

/// The minimum TLS version.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TlsVersion {
    /// TLS 1.2, for API servers behind old proxies.
    V12,
    /// TLS 1.3, which every supported API server can use (Go since 1.12).
    #[default]
    V13,
}

impl TlsVersion {
    /// Every version, the oldest first.
    pub const ALL: [Self; 2] = [Self::V12, Self::V13];

    /// The version number.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }

    fn supported_versions(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::V12 => vec![&TLS13, &TLS12],
            Self::V13 => vec![&TLS13],
        }
    }
}

impl FromStr for TlsVersion {
    type Err = UnknownTlsVersion;

    fn from_str(number: &str) -> Result<Self, UnknownTlsVersion> {
        Self::ALL.into_iter().find(|version| version.as_str() == number).ok_or(UnknownTlsVersion)
    }
}

/// An unsupported TLS version.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there are {} and {}", TlsVersion::V12.as_str(), TlsVersion::V13.as_str())]
pub struct UnknownTlsVersion;

/// Why a certificate pair cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// The files changed each time they were read.
    #[error("{} kept changing while it was read", path.display())]
    Changing {
        /// The file.
        path: PathBuf,
    },
    /// The chain is not PEM, contains no certificate, or contains one that cannot be used.
    #[error("cannot use the certificate in {}: {problem}", path.display())]
    Chain {
        /// The file.
        path: PathBuf,
        /// The problem, without the content of the file.
        problem: String,
    },
    /// The key is not PEM, contains no private key, or one of an unsupported kind.
    #[error("cannot use the private key in {}: {problem}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The problem, without the content of the file.
        problem: String,
    },
    /// The key does not belong to the certificate.
    #[error("the private key in {} does not belong to the first certificate in {}", key.display(), chain.display())]
    NotAPair {
        /// The file with the key.
        key: PathBuf,
        /// The file with the chain.
        chain: PathBuf,
    },
    /// The CA certificates of the clients cannot be used.
    #[error("cannot use the client CA certificates in {}: {problem}", path.display())]
    Clients {
        /// The file.
        path: PathBuf,
        /// The problem, without the content of the file.
        problem: String,
    },
    /// A certificate could not be created.
    #[error("cannot create a self-signed certificate")]
    Make(#[from] issue::IssueError),
    /// TLS cannot be set up with the pair.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

/// The bytes of all files. Has no `Debug`, because one of them is secret.
#[derive(Eq, PartialEq)]
pub(crate) struct PairBytes {
    chain: Vec<u8>,
    key: Vec<u8>,
    clients: Option<Vec<u8>>,
}

/// A checked pair that is ready for use.
pub(crate) struct Credentials {
    /// The TLS configuration of new connections. Each pair gets its own, so that no session of an old pair is resumed.
    pub(crate) tls: Arc<ServerConfig>,
    /// The server's certificate.
    pub(crate) certificate: Certificate,
    /// The CA certificate in PEM, for a self-signed server.
    pub(crate) authority: Option<String>,
}

impl CertificateFiles {
    /// Reads a consistent state of all files.
    pub(crate) fn read(&self) -> Result<PairBytes, CredentialsError> {
        self.read_by(|path| std::fs::read(path))
    }

    /// kubelet swaps both files at once through a symlink, perhaps between the two reads. Therefore the chain is read
    /// again after the key.
    fn read_by(&self, file: impl Fn(&Path) -> io::Result<Vec<u8>>) -> Result<PairBytes, CredentialsError> {
        let read = |path: &Path| {
            file(path).map_err(|source| CredentialsError::Read { path: path.to_owned(), source })
        };
        for _ in 0..3 {
            let clients = self.clients.as_ref().map(|clients| read(&clients.authorities)).transpose()?;
            let found = PairBytes { chain: read(&self.chain)?, key: read(&self.key)?, clients };
            if read(&self.chain)? == found.chain {
                return Ok(found);
            }
        }
        Err(CredentialsError::Changing { path: self.chain.clone() })
    }

    /// Checks that the bytes are a chain and the key of its first certificate.
    pub(crate) fn certify(
        &self,
        pair: &PairBytes,
        oldest: TlsVersion,
    ) -> Result<Credentials, CredentialsError> {
        let chain_is = |problem: String| CredentialsError::Chain { path: self.chain.clone(), problem };
        let key_is = |problem: String| CredentialsError::Key { path: self.key.clone(), problem };
        let chain = CertificateDer::pem_slice_iter(&pair.chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| chain_is(problem_in_pem(&error)))?;
        let mut read = Vec::with_capacity(chain.len());
        for der in &chain {
            let unreadable = || chain_is("one of the certificates cannot be parsed".to_owned());
            read.push(Certificate::read(der.clone()).ok_or_else(unreadable)?);
        }
        let Some(certificate) = read.into_iter().next() else {
            return Err(chain_is(problem_in_pem(&pem::Error::NoItemsFound)));
        };
        let key = PrivateKeyDer::from_pem_slice(&pair.key)
            .map_err(|error| key_is(problem_in_key(&pair.key, &error)))?;
        let provider = provider();
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|_| key_is(format!("{}; {USABLE_KEYS}", kind_of_key(certificate.der()))))?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                CredentialsError::NotAPair { key: self.key.clone(), chain: self.chain.clone() }
            }
            error => chain_is(problem_in_certificate(certificate.der(), &error)),
        })?;
        let clients = self.clients(pair, &provider)?;
        Ok(Credentials {
            tls: server_config(certified, clients, provider, oldest)?,
            certificate,
            authority: None,
        })
    }

    fn clients(
        &self,
        pair: &PairBytes,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, CredentialsError> {
        let Some((clients, text)) = self.clients.as_ref().zip(pair.clients.as_ref()) else { return Ok(None) };
        let problem = |problem| CredentialsError::Clients { path: clients.authorities.clone(), problem };
        clients::verifier(clients, text, provider).map(Some).map_err(problem)
    }
}

/// Creates a CA and a certificate for `localhost`, `127.0.0.1` and `names`.
pub(crate) fn self_signed(
    names: &[String],
    now: Timestamp,
    oldest: TlsVersion,
) -> Result<Credentials, CredentialsError> {
    let own = ["localhost", "127.0.0.1"];
    let more = names.iter().map(String::as_str).filter(|name| !own.contains(name));
    let all: Vec<_> = own.into_iter().chain(more).collect();
    let (authority, leaf) = issue::leaf_and_authority(&all, SELF_SIGNED_LIFETIME, now)?;
    let provider = provider();
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes())
        .map_err(|error| Error::General(problem_in_pem(&error)))?;
    let certified = CertifiedKey::from_der(vec![leaf.certificate.der().clone()], key, &provider)?;
    let tls = server_config(certified, None, provider, oldest)?;
    let authority = Some(certificates([authority.der()]));
    Ok(Credentials { tls, certificate: leaf.certificate, authority })
}

/// Returns the crypto provider. It is explicit, so that neither cargo features nor a process-wide default select
/// another one.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn server_config(
    certified: CertifiedKey,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    provider: Arc<CryptoProvider>,
    oldest: TlsVersion,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&oldest.supported_versions())?
        .with_client_cert_verifier(clients.unwrap_or_else(WebPkiClientVerifier::no_client_auth))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    // API servers use http/1.1 only, except for localhost (k8s.io/apiserver pkg/util/webhook/client.go).
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The keys that ring can sign with.
const USABLE_KEYS: &str = "use RSA of 2048 to 4096 bits, ECDSA with P-256 or P-384, or Ed25519";

/// Returns the kind of key that the certificate needs, for a key that could not be loaded.
fn kind_of_key(certificate: &CertificateDer<'_>) -> String {
    let parsed = X509Certificate::from_der(certificate).map(|(_, parsed)| parsed);
    match parsed.as_ref().map(|parsed| parsed.public_key().parsed()) {
        Ok(Ok(PublicKey::RSA(key))) => {
            format!("its certificate is for an RSA key of {} bits", key.key_size())
        }
        Ok(Ok(PublicKey::EC(key))) => format!("its certificate is for an EC key of {} bits", key.key_size()),
        _ => "its type is not supported".to_owned(),
    }
}

/// Returns why a certificate with the right key cannot be used.
fn problem_in_certificate(certificate: &CertificateDer<'_>, error: &Error) -> String {
    match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) if parsed.version() != X509Version::V3 => {
            "it has X.509 version 1, which has no subjectAltName; sign a new one with a subjectAltName (`openssl \
             x509 -req` needs -extfile)"
                .to_owned()
        }
        Ok(_) | Err(_) => error.to_string(),
    }
}

/// Returns what is wrong with the PEM of a key.
fn problem_in_key(text: &[u8], error: &pem::Error) -> String {
    let is_encrypted = |line: &[u8]| {
        // PKCS #8 (RFC 7468, section 11), and the older formats of OpenSSL (RFC 1421, section 4.6.1.1).
        line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || (line.starts_with(b"Proc-Type:") && line.trim_ascii_end().ends_with(b"ENCRYPTED"))
    };
    if text.split(|byte| *byte == b'\n').any(is_encrypted) {
        return "it is encrypted, and the server cannot ask for a passphrase; decrypt it with `openssl pkey -in \
             OLD -out NEW`"
            .to_owned();
    }
    problem_in_pem(error)
}

#[cfg(test)]
mod tests;
