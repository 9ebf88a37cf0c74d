//! Who may change a directory of ours. Whoever may decides which image is served there, which key is asked for, and where a log is written to.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{getegid, geteuid};

use super::error::CatalogError;

/// Refuses a directory that others may change. One that is not there is fine.
///
/// # Errors
/// [`CatalogError::Usage`], which says what would mend it.
pub(super) fn check_ours(dir: &Path) -> Result<(), CatalogError> {
    check(dir, fs::metadata(dir))
}

/// As [`check_ours`], of what lies within one of ours: nobody has a reason to put a symbolic link there, so none is followed.
pub(super) fn check_ours_within(dir: &Path) -> Result<(), CatalogError> {
    check(dir, fs::symlink_metadata(dir))
}

fn check(dir: &Path, found: io::Result<Metadata>) -> Result<(), CatalogError> {
    let found = match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(CatalogError::io("look at", dir))?,
    };
    let (us, mode, shown) = (geteuid().as_raw(), found.mode() & 0o7777, dir.display());
    let problem = if found.is_symlink() {
        format!("{shown} is a symbolic link, which is not followed here. Move the directory itself there")
    } else if found.uid() != us && found.uid() != 0 {
        format!(
            "{shown} belongs to uid {}, who decides what is found there. If it is yours: chown {us} {shown}",
            found.uid()
        )
    } else if mode & 0o002 != 0 || (mode & 0o020 != 0 && ![0, getegid().as_raw()].contains(&found.gid())) {
        format!(
            "{shown} may be changed by others (mode {mode:04o}), who decide what is found there. If it is yours: chmod go-w {shown}"
        )
    } else {
        return Ok(());
    };
    Err(CatalogError::Usage(problem))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_that_others_may_change_is_not_ours() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("dir");
        check_ours(&dir).unwrap();
        fs::create_dir(&dir).unwrap();
        for (mode, is_ours) in
            [(0o700, true), (0o755, true), (0o775, true), (0o777, false), (0o1777, false), (0o702, false)]
        {
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(check_ours(&dir).is_ok(), is_ours, "{mode:o}");
        }
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        check_ours(&link).unwrap();
        assert!(check_ours_within(&link).unwrap_err().to_string().contains("symbolic link"));
        check_ours_within(&dir).unwrap();
    }
}
