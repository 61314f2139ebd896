//! Tells the first of many equal events from those that repeat it.
//!
//! A controller retries a pod that was rejected, with back-off and for ever, so the same line would fill the log.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    time::{Duration, Instant},
};

/// For how long an event silences its repeats. The ReplicaSet controller's back-off ends at some 16 minutes, so a pod
/// that stays rejected still shows at each of its late retries.
const WINDOW: Duration = Duration::from_secs(60);

/// How many different events are remembered: 1 024 × 32 bytes, whatever the events hold.
const CAPACITY: usize = 1024;

/// The events of the last minute, by a hash of what makes them equal.
#[derive(Debug, Default)]
pub(crate) struct RepeatFilter {
    logged: HashMap<u64, Logged>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Logged {
    at: Instant,
    suppressed: u64,
}

/// What to do with an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LogDecision {
    /// Say it, and that so many equal ones were withheld since it was last said.
    Log { suppressed: u64 },
    /// It was said less than a minute ago.
    Suppress,
}

impl RepeatFilter {
    /// Whether it is the turn of an event that equals every other with this key.
    pub(crate) fn log_decision(&mut self, key: impl Hash, now: Instant) -> LogDecision {
        let key = self.hasher.hash_one(key);
        if let Some(logged) = self.logged.get_mut(&key) {
            if now.duration_since(logged.at) < WINDOW {
                logged.suppressed += 1;
                return LogDecision::Suppress;
            }
            let suppressed = std::mem::take(&mut logged.suppressed);
            logged.at = now;
            return LogDecision::Log { suppressed };
        }
        if self.logged.len() >= CAPACITY {
            self.evict(now);
        }
        self.logged.insert(key, Logged { at: now, suppressed: 0 });
        LogDecision::Log { suppressed: 0 }
    }

    /// Forgets what is old; if nothing is, everything: a line too many is better than memory without end.
    fn evict(&mut self, now: Instant) {
        self.logged.retain(|_, logged| now.duration_since(logged.at) < WINDOW);
        if self.logged.len() >= CAPACITY {
            self.logged.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_suppressed_for_a_minute_and_then_counted() {
        let (mut repeat_filter, start) = (RepeatFilter::default(), Instant::now());
        assert_eq!(repeat_filter.log_decision("web", start), LogDecision::Log { suppressed: 0 });
        assert_eq!(repeat_filter.log_decision("web", start + Duration::from_secs(1)), LogDecision::Suppress);
        assert_eq!(repeat_filter.log_decision("web", start + Duration::from_secs(59)), LogDecision::Suppress);
        assert_eq!(
            repeat_filter.log_decision("db", start + Duration::from_secs(59)),
            LogDecision::Log { suppressed: 0 }
        );
        assert_eq!(
            repeat_filter.log_decision("web", start + Duration::from_secs(60)),
            LogDecision::Log { suppressed: 2 }
        );
    }

    #[test]
    fn memory_is_bounded() {
        let (mut repeat_filter, start) = (RepeatFilter::default(), Instant::now());
        for number in 0..10 * CAPACITY {
            repeat_filter.log_decision(number, start);
        }
        assert!(repeat_filter.logged.len() <= CAPACITY);
    }
}
