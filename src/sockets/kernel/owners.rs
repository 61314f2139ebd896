//! Finds the process, the container and the pod of a socket.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs, io,
    os::unix::fs::MetadataExt,
    sync::Arc,
};

use procfs::process::{self, FDTarget, Process};

use super::{Owner, Pod};

/// The processes of a network namespace.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// The processes, by the inode numbers of their sockets.
    pub(super) by_socket: HashMap<u64, Arc<Owner>>,
    /// The number of processes that could not be read.
    pub(super) hidden: usize,
}

/// The processes of these network namespaces, by inode number, found in a single walk over all processes.
pub(super) fn of_namespaces(wanted: &HashSet<u64>) -> io::Result<HashMap<u64, Owners>> {
    let mut namespaces: HashMap<u64, Owners> = HashMap::new();
    for process in process::all_processes().map_err(io::Error::other)? {
        let Ok(process) = process else { continue };
        let Ok(namespace) = fs::metadata(format!("/proc/{}/ns/net", process.pid)) else { continue };
        if !wanted.contains(&namespace.ino()) {
            continue;
        }
        let owners = namespaces.entry(namespace.ino()).or_default();
        let Ok(files) = process.fd() else {
            owners.hidden += 1;
            continue;
        };
        let sockets = files.filter_map(|file| match file.ok()?.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        });
        let sockets: Vec<u64> = sockets.collect();
        if sockets.is_empty() {
            continue;
        }
        let owner = Arc::new(Owner {
            pid: process.pid,
            name: name(&process),
            container: cgroups(&process).iter().find_map(|path| container_of(path)),
        });
        for inode in sockets {
            // A socket that several processes have inherited belongs to the first, which is their parent.
            owners.by_socket.entry(inode).or_insert_with(|| Arc::clone(&owner));
        }
    }
    Ok(namespaces)
}

/// The pod of a process.
pub(super) fn pod(process: &Process) -> Option<Pod> {
    let uid = cgroups(process).iter().find_map(|path| pod_of(path))?;
    Some(Pod { uid, name: host_name(process) })
}

/// The host name in a container: from its file, or the variable that container runtimes set.
fn host_name(process: &Process) -> Option<String> {
    let file = fs::read_to_string(format!("/proc/{}/root/etc/hostname", process.pid)).ok();
    let file = file.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    file.or_else(|| process.environ().ok()?.remove(OsStr::new("HOSTNAME"))?.into_string().ok())
}

fn name(process: &Process) -> String {
    let text = fs::read_to_string(format!("/proc/{}/comm", process.pid));
    text.map_or_else(|_| process.pid.to_string(), |text| text.trim_end().to_owned())
}

/// The cgroup paths of a process in every hierarchy, v1 and v2.
fn cgroups(process: &Process) -> Vec<String> {
    let groups = process.cgroups().map(|groups| groups.0).unwrap_or_default();
    groups.into_iter().map(|group| group.pathname).collect()
}

/// The UID in `/kubepods/burstable/pod<uid>/<id>` and in `/kubepods.slice/kubepods-burstable-pod<uid_>.slice/...`.
fn pod_of(path: &str) -> Option<String> {
    path.split('/').find_map(|part| {
        let part = part.strip_suffix(".slice").unwrap_or(part);
        let uid = part.rsplit_once("pod").map(|(_, uid)| uid)?.replace('_', "-");
        (uid.len() == 36 && uid.split('-').count() == 5).then_some(uid)
    })
}

/// The ID in `.../<id>`, `.../cri-containerd-<id>.scope` and `.../crio-<id>.scope`.
fn container_of(path: &str) -> Option<String> {
    path.rsplit('/').find_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let id = part.rsplit(['-', ':']).next().unwrap_or(part);
        (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const UID: &str = "0b7e5d5c-9a39-4a4f-9a0e-0d3b1c9a77aa";
    const ID: &str = "6f1c1e3c9a5d4b7f8e2a1b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f70";

    #[rstest]
    #[case::v1(&format!("/kubepods/burstable/pod{UID}/{ID}"), Some(UID), Some(ID))]
    #[case::containerd(
        &format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/cri-containerd-{ID}.scope", UID.replace('-', "_")),
        Some(UID), Some(ID))]
    #[case::guaranteed(
        &format!("/kubepods.slice/kubepods-pod{}.slice/crio-{ID}.scope", UID.replace('-', "_")), Some(UID), Some(ID))]
    #[case::nested(&format!("/system.slice/containerd.service/kubepods-besteffort-pod{}.slice:cri-containerd:{ID}", UID.replace('-', "_")), None, Some(ID))]
    #[case::service("/system.slice/ssh.service", None, None)]
    #[case::root("/", None, None)]
    fn paths(#[case] path: &str, #[case] pod: Option<&str>, #[case] container: Option<&str>) {
        assert_eq!((pod_of(path).as_deref(), container_of(path).as_deref()), (pod, container));
    }
}
