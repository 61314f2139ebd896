//! An on-disk cache of manifests and configs, by digest.
//!
//! Checks the digest when it reads a file, so that corrupt content is never used. Does not store which digest a tag
//! refers to.

use std::{
    env, fs,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use super::digest;

/// The cache. Without a directory nothing is cached.
#[derive(Clone, Debug, Default)]
pub(super) struct Cache {
    directory: Option<PathBuf>,
}

impl Cache {
    /// The cache in the user's cache directory (XDG Base Directory Specification: relative paths are ignored).
    pub(super) fn of_user() -> Self {
        let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        Self { directory: base.map(|base| base.join("linkerd-linger/images")) }
    }

    /// Reads a blob of at most this length.
    pub(super) fn get(&self, digest: &str, longest: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = fs::File::open(self.path(digest)?).ok()?;
        file.take(longest as u64 + 1).read_to_end(&mut bytes).ok()?;
        (bytes.len() <= longest && digest::of(&bytes) == digest).then_some(bytes)
    }

    /// Stores a blob. Ignores errors, because the cache is optional.
    pub(super) fn put(&self, digest: &str, bytes: &[u8]) {
        if let Some(path) = self.path(digest) {
            let _ = write(&path, bytes);
        }
    }

    fn path(&self, digest: &str) -> Option<PathBuf> {
        Some(self.directory.as_ref()?.join("sha256").join(digest::hex(digest)?))
    }
}

/// Writes a file atomically and readable by the user only, since ENV may contain secrets.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let Some(directory) = path.parent() else { return Ok(()) };
    let (mut directories, mut options) = (fs::DirBuilder::new(), fs::OpenOptions::new());
    directories.recursive(true);
    options.create(true).truncate(true).write(true);
    // Elsewhere the user's directory has permissions that its files inherit.
    #[cfg(unix)]
    {
        std::os::unix::fs::DirBuilderExt::mode(&mut directories, 0o700);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    directories.create(directory)?;
    let unfinished = path.with_extension(format!("{}.unfinished", std::process::id()));
    let mut file = options.open(&unfinished)?;
    let written = file.write_all(bytes).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn contents_are_kept_by_their_digest() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache { directory: Some(directory.path().join("a/b")) };
        let digest = digest::of(b"config");
        assert_eq!(cache.get(&digest, 10), None);
        cache.put(&digest, b"config");
        assert_eq!(cache.get(&digest, 10).as_deref(), Some(&b"config"[..]));
        assert_eq!(cache.get(&digest, 5), None, "it is longer");
        let path = cache.path(&digest).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(path, b"other!").unwrap();
        assert_eq!(cache.get(&digest, 10), None, "it is not what the digest says");
    }

    #[test]
    fn a_digest_that_is_a_path_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache { directory: Some(directory.path().to_owned()) };
        assert_eq!(cache.path("sha256:../../x"), None);
        cache.put("sha256:../../x", b"");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
