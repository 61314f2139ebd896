use rstest::rstest;

use super::*;

/// A healthy cluster with another Secret and, if given, another authority in every caBundle.
fn cluster(chain: &str, bundle: Option<&str>) -> Snapshot {
    let mut snapshot = healthy();
    snapshot.certificate = Ok(Some(secret(chain)));
    if let Some(bundle) = bundle {
        let bundle = Some(k8s_openapi::ByteString(bundle.as_bytes().to_vec()));
        for hook in snapshot.mutating.as_mut().unwrap()[0].webhooks.iter_mut().flatten() {
            hook.client_config.ca_bundle.clone_from(&bundle);
        }
        for hook in snapshot.validating.as_mut().unwrap()[0].webhooks.iter_mut().flatten() {
            hook.client_config.ca_bundle.clone_from(&bundle);
        }
    }
    snapshot
}

#[test]
fn a_bundle_with_the_old_and_the_new_authority_will_do() {
    let (old, _) = certificates(SERVER_NAME, 5, 8);
    let (new, chain) = certificates(SERVER_NAME, 5, 8);
    assert_eq!(outcome_of(&cluster(&chain, Some(&(old + &new))), CheckId::CaBundle), Outcome::Good);
}

#[rstest]
#[case::other_authority(SERVER_NAME, 5, 8, None, "no CA in its caBundle has signed")]
#[case::other_name("linger.example.com", 5, 8, Some(true), "is not for linkerd-linger.linkerd-linger.svc")]
#[case::ended(SERVER_NAME, 2, 5, Some(true), "has expired")]
#[case::not_yet(SERVER_NAME, 7, 8, Some(true), "not valid yet")]
#[case::not_pem(SERVER_NAME, 5, 8, Some(false), "contains no certificate in PEM")]
fn the_chain_is_verified_as_the_api_server_does(
    #[case] name: &str,
    #[case] from: u8,
    #[case] to: u8,
    #[case] bundle: Option<bool>,
    #[case] part: &str,
) {
    let (authority, chain) = certificates(name, from, to);
    let bundle = bundle.map(|fits| if fits { authority.as_str() } else { "no PEM" });
    let outcome = outcome_of(&cluster(&chain, bundle), CheckId::CaBundle);
    assert_outcome(&outcome, "error", part);
    // One line for all entries that share the bundle.
    assert_outcome(&outcome, "error", "* audit.mutate.linkerd-linger.io, audit.validate.linkerd-linger.io, ");
}

/// The server refuses such a file as a whole.
#[test]
fn a_chain_with_a_part_that_cannot_be_read_is_an_error() {
    let (authority, chain) = certificates(SERVER_NAME, 5, 8);
    let broken = "-----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----\n";
    let outcome = outcome_of(&cluster(&(chain + broken), Some(&authority)), CheckId::CaBundle);
    assert_outcome(&outcome, "error", "contains a certificate that cannot be read");
}

#[test]
fn an_entry_without_a_bundle_is_named() {
    let mut snapshot = healthy();
    ours(&mut snapshot).webhooks.as_mut().unwrap()[1].client_config.ca_bundle = None;
    let outcome = outcome_of(&snapshot, CheckId::CaBundle);
    assert_outcome(&outcome, "error", "* warn.mutate.linkerd-linger.io: it has no caBundle");
}

#[test]
fn an_authority_that_has_ended_is_not_trusted() {
    let (authority, chain) = certificates(SERVER_NAME, 5, 8);
    let snapshot = cluster(&chain, Some(&authority));
    let later = "2027-02-01T00:00:00Z".parse().unwrap();
    let results = installed(&snapshot, later);
    let trust = results.iter().find(|result| result.id == CheckId::CaBundle).unwrap();
    assert_outcome(&trust.outcome, "error", "no CA in its caBundle is valid now");
    let life = results.iter().find(|result| result.id == CheckId::Lifetime).unwrap();
    assert_outcome(&life.outcome, "error", "* the CA in caBundle expired on 2027-01-01T00:00:00Z");
}

#[test]
fn lives_are_measured_by_their_own_length() {
    // 30 of 92 days are left, and then 20.
    let (authority, chain) = certificates(SERVER_NAME, 4, 7);
    assert_eq!(outcome_of(&cluster(&chain, Some(&authority)), CheckId::Lifetime), Outcome::Good);
    let late = "2026-06-15T00:00:00Z".parse().unwrap();
    let results = installed(&cluster(&chain, Some(&authority)), late);
    let life = results.iter().find(|result| result.id == CheckId::Lifetime).unwrap();
    assert_outcome(&life.outcome, "warning", "the serving certificate expires on 2026-07-01T00:00:00Z");
}

#[test]
fn a_missing_secret_is_an_error() {
    let mut snapshot = healthy();
    snapshot.certificate = Ok(None);
    assert_outcome(&outcome_of(&snapshot, CheckId::CaBundle), "error", "no Secret linkerd-linger-tls");
    snapshot.certificate = Ok(Some(Secret::default()));
    assert_outcome(&outcome_of(&snapshot, CheckId::CaBundle), "error", "tls.crt of the Secret");
}
