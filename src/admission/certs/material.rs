//! Certificates and keys: parsing, validity and verification.
//!
//! Data that cannot be parsed counts as absent and is created again.

use std::{collections::BTreeMap, fmt, sync::Arc, time::SystemTime};

use jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::base::pem;

/// The keys of the Secret. The server mounts only the last two.
const AUTHORITIES: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";
/// The Secret key with the serving certificate and its chain, as in Secrets of type `kubernetes.io/tls`.
pub const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";

/// A parsed certificate.
#[derive(Clone, Eq, PartialEq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}..{})", self.not_before, self.not_after)
    }
}

impl Certificate {
    /// Parses the certificates in a PEM text, and skips those that are invalid.
    pub fn read_all(text: &[u8]) -> Vec<Self> {
        CertificateDer::pem_slice_iter(text).filter_map(|der| Self::read(der.ok()?)).collect()
    }

    /// Parses the certificates in a PEM text; `None` if one is invalid.
    pub fn read_chain(text: &[u8]) -> Option<Vec<Self>> {
        CertificateDer::pem_slice_iter(text).map(|der| Self::read(der.ok()?)).collect()
    }

    /// Parses a certificate.
    pub(crate) fn read(der: CertificateDer<'static>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        // `99991231235959Z` means "no expiry" (RFC 5280, section 4.1.2.5). It lies one day beyond the range of
        // `Timestamp`.
        let moment = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).unwrap_or(Timestamp::MAX)
        };
        let validity = parsed.validity();
        let (not_before, not_after) = (moment(validity.not_before), moment(validity.not_after));
        Some(Self { not_before, not_after, der })
    }

    /// The DER encoding.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The start of the validity period.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The end of the validity period.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Reports whether the certificate is valid at `now`.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Reports whether two thirds of the validity period have passed.
    fn is_due(&self, now: Timestamp) -> bool {
        let lifetime = self.not_after.duration_since(self.not_before);
        now.duration_since(self.not_before) >= lifetime / 3 * 2
    }

    /// Reports whether the certificate belongs to this private key.
    fn has_public_key_of(&self, key: &KeyPair) -> bool {
        let parsed = X509Certificate::from_der(&self.der);
        parsed.is_ok_and(|(_, parsed)| parsed.public_key().raw == key.subject_public_key_info())
    }

    /// The fraction of the validity period that remains; negative after expiry.
    pub fn remaining_fraction(&self, now: Timestamp) -> f64 {
        let seconds = |until: Timestamp, from: Timestamp| until.duration_since(from).as_secs_f64();
        seconds(self.not_after, now) / seconds(self.not_after, self.not_before).max(1.0)
    }

    /// Reports whether the validity period has not started yet.
    pub fn is_not_yet_valid(&self, now: Timestamp) -> bool {
        now < self.not_before
    }

    /// Reports whether a client that trusts this CA accepts `leaf` for `name`.
    pub fn is_issuer_of(&self, leaf: &Self, name: &str, now: Timestamp) -> bool {
        verify([self], std::slice::from_ref(leaf), name, now).is_ok()
    }
}

/// Verifies a chain, leaf first, for a name as API servers do. They do not trust an expired CA either.
///
/// # Errors
///
/// Returns what is wrong with the chain; [`rustls::Error::General`] if there is no chain or no valid CA.
pub fn verify<'a>(
    authorities: impl IntoIterator<Item = &'a Certificate>,
    chain: &[Certificate],
    name: &str,
    now: Timestamp,
) -> Result<(), rustls::Error> {
    let general = |why: &str| rustls::Error::General(why.to_owned());
    let mut roots = RootCertStore::empty();
    for authority in authorities.into_iter().filter(|authority| authority.is_valid(now)) {
        // A certificate that is not a CA cannot issue anything, so it is skipped.
        let _ = roots.add(authority.der.clone());
    }
    if roots.is_empty() {
        return Err(general("no CA certificate is valid now"));
    }
    let (leaf, rest) = chain.split_first().ok_or_else(|| general("there is no certificate"))?;
    let server = ServerName::try_from(name).map_err(|_| general("it is not a valid server name"))?;
    let rest: Vec<_> = rest.iter().map(|certificate| certificate.der.clone()).collect();
    let since = SystemTime::from(now).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
        .build()
        .map_err(|error| general(&error.to_string()))?
        .verify_server_cert(&leaf.der, &rest, &server, &[], UnixTime::since_unix_epoch(since))
        .map(|_| ())
}

/// A serving certificate and its key.
#[derive(Clone, Eq, PartialEq)]
pub struct Leaf {
    /// The certificate.
    pub certificate: Certificate,
    /// Its private key in PEM.
    pub key: String,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// A CA certificate and its key.
pub struct Authority {
    /// The certificate.
    pub certificate: Certificate,
    /// Its private key in PEM.
    pub key: String,
}

/// The certificates and keys in the Secret.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Stored {
    /// The CA certificates, the issuing one first.
    pub authorities: Vec<Certificate>,
    /// The private key of the issuing CA, in PEM.
    authority_key: Option<String>,
    /// The serving certificate.
    pub leaf: Option<Leaf>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("authorities", &self.authorities)
            .field("leaf", &self.leaf)
            .finish_non_exhaustive()
    }
}

impl Stored {
    /// Parses the data of the Secret.
    pub fn read<'a>(data: impl Fn(&str) -> Option<&'a [u8]>) -> Self {
        let text = |key: &str| String::from_utf8(data(key)?.to_vec()).ok();
        let certificate = data(CHAIN).and_then(|chain| Certificate::read_all(chain).into_iter().next());
        Self {
            authorities: data(AUTHORITIES).map(Certificate::read_all).unwrap_or_default(),
            authority_key: text(AUTHORITY_KEY),
            leaf: certificate.zip(text(KEY)).map(|(certificate, key)| Leaf { certificate, key }),
        }
    }

    /// Returns the data of the Secret.
    pub fn write(&self) -> BTreeMap<&'static str, Vec<u8>> {
        let mut data = BTreeMap::new();
        let authorities = pem::certificates(self.authorities.iter().map(Certificate::der));
        data.insert(AUTHORITIES, authorities.into_bytes());
        if let Some(key) = &self.authority_key {
            data.insert(AUTHORITY_KEY, key.clone().into_bytes());
        }
        if let Some(leaf) = &self.leaf {
            data.insert(CHAIN, pem::certificates([leaf.certificate.der()]).into_bytes());
            data.insert(KEY, leaf.key.clone().into_bytes());
        }
        data
    }

    /// The issuing CA.
    pub fn issuing(&self) -> Option<&Certificate> {
        self.authorities.first()
    }

    /// The key of the issuing CA.
    pub(super) fn authority_key(&self) -> Option<&str> {
        self.authority_key.as_deref()
    }

    /// Puts a new CA before the others, and removes expired ones.
    pub(super) fn replace_authority(&mut self, new: Authority, now: Timestamp) {
        self.authorities.retain(|authority| authority.is_valid(now));
        self.authorities.insert(0, new.certificate);
        self.authority_key = Some(new.key);
    }

    /// Reports whether the current CA can issue certificates and need not be replaced.
    pub(super) fn can_issue(&self, now: Timestamp) -> bool {
        let (Some(issuing), Some(key)) = (self.issuing(), &self.authority_key) else { return false };
        issuing.is_valid(now)
            && !issuing.is_due(now)
            && KeyPair::from_pem(key).is_ok_and(|key| issuing.has_public_key_of(&key))
    }

    /// Reports whether the serving certificate comes from the issuing CA, covers every name and is not due for renewal.
    pub(super) fn leaf_is_good(&self, names: &[&str], now: Timestamp) -> bool {
        let (Some(issuing), Some(leaf)) = (self.issuing(), &self.leaf) else { return false };
        !leaf.certificate.is_due(now)
            && KeyPair::from_pem(&leaf.key).is_ok_and(|key| leaf.certificate.has_public_key_of(&key))
            && names.iter().all(|name| issuing.is_issuer_of(&leaf.certificate, name, now))
    }
}
