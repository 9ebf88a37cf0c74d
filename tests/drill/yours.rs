//! A drill on a volume that somebody needs: only with a snapshot to go back to, and it leaves a new volume made of that.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use super::harness::{Host, wait_until};
use super::{AS_GRANTEE, DEADLINE, Running, drills, other_keys, passed, policy, revoke, state_of};

/// Attached, with a file on it.
fn volume_in_use(host: &Host, dir: &Path, more: &[&str], profile: &[&str]) -> String {
    let volume = host.create(&[&["--size", "64MiB"], more].concat());
    let attach = ["attach", &volume, dir.to_str().unwrap(), "--probe-interval", "1s", "--confirm-denial", "1s"];
    host.envol(&[&attach, profile].concat()).expect_code(0);
    fs::write(dir.join("data"), "before").unwrap();
    volume
}

fn snapshot(host: &Host, volume: &str) -> String {
    host.snapshot(volume, &[])["snapshot_id"].as_str().unwrap().to_owned()
}

const PROBES: [&str; 2] = ["--probe-interval", "1s"];

#[test]
fn without_a_young_snapshot_a_volume_of_yours_is_left_alone() {
    let host = Host::new();
    let dir = host.directory("mnt");
    revoke(&host, "disable-key", &[&["vol-absent"]]).expect_code(3);
    let volume = volume_in_use(&host, &dir, &[], &[]);
    let meant = [volume.as_str(), "--confirm", &volume];
    let refused = |way: &str, arguments: &[&str], why: &str| {
        revoke(&host, way, &[&PROBES, arguments]).expect_code(2).expect_stderr(why);
        assert!(drills(&host).is_empty() && other_keys(&host).is_empty(), "something was made");
        assert_eq!(host.status(&volume)["state"], "in-use");
    };
    refused("disable-key", &[&volume], "--confirm");
    refused("disable-key", &[&volume, "--confirm", "vol-another"], "nothing was changed");
    refused("disable-key", &[&volume, "--confirm", &volume, "--workload", "none"], "--workload");
    let take_one = format!("snapshot create {volume}");
    refused("disable-key", &meant, &take_one);
    snapshot(&host, &volume);
    refused("disable-key", &[&meant[..], &["--max-snapshot-age", "1ms"]].concat(), &take_one);
    fs::rename(host.store(), host.root().join("elsewhere")).unwrap();
    refused("disable-key", &meant, &take_one);
    let _ = fs::remove_dir_all(host.store());
    fs::rename(host.root().join("elsewhere"), host.store()).unwrap();
    refused("revoke-grant", &meant, "no grant of its own");
    refused("delete-key-material", &meant, "would be final");
    let other = host.create(&["--size", "16MiB"]);
    refused("disable-key", &meant, &other);
    host.envol(&["delete", &other, "--yes"]).expect_code(0);
    assert_eq!(fs::read_to_string(dir.join("data")).unwrap(), "before");

    host.envol(&["detach", &volume]).expect_code(0);
    revoke(&host, "disable-key", &[&meant]).expect_code(2).expect_stderr("not mounted");
    // The control.
    host.envol(&["attach", &volume, dir.to_str().unwrap(), "--probe-interval", "1s"]).expect_code(0);
    passed(revoke(&host, "disable-key", &[&PROBES, &meant]));
}

/// The new volume takes the place of the old one, with what the snapshot shows, and nothing of the drill.
#[track_caller]
fn assert_replaced(host: &Host, report: &Value, dir: &Path, profile: &[&str]) {
    let recovery = &report["recovery"];
    let new = recovery["volume_id"].as_str().unwrap();
    let shown = host.status(new);
    assert_eq!((&shown["state"], &shown["db_id"]), (&"available".into(), &"db-TEST".into()));
    assert_eq!(shown["kms_key"], report["key"]["arn"]);
    let attach = recovery["commands"].as_array().unwrap().last().unwrap().as_str().unwrap();
    assert!(attach.contains(&format!("attach {new} {}", report["mount_point"].as_str().unwrap())), "{attach}");
    host.envol(&[&["attach", new, dir.to_str().unwrap()], profile].concat()).expect_code(0);
    assert_eq!(fs::read_to_string(dir.join("data")).unwrap(), "before");
    let names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_str().unwrap().contains("drill")), "{names:?}");
    host.envol(&["detach", new]).expect_code(0);
}

#[test]
fn a_volume_of_yours_ends_and_a_new_one_is_there() {
    let host = Host::new();
    let dir = host.directory("mnt");
    let volume = volume_in_use(&host, &dir, &AS_GRANTEE, &AS_GRANTEE[2..]);
    let snapshot = snapshot(&host, &volume);
    fs::write(dir.join("later"), "lost").unwrap();
    let meant = [volume.as_str(), "--confirm", &volume];
    let report = passed(revoke(&host, "revoke-grant", &[&PROBES, &meant, &AS_GRANTEE[2..]]));
    assert_eq!(report["subject"], "yours");
    assert_eq!(report["recovery"]["snapshot_id"], snapshot.as_str());
    assert!(report["recovery"]["lost_commits"].is_null() && report["recovery"]["database_up_ms"].is_null());
    assert_eq!(host.status(&volume)["state"], "terminal");
    assert_replaced(&host, &report, &dir, &AS_GRANTEE[2..]);
    host.envol(&["snapshot", "verify", &snapshot]).expect_code(0);
    assert!(host.envol(&["drill", "undo"]).expect_code(0).stdout.contains("nothing to undo"));
    assert_eq!(host.json(&["list"])["volumes"].as_array().unwrap().len(), 2);
}

#[test]
fn a_recoverable_volume_of_yours_can_be_attached_again() {
    let host = Host::new();
    let dir = host.directory("mnt");
    let back = host.directory("back");
    let volume = volume_in_use(&host, &dir, &["--on-revocation", "recoverable=7d"], &[]);
    snapshot(&host, &volume);
    let report = passed(revoke(&host, "disable-key", &[&PROBES, &[&volume, "--confirm", &volume]]));
    let next: Vec<&str> = report["recovery"]["next"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    assert!(next.iter().any(|next| next.contains(&format!("envol attach {volume}"))), "{next:?}");
    let new = report["recovery"]["volume_id"].as_str().unwrap();
    assert_eq!(host.status(new)["on_revocation"], "recoverable=7d");
    assert_replaced(&host, &report, &back, &[]);
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    assert_eq!(fs::read_to_string(dir.join("data")).unwrap(), "before");
}

#[test]
fn an_interrupted_drill_on_a_volume_of_yours_takes_nothing_of_yours_away() {
    let host = Host::new();
    let dir = host.directory("mnt");
    let volume = volume_in_use(&host, &dir, &[], &[]);
    let snapshot = snapshot(&host, &volume);
    let arguments = [&["--by", "disable-key", &volume, "--confirm", &volume], &PROBES[..]].concat();

    // Before the revocation: nothing is left of it on the volume, which goes on.
    let mut drill = Running::start(&host, &arguments);
    drill.wait_for(&host, "probes");
    drill.signal(Signal::KILL);
    host.envol(&["drill", "undo"]).expect_code(0);
    assert_eq!(host.status(&volume)["state"], "in-use");
    let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_str().unwrap().contains("drill")), "{left:?}");

    // While it restores: the half made volume goes, and the old one, which is terminal now, stays with its snapshot.
    let mut drill = Running::start(&host, &arguments);
    drill.wait_for(&host, "volume");
    drill.signal(Signal::KILL);
    host.envol(&["drill", "undo"]).expect_code(0);
    assert_eq!(state_of(&host, &host.key_id()), "Enabled");
    assert!(!policy(&host).contains("EnvolDrill"));
    assert_eq!(host.volume_directories(), [volume.as_str()]);
    wait_until("terminal", DEADLINE, || host.status(&volume)["state"] == "terminal");
    host.envol(&["snapshot", "verify", &snapshot]).expect_code(0);
}
