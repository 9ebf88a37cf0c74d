//! Files that are on disk, with their names, when a function here returns.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Readable by its owner only: every file of a server's directory holds secrets or names who used them.
pub(crate) const PRIVATE: u32 = 0o600;

/// Creates `path` with all of `content`; fails with [`io::ErrorKind::AlreadyExists`] and leaves what is there if it
/// exists. A crash leaves no half of it.
pub(crate) fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = write_beside(path, content)?;
    // Unlike a rename, a link does not replace.
    let linked = fs::hard_link(&new, path);
    fs::remove_file(&new)?;
    linked?;
    sync_parent(path)
}

/// Puts `content` at `path` in one step, in place of what was there.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    rename(&write_beside(path, content)?, path)
}

/// A new, synced file next to `path`, in place of what a crash may have left there.
fn write_beside(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(new)
}

/// In place of what was at `to`.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent(to)
}

/// The same, but fails with [`io::ErrorKind::AlreadyExists`] if `to` exists, and leaves the sync of the directory to
/// the caller.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

/// Makes the entries of the directory of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create_never_replaces_and_replace_always_does() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("file");
        fs::write(dir.path().join("file.new"), "left by a crash").unwrap();
        create(&path, b"first").unwrap();
        assert_eq!(create(&path, b"second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        replace(&path, b"third").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"third");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn rename_new_never_replaces() {
        let dir = tempfile::TempDir::new().unwrap();
        let [from, to, free] = ["from", "to", "free"].map(|name| dir.path().join(name));
        fs::write(&from, "from").unwrap();
        fs::write(&to, "to").unwrap();
        assert_eq!(rename_new(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((fs::read(&from).unwrap(), fs::read(&to).unwrap()), (b"from".to_vec(), b"to".to_vec()));
        rename_new(&from, &free).unwrap();
        assert_eq!((from.exists(), fs::read(&free).unwrap()), (false, b"from".to_vec()));
    }
}
