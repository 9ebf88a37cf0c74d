//! On which file system a path lies, told from the mount table and from symbolic links alone, without asking the file system:
//! the process that serves it would wait for itself.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use super::DeviceNumber;
use super::mounts::{Mount, Mounts};

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

/// The device of the file system that an absolute path lies on, or would if it were made. Nothing on the devices of `own` is
/// looked at: a path that reaches one of them lies on it, wherever a symbolic link in there may lead.
///
/// None if the path is not absolute, goes through too many symbolic links, or there is no mount table.
#[must_use]
pub fn where_lies(path: &Path, own: &[DeviceNumber]) -> Option<DeviceNumber> {
    locate(path, own, &Mounts::read().ok()?, |path| std::fs::read_link(path).ok())
}

fn locate(
    path: &Path,
    own: &[DeviceNumber],
    mounts: &Mounts,
    link_at: impl Fn(&Path) -> Option<PathBuf>,
) -> Option<DeviceNumber> {
    if !path.is_absolute() {
        return None;
    }
    let mut links = 0;
    let mut at = PathBuf::from("/");
    // The next one last.
    let mut ahead = parts(path);
    loop {
        let device = mount_over(mounts, &at)?.device;
        if own.contains(&device) {
            return Some(device);
        }
        let Some(part) = ahead.pop() else { return Some(device) };
        if part == ".." {
            at.pop();
            continue;
        }
        at.push(part);
        // A mount point is no symbolic link, and what it covers does not count.
        if mounts.at(&at).is_some() {
            continue;
        }
        if let Some(target) = link_at(&at) {
            links += 1;
            if links > MOST_LINKS {
                return None;
            }
            at.pop();
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            ahead.extend(parts(&target));
        }
    }
}

/// The names in a path, the first last.
fn parts(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

/// The mount that a path without symbolic links lies on: the one with the longest mount point, and of several there the uppermost.
fn mount_over<'a>(mounts: &'a Mounts, path: &Path) -> Option<&'a Mount> {
    path.ancestors().find_map(|ancestor| mounts.at(ancestor))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const TABLE: &[u8] = b"27 1 254:0 / / rw - ext4 /dev/vda rw\n\
        36 27 0:30 / /run/envol/vol-1 rw - fuse.envol envol rw\n\
        37 27 7:0 / /srv/db rw - ext4 /dev/loop0 rw\n\
        38 37 7:1 / /srv/db/inner rw - ext4 /dev/loop1 rw\n\
        39 27 8:0 / /mnt/covered rw - ext4 /dev/sda rw\n\
        40 39 8:1 / /mnt/covered rw - ext4 /dev/sdb rw\n\
        41 27 7:0 /sub /mnt/bound rw - ext4 /dev/loop0 rw\n";

    const LINKS: [(&str, &str); 6] = [
        ("/backup", "/srv/db/backup"),
        ("/var/here", "../srv/./db"),
        ("/srv/db/away", "/elsewhere"),
        ("/loop", "loop"),
        ("/beside", "/srv"),
        ("/up", "/srv/db/../other"),
    ];

    fn locate_with(path: &str, own: &[&str]) -> (Option<String>, Vec<PathBuf>) {
        let asked = RefCell::new(Vec::new());
        let own: Vec<DeviceNumber> = own.iter().map(|device| device.parse().unwrap()).collect();
        let device = locate(Path::new(path), &own, &Mounts::parse(TABLE), |path| {
            asked.borrow_mut().push(path.to_owned());
            LINKS.iter().find(|(link, _)| Path::new(link) == path).map(|(_, target)| PathBuf::from(target))
        });
        (device.map(|device| device.to_string()), asked.into_inner())
    }

    fn located(path: &str) -> Option<String> {
        locate_with(path, &["7:0", "0:30"]).0
    }

    #[test]
    fn the_longest_mount_point_counts() {
        for (path, device) in [
            ("/", "254:0"),
            ("/srv", "254:0"),
            ("/srv/dbx/file", "254:0"),
            ("/srv/db", "7:0"),
            ("/srv/db/a/b", "7:0"),
            ("/run/envol/vol-1/image", "0:30"),
            ("/mnt/covered/x", "8:1"),
            ("/mnt/bound/x", "7:0"),
            ("/srv/db/../x", "7:0"),
            ("/srv//./db/", "7:0"),
        ] {
            assert_eq!(located(path).as_deref(), Some(device), "{path}");
        }
    }

    #[test]
    fn what_is_mounted_inside_our_own_lies_there_only_if_our_own_is_not_looked_at() {
        assert_eq!(located("/srv/db/inner/x").as_deref(), Some("7:0"));
        assert_eq!(locate_with("/srv/db/inner/x", &[]).0.as_deref(), Some("7:1"));
    }

    #[test]
    fn symbolic_links_are_followed_up_to_our_own_and_not_in_it() {
        for (path, device) in [
            ("/backup/x", "7:0"),
            ("/var/here", "7:0"),
            ("/beside/db/x", "7:0"),
            ("/beside/x", "254:0"),
            ("/up", "7:0"),
            ("/srv/db/away", "7:0"),
        ] {
            assert_eq!(located(path).as_deref(), Some(device), "{path}");
        }
        // The control: who may look finds that it leads away.
        assert_eq!(locate_with("/srv/db/away", &[]).0.as_deref(), Some("254:0"));
        assert_eq!(locate_with("/up", &[]).0.as_deref(), Some("254:0"));
    }

    #[test]
    fn nothing_on_our_own_is_asked_and_no_mount_point() {
        for path in ["/srv/db/a/b", "/backup/x", "/mnt/bound/a", "/run/envol/vol-1/image", "/mnt/covered/x"] {
            let (_, asked) = locate_with(path, &["7:0", "0:30"]);
            let own = ["/srv/db", "/mnt/bound", "/run/envol/vol-1", "/mnt/covered"].map(Path::new);
            assert!(!asked.iter().any(|asked| own.contains(&asked.as_path())), "{path}: {asked:?}");
            assert!(!asked.iter().any(|asked| own[..3].iter().any(|own| asked.starts_with(own))), "{path}: {asked:?}");
        }
    }

    #[test]
    fn what_is_relative_or_leads_nowhere_lies_nowhere() {
        assert_eq!(located("srv/db"), None);
        assert_eq!(located("/loop/x"), None);
        assert_eq!(where_lies(Path::new("relative"), &[]), None);
        assert!(where_lies(Path::new("/proc/self/absent"), &[]).is_some());
    }
}
