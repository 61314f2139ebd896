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
pub(crate) struct Repeats {
    seen: HashMap<u64, Seen>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Seen {
    said: Instant,
    withheld: u64,
}

/// What to do with an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    /// Say it, and that so many equal ones were withheld since it was last said.
    Say { withheld: u64 },
    /// It was said less than a minute ago.
    Withhold,
}

impl Repeats {
    /// Whether it is the turn of an event that equals every other with this key.
    pub(crate) fn turn(&mut self, key: impl Hash, now: Instant) -> Turn {
        let key = self.hasher.hash_one(key);
        if let Some(seen) = self.seen.get_mut(&key) {
            if now.duration_since(seen.said) < WINDOW {
                seen.withheld += 1;
                return Turn::Withhold;
            }
            let withheld = std::mem::take(&mut seen.withheld);
            seen.said = now;
            return Turn::Say { withheld };
        }
        if self.seen.len() >= CAPACITY {
            self.make_room(now);
        }
        self.seen.insert(key, Seen { said: now, withheld: 0 });
        Turn::Say { withheld: 0 }
    }

    /// Forgets what is old; if nothing is, everything: a line too many is better than memory without end.
    fn make_room(&mut self, now: Instant) {
        self.seen.retain(|_, seen| now.duration_since(seen.said) < WINDOW);
        if self.seen.len() >= CAPACITY {
            self.seen.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_withheld_for_a_minute_and_then_counted() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        assert_eq!(repeats.turn("web", start), Turn::Say { withheld: 0 });
        assert_eq!(repeats.turn("web", start + Duration::from_secs(1)), Turn::Withhold);
        assert_eq!(repeats.turn("web", start + Duration::from_secs(59)), Turn::Withhold);
        assert_eq!(repeats.turn("db", start + Duration::from_secs(59)), Turn::Say { withheld: 0 });
        assert_eq!(repeats.turn("web", start + Duration::from_secs(60)), Turn::Say { withheld: 2 });
    }

    #[test]
    fn memory_is_bounded() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        for number in 0..10 * CAPACITY {
            repeats.turn(number, start);
        }
        assert!(repeats.seen.len() <= CAPACITY);
    }
}
