//! Reads network namespaces once.

use std::io;

use super::{HalfClosed, Namespace, Target, owners, proc_net, tracked};

/// Reads namespaces. The errors name those that cannot be entered, or whose sockets cannot be read.
pub fn sample(targets: &[Target]) -> (Vec<Namespace>, Vec<String>) {
    let mut namespaces = Vec::new();
    let mut errors = Vec::new();
    for target in targets {
        match read_namespace(target) {
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

/// A message about processes that could not be read, if there are any.
pub fn hidden_processes(number: usize) -> Option<String> {
    (number > 0).then(|| format!("cannot read {}: run it as root", count_processes(number)))
}

fn count_processes(number: usize) -> String {
    if number == 1 { "1 process".to_owned() } else { format!("{number} processes") }
}

/// The sockets of a namespace, without their processes.
fn read_namespace(target: &Target) -> io::Result<Namespace> {
    let (sockets, tracked, timeout, entries, max) = target.within(|| {
        let (tracked, timeout) = (tracked::close_wait(), tracked::timeout());
        (proc_net::half_closed(), tracked, timeout, tracked::entries(), tracked::max())
    })?;
    let mut sockets = sockets?;
    sockets.sort_by_key(|socket: &HalfClosed| (socket.state, socket.local, socket.remote));
    Ok(Namespace {
        inode: target.inode,
        pod: target.pod.clone(),
        sockets,
        tracked,
        timeout,
        entries,
        max,
        gaps: Vec::new(),
    })
}
