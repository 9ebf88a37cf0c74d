//! A small file system, unmounted again at the end.

use std::path::PathBuf;
use std::process::Command;

pub struct Tmpfs(pub PathBuf);

impl Tmpfs {
    /// Over `dir`.
    pub fn mount(dir: PathBuf, size: &str) -> Self {
        mount(&dir, &format!("size={size}"));
        Self(dir)
    }

    pub fn grow(&self, size: &str) {
        mount(&self.0, &format!("remount,size={size}"));
    }
}

fn mount(dir: &std::path::Path, options: &str) {
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(dir).status().expect("mount runs");
    assert!(mounted.success(), "{}: {options}", dir.display());
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
