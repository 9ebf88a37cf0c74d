//! After each revocation the drill goes the way back: a volume made of the snapshot that it took before.

use std::fs;

use serde_json::Value;

use super::harness::{Host, Ran};
use super::{AS_GRANTEE, SMALL, assert_nothing_left, drills, other_keys, passed, revoke};

/// The drill waits for so many commits after its snapshot.
const AFTER_SNAPSHOT: u64 = 5;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// All but `lost_commits` of those that were acknowledged are there: the drill has counted them.
#[track_caller]
fn assert_recovered(report: &Value) {
    let recovery = &report["recovery"];
    assert!(recovery["snapshot_id"].as_str().unwrap().starts_with("snap-"), "{recovery}");
    assert!(number(&recovery["snapshot_ms"]) > 0.0 && number(&recovery["loss_window_ms"]) > 0.0, "{recovery}");
    assert!(number(&recovery["restored_ms"]) > 0.0, "{recovery}");
    assert!(number(&recovery["database_up_ms"]) > number(&recovery["restored_ms"]), "{recovery}");
    let allowed: jiff::Timestamp = recovery["allowed_again_at"].as_str().unwrap().parse().unwrap();
    let revoked: jiff::Timestamp = report["revocation"]["acknowledged_at"].as_str().unwrap().parse().unwrap();
    assert!(allowed > revoked);
    let lost = recovery["lost_commits"].as_u64().unwrap();
    let acknowledged = report["observed"]["commit"]["successes"].as_u64().unwrap();
    assert!(lost >= AFTER_SNAPSHOT && lost + AFTER_SNAPSHOT <= acknowledged, "{lost} lost of {acknowledged}");
    let recovered = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "recovered").unwrap();
    assert_eq!((&recovered["pass"], &recovered["measured_ms"]), (&true.into(), &recovery["database_up_ms"]));
}

/// In this order, each a command that begins so.
#[track_caller]
fn assert_commands(report: &Value, beginnings: &[&str]) {
    let root = ["envol --root ", ""];
    let commands = report["recovery"]["commands"].as_array().unwrap();
    assert_eq!(commands.len(), beginnings.len(), "{commands:?}");
    for (command, beginning) in commands.iter().zip(beginnings) {
        let command = command.as_str().unwrap();
        let after_root = command.strip_prefix(root[0]).and_then(|rest| rest.split_once(' ')).map(|(_, rest)| rest);
        assert!(after_root.unwrap_or(command).starts_with(beginning), "{command} is not {beginning}");
    }
}

#[test]
fn postgres_under_load_loses_its_volume_and_comes_back() {
    let host = Host::new();
    let report = passed(revoke(&host, "disable-key", &[&["--workload", "postgres"]]));
    assert!(report["workload"].as_str().unwrap().starts_with("PostgreSQL"), "{}", report["workload"]);
    assert!(!report["database_log"].as_array().unwrap().is_empty());
    assert_recovered(&report);
    let way = ["snapshot create vol-", "aws kms disable-key ", "status vol-", "aws kms enable-key ", "create "];
    assert_commands(&report, &[&way[..], &["attach vol-", "runuser -u postgres -- "]].concat());
    assert_nothing_left(&host);
}

#[test]
fn a_limit_for_the_recovery_is_kept_or_fails_the_drill() {
    let host = Host::new();
    let with_limit = |limit: &str| -> Ran { revoke(&host, "disable-key", &[&SMALL, &["--recover-within", limit]]) };
    let failed = with_limit("1ms").expect_code(1).expect_stderr("recovered: ");
    let report: Value = serde_json::from_str(&failed.stdout).unwrap();
    assert_eq!(report["verdict"], "fail");
    assert!(report["recovery"].is_object());
    let report = passed(with_limit("1m"));
    assert_recovered(&report);
    assert_nothing_left(&host);
}

/// A volume with somebody's database, of which nothing is left but its snapshot.
fn snapshot_of_a_database(host: &Host) -> (String, String) {
    let dir = host.directory("mnt");
    let volume = host.create(&["--size", "256MiB"]);
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    // What a drill would use if it took the top of the volume.
    for name in ["pgdata", "data"] {
        fs::create_dir(dir.join(name)).unwrap();
        fs::write(dir.join(name).join("PG_VERSION"), "9.6").unwrap();
    }
    let store = host.root().join("backups").to_str().unwrap().to_owned();
    let snapshot = host.snapshot(&volume, &["--store", &store])["snapshot_id"].as_str().unwrap().to_owned();
    host.envol(&["detach", &volume]).expect_code(0);
    host.envol(&["delete", &volume, "--yes"]).expect_code(0);
    (snapshot, store)
}

#[test]
fn a_throw_away_volume_is_made_of_a_snapshot() {
    let host = Host::new();
    let (snapshot, store) = snapshot_of_a_database(&host);
    let from = ["--from-snapshot", &snapshot, "--store", &store];
    let report = passed(revoke(&host, "disable-key", &[&from, &["--workload", "mariadb"]]));
    assert_eq!((&report["subject"], &report["from_snapshot"]), (&"from-snapshot".into(), &snapshot.as_str().into()));
    assert_eq!(report["size_bytes"], 256 << 20);
    assert!(report["workload"].as_str().unwrap().starts_with("MariaDB"), "{}", report["workload"]);
    assert_recovered(&report);
    assert_ne!(report["recovery"]["snapshot_id"], snapshot.as_str());
    assert_nothing_left(&host);
    host.envol(&["snapshot", "verify", &snapshot, "--store", &store]).expect_code(0);
}

#[test]
fn a_snapshot_that_cannot_be_had_leaves_nothing_behind() {
    let host = Host::new();
    let (snapshot, store) = snapshot_of_a_database(&host);
    let from = |snapshot: &str, more: &[&str]| {
        let store = ["--store", &store, "--workload", "none"];
        revoke(&host, "revoke-grant", &[&["--from-snapshot", snapshot], &store, &AS_GRANTEE, more])
    };
    from("snap-0123456789abcdef0", &[]).expect_code(3);
    from(&snapshot, &["--size", "64MiB"]).expect_code(2).expect_stderr("smaller");
    from(&snapshot, &["vol-1"]).expect_code(2);
    revoke(&host, "disable-key", &[&SMALL, &["--store", &store]]).expect_code(2).expect_stderr("--from-snapshot");
    assert!(drills(&host).is_empty() && other_keys(&host).is_empty(), "something was made");
    host.disable_key();
    from(&snapshot, &[]).expect_code(4).expect_stderr("disabled");
    host.enable_key();
    assert_nothing_left(&host);
    // The control.
    assert_recovered(&passed(from(&snapshot, &[])));
    assert_nothing_left(&host);
}

/// Until the drill is over its snapshot cannot be read: the report says so, and everything is undone.
#[test]
fn a_recovery_that_fails_fails_the_drill_and_says_why() {
    let host = Host::new();
    let arguments = ["--by", "disable-key", "--kms-key", "alias/test", "--report", "REPORT", "--probe-interval", "5s"];
    let report = host.root().join("report");
    let report_text = report.to_str().unwrap();
    let arguments: Vec<&str> =
        arguments.iter().map(|word| if *word == "REPORT" { report_text } else { word }).chain(SMALL).collect();
    let mut drill = super::Running::start(&host, &arguments);
    drill.wait_for(&host, "key-state");
    for drill in drills(&host) {
        fs::remove_dir_all(drill.join("snapshots")).unwrap();
    }
    assert_eq!(drill.wait(), 1);
    let report: Value = serde_json::from_slice(&fs::read(report.join("report.json")).unwrap()).unwrap();
    assert!(report["recovery"].is_null(), "{report}");
    assert!(
        report["recovery_reason"].as_str().unwrap().contains("no store of snapshots"),
        "{}",
        report["recovery_reason"]
    );
    let passes =
        |name: &str| report["checks"].as_array().unwrap().iter().any(|c| c["name"] == name && c["pass"] == true);
    assert!(!passes("recovered") && passes("purged") && passes("undone"), "{}", report["checks"]);
    assert_nothing_left(&host);
}
