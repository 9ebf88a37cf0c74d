#!/bin/sh
# RUSTC_WORKSPACE_WRAPPER of scripts/fuzz.sh: rustc, with the counters by which libFuzzer sees which code an input reaches. Only
# the crates of this repository come through here, so dependencies are those of any other debug build.
case " $* " in
    # It runs by itself, without libFuzzer.
    *" --crate-name build_script_"*) exec "$@" ;;
esac
exec "$@" -Cpasses=sancov-module -Ccodegen-units=1 -Copt-level=2 \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
