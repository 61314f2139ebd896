//! Tracks the ages of connections between reports.

use std::{collections::HashMap, net::SocketAddr, time::Instant};

use super::{State, report::Report};

/// When each connection was first reported.
#[derive(Debug, Default)]
pub struct Ages {
    seen: HashMap<Key, Instant>,
    reports: usize,
}

/// A connection: the UID of its pod, the inode number of its namespace, its state and its addresses.
type Key = (Option<String>, u64, State, SocketAddr, SocketAddr);

impl Ages {
    /// Sets the age of each connection, and forgets closed ones.
    pub fn update(&mut self, report: &mut Report<'_>, now: Instant) {
        let mut seen = HashMap::new();
        for namespace in &mut report.namespaces {
            for socket in &mut namespace.sockets {
                let pod = namespace.pod_uid.as_deref().map(str::to_owned);
                let key = (pod, namespace.inode, socket.state, socket.local, socket.remote);
                let since = self.seen.get(&key).copied().unwrap_or(now);
                seen.insert(key, since);
                socket.age_seconds =
                    (self.reports > 0).then(|| now.saturating_duration_since(since).as_secs());
            }
        }
        self.seen = seen;
        self.reports += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sockets::{
        Side,
        report::tests::{namespace, socket},
    };

    #[test]
    fn the_age_counts_from_the_first_report() {
        let mut ages = Ages::default();
        let start = Instant::now();
        let mut age_after = |seconds: u64, port: u16| {
            let socket =
                socket(State::CloseWait, Side::App, &format!("10.0.0.1:{port}"), "10.0.0.2:1", Some("web"));
            let mut report =
                Report { namespaces: vec![namespace(vec![socket], Some(60))], errors: Vec::new() };
            ages.update(&mut report, start + Duration::from_secs(seconds));
            report.namespaces[0].sockets[0].age_seconds
        };
        assert_eq!(age_after(0, 80), None, "one report knows no age");
        assert_eq!(age_after(5, 80), Some(5));
        assert_eq!(age_after(10, 81), Some(0), "a new connection");
        assert_eq!(age_after(15, 80), Some(0), "a closed connection is forgotten");
    }
}
