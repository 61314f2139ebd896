//! CA certificates of registries as configured for Docker: the files `certs.d/HOST:PORT/*.crt`.
//!
//! Source: moby `registry/registry.go`, `loadTLSConfig` and `CertsDir`; docs of Docker, "Verify repository client with
//! certificates". Client certificates (`*.cert`, `*.key`) are not read.

use std::{
    env, fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::credentials;

/// The system directory of Docker for registry certificates.
const OF_SYSTEM: &str = "/etc/docker/certs.d";
/// The maximum length of a file; the CA bundles of distributions have a quarter of this.
const MAX_LEN: u64 = 1 << 20;

/// A file with certificates.
#[derive(Debug)]
pub(super) struct Authority {
    pub(super) path: PathBuf,
    pub(super) pem: Vec<u8>,
}

/// The directories of Docker, rootless Docker and Docker Desktop.
fn directories() -> Vec<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
    let rootless = config.map(|config| config.join("docker/certs.d"));
    let desktop = credentials::directory().map(|docker| docker.join("certs.d"));
    [Some(PathBuf::from(OF_SYSTEM)), rootless, desktop].into_iter().flatten().collect()
}

/// The CA certificates of a registry in addition to those of the system. The error is a sentence about a file.
pub(super) fn of(host: &str) -> Result<Vec<Authority>, String> {
    in_directories(&directories(), host)
}

fn in_directories(directories: &[PathBuf], host: &str) -> Result<Vec<Authority>, String> {
    let mut authorities = Vec::new();
    for directory in directories.iter().map(|directory| directory.join(host)) {
        let failed = |path: &Path, error: &io::Error| format!("cannot read {}: {error}", path.display());
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(error) => return Err(failed(&directory, &error)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.map_err(|error| failed(&directory, &error))?.path());
        }
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "crt"));
        paths.sort();
        for path in paths {
            let length = fs::metadata(&path).map_err(|error| failed(&path, &error))?.len();
            if length > MAX_LEN {
                return Err(format!("{} has more than {MAX_LEN} bytes", path.display()));
            }
            let pem = fs::read(&path).map_err(|error| failed(&path, &error))?;
            authorities.push(Authority { path, pem });
        }
    }
    Ok(authorities)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_directory_of_the_host_is_read() {
        let home = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/localhost:5000/b.crt", "2");
        write("a/localhost:5000/a.crt", "1");
        write("a/localhost:5000/client.cert", "no authority");
        write("a/localhost:5001/other.crt", "another port");
        write("b/localhost:5000/ca.crt", "3");
        let directories = ["none", "a", "b"].map(|name| home.path().join(name));
        let found = in_directories(&directories, "localhost:5000").unwrap();
        let found: Vec<_> = found.into_iter().map(|authority| authority.pem).collect();
        assert_eq!(found, [b"1", b"2", b"3"]);
    }

    #[test]
    fn a_directory_with_the_name_of_a_file_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("localhost/ca.crt");
        fs::create_dir_all(&path).unwrap();
        let error = in_directories(&[home.path().to_owned()], "localhost").unwrap_err();
        assert_eq!(error, format!("cannot read {}: Is a directory (os error 21)", path.display()));
    }
}
