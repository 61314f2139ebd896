//! Network namespaces: which a node has, and how to look into one.

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

/// A network namespace to look into.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Its inode number.
    pub inode: u64,
    /// A file of it; `None` for the one that this process is in.
    pub path: Option<PathBuf>,
    /// The pod whose it is.
    pub pod: Option<Pod>,
}

const OWN: &str = "/proc/self/ns/net";

impl Target {
    /// The namespace of this process.
    ///
    /// # Errors
    ///
    /// When `/proc` is not there.
    pub fn own() -> io::Result<Self> {
        Ok(Self { inode: fs::metadata(OWN)?.ino(), path: None, pod: None })
    }

    /// The namespace of a file, such as `/var/run/netns/x`.
    ///
    /// # Errors
    ///
    /// When there is no such file.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { inode: fs::metadata(path)?.ino(), path: Some(path.to_owned()), pod: None })
    }

    /// The namespace of a process.
    ///
    /// # Errors
    ///
    /// When there is no such process, or it may not be looked at.
    pub fn of_process(pid: i32) -> io::Result<Self> {
        let mut target = Self::at(&PathBuf::from(format!("/proc/{pid}/ns/net")))?;
        target.pod = Process::new(pid).ok().and_then(|process| owners::pod(&process));
        Ok(target)
    }

    /// Runs `read_namespace` in the namespace, in a thread of its own, so that this one stays where it is.
    pub(super) fn within<T: Send>(&self, read_namespace: impl FnOnce() -> T + Send) -> io::Result<T> {
        let Some(path) = &self.path else { return Ok(read_namespace()) };
        let file = File::open(path)?;
        thread::scope(|scope| {
            let run = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(read_namespace())
            });
            run.join().map_err(|_| io::Error::other("looking into the namespace failed"))?
        })
    }
}

/// Every network namespace of this node that a process is in, and how many processes could not be looked at.
///
/// # Errors
///
/// When `/proc` cannot be read.
pub fn of_node() -> io::Result<(Vec<Target>, usize)> {
    let mut targets: BTreeMap<u64, Target> = BTreeMap::new();
    let mut hidden = 0;
    for process in process::all_processes().map_err(io::Error::other)? {
        let Ok(process) = process else { continue };
        let path = PathBuf::from(format!("/proc/{}/ns/net", process.pid));
        let inode = match fs::metadata(&path) {
            Ok(metadata) => metadata.ino(),
            // It has ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => {
                hidden += 1;
                continue;
            }
        };
        let target = targets.entry(inode).or_insert_with(|| Target { inode, path: Some(path), pod: None });
        // The first process may be the pod's sandbox, which has no file with its host name.
        if target.pod.as_ref().is_none_or(|pod| pod.name.is_none()) {
            target.pod = owners::pod(&process).or_else(|| target.pod.take());
        }
    }
    Ok((targets.into_values().collect(), hidden))
}
