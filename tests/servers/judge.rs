//! Compares `explain`, the measurement and `linkerd-linger measure`, on a machine that may be busy.

use std::time::Duration;

use super::{
    measure::{Closed, Stall},
    relay::End,
};

/// How much a measurement may be off: waking up takes time on a busy machine.
pub(crate) const TOLERANCE: Duration = Duration::from_millis(50);
/// A server that does not get its turn may be off by as much; what is further off than this and all stalls is a difference.
const NEAR: Duration = Duration::from_millis(500);
/// How far apart two answers of different kinds are.
const APART: Duration = Duration::from_secs(1);
/// The longest timeout that is measured at all.
pub(crate) const MAX_LEN: Duration = Duration::from_secs(180);

/// What `explain` says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Expected {
    ClosesAfter(Duration, Duration),
    ClosesEachResponse,
    NeverCloses,
    Unknown(String),
}

/// What `linkerd-linger measure` reports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Reported {
    ClosesAfter(Duration, Duration),
    ClosesEachResponse,
    StillOpen,
    /// Some connections were closed, the first of them after this time.
    Differs(Duration),
    Failed(String),
}

/// One measurement of a server.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// The independent measurement.
    pub(crate) closed: Vec<Closed>,
    /// The connections of `linkerd-linger measure`, measured independently.
    pub(crate) relayed: Vec<End>,
    pub(crate) reported: Reported,
    /// How many connections `linkerd-linger measure` counts that had a response.
    pub(crate) answered: usize,
    pub(crate) stall: Stall,
}

/// A measurement that does not agree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Difference {
    pub(crate) text: String,
    off: Duration,
    stall: Stall,
}

/// What measurements that do not agree mean.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Differs(String),
    /// The machine stalled, so that nothing was shown.
    Stalled(String),
}

impl Attempt {
    /// How the measurement differs, if it does.
    pub(crate) fn difference(&self, says: &Expected) -> Option<Difference> {
        let off = self.closed.iter().map(|closed| distance(says, *closed)).max().unwrap_or_default();
        if off > TOLERANCE {
            let text = format!("measured {}; explain says {}", show(&self.closed), describe(says));
            return Some(Difference { text, off, stall: self.stall });
        }
        let idle = self.relayed.iter().filter_map(End::idle).collect::<Vec<_>>();
        let off = if self.answered == idle.len() { self.reported.distance(&idle) } else { APART };
        (off > TOLERANCE).then(|| {
            let text = format!(
                "linkerd-linger measure reports of {} connections: {}; of {} seen: {}",
                self.answered,
                self.reported.describe(),
                idle.len(),
                show(&idle)
            );
            Difference { text, off, stall: self.stall }
        })
    }
}

impl Difference {
    /// No stall of the machine explains it.
    fn is_certain(&self) -> bool {
        self.off > NEAR + self.stall.total
    }

    /// The machine did not stall.
    fn is_undisturbed(&self) -> bool {
        self.stall.longest < TOLERANCE
    }
}

/// What it means that a server differed among others, and then at each attempt alone.
pub(crate) fn judge(among_others: &Difference, alone: &[Difference]) -> Verdict {
    let counts = |difference: &&Difference| difference.is_undisturbed() || difference.is_certain();
    if let Some(difference) = alone.iter().find(counts) {
        return Verdict::Differs(difference.text.clone());
    }
    match alone.last() {
        Some(last) => Verdict::Stalled(format!("the machine stalled at each attempt; {}", last.text)),
        None if among_others.is_certain() => Verdict::Differs(among_others.text.clone()),
        None => Verdict::Stalled(format!("no time is left to measure it again; {}", among_others.text)),
    }
}

/// How far a measurement is from what `explain` says.
fn distance(says: &Expected, closed: Closed) -> Duration {
    match (says, closed) {
        (Expected::ClosesAfter(first, last), Closed::After(time)) => {
            first.saturating_sub(time).max(time.saturating_sub(*last))
        }
        // Longer than anybody waits here: it is open, as it should be.
        (Expected::ClosesAfter(first, _), Closed::Open(time)) if *first > MAX_LEN && time < *first => {
            Duration::ZERO
        }
        (Expected::ClosesAfter(_, last), Closed::Open(time)) => time.saturating_sub(*last).max(APART),
        (Expected::ClosesEachResponse, Closed::After(time)) => time,
        (Expected::ClosesEachResponse, Closed::Open(time)) => time.max(APART),
        (Expected::NeverCloses, Closed::Open(_)) | (Expected::Unknown(_), _) => Duration::ZERO,
        (Expected::NeverCloses, Closed::After(_)) => MAX_LEN,
    }
}

impl End {
    fn idle(&self) -> Option<Closed> {
        match self {
            Self::Idle(closed) => Some(*closed),
            Self::NoResponse => None,
        }
    }
}

impl Reported {
    /// How far it is from what was seen on the same connections.
    fn distance(&self, seen: &[Closed]) -> Duration {
        let times = seen.iter().filter_map(|closed| match closed {
            Closed::After(time) => Some(*time),
            Closed::Open(_) => None,
        });
        let (first, last) = (times.clone().min(), times.clone().max());
        let open = seen.len() - times.count();
        match (self, first, last, open) {
            (Self::ClosesAfter(from, to), Some(first), Some(last), 0) => {
                from.abs_diff(first).max(to.abs_diff(last))
            }
            (Self::ClosesEachResponse, Some(_), Some(last), 0) => last,
            (Self::StillOpen, None, None, 1..) => Duration::ZERO,
            (Self::Differs(from), Some(first), Some(_), 1..) => from.abs_diff(first),
            _ => APART,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::ClosesAfter(first, last) => closes_after(*first, *last),
            Self::ClosesEachResponse => "closes after each response".to_owned(),
            Self::StillOpen => "still open".to_owned(),
            Self::Differs(first) => format!("closes some after {} s, and others not", first.as_secs_f64()),
            Self::Failed(error) => format!("the error: {error}"),
        }
    }
}

/// What was measured.
pub(crate) fn show(measured: &[Closed]) -> String {
    let seconds = |time: Duration| format!("{:.2}", time.as_secs_f64());
    let closed: Vec<_> = measured
        .iter()
        .filter_map(|closed| match closed {
            Closed::After(time) => Some(*time),
            Closed::Open(_) => None,
        })
        .collect();
    let open = measured.len() - closed.len();
    let range = match (closed.iter().min(), closed.iter().max()) {
        (_, Some(last)) if *last < TOLERANCE => "closed with the response".to_owned(),
        (Some(first), Some(last)) if seconds(*first) == seconds(*last) => {
            format!("closed after {} s", seconds(*first))
        }
        (Some(first), Some(last)) => format!("closed after {} s to {} s", seconds(*first), seconds(*last)),
        _ => String::new(),
    };
    let watched = measured.iter().find_map(|closed| match closed {
        Closed::Open(time) => Some(format!("open after {:.0} s", time.as_secs_f64())),
        Closed::After(_) => None,
    });
    match (range.is_empty(), watched) {
        (true, Some(watched)) => watched,
        (false, Some(watched)) => format!("{range}; {open} of {} {watched}", measured.len()),
        (_, None) => range,
    }
}

/// What `explain` says.
pub(crate) fn describe(says: &Expected) -> String {
    match says {
        Expected::ClosesAfter(first, last) => closes_after(*first, *last),
        Expected::ClosesEachResponse => "closes after each response".to_owned(),
        Expected::NeverCloses => "never closes".to_owned(),
        Expected::Unknown(_) => "unknown".to_owned(),
    }
}

fn closes_after(first: Duration, last: Duration) -> String {
    if first == last {
        format!("closes after {} s", first.as_secs_f64())
    } else {
        format!("closes after {} s to {} s", first.as_secs_f64(), last.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const QUIET: [u64; 2] = [0, 0];
    const BUSY: [u64; 2] = [80, 300];

    fn after(millis: u64) -> Closed {
        Closed::After(Duration::from_millis(millis))
    }

    /// A measurement that is off by so many milliseconds, on a machine that stalled for so long at one time and in all.
    fn off(millis: u64, [longest, total]: [u64; 2]) -> Difference {
        let stall = Stall { longest: Duration::from_millis(longest), total: Duration::from_millis(total) };
        Difference { text: format!("{millis} ms off"), off: Duration::from_millis(millis), stall }
    }

    fn differs(text: &str) -> Verdict {
        Verdict::Differs(text.to_owned())
    }

    #[rstest]
    #[case::near_on_a_quiet_machine(&off(70, QUIET), &[off(70, QUIET)], Some("70 ms off"))]
    #[case::near_on_a_busy_machine(&off(70, BUSY), &[off(70, BUSY), off(90, BUSY)], None)]
    #[case::near_and_undisturbed_once(&off(70, BUSY), &[off(70, BUSY), off(90, QUIET)], Some("90 ms off"))]
    #[case::far_on_a_busy_machine(&off(5000, BUSY), &[off(5000, BUSY)], Some("5000 ms off"))]
    #[case::far_without_time_for_more(&off(5000, BUSY), &[], Some("5000 ms off"))]
    #[case::near_without_time_for_more(&off(70, QUIET), &[], None)]
    fn only_what_no_stall_explains_differs(
        #[case] among_others: &Difference,
        #[case] alone: &[Difference],
        #[case] expected: Option<&str>,
    ) {
        match (judge(among_others, alone), expected) {
            (verdict, Some(text)) => assert_eq!(verdict, differs(text)),
            (verdict, None) => assert!(matches!(verdict, Verdict::Stalled(_)), "{verdict:?}"),
        }
    }

    const TWO: Expected = Expected::ClosesAfter(Duration::from_secs(2), Duration::from_secs(3));
    const OPEN: Closed = Closed::Open(Duration::from_secs(5));

    #[rstest]
    #[case::within(TWO, &[after(2010), after(2990)], 0)]
    #[case::early(TWO, &[after(2010), after(1900)], 100)]
    #[case::late(TWO, &[after(3400), after(2000)], 400)]
    #[case::open(TWO, &[OPEN], 2000)]
    #[case::each(Expected::ClosesEachResponse, &[after(3), after(700)], 700)]
    #[case::never(Expected::NeverCloses, &[OPEN, after(700)], 180_000)]
    #[case::unknown(Expected::Unknown(String::new()), &[after(700)], 0)]
    fn explain_is_compared(#[case] says: Expected, #[case] closed: &[Closed], #[case] off: u64) {
        let relayed = vec![End::Idle(after(1))];
        let reported = Reported::ClosesEachResponse;
        let (answered, stall) = (1, Stall::default());
        let attempt = Attempt { closed: closed.to_vec(), relayed, reported, answered, stall };
        let found = attempt.difference(&says).map(|difference| difference.off.as_millis());
        assert_eq!(found, (off > 50).then_some(u128::from(off)));
    }

    fn reported(from: u64, to: u64) -> Reported {
        Reported::ClosesAfter(Duration::from_millis(from), Duration::from_millis(to))
    }

    #[rstest]
    #[case::alike(reported(2001, 2710), &[after(2000), after(2700)], None)]
    #[case::too_early(reported(1940, 2710), &[after(2000), after(2700)], Some(60))]
    #[case::too_late(reported(2000, 2800), &[after(2000), after(2700)], Some(100))]
    #[case::each(Reported::ClosesEachResponse, &[after(3), after(1)], None)]
    #[case::not_each(Reported::ClosesEachResponse, &[after(3), after(200)], Some(200))]
    #[case::open(Reported::StillOpen, &[OPEN, OPEN], None)]
    #[case::not_open(Reported::StillOpen, &[OPEN, after(2000)], Some(1000))]
    #[case::some(Reported::Differs(Duration::from_secs(2)), &[OPEN, after(2000)], None)]
    #[case::error(Reported::Failed("no response".to_owned()), &[after(2000)], Some(1000))]
    fn measure_is_compared(#[case] reported: Reported, #[case] seen: &[Closed], #[case] off: Option<u128>) {
        let says = Expected::Unknown(String::new());
        let relayed = seen.iter().map(|closed| End::Idle(*closed)).chain([End::NoResponse]).collect();
        let (answered, stall) = (seen.len(), Stall::default());
        let attempt = Attempt { closed: vec![after(2000)], relayed, reported, answered, stall };
        let found = attempt.difference(&says).map(|difference| difference.off.as_millis());
        assert_eq!(found, off);
    }
}
