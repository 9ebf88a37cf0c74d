//! KMS that does not answer, or not in time, or not for the key, has decided nothing.

use super::drill::Drill;
use super::served::{Served, Trouble};

/// A fault of the local KMS, and what a probe says of it.
#[track_caller]
fn ridden_through(fault: &[&str], error: &str) {
    let begins = |drill: &Drill| drill.fault(fault);
    let ends = |drill: &Drill| drill.fault(&["clear"]);
    Trouble { begins: &begins, error, ends: &ends }.is_ridden_through_by(&Drill::new());
}

#[test]
fn kms_is_stopped() {
    let (begins, ends) = (|drill: &Drill| drill.host.stop_kms(), |drill: &Drill| drill.host.start_kms());
    Trouble { begins: &begins, error: "KMS Decrypt", ends: &ends }.is_ridden_through_by(&Drill::new());
}

#[test]
fn every_answer_is_http_503() {
    ridden_through(&["outage"], "503");
}

#[test]
fn every_answer_is_an_internal_error() {
    ridden_through(&["outage", "--answer", "internal-error"], "KMSInternalException");
}

#[test]
fn connections_are_accepted_and_nothing_is_said() {
    ridden_through(&["outage", "--answer", "silence"], "timed out");
}

#[test]
fn the_answer_comes_after_the_time_outs() {
    ridden_through(&["latency", "20s"], "timed out");
}

#[test]
fn every_call_is_throttled() {
    ridden_through(&["throttle"], "ThrottlingException");
}

#[test]
fn an_answer_that_is_slow_and_in_time_is_an_answer() {
    let drill = Drill::new();
    drill.fault(&["latency", "1s", "--operation", "Decrypt"]);
    drill.wait_for_two_probes();
    drill.assert_served();
    drill.disable_key();
    drill.wait_for_terminal("key-disabled");
}
