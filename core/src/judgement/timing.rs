//! When the requests of several probes leave a connection idle, and for how long.
//!
//! Turns periods into the gaps between two uses of a pooled connection. The rules decide which gaps are dangerous.

use std::{collections::BTreeMap, time::Duration};

/// The maximum number of simulated instants. The hyperperiod of usual periods is far shorter; a longer one is simulated
/// from its start only.
const MAX_INSTANTS: usize = 10_000;
/// The maximum number of simulated probes for one port. Real pods have a handful; beyond it, each period is judged on
/// its own.
const MAX_PROBES: usize = 32;

/// The remaining simulation budget of a pod, in steps. A step evaluates a period or a connection at one instant.
///
/// Limits the cost of pods with thousands of ports. After the budget is used up, gaps are simulated from their start
/// only, or not at all.
#[derive(Debug)]
pub struct Budget(usize);

impl Default for Budget {
    /// A few milliseconds. Three probes over the maximum number of instants use less than a tenth of it.
    fn default() -> Self {
        Self(1_000_000)
    }
}

impl Budget {
    fn spend(&mut self, steps: usize) -> bool {
        let enough = self.0 >= steps;
        self.0 = self.0.saturating_sub(steps);
        enough
    }
}

/// A gap between two uses of one connection.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Gap {
    /// How long the connection is idle.
    pub idle: Duration,
    /// The number of concurrent requests at both ends of the gap: 1 for the connection that every request uses first, 2
    /// for the spare one that only concurrent requests need, and so on.
    pub depth: usize,
}

/// The gaps, each with the moment at which it first begins.
pub type Gaps = BTreeMap<Gap, Duration>;

/// Simulates requests with these periods over one hyperperiod. All start together, as kubelet starts the probes of a
/// pod.
///
/// Concurrent requests use one connection each, and the pool returns the connection that was used last, so the
/// connection at depth n is used exactly when n requests coincide. With `shared` (HTTP/2), one connection at depth 1
/// serves all of them.
pub fn gaps(periods: &[Duration], shared: bool, budget: &mut Budget) -> Gaps {
    let mut gaps = Gaps::new();
    if periods.len() > MAX_PROBES {
        return gaps;
    }
    // Equal periods always coincide. They are simulated once, and counted as often as they occur.
    let mut streams: BTreeMap<u64, usize> = BTreeMap::new();
    for period in periods.iter().map(millis).filter(|period| *period > 0) {
        *streams.entry(period).or_default() += 1;
    }
    let mut last_at_depth: Vec<u64> = vec![0; if shared { 1 } else { streams.values().sum() }];
    let end = streams.keys().copied().fold(1, lcm);
    let mut now = 0;
    for _ in 0..MAX_INSTANTS {
        let Some(next) = streams.keys().map(|period| (now / period + 1).saturating_mul(*period)).min() else {
            break;
        };
        now = next;
        if now > end {
            break;
        }
        let coincident: usize =
            streams.iter().filter(|(period, _)| now % **period == 0).map(|(_, count)| count).sum();
        if !budget.spend(streams.len() + coincident) {
            break;
        }
        for (depth, last) in last_at_depth.iter_mut().enumerate().take(coincident) {
            let gap = Gap { idle: Duration::from_millis(now - *last), depth: depth + 1 };
            gaps.entry(gap).or_insert_with(|| Duration::from_millis(*last));
            *last = now;
        }
    }
    gaps
}

fn millis(duration: &Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn lcm(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x).saturating_mul(b)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::one_probe(&[10], false, &[(10, 1)])]
    #[case::two_at_once(&[10, 10], false, &[(10, 1), (10, 2)])]
    #[case::two_at_once_and_a_third(&[4, 4, 2], false, &[(2, 1), (4, 2), (4, 3)])]
    #[case::the_spare_connection_waits_for_both(&[10, 5], false, &[(5, 1), (10, 2)])]
    #[case::coprime(&[3, 2], false, &[(1, 1), (2, 1), (6, 2)])]
    #[case::three(&[2, 4, 8], false, &[(2, 1), (4, 2), (8, 3)])]
    #[case::one_connection_for_all(&[10, 5], true, &[(5, 1)])]
    #[case::none(&[], false, &[])]
    fn gaps_are_simulated(#[case] periods: &[u64], #[case] shared: bool, #[case] expected: &[(u64, usize)]) {
        let periods: Vec<_> = periods.iter().map(|seconds| Duration::from_secs(*seconds)).collect();
        let expected: BTreeSet<_> = expected
            .iter()
            .map(|(idle, depth)| Gap { idle: Duration::from_secs(*idle), depth: *depth })
            .collect();
        let gaps: BTreeSet<_> = gaps(&periods, shared, &mut Budget::default()).into_keys().collect();
        assert_eq!(gaps, expected);
    }

    #[rstest]
    #[case::the_spare_connection_from_the_start(&[6, 4], 12, 2, 0)]
    #[case::between_two_probes(&[6, 4], 2, 1, 4)]
    #[case::a_period_from_the_start(&[6, 4], 4, 1, 0)]
    fn a_gap_has_its_first_begin(
        #[case] periods: &[u64],
        #[case] idle: u64,
        #[case] depth: usize,
        #[case] begin: u64,
    ) {
        let periods: Vec<_> = periods.iter().map(|seconds| Duration::from_secs(*seconds)).collect();
        let gap = Gap { idle: Duration::from_secs(idle), depth };
        let gaps = gaps(&periods, false, &mut Budget::default());
        assert_eq!(gaps.get(&gap), Some(&Duration::from_secs(begin)));
    }

    #[test]
    fn too_many_probes_are_not_simulated() {
        let periods = [Duration::from_secs(1); MAX_PROBES + 1];
        assert_eq!(gaps(&periods[..MAX_PROBES], false, &mut Budget::default()).len(), MAX_PROBES);
        assert_eq!(gaps(&periods, false, &mut Budget::default()).len(), 0);
    }

    #[test]
    fn one_budget_limits_all_ports() {
        let (mut budget, periods) = (Budget::default(), [86_399, 9_973, 1].map(Duration::from_secs));
        let played = (0..1_000).take_while(|_| !gaps(&periods, false, &mut budget).is_empty()).count();
        assert!((10..100).contains(&played), "{played}");
    }

    #[test]
    fn huge_hyperperiods_end() {
        let periods = [u64::MAX / 2_000, 86_399, 9_973, 1].map(Duration::from_secs);
        assert!(
            gaps(&periods, false, &mut Budget::default())
                .contains_key(&Gap { idle: Duration::from_secs(1), depth: 1 })
        );
    }

    proptest::proptest! {
        /// Compares the closed form with a simulated pool: a stack of free connections, the last one used on top.
        #[test]
        fn the_closed_form_is_the_stack(periods in proptest::collection::vec(1_u64..30, 1..4)) {
            let end = periods.iter().copied().fold(1, lcm);
            let mut free: Vec<u64> = vec![0; periods.len()];
            let mut played = BTreeSet::new();
            for now in 1..=end {
                let coincident = periods.iter().filter(|period| now % **period == 0).count();
                let taken: Vec<u64> = (0..coincident).map(|_| free.pop().unwrap()).collect();
                played.extend(taken.iter().map(|last| now - last));
                free.extend(std::iter::repeat_n(now, coincident));
            }
            let periods: Vec<_> = periods.iter().map(|seconds| Duration::from_secs(*seconds)).collect();
            let closed = gaps(&periods, false, &mut Budget::default());
            let closed: BTreeSet<_> = closed.keys().map(|gap| gap.idle.as_secs()).collect();
            proptest::prop_assert_eq!(closed, played);
        }
    }
}
