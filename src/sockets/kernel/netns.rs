//! Network namespaces: lists those of a node, and enters them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    thread,
};

use procfs::process::{self, Process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Pod, owners};

/// A network namespace to read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The inode number.
    pub inode: u64,
    /// A file of the namespace; `None` for that of this process.
    pub path: Option<PathBuf>,
    /// The pod of the namespace.
    pub pod: Option<Pod>,
}

const OWN: &str = "/proc/self/ns/net";

impl Target {
    /// The namespace of this process.
    ///
    /// # Errors
    ///
    /// Returns an error if `/proc` is not available.
    pub fn own() -> io::Result<Self> {
        Ok(Self { inode: fs::metadata(OWN)?.ino(), path: None, pod: None })
    }

    /// The namespace of a file, such as `/var/run/netns/x`.
    ///
    /// # Errors
    ///
    /// Returns an error if the file does not exist.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { inode: fs::metadata(path)?.ino(), path: Some(path.to_owned()), pod: None })
    }

    /// The namespace of a process.
    ///
    /// # Errors
    ///
    /// Returns an error if the process does not exist, or may not be read.
    pub fn of_process(pid: i32) -> io::Result<Self> {
        let mut target = Self::at(&PathBuf::from(format!("/proc/{pid}/ns/net")))?;
        target.pod = Process::new(pid).ok().and_then(|process| owners::pod(&process));
        Ok(target)
    }

    /// Runs `read_namespace` inside the namespace, on its own thread, so that this thread does not change its
    /// namespace.
    pub(super) fn within<T: Send>(&self, read_namespace: impl FnOnce() -> T + Send) -> io::Result<T> {
        let Some(path) = &self.path else { return Ok(read_namespace()) };
        let file = File::open(path)?;
        thread::scope(|scope| {
            let run = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(read_namespace())
            });
            run.join().map_err(|_| io::Error::other("cannot enter the network namespace"))?
        })
    }
}

/// Every network namespace of this node with a process, and the number of processes that could not be read.
///
/// # Errors
///
/// Returns an error if `/proc` cannot be read.
pub fn of_node() -> io::Result<(Vec<Target>, usize)> {
    let mut targets: BTreeMap<u64, Target> = BTreeMap::new();
    let mut hidden = 0;
    for process in process::all_processes().map_err(io::Error::other)? {
        let Ok(process) = process else { continue };
        let path = PathBuf::from(format!("/proc/{}/ns/net", process.pid));
        let inode = match fs::metadata(&path) {
            Ok(metadata) => metadata.ino(),
            // The process has ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => {
                hidden += 1;
                continue;
            }
        };
        let target = targets.entry(inode).or_insert_with(|| Target { inode, path: Some(path), pod: None });
        // The first process may be the sandbox of the pod, which has no file with its host name.
        if target.pod.as_ref().is_none_or(|pod| pod.name.is_none()) {
            target.pod = owners::pod(&process).or_else(|| target.pod.take());
        }
    }
    Ok((targets.into_values().collect(), hidden))
}
