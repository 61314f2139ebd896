//! Makes authorities and serving certificates: ECDSA with P-256, whose handshakes cost the server least.

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

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// There is no authority to issue with.
    #[error("there is no authority with its key")]
    NoAuthority,
    /// Keys or certificates could not be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// The authority's own constraints forbid what it would have to issue.
    #[error(
        "the authority of the Secret {} cannot vouch for {}: remove ca.key from it, and a new authority takes over",
        names::CERTIFICATE_SECRET,
        names::SERVICE_NAMES[0]
    )]
    UnfitAuthority,
    /// What was made cannot be read.
    #[error("cannot read the certificate that was made")]
    Unreadable,
}

/// What signs with the authority of a Secret.
pub(super) fn issuer(stored: &Stored) -> Result<Issuer<'static, KeyPair>, IssueError> {
    let (Some(issuing), Some(key)) = (stored.issuing(), stored.authority_key()) else {
        return Err(IssueError::NoAuthority);
    };
    Ok(Issuer::from_ca_cert_der(issuing.der(), KeyPair::from_pem(key)?)?)
}

/// Makes an authority that issues serving certificates and nothing else.
///
/// # Errors
///
/// When no key can be made.
pub fn authority(lifetime: SignedDuration, now: Timestamp) -> Result<Authority, IssueError> {
    let mut params = with_validity(CertificateParams::new(vec![])?, lifetime, now);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    // A name for each, so that nobody takes the old one for the new one.
    params.distinguished_name.push(DnType::CommonName, format!("linkerd-linger authority {now:.0}"));
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let certificate = Certificate::read(certificate.der().clone()).ok_or(IssueError::Unreadable)?;
    Ok(Authority { certificate, key: key.serialize_pem() })
}

/// Makes a serving certificate for these DNS names and IP addresses.
///
/// # Errors
///
/// When a name cannot be one, or no key can be made.
pub fn leaf(
    issuer: &Issuer<'_, KeyPair>,
    names: &[impl AsRef<str>],
    lifetime: SignedDuration,
    now: Timestamp,
) -> Result<Leaf, IssueError> {
    let names: Vec<_> = names.iter().map(|name| name.as_ref().to_owned()).collect();
    let mut params = with_validity(CertificateParams::new(names)?, lifetime, now);
    // Verifiers look at the names only; the common name must be short, which a service's name need not be.
    params.distinguished_name.push(DnType::CommonName, "linkerd-linger");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    let certificate = Certificate::read(certificate.der().clone()).ok_or(IssueError::Unreadable)?;
    Ok(Leaf { certificate, key: key.serialize_pem() })
}

/// Makes a serving certificate by an authority that can issue no other, since its key is dropped.
///
/// # Errors
///
/// When a name cannot be one, or no key can be made.
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
