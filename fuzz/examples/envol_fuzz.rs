//! One target under libFuzzer: `ENVOL_FUZZ_TARGET` names it, the arguments are libFuzzer's. `scripts/fuzz.sh` runs it.

#![no_main]
#![allow(unsafe_code, reason = "the entry that libFuzzer calls")]

use std::sync::LazyLock;

use envol_fuzz::{Target, find, run};

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("ENVOL_FUZZ_TARGET").expect("ENVOL_FUZZ_TARGET names a target");
    find(&name).unwrap_or_else(|| panic!("there is no target `{name}`"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Err(excess) = run(&TARGET, data) {
        panic!("{excess:?}");
    }
});
