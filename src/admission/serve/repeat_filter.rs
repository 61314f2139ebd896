//! Limits repeated log lines.
//!
//! A controller retries a rejected pod with backoff, without end, so the same line would fill the log.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    time::{Duration, Instant},
};

/// How long repeats of an event are suppressed. The backoff of the ReplicaSet controller ends at about 16 minutes, so
/// each late retry of a rejected pod is still logged.
const WINDOW: Duration = Duration::from_secs(60);

/// The maximum number of remembered events: 1 024 × 32 bytes, independent of the content of the events.
const CAPACITY: usize = 1024;

/// The events of the last minute, by the hash of their key.
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
    /// Log it, with the number of equal events that were suppressed since the last log line.
    Log { suppressed: u64 },
    /// Do not log it: it was logged less than a minute ago.
    Suppress,
}

impl RepeatFilter {
    /// Decides whether to log an event; events with the same key are logged once a minute.
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

    /// Removes old events; if none is old, removes all. A repeated log line is better than unbounded memory.
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
