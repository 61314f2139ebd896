//! The rotation steps of certificates: their order, and that no step breaks a handshake.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, ToSpan};
use linkerd_linger::{
    admission::certs::{
        AUTHORITY_LIFETIME, Certificate, LEAF_LIFETIME, Leaf, Observed, PROPAGATION, Published, Step, Stored,
        Trust, next, renew, track_trust,
    },
    base::names::SERVICE_NAMES,
    review::WebhookKind,
};
use proptest::prelude::*;
use rstest::rstest;

/// API servers get changes through a watch.
const SLOWEST_API_SERVER: SignedDuration = SignedDuration::from_secs(20);
/// Pods read a changed Secret after kubelet has synced it.
const SLOWEST_POD: SignedDuration = SignedDuration::from_secs(300);

fn start() -> Timestamp {
    "2026-08-01T00:00:00Z".parse().unwrap()
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(days * 24)
}

/// A simulated cluster with a clock, whose API servers and pods lag behind.
#[derive(Clone)]
struct World {
    now: Timestamp,
    observed: Observed,
    /// All published bundles, with the end of their use.
    bundles: Vec<(Vec<Certificate>, Timestamp)>,
    /// All written certificates, with the end of their use.
    leaves: Vec<(Leaf, Timestamp)>,
    log: Vec<Step>,
}

impl World {
    fn new() -> Self {
        let empty = Some(Published { bundles: vec![vec![]; 3] });
        let observed = Observed { stored: None, published: [empty.clone(), empty] };
        Self { now: start(), observed, bundles: vec![], leaves: vec![], log: vec![] }
    }

    fn installed() -> Self {
        let mut world = Self::new();
        assert!(world.run(20));
        world.log.clear();
        world
    }

    fn stored(&self) -> &Stored {
        self.observed.stored.as_ref().unwrap()
    }

    /// Runs a process that dies after this many steps; returns whether it completed.
    fn run(&mut self, steps: usize) -> bool {
        let mut trust: Option<Trust> = None;
        for _ in 0..steps {
            trust = track_trust(trust, &self.observed, self.now);
            let step = next(&self.observed, trust.as_ref(), PROPAGATION, self.now);
            match &step {
                Step::Done => return true,
                Step::AwaitPropagation(rest) => self.now += SignedDuration::try_from(*rest).unwrap(),
                Step::AwaitConfiguration(_) => self.now += SignedDuration::from_secs(2),
                Step::RenewAuthority { .. } | Step::RenewLeaf => self.store(&step),
                Step::Publish { configuration, bundle } => self.publish(*configuration, bundle),
            }
            self.log.push(step);
            self.check();
            self.now += SignedDuration::from_secs(1);
        }
        false
    }

    fn store(&mut self, step: &Step) {
        let stored = renew(self.observed.stored.as_ref(), step, self.now).unwrap();
        // Round-trips through the data of the Secret.
        let data = stored.write();
        let stored = Stored::read(|key| data.get(key).map(Vec::as_slice));
        if let Some(leaf) = &stored.leaf
            && self.leaves.last().is_none_or(|(last, _)| last != leaf)
        {
            if let Some((_, until)) = self.leaves.last_mut() {
                *until = self.now;
            }
            self.leaves.push((leaf.clone(), Timestamp::MAX));
        }
        self.observed.stored = Some(stored);
    }

    fn publish(&mut self, configuration: WebhookKind, bundle: &[Certificate]) {
        let position = WebhookKind::ALL.iter().position(|one| *one == configuration).unwrap();
        let published = self.observed.published[position].as_mut().unwrap();
        for slot in &mut published.bundles {
            self.bundles.push((slot.clone(), self.now));
            *slot = bundle.to_vec();
        }
    }

    /// Checks that every API server with a bundle accepts every pod.
    fn check(&self) {
        let current = self.observed.published.iter().flatten().flat_map(|published| &published.bundles);
        let old =
            self.bundles.iter().filter(|(_, until)| self.now.duration_since(*until) <= SLOWEST_API_SERVER);
        let mut bundles: Vec<_> = current.chain(old.map(|(bundle, _)| bundle)).collect();
        bundles.retain(|bundle| bundle.iter().any(|authority| authority.is_valid(self.now)));
        bundles.dedup();
        let served =
            |until: &Timestamp| *until == Timestamp::MAX || self.now.duration_since(*until) <= SLOWEST_POD;
        let served = self.leaves.iter().filter(|(_, until)| served(until)).map(|(leaf, _)| leaf);
        // Certificates that expired because nothing ran for months are not checked.
        for leaf in served.filter(|leaf| leaf.certificate.is_valid(self.now)) {
            for bundle in &bundles {
                let trusted = bundle
                    .iter()
                    .any(|authority| authority.is_issuer_of(&leaf.certificate, SERVICE_NAMES[0], self.now));
                assert!(
                    trusted,
                    "at {}: {leaf:?} is not trusted by {bundle:?} after {:?}",
                    self.now, self.log
                );
            }
        }
    }
}

fn names(log: &[Step]) -> Vec<&'static str> {
    let name = |step: &Step| match step {
        Step::RenewAuthority { with_leaf: true } => "authority and leaf",
        Step::RenewAuthority { with_leaf: false } => "authority",
        Step::RenewLeaf => "leaf",
        Step::Publish { configuration: WebhookKind::Mutating, .. } => "mutating",
        Step::Publish { configuration: WebhookKind::Validating, .. } => "validating",
        Step::AwaitConfiguration(_) => "await configuration",
        Step::AwaitPropagation(_) => "await propagation",
        Step::Done => "done",
    };
    log.iter().map(name).collect()
}

#[test]
fn an_installation_writes_all_at_once_for_pods_wait_for_it() {
    let mut world = World::new();
    assert!(world.run(20));
    assert_eq!(names(&world.log), ["authority and leaf", "mutating", "validating"]);
}

#[test]
fn pods_can_start_before_there_is_a_configuration() {
    let mut world = World::new();
    world.observed.published = [None, None];
    assert!(!world.run(3));
    assert_eq!(names(&world.log), ["authority and leaf", "await configuration", "await configuration"]);
}

#[rstest]
#[case::next_day(1, &[])]
#[case::before_two_thirds(59, &[])]
#[case::leaf_at_two_thirds(61, &["await propagation", "leaf"])]
#[case::authority_at_two_thirds(244, &["authority", "mutating", "validating", "await propagation", "leaf"])]
#[case::authority_expired(366, &["authority and leaf", "mutating", "validating"])]
fn certificates_are_renewed_on_schedule(#[case] after: i64, #[case] expected: &[&str]) {
    let mut world = World::installed();
    world.now += days(after);
    assert!(world.run(20));
    assert_eq!(names(&world.log), expected);
}

#[test]
fn an_old_authority_is_trusted_until_it_expires() {
    let mut world = World::installed();
    let old = world.stored().authorities[0].clone();
    world.now += days(250);
    assert!(world.run(20));
    let bundle = |world: &World| world.observed.published[0].as_ref().unwrap().bundles[0].clone();
    assert_eq!(bundle(&world).len(), 2);
    assert_eq!(bundle(&world)[1], old);
    world.now = old.not_after() + 1.hour();
    assert!(world.run(20));
    assert_eq!(bundle(&world), world.stored().authorities[..1]);
    assert_ne!(bundle(&world)[0], old);
}

/// A change of the Secret, and the steps that repair it.
#[rstest]
#[case::deleted(None, &["authority", "mutating", "validating", "await propagation", "leaf"])]
#[case::emptied(Some(&["ca.crt", "ca.key", "tls.crt", "tls.key"][..]),
    &["authority", "mutating", "validating", "await propagation", "leaf"])]
#[case::no_authority_key(Some(&["ca.key"][..]),
    &["authority", "mutating", "validating", "await propagation", "leaf"])]
#[case::no_leaf(Some(&["tls.crt"][..]), &["await propagation", "leaf"])]
#[case::no_leaf_key(Some(&["tls.key"][..]), &["await propagation", "leaf"])]
fn a_secret_that_was_wiped_recovers(#[case] wiped: Option<&[&str]>, #[case] expected: &[&str]) {
    let mut world = World::installed();
    let data = world.stored().write();
    world.observed.stored = wiped
        .map(|wiped| Stored::read(|key| data.get(key).filter(|_| !wiped.contains(&key)).map(Vec::as_slice)));
    assert!(world.run(20));
    assert_eq!(names(&world.log), expected);
}

#[test]
fn keys_that_belong_to_nothing_are_replaced() {
    let (ours, other) = (World::installed(), World::installed());
    let (good, bad) = (ours.stored().write(), other.stored().write());
    for (key, expected) in
        [("ca.key", "authority"), ("tls.key", "await propagation"), ("tls.crt", "await propagation")]
    {
        let mut world = ours.clone();
        let mixed = |name: &str| if name == key { bad.get(name) } else { good.get(name) };
        world.observed.stored = Some(Stored::read(|name| mixed(name).map(Vec::as_slice)));
        assert!(world.run(20));
        assert_eq!(names(&world.log)[0], expected, "{key}");
    }
}

#[test]
fn a_bundle_that_was_wiped_is_written_again() {
    let mut world = World::installed();
    world.observed.published[1] = Some(Published { bundles: vec![vec![]; 3] });
    assert!(world.run(20));
    assert_eq!(names(&world.log), ["validating"]);
}

#[test]
fn trust_is_counted_from_when_the_authority_that_issues_was_seen() {
    let mut world = World::installed();
    let seen = track_trust(None, &world.observed, world.now);
    world.now += days(1);
    assert_eq!(track_trust(seen.clone(), &world.observed, world.now), seen);
    // Another process has replaced the CA in the meantime.
    world.now += days(250);
    assert!(world.run(20));
    assert_ne!(track_trust(seen.clone(), &world.observed, world.now), seen);
    world.observed.published[0] = Some(Published { bundles: vec![vec![]; 3] });
    assert_eq!(track_trust(seen, &world.observed, world.now), None);
}

#[test]
fn a_leaf_never_outlives_its_authority() {
    assert!(LEAF_LIFETIME < AUTHORITY_LIFETIME / 3);
    assert!(PROPAGATION > Duration::from_secs(SLOWEST_API_SERVER.as_secs().unsigned_abs()));
}

#[test]
fn keys_are_not_printed() {
    let world = World::installed();
    let leaf = world.stored().leaf.as_ref().unwrap();
    assert!(!format!("{:?}", world.stored()).contains("PRIVATE"));
    assert!(!format!("{leaf:?}").contains("PRIVATE"));
}

#[derive(Clone, Copy, Debug)]
enum Accident {
    None,
    SecretWiped,
    BundleWiped(usize),
}

fn rounds() -> impl Strategy<Value = Vec<(u32, Accident, usize)>> {
    let accident = prop_oneof![
        8 => Just(Accident::None),
        1 => Just(Accident::SecretWiped),
        1 => (0..2_usize).prop_map(Accident::BundleWiped),
    ];
    // Up to 20 days without any run, and runs that end early.
    let steps = prop_oneof![2 => Just(20_usize), 1 => 0..7_usize];
    prop::collection::vec((1..20 * 24_u32, accident, steps), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_handshake_ever_fails(rounds in rounds()) {
        let mut world = World::installed();
        let mut settled = true;
        for (hours, accident, steps) in rounds {
            world.now += SignedDuration::from_hours(hours.into());
            let mut steps = steps;
            match accident {
                Accident::None => {}
                Accident::SecretWiped => world.observed.stored = None,
                // If the Secret is lost, only the bundles contain its CAs; losing both loses the CAs.
                Accident::BundleWiped(which) if settled => {
                    world.observed.published[which] = Some(Published { bundles: vec![vec![]; 3] });
                    steps = 20;
                }
                Accident::BundleWiped(_) => {}
            }
            // If no run completes for a month, expiry cannot be avoided.
            if world.leaves.last().unwrap().0.certificate.not_after() < world.now + SignedDuration::from_hours(20 * 24) {
                steps = 20;
            }
            world.check();
            prop_assert!(world.leaves.last().unwrap().0.certificate.is_valid(world.now));
            settled = world.run(steps);
        }
        prop_assert!(world.run(20));
    }
}
