use std::cell::Cell;

use rcgen::{CertificateParams, KeyPair};

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
        files().certify(&PairBytes { chain, key: ours.key.clone(), clients: None }, TlsVersion::V12).is_ok()
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
        assert_eq!((&*pair.chain, &*pair.key), (expected.as_bytes(), expected.as_bytes()), "after {count}");
    }
    let never_the_same = |_: &Path| Ok(reads.replace(reads.get() + 1).to_string().into_bytes());
    let error = files().read_by(never_the_same).err().unwrap().to_string();
    assert_eq!(error, "tls.crt kept changing while it was read");
}

#[test]
fn invalid_pem_is_refused_without_its_content() {
    let good = pair();
    let cases = [
        (
            PairBytes { chain: vec![], key: good.key.clone(), clients: None },
            "cannot use the certificate in tls.crt: it contains no PEM section",
        ),
        (
            PairBytes { chain: good.key.clone(), key: good.key.clone(), clients: None },
            "cannot use the certificate in tls.crt: it contains no PEM section",
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
fn the_reason_of_a_refusal_is_the_true_one() {
    let v1 = (
        &include_bytes!("../../../../tests/fixtures/pairs/v1.crt")[..],
        &include_bytes!("../../../../tests/fixtures/pairs/v1.key")[..],
    );
    let short = (
        &include_bytes!("../../../../tests/fixtures/pairs/rsa-1024.crt")[..],
        &include_bytes!("../../../../tests/fixtures/pairs/rsa-1024.key")[..],
    );
    let pkcs8 = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let legacy = b"-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\nDEK-Info: AES-128-CBC,00\r\n\r\nAAAA\r\n\
                   -----END RSA PRIVATE KEY-----\r\n";
    let good = pair();
    let cases = [
        (v1, "cannot use the certificate in tls.crt: it has X.509 version 1, "),
        (
            short,
            "cannot use the private key in tls.key: its certificate is for an RSA key of 1024 bits; use RSA of 2048",
        ),
        ((&good.chain, pkcs8), "cannot use the private key in tls.key: it is encrypted, "),
        ((&good.chain, legacy), "cannot use the private key in tls.key: it is encrypted, "),
    ];
    for ((chain, key), expected) in cases {
        let refusal = refusal(&PairBytes { chain: chain.to_vec(), key: key.to_vec(), clients: None });
        assert!(refusal.starts_with(expected), "{refusal}");
    }
}

#[test]
fn a_certificate_may_have_no_end() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    let chain = params.self_signed(&key).unwrap().pem().into_bytes();
    let pair = PairBytes { chain, key: key.serialize_pem().into_bytes(), clients: None };
    let credentials = files().certify(&pair, TlsVersion::V13).ok().unwrap();
    assert_eq!(credentials.certificate.not_after(), Timestamp::MAX);
}

#[test]
fn self_signed_lasts_ten_years() {
    let now = "2028-02-29T12:00:00Z".parse().unwrap();
    let made = self_signed(&["linger.shop.svc".to_owned()], now, TlsVersion::V13).unwrap();
    assert_eq!(made.certificate.not_after().to_string(), "2038-02-26T12:00:00Z");
    assert!(made.authority.unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
}

#[test]
fn tls_versions_are_read_back() {
    for version in TlsVersion::ALL {
        assert_eq!(version.as_str().parse(), Ok(version));
    }
    assert_eq!("1.1".parse::<TlsVersion>().unwrap_err().to_string(), "there are 1.2 and 1.3");
}
