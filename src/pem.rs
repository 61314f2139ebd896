//! Certificates as text.

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::CertificateDer;

/// Certificates in PEM, one after the other, with lines of 64 characters (RFC 7468, section 2).
pub(crate) fn certificates<'a, 'b: 'a>(
    certificates: impl IntoIterator<Item = &'a CertificateDer<'b>>,
) -> String {
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = &*STANDARD.encode(certificate);
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
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
