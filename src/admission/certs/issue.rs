//! Creates CA and serving certificates with ECDSA P-256 keys, which make handshakes cheap for the server.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

pub use super::material::Authority;
use super::{
    BACKDATING,
    material::{Certificate, Leaf, Stored},
};
use crate::base::names;

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The Secret holds no CA with its key.
    #[error("there is no CA certificate with its key")]
    NoAuthority,
    /// A key or a certificate could not be created.
    #[error("cannot create a certificate")]
    Make(#[from] rcgen::Error),
    /// The constraints of the CA forbid the serving certificate.
    #[error(
        "the name constraints of the CA in the Secret {} do not allow {}: remove ca.key from the Secret to \
         create a new CA",
        names::CERTIFICATE_SECRET,
        names::SERVICE_NAMES[0]
    )]
    UnfitAuthority,
    /// The new certificate could not be parsed.
    #[error("cannot read the new certificate")]
    Unreadable,
}

/// Returns the issuer for the CA of a Secret.
pub(super) fn issuer(stored: &Stored) -> Result<Issuer<'static, KeyPair>, IssueError> {
    let (Some(issuing), Some(key)) = (stored.issuing(), stored.authority_key()) else {
        return Err(IssueError::NoAuthority);
    };
    Ok(Issuer::from_ca_cert_der(issuing.der(), KeyPair::from_pem(key)?)?)
}

/// Creates a CA that may only issue serving certificates.
///
/// # Errors
///
/// Returns an error if no key can be created.
pub fn authority(lifetime: SignedDuration, now: Timestamp) -> Result<Authority, IssueError> {
    let mut params = with_validity(CertificateParams::new(vec![])?, lifetime, now);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    // Each CA has its own name, so that it cannot be confused with an older one.
    params.distinguished_name.push(DnType::CommonName, format!("linkerd-linger authority {now:.0}"));
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let certificate = Certificate::read(certificate.der().clone()).ok_or(IssueError::Unreadable)?;
    Ok(Authority { certificate, key: key.serialize_pem() })
}

/// Creates a serving certificate for these DNS names and IP addresses.
///
/// # Errors
///
/// Returns an error if a name is invalid, or no key can be created.
pub fn leaf(
    issuer: &Issuer<'_, KeyPair>,
    names: &[impl AsRef<str>],
    lifetime: SignedDuration,
    now: Timestamp,
) -> Result<Leaf, IssueError> {
    let names: Vec<_> = names.iter().map(|name| name.as_ref().to_owned()).collect();
    let mut params = with_validity(CertificateParams::new(names)?, lifetime, now);
    // Verifiers use the subject alternative names only. The common name has a length limit that a Service name may
    // exceed.
    params.distinguished_name.push(DnType::CommonName, "linkerd-linger");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    let certificate = Certificate::read(certificate.der().clone()).ok_or(IssueError::Unreadable)?;
    Ok(Leaf { certificate, key: key.serialize_pem() })
}

/// Creates a serving certificate and its CA, whose key is dropped so that it can issue no other certificate.
///
/// # Errors
///
/// Returns an error if a name is invalid, or no key can be created.
pub fn leaf_and_authority(
    names: &[impl AsRef<str>],
    lifetime: SignedDuration,
    now: Timestamp,
) -> Result<(Certificate, Leaf), IssueError> {
    let authority = authority(lifetime, now)?;
    let issuer = Issuer::from_ca_cert_der(authority.certificate.der(), KeyPair::from_pem(&authority.key)?)?;
    let leaf = leaf(&issuer, names, lifetime, now)?;
    Ok((authority.certificate, leaf))
}

fn with_validity(
    mut params: CertificateParams,
    lifetime: SignedDuration,
    now: Timestamp,
) -> CertificateParams {
    let epoch = date_time_ymd(1970, 1, 1);
    let seconds =
        |moment: Timestamp| Duration::from_secs(u64::try_from(moment.as_second()).unwrap_or_default());
    params.not_before = epoch + seconds(now - BACKDATING);
    params.not_after = epoch + seconds(now + lifetime);
    params
}
