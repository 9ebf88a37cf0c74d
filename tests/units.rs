//! The units that are shipped are what systemd takes without a complaint.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/systemd");
const VOLUME_UNIT: &str = "envol@vol-00000000000000000.service";

/// A root directory with this host's own units, ours, and the program where a package installs it.
fn installed() -> TempDir {
    let root = TempDir::with_prefix("envol-test-units-").unwrap();
    let folder = |path: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(&path).unwrap();
        path
    };
    symlink("usr/bin", root.path().join("bin")).unwrap();
    for program in ["envol", "sh", "true", "pg_ctlcluster"] {
        fs::copy("/bin/true", folder("usr/bin").join(program)).unwrap();
    }
    let units = folder("usr/lib/systemd/system");
    copy_units(Path::new("/usr/lib/systemd/system"), &units);
    copy_units(Path::new(PACKAGING), &units);
    // Also where it is not installed.
    fs::write(units.join("mariadb.service"), "[Service]\nExecStart=/usr/bin/true\n").unwrap();
    fs::write(units.join("postgresql@15-main.service"), "[Service]\nExecStart=/usr/bin/true\n").unwrap();
    fs::write(units.join("postgresql.service"), "[Service]\nExecStart=/usr/bin/true\n").unwrap();
    root
}

fn copy_units(from: &Path, to: &Path) {
    let status = Command::new("cp").args(["-a", "--"]).arg(from.join(".")).arg(to).status().unwrap();
    assert!(status.success());
}

/// What systemd has to say of our units, and whether it would take them.
fn verify(root: &Path) -> (bool, String) {
    let units =
        [VOLUME_UNIT, "envol-kms.service", "postgresql@15-main.service", "postgresql.service", "mariadb.service"];
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=one"])
        .arg(format!("--root={}", root.display()))
        .args(units)
        .output()
        .expect("systemd-analyze is not installed; scripts/test.sh installs it");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn systemd_takes_them_without_a_complaint() {
    let root = installed();
    assert_eq!(verify(root.path()), (true, String::new()));

    // The control: with a mistake in it, it complains.
    let unit = root.path().join("usr/lib/systemd/system/envol@.service");
    let text = fs::read_to_string(&unit).unwrap();
    fs::write(&unit, text.replace("KillMode=process", "KillMode=gently")).unwrap();
    let (_, said) = verify(root.path());
    assert!(said.contains("gently"), "{said}");
}
