//! Patterns in the times of failures: equal idle times before them, a rhythm, a period.

use std::{fmt, time::Duration};

use super::log::FailedRequest;

/// The maximum difference between the idle times before the failures of a race, in microseconds; 5 ms were measured on
/// idle machines.
pub(super) const SAME_GAP: i64 = 10_000;
/// The minimum number of failures for a pattern.
pub(super) const PATTERN: usize = 5;

/// The idle times before failures.
pub(super) struct Gap {
    pub(super) from: i64,
    pub(super) to: i64,
    /// The number of failures after this idle time, or close to it.
    pub(super) same: usize,
    /// The number of failures whose idle time is known.
    pub(super) of: usize,
}

impl Gap {
    /// The idle time that most of the failures have in common.
    pub(super) fn of(failures: &[&FailedRequest]) -> Option<Self> {
        let mut gaps: Vec<i64> = failures.iter().filter_map(|failure| failure.gap).collect();
        gaps.sort_unstable();
        let mut best: Option<(usize, usize)> = None;
        let mut from = 0;
        for to in 0..gaps.len() {
            while gaps[to] - gaps[from] > 2 * SAME_GAP {
                from += 1;
            }
            if best.is_none_or(|(first, last)| to - from > last - first) {
                best = Some((from, to));
            }
        }
        let (first, last) = best?;
        // No server closes connections sooner than this, and zero is not an idle time.
        (gaps[first] >= 100_000).then(|| Self {
            from: gaps[first],
            to: gaps[last],
            same: last - first + 1,
            of: gaps.len(),
        })
    }

    /// Whether most of the failures came after the same idle time.
    pub(super) const fn is_same(&self, failures: usize) -> bool {
        self.same >= 2 && self.same * 5 >= self.of * 4 && self.of * 2 >= failures
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let middle = i64::midpoint(self.from, self.to);
        write!(
            f,
            "{} of {} occurred {} after the previous response, plus or minus {}",
            self.same,
            self.of,
            seconds(middle),
            milliseconds((self.to - self.from) / 2 + 1)
        )
    }
}

/// Whether failures are regular, each one period after the previous one, as if every request failed.
pub(super) fn is_regular(failures: &[&FailedRequest]) -> bool {
    let times = sorted(failures);
    let pauses: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let Some(middle) = median(&pauses) else { return false };
    let near = pauses.iter().filter(|pause| (**pause - middle).abs() <= middle / 20 + SAME_GAP).count();
    pauses.len() + 1 >= PATTERN && near * 10 >= pauses.len() * 8
}

/// The period, if the times between failures are multiples of it.
pub(super) fn period(failures: &[&FailedRequest]) -> Option<Duration> {
    /// Common periods of probes, in seconds, the longest first.
    const PERIODS: [i64; 11] = [60, 30, 20, 15, 10, 6, 5, 4, 3, 2, 1];
    let times = sorted(failures);
    let first = *times.first()?;
    if times.len() < PATTERN {
        return None;
    }
    PERIODS.into_iter().map(|seconds| seconds * 1_000_000).find_map(|period| {
        let off = |time: i64| {
            let off = (time - first).rem_euclid(period);
            off.min(period - off)
        };
        let near = times.iter().filter(|time| off(**time) <= 2 * SAME_GAP + period / 100).count();
        (near * 10 >= times.len() * 9).then(|| Duration::from_micros(period.unsigned_abs()))
    })
}

fn sorted(failures: &[&FailedRequest]) -> Vec<i64> {
    let mut times: Vec<i64> =
        failures.iter().filter_map(|failure| failure.at.wall.or(failure.at.since_start)).collect();
    times.sort_unstable();
    times
}

fn median(values: &[i64]) -> Option<i64> {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

#[expect(clippy::cast_precision_loss, reason = "durations are far below 2^52 microseconds")]
pub(super) fn milliseconds(micros: i64) -> String {
    let milliseconds = micros as f64 / 1000.0;
    if milliseconds >= 1000.0 { seconds(micros) } else { format!("{:.0} ms", milliseconds.ceil()) }
}

#[expect(clippy::cast_precision_loss, reason = "durations are far below 2^52 microseconds")]
pub(super) fn seconds(micros: i64) -> String {
    format!("{:.3} s", micros as f64 / 1_000_000.0)
}
