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

/// Looks into namespaces. The errors say which may not be entered, or whose sockets cannot be read, and why.
pub fn sample(targets: &[Target]) -> (Vec<Namespace>, Vec<String>) {
    let mut namespaces = Vec::new();
    let mut errors = Vec::new();
    for target in targets {
        match look(target) {
            Ok(namespace) => namespaces.push(namespace),
            Err(error) => errors.push(format!("network namespace {}: {error}", target.inode)),
        }
    }
    let owners = owners::of_namespaces(&namespaces.iter().map(|namespace| namespace.inode).collect());
    for namespace in &mut namespaces {
        match &owners {
            Ok(owners) => {
                let Some(owners) = owners.get(&namespace.inode) else { continue };
                for socket in &mut namespace.sockets {
                    socket.owner = owners.by_socket.get(&socket.inode).cloned();
                }
                namespace.gaps.extend(hidden_processes(owners.hidden));
            }
            Err(error) => namespace.gaps.push(format!("the processes cannot be read: {error}")),
        }
    }
    (namespaces, errors)
}

/// What is told of processes that could not be looked at, if there are any.
pub fn hidden_processes(number: usize) -> Option<String> {
    (number > 0).then(|| format!("{number} processes may not be looked at: run it as root"))
}

/// The sockets of a namespace, without their processes.
fn look(target: &Target) -> io::Result<Namespace> {
    let (sockets, tracked, timeout) =
        target.within(|| (proc_net::half_closed(), tracked::close_wait(), tracked::timeout()))?;
    let mut sockets = sockets?;
    sockets.sort_by_key(|socket: &HalfClosed| (socket.state, socket.local, socket.remote));
    Ok(Namespace {
        inode: target.inode,
        pod: target.pod.clone(),
        sockets,
        tracked,
        timeout,
        gaps: Vec::new(),
    })
}
