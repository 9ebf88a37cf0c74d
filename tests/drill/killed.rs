//! A drill is killed at each of its stages, and `envol drill undo` leaves nothing behind.

use rustix::process::Signal;

use super::harness::{Host, wait_until};
use super::{AS_GRANTEE, DEADLINE, Running, SMALL, assert_nothing_left, drills};

fn killed_at(step: &str, arguments: &[&str]) {
    killed_when(arguments, |drill, host| drill.wait_for(host, step));
}

fn killed_when(arguments: &[&str], reached: impl Fn(&Running, &Host)) {
    let host = Host::new();
    let mut drill = Running::start(&host, arguments);
    reached(&drill, &host);
    drill.signal(Signal::KILL);
    let undone = host.envol(&["drill", "undo"]).expect_code(0);
    assert!(undone.stdout.contains("drill-"), "{}", undone.stdout);
    assert_nothing_left(&host);
    let again = host.envol(&["drill", "undo"]).expect_code(0);
    assert!(again.stdout.contains("nothing to undo"), "{}", again.stdout);
}

#[test]
fn killed_while_it_makes_its_key() {
    killed_at("key", &[&["--by", "disable-key"], &SMALL[..]].concat());
}

#[test]
fn killed_while_it_makes_its_volume() {
    killed_at("volume", &[&["--by", "revoke-grant"], &SMALL[..], &AS_GRANTEE].concat());
}

#[test]
fn killed_while_it_attaches() {
    killed_at("directory", &[&["--by", "disable-key", "--kms-key", "alias/test"], &SMALL[..]].concat());
}

#[test]
fn killed_while_its_database_starts() {
    killed_at("process", &["--by", "disable-key", "--workload", "postgres"]);
}

#[test]
fn killed_while_the_key_is_disabled() {
    killed_at(
        "key-state",
        &[&["--by", "disable-key", "--kms-key", "alias/test", "--probe-interval", "20s"], &SMALL[..]].concat(),
    );
}

#[test]
fn killed_while_the_policy_denies() {
    killed_at(
        "policy",
        &[&["--by", "deny-policy", "--kms-key", "alias/test", "--probe-interval", "20s"], &SMALL[..], &AS_GRANTEE]
            .concat(),
    );
}

#[test]
fn killed_while_it_takes_its_snapshot() {
    let has_store = |_: &Running, host: &Host| {
        wait_until("a store", DEADLINE, || drills(host).iter().any(|drill| drill.join("snapshots").exists()));
    };
    killed_when(&[&["--by", "disable-key"], &SMALL[..]].concat(), has_store);
}

#[test]
fn killed_while_it_restores() {
    let arguments = [&["--by", "revoke-grant", "--kms-key", "alias/test"], &SMALL[..], &AS_GRANTEE].concat();
    killed_when(&arguments, |drill, host| drill.wait_for_several(host, "volume", 2));
}

#[test]
fn killed_while_the_restored_database_starts() {
    // The database, its load, the observer, and the database again.
    let arguments = ["--by", "disable-key", "--workload", "postgres"];
    killed_when(&arguments, |drill, host| drill.wait_for_several(host, "process", 4));
}
