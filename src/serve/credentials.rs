//! The certificate pair: from files or made here, checked, and turned into a TLS configuration.
//!
//! When to look at the files again is left to [`super::reload`].

use std::{
    io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::clients::{self, Clients};

/// Where the certificate pair comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CertificateSource {
    /// Files, as a Secret of type `kubernetes.io/tls` mounts them.
    Files(CertificateFiles),
    /// A new authority and a certificate for `localhost`, `127.0.0.1` and these names, in memory only.
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
    /// Who may ask; everybody, if nothing is said.
    pub clients: Option<Clients>,
}

/// The oldest TLS version that is spoken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TlsVersion {
    /// TLS 1.2, for API servers behind old proxies.
    V12,
    /// TLS 1.3, which every supported API server speaks (Go since 1.12).
    #[default]
    V13,
}

impl TlsVersion {
    /// Every version, the oldest first.
    pub const ALL: [Self; 2] = [Self::V12, Self::V13];

    /// Its number.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }

    fn and_newer(self) -> Vec<&'static SupportedProtocolVersion> {
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

/// A TLS version that we do not speak.
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
        /// Why.
        source: io::Error,
    },
    /// The files changed each time they were read.
    #[error("{} changed each time it was read", path.display())]
    Unsteady {
        /// The file.
        path: PathBuf,
    },
    /// The chain is not PEM, or holds no certificate.
    #[error("cannot find a certificate in {}: {problem}", path.display())]
    Chain {
        /// The file.
        path: PathBuf,
        /// What is wrong, without the file's content.
        problem: String,
    },
    /// The key is not PEM, holds no private key, or one of a kind that we cannot use.
    #[error("cannot use the private key in {}: {problem}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong, without the file's content.
        problem: String,
    },
    /// The two files are not a pair.
    #[error("the private key in {} does not belong to the first certificate in {}", key.display(), chain.display())]
    NotAPair {
        /// The file with the key.
        key: PathBuf,
        /// The file with the chain.
        chain: PathBuf,
    },
    /// The authorities of clients cannot be used.
    #[error("cannot use the client authorities in {}: {problem}", path.display())]
    Clients {
        /// The file.
        path: PathBuf,
        /// What is wrong, without the file's content.
        problem: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a self-signed certificate")]
    Make(#[from] rcgen::Error),
    /// TLS cannot be set up with it.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

/// The bytes of all files. No `Debug`: one of them is secret.
#[derive(Eq, PartialEq)]
pub(crate) struct PairBytes {
    chain: Vec<u8>,
    key: Vec<u8>,
    clients: Option<Vec<u8>>,
}

/// A checked pair, ready to serve with.
pub(crate) struct Credentials {
    /// The configuration of new connections. A new one for each pair, so that no session of an old pair is resumed.
    pub(crate) tls: Arc<ServerConfig>,
    /// When the first certificate ends, in seconds since 1970.
    pub(crate) not_after: i64,
    /// The authority's certificate in PEM, if we made it.
    pub(crate) authority: Option<String>,
}

impl CertificateFiles {
    /// Reads all files as they are at one moment.
    pub(crate) fn read(&self) -> Result<PairBytes, CredentialsError> {
        self.read_by(|path| std::fs::read(path))
    }

    /// A kubelet swaps both files at once by a symlink, perhaps between our two reads, so the chain is read again
    /// after the key.
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
        Err(CredentialsError::Unsteady { path: self.chain.clone() })
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
        let Some(first) = chain.first() else {
            return Err(chain_is(problem_in_pem(&pem::Error::NoItemsFound)));
        };
        let not_after = end_of(first).map_err(chain_is)?;
        for issuer in &chain[1..] {
            end_of(issuer).map_err(chain_is)?;
        }
        let key = PrivateKeyDer::from_pem_slice(&pair.key).map_err(|error| key_is(problem_in_pem(&error)))?;
        let provider = provider();
        let key = provider.key_provider.load_private_key(key).map_err(|error| key_is(error.to_string()))?;
        let certified = CertifiedKey::new(chain, key);
        certified
            .keys_match()
            .map_err(|_| CredentialsError::NotAPair { key: self.key.clone(), chain: self.chain.clone() })?;
        let clients = self.clients(pair, &provider)?;
        Ok(Credentials {
            tls: server_config(certified, clients, provider, oldest)?,
            not_after,
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

/// Makes an authority and a certificate by it for `localhost`, `127.0.0.1` and `names`.
pub(crate) fn self_signed(
    names: &[String],
    today: jiff::civil::Date,
    oldest: TlsVersion,
) -> Result<Credentials, CredentialsError> {
    let authority = CertifiedIssuer::self_signed(authority_params(today)?, KeyPair::generate()?)?;
    let mut all = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    all.extend(names.iter().filter(|name| !all.contains(name)).cloned().collect::<Vec<_>>());
    let mut leaf = dated(CertificateParams::new(all)?, today)?;
    leaf.distinguished_name.push(DnType::CommonName, "linkerd-linger");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &authority)?.der().clone();
    let not_after = leaf.not_after.unix_timestamp();
    let provider = provider();
    let key =
        PrivateKeyDer::try_from(key.serialize_der()).map_err(|why| rustls::Error::General(why.to_owned()))?;
    let certified = CertifiedKey::from_der(vec![certificate], key, &provider)?;
    let tls = server_config(certified, None, provider, oldest)?;
    Ok(Credentials { tls, not_after, authority: Some(authority.pem()) })
}

fn authority_params(today: jiff::civil::Date) -> Result<CertificateParams, rcgen::Error> {
    let mut params = dated(CertificateParams::new(vec![])?, today)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "linkerd-linger self-signed");
    Ok(params)
}

/// Valid from yesterday, for clocks that are behind, and for ten years: it dies with the process long before.
fn dated(mut params: CertificateParams, today: jiff::civil::Date) -> Result<CertificateParams, rcgen::Error> {
    let yesterday = today.yesterday().map_err(|_| rcgen::Error::Time)?;
    let day = |date: jiff::civil::Date, years: i32| {
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs().min(28));
        date_time_ymd(i32::from(date.year()) + years, month, day)
    };
    params.not_before = day(yesterday, 0);
    params.not_after = day(yesterday, 10);
    Ok(params)
}

/// One provider, named here, so that neither features nor a process-wide default choose another.
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
        .with_protocol_versions(&oldest.and_newer())?
        .with_client_cert_verifier(clients.unwrap_or_else(WebPkiClientVerifier::no_client_auth))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    // API servers offer http/1.1 only, except to localhost (k8s.io/apiserver pkg/util/webhook/client.go).
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// `notAfter` of a certificate, in seconds since 1970.
fn end_of(certificate: &CertificateDer<'_>) -> Result<i64, String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    Ok(parsed.validity().not_after.timestamp())
}

/// Says what is wrong with PEM. Its own messages print bytes of the file, which may be those of a key.
pub(super) fn problem_in_pem(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "there is none in PEM",
        pem::Error::MissingSectionEnd { .. } => "a PEM section has no end line",
        pem::Error::IllegalSectionStart { .. } => "a PEM section has a bad start line",
        pem::Error::Base64Decode(_) => "a PEM section is not base64",
        _ => "it is not PEM",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use jiff::civil::date;

    use super::*;

    fn files() -> CertificateFiles {
        CertificateFiles { chain: PathBuf::from("tls.crt"), key: PathBuf::from("tls.key"), clients: None }
    }

    fn pair() -> PairBytes {
        let key = KeyPair::generate().unwrap();
        let chain = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        PairBytes { chain: chain.pem().into_bytes(), key: key.serialize_pem().into_bytes(), clients: None }
    }

    fn refusal(pair: &PairBytes) -> String {
        files().certify(pair, TlsVersion::V13).err().unwrap().to_string()
    }

    #[test]
    fn a_pair_is_certified() {
        assert!(files().certify(&pair(), TlsVersion::V13).is_ok());
    }

    #[test]
    fn a_chain_may_hold_issuers_but_the_first_must_own_the_key() {
        let (ours, other) = (pair(), pair());
        let chain = [ours.chain.clone(), other.chain.clone()].concat();
        assert!(
            files()
                .certify(&PairBytes { chain, key: ours.key.clone(), clients: None }, TlsVersion::V12)
                .is_ok()
        );
        let chain = [other.chain, ours.chain].concat();
        assert_eq!(
            refusal(&PairBytes { chain, key: ours.key, clients: None }),
            "the private key in tls.key does not belong to the first certificate in tls.crt",
        );
    }

    #[test]
    fn a_swap_between_two_reads_is_noticed() {
        let reads = Cell::new(0);
        let swapped_after = |count: usize| {
            reads.set(0);
            let (reads, count) = (&reads, count);
            move |_: &Path| {
                let version: &[u8] = if reads.replace(reads.get() + 1) < count { b"old" } else { b"new" };
                Ok(version.to_vec())
            }
        };
        for (count, expected) in [(0, "new"), (1, "new"), (2, "new"), (3, "old")] {
            let pair = files().read_by(swapped_after(count)).ok().unwrap();
            assert_eq!(
                (&*pair.chain, &*pair.key),
                (expected.as_bytes(), expected.as_bytes()),
                "after {count}"
            );
        }
        let never_the_same = |_: &Path| Ok(reads.replace(reads.get() + 1).to_string().into_bytes());
        let error = files().read_by(never_the_same).err().unwrap().to_string();
        assert_eq!(error, "tls.crt changed each time it was read");
    }

    #[test]
    fn what_is_no_pem_is_refused_without_its_content() {
        let good = pair();
        let cases = [
            (
                PairBytes { chain: vec![], key: good.key.clone(), clients: None },
                "cannot find a certificate in tls.crt",
            ),
            (
                PairBytes { chain: good.key.clone(), key: good.key.clone(), clients: None },
                "cannot find a certificate in tls.crt",
            ),
            (
                PairBytes { chain: good.chain.clone(), key: vec![], clients: None },
                "cannot use the private key in tls.key",
            ),
            (
                PairBytes { chain: good.chain.clone(), key: good.chain.clone(), clients: None },
                "cannot use the private key in tls.key",
            ),
            (
                PairBytes {
                    chain: good.chain,
                    key: b"-----BEGIN PRIVATE KEY-----\nhunter2!\n-----END PRIVATE KEY-----\n".to_vec(),
                    clients: None,
                },
                "cannot use the private key in tls.key",
            ),
        ];
        for (pair, expected) in cases {
            let refusal = refusal(&pair);
            assert!(refusal.starts_with(expected), "{refusal}");
            assert!(!refusal.contains("hunter2"));
        }
    }

    #[test]
    fn self_signed_lasts_ten_years_even_from_a_leap_day() {
        let made = self_signed(&["linger.shop.svc".to_owned()], date(2028, 3, 1), TlsVersion::V13).unwrap();
        let end = jiff::Timestamp::from_second(made.not_after).unwrap();
        assert_eq!(end.to_string(), "2038-02-28T00:00:00Z");
        assert!(made.authority.unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    }

    #[test]
    fn tls_versions_are_read_back() {
        for version in TlsVersion::ALL {
            assert_eq!(version.as_str().parse(), Ok(version));
        }
        assert_eq!("1.1".parse::<TlsVersion>().unwrap_err().to_string(), "there are 1.2 and 1.3");
    }
}
