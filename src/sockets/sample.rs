//! One look at a network namespace, and ages from one look to the next.

use std::{collections::HashMap, io, net::SocketAddr, time::Instant};

use super::{HalfClosed, Namespace, State, Target, owners, proc_net, tracked};

/// When each connection was seen first.
#[derive(Debug, Default)]
pub struct Ages {
    seen: HashMap<(u64, State, SocketAddr, SocketAddr), Instant>,
    looks: usize,
}

impl Ages {
    /// Gives each connection its age, and forgets those that are gone.
    pub fn tell(&mut self, namespaces: &mut [Namespace], now: Instant) {
        let mut seen = HashMap::new();
        for namespace in namespaces {
            for socket in &mut namespace.sockets {
                let key = (namespace.inode, socket.state, socket.local, socket.remote);
                let since = self.seen.get(&key).copied().unwrap_or(now);
                seen.insert(key, since);
                socket.age = (self.looks > 0).then(|| now.saturating_duration_since(since).as_secs());
            }
        }
        self.seen = seen;
        self.looks += 1;
    }
}

/// Looks into a namespace.
///
/// # Errors
///
/// When it may not be entered, or its sockets cannot be read.
pub fn sample(target: &Target) -> io::Result<Namespace> {
    let (sockets, tracked, timeout) =
        target.within(|| (proc_net::half_closed(), tracked::close_wait(), tracked::timeout()))?;
    let mut sockets = sockets?;
    let mut gaps = Vec::new();
    match owners::by_socket(target.inode) {
        Ok((owners, hidden)) => {
            for socket in &mut sockets {
                socket.owner = owners.get(&socket.inode).cloned();
            }
            if hidden > 0 {
                gaps.push(format!("{hidden} processes may not be looked at: run it as root"));
            }
        }
        Err(error) => gaps.push(format!("the processes cannot be read: {error}")),
    }
    sockets.sort_by_key(|socket: &HalfClosed| (socket.state, socket.local, socket.remote));
    Ok(Namespace { inode: target.inode, pod: target.pod.clone(), sockets, tracked, timeout, gaps })
}
