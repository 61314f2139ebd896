//! Certificates in PEM.

use pem::{EncodeConfig, LineEnding, Pem, encode_many_config};
use rustls::pki_types::{CertificateDer, pem::Error as PemError};

/// Encodes certificates in PEM, as kubectl and openssl do.
pub(crate) fn certificates<'a, 'b: 'a>(
    certificates: impl IntoIterator<Item = &'a CertificateDer<'b>>,
) -> String {
    let certificates: Vec<_> =
        certificates.into_iter().map(|der| Pem::new("CERTIFICATE", der.to_vec())).collect();
    encode_many_config(&certificates, EncodeConfig::new().set_line_ending(LineEnding::LF))
}

/// Describes a PEM error. The error's own message would print bytes of the file, which may belong to a key.
pub(crate) fn problem_in_pem(error: &PemError) -> String {
    match error {
        PemError::NoItemsFound => "it contains no PEM section",
        PemError::MissingSectionEnd { .. } => "a PEM section has no end line",
        PemError::IllegalSectionStart { .. } => "a PEM section has a bad start line",
        PemError::Base64Decode(_) => "a PEM section is not valid base64",
        _ => "it is not PEM",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn printed_certificates_are_parsed_again() {
        let all = [vec![7; 1], vec![8; 48], vec![9; 500]].map(CertificateDer::from);
        let text = certificates(&all);
        let read: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(read, all);
        assert!(text.lines().all(|line| line.len() <= 64));
    }
}
