//! Lines of the access log, which are not in the order of time -> how long the pool of each host was idle before a request.

use std::hash::BuildHasher as _;

use foldhash::{HashMap, fast::FixedState};

use super::line::Access;

/// As many lines wait to be put in order. The proxy writes a line when its connection's span ends, seen up to 80 s late:
/// this is enough for 1,500 requests a second.
const MAX_WAITING: usize = 1 << 17;
/// As many pools are told apart.
const MAX_POOLS: usize = 1 << 16;
/// As many failed requests are kept.
const MAX_FAILED: usize = 1 << 16;
/// Gaps are counted in classes, each 1 % wider than the one before, from 1 ms.
const CLASSES: usize = 1400;

/// A number for a number of one proxy's log.
pub(super) fn hash(source: u64, number: u64) -> u64 {
    FixedState::default().hash_one((source, number))
}

/// A request of the access log that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed {
    /// Which client, as [`hash`] has it.
    pub(super) client: u64,
    /// When it began, in microseconds since 1970.
    pub(super) start: i64,
    /// How long it took, in microseconds.
    pub(super) total: Option<i64>,
    /// For how long no request had been answered for the same host, in microseconds.
    pub(super) gap: Option<i64>,
    /// The status.
    pub(super) status: u16,
    /// The port of the host that was asked for; 0 without one.
    pub(super) port: u16,
    /// kubelet sent it.
    pub(super) from_kubelet: bool,
    /// A meshed client sent it.
    pub(super) meshed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    start: i64,
    total: u32,
    pool: u32,
    client: u64,
    status: u16,
    port: u16,
    from_kubelet: bool,
    meshed: bool,
}

/// What the access log says of a port.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    /// How many requests there were.
    pub(super) count: u64,
    /// How many of them the app or the proxy answered with a 5xx.
    pub(super) failed: u64,
    /// By class, the gaps before requests that did not fail.
    gaps: Vec<u32>,
}

impl Requests {
    fn add(&mut self, gap: Option<i64>) {
        let Some(class) = gap.and_then(class) else { return };
        if self.gaps.is_empty() {
            self.gaps = vec![0; CLASSES];
        }
        if let Some(count) = self.gaps.get_mut(class) {
            *count = count.saturating_add(1);
        }
    }

    /// Adds those of another host.
    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.failed += other.failed;
        if self.gaps.is_empty() {
            self.gaps.clone_from(&other.gaps);
        } else {
            for (count, more) in self.gaps.iter_mut().zip(&other.gaps) {
                *count = count.saturating_add(*more);
            }
        }
    }

    /// How many requests that did not fail came after a gap outside of these bounds, in microseconds.
    pub(super) fn outside(&self, from: i64, to: i64) -> u64 {
        let (from, to) = (class(from).unwrap_or(0), class(to).unwrap_or(CLASSES));
        let counts = self.gaps.iter().enumerate();
        counts.filter(|(class, _)| *class < from || *class > to).map(|(_, count)| u64::from(*count)).sum()
    }
}

#[expect(clippy::cast_precision_loss, reason = "gaps are far below 2^52 microseconds")]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is positive, and cut off at CLASSES"
)]
fn class(gap: i64) -> Option<usize> {
    let milliseconds = gap as f64 / 1000.0;
    (milliseconds >= 1.0).then(|| ((milliseconds.ln() / 1.01_f64.ln()) as usize).min(CLASSES - 1))
}

/// The access log, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct AccessLog {
    waiting: Vec<Waiting>,
    pools: HashMap<u64, u32>,
    /// By pool, when the last answer ended.
    ends: Vec<i64>,
    requests: HashMap<u16, Requests>,
    failed: Vec<Failed>,
    /// Lines of either form.
    pub(super) lines: u64,
    /// Failed requests that were not kept.
    pub(super) dropped: u64,
}

impl AccessLog {
    /// Takes a line.
    pub(super) fn add(&mut self, access: &Access, source: u64) {
        self.lines += 1;
        let client = hash(source, access.client);
        let (Some(host), Some(total)) = (access.host, access.total) else {
            self.fail(Failed {
                client,
                start: access.start,
                total: None,
                gap: None,
                status: access.status,
                port: 0,
                from_kubelet: access.from_kubelet,
                meshed: access.meshed,
            });
            return;
        };
        let next = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        let known = self.pools.len();
        let pool = match self.pools.entry(hash(source, host)) {
            std::collections::hash_map::Entry::Occupied(entry) => *entry.get(),
            std::collections::hash_map::Entry::Vacant(_) if known >= MAX_POOLS => u32::MAX,
            std::collections::hash_map::Entry::Vacant(entry) => {
                self.ends.push(i64::MIN);
                *entry.insert(next)
            }
        };
        self.waiting.push(Waiting {
            start: access.start,
            total: u32::try_from(total).unwrap_or(u32::MAX),
            pool,
            client,
            status: access.status,
            port: access.port,
            from_kubelet: access.from_kubelet,
            meshed: access.meshed,
        });
        if self.waiting.len() >= MAX_WAITING {
            self.process_earliest(MAX_WAITING / 2);
        }
    }

    /// Puts the earliest in order.
    fn process_earliest(&mut self, count: usize) {
        self.waiting.sort_unstable_by_key(|request| request.start);
        let rest = self.waiting.split_off(count.min(self.waiting.len()));
        for request in std::mem::replace(&mut self.waiting, rest) {
            let end = request.start + i64::from(request.total);
            let gap = self.ends.get_mut(request.pool as usize).and_then(|last| {
                let gap = (*last != i64::MIN).then(|| request.start - *last).filter(|gap| *gap >= 0);
                *last = end.max(*last);
                gap
            });
            let requests = self.requests.entry(request.port).or_default();
            requests.count += 1;
            if request.status < 500 {
                requests.add(gap);
            } else {
                requests.failed += 1;
                self.fail(Failed {
                    client: request.client,
                    start: request.start,
                    total: Some(i64::from(request.total)),
                    gap,
                    status: request.status,
                    port: request.port,
                    from_kubelet: request.from_kubelet,
                    meshed: request.meshed,
                });
            }
        }
    }

    fn fail(&mut self, failed: Failed) {
        if failed.status < 500 {
            return;
        }
        if self.failed.len() < MAX_FAILED {
            self.failed.push(failed);
        } else {
            self.dropped += 1;
        }
    }

    /// All that failed, and the requests by port.
    pub(super) fn finish(mut self) -> (Vec<Failed>, HashMap<u16, Requests>) {
        self.process_earliest(usize::MAX);
        (self.failed, self.requests)
    }
}
