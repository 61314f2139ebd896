//! Certificates as text.

use pem::{EncodeConfig, LineEnding, Pem, encode_many_config};
use rustls::pki_types::CertificateDer;

/// Certificates in PEM, one after the other, as kubectl and openssl write them.
pub(crate) fn certificates<'a, 'b: 'a>(
    certificates: impl IntoIterator<Item = &'a CertificateDer<'b>>,
) -> String {
    let certificates: Vec<_> =
        certificates.into_iter().map(|der| Pem::new("CERTIFICATE", der.to_vec())).collect();
    encode_many_config(&certificates, EncodeConfig::new().set_line_ending(LineEnding::LF))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        let all = [vec![7; 1], vec![8; 48], vec![9; 500]].map(CertificateDer::from);
        let text = certificates(&all);
        let read: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(read, all);
        assert!(text.lines().all(|line| line.len() <= 64));
    }
}
