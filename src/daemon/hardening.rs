//! What a process that holds keys, and that the kernel waits for when it writes dirty pages back, asks of its host.

use std::fs;

use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Does what is allowed, and says what was refused.
pub(super) fn harden() -> Vec<String> {
    let mut refused = Vec::new();
    let mut note = |what: &str, result: Result<(), String>| {
        if let Err(error) = result {
            refused.push(format!("{what}: {error}"));
        }
    };
    note("keep keys out of core dumps", no_core_dumps());
    // Memory that this process needs to answer a write must not be sought by writing to this very process.
    note(
        "mark this process as one that writes back (PR_SET_IO_FLUSHER)",
        rustix::process::configure_io_flusher_behavior(true).map_err(|error| error.to_string()),
    );
    if rustix::process::geteuid().is_root() {
        note(
            "be the last that the kernel kills when memory runs out (oom_score_adj)",
            fs::write("/proc/self/oom_score_adj", "-1000").map_err(|error| error.to_string()),
        );
        // On fault: only what is touched is locked. Without root it would count against a limit of a few MiB.
        let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
        note("lock this process's memory", rustix::mm::mlockall(flags).map_err(|error| error.to_string()));
    }
    refused
}

fn no_core_dumps() -> Result<(), String> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).map_err(|error| error.to_string())?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| error.to_string())
}
