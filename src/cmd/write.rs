//! Writes files atomically.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process,
};

use anyhow::Context as _;

/// Writes to a temporary file in the same directory and renames it, so that readers see either the old or the new text.
///
/// Keeps the permissions of an existing file, and writes to the target of a symlink.
pub(crate) fn atomically(path: &Path, text: &str) -> anyhow::Result<()> {
    write(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let unfinished = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), process::id()));
    let result = write_beside(&path, &unfinished, bytes);
    if result.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    result
}

fn write_beside(path: &Path, unfinished: &PathBuf, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create_new(unfinished)?;
    if let Ok(found) = fs::metadata(path) {
        file.set_permissions(found.permissions())?;
    }
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(unfinished, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_keeps_its_permissions_and_a_link_its_target() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("a.yaml"), directory.path().join("b.yaml"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("a.yaml", &link).unwrap();
        atomically(&link, "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(link.is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_failed_write_names_the_file_and_leaves_no_temporary_file() {
        let directory = tempfile::tempdir().unwrap();
        let error = atomically(&directory.path().join("none/a.yaml"), "x").unwrap_err();
        assert!(format!("{error:#}").contains("none/a.yaml: No such file"), "{error:#}");
        atomically(directory.path(), "x").unwrap_err();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
