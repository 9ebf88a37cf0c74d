#!/usr/bin/env bash
# Feeds the decoders with bytes that nobody chose, led by the code that they reach (libFuzzer), and says how many of them there
# were. Ends with 1 at the first that panics, hangs for 5 s or takes more memory than it may; its input is kept.
#
#   scripts/fuzz.sh [--runs N] [--seconds S] [--seed N] [--keep] [TARGET...]
#
# --runs     inputs for each target (20000), and
# --seconds  how long each may take at most (0: as long as it takes)
# --seed     of libFuzzer's choices (1); 0 is another one each time
# --keep     make the corpus of the targets anew, from it and from what was found: the least that reaches all the code
# TARGET     names of folders in fuzz/corpus; without one, all of them
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/prerequisites.sh"
cd "$envol_repo"

runs=20000 seconds=0 seed=1 keep=
targets=()
while [ $# -gt 0 ]; do
    case $1 in
        --runs) runs=$2 && shift 2 ;;
        --seconds) seconds=$2 && shift 2 ;;
        --seed) seed=$2 && shift 2 ;;
        --keep) keep=yes && shift ;;
        -*) give_up "no such option: $1" ;;
        *) targets+=("$1") && shift ;;
    esac
done
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(ls fuzz/corpus)

need_rust
need_packages c++=g++

CARGO_INCREMENTAL=0 RUSTC_WORKSPACE_WRAPPER="$envol_repo/scripts/rustc-with-coverage.sh" \
    cargo build --workspace --locked --quiet --features envol-fuzz/libfuzzer --example envol_fuzz
program="$envol_repo/target/debug/examples/envol_fuzz"

# In memory where that is to be had: some decoders read files.
scratch=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")" envol-fuzz.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
found="$envol_repo/target/fuzz"
mkdir -p "$found"

# fuzz TARGET ARGUMENT... : libFuzzer, with nothing of the user's AWS settings.
fuzz() {
    local target=$1
    shift
    env --unset=AWS_PROFILE --unset=AWS_REGION --unset=AWS_ENDPOINT_URL --unset=AWS_ENDPOINT_URL_KMS \
        --unset=AWS_ACCESS_KEY_ID --unset=AWS_SECRET_ACCESS_KEY --unset=AWS_SESSION_TOKEN \
        AWS_CONFIG_FILE="$scratch/aws-config" AWS_EC2_METADATA_DISABLED=true TMPDIR="$scratch" \
        ENVOL_FUZZ_TARGET="$target" "$program" -max_len=4096 -timeout=5 -rss_limit_mb=1024 "$@" 2>"$found/$target.log"
}

# Whoever notices nothing finds nothing.
for control in control_panic control_allocation control_hang; do
    rm -f "$found/$control"-*
    if fuzz "$control" -runs=1000000 -timeout=1 -artifact_prefix="$found/$control-" || ! ls "$found/$control"-* >/dev/null 2>&1; then
        give_up "$control was not noticed: $found/$control.log"
    fi
done

# stat NAME TARGET : what libFuzzer says at its end.
stat() {
    sed -n "s/^stat::$1: *//p" "$found/$2.log"
}

total=0
printf '%-18s %12s %10s %9s %8s %14s\n' target executions per_second coverage corpus largest_bytes
for target in "${targets[@]}"; do
    [ -d "fuzz/corpus/$target" ] || give_up "no such target: $target (ls fuzz/corpus)"
    mkdir -p "$found/$target"
    begun_ms=$(date +%s%3N)
    if ! fuzz "$target" -runs="$runs" -max_total_time="$seconds" -seed="$seed" -print_final_stats=1 \
        -artifact_prefix="$found/$target-" "$found/$target" "fuzz/corpus/$target"; then
        tail -n 40 "$found/$target.log" >&2
        printf '%s: %s fails. All of it: %s\nAgain: ENVOL_FUZZ_TARGET=%s %s FILE\n' "$(basename "$0")" "$target" \
            "$found/$target.log" "$target" "$program" >&2
        exit 1
    fi
    executed=$(stat number_of_executed_units "$target")
    took_ms=$(($(date +%s%3N) - begun_ms))
    total=$((total + executed))
    coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$found/$target.log" | tail -n 1)
    if [ -n "$keep" ]; then
        rm -rf "$scratch/least" && mkdir "$scratch/least"
        fuzz "$target" -set_cover_merge=1 -use_counters=0 -use_cmp=0 "$scratch/least" "fuzz/corpus/$target" "$found/$target" ||
            give_up "$target: the corpus cannot be made anew: $found/$target.log"
        # Those that a person wrote stay: they also reach code of others, which has no counters.
        find "fuzz/corpus/$target" -name 'seed-*' -exec cp {} "$scratch/least" \;
        rm -rf "fuzz/corpus/${target:?}" && cp -r "$scratch/least" "fuzz/corpus/$target"
    fi
    printf '%-18s %12d %10d %9s %8d %14d\n' "$target" "$executed" $((executed * 1000 / took_ms)) "$coverage" \
        "$(find "fuzz/corpus/$target" -type f | wc -l)" \
        "$(find "$found/$target" "fuzz/corpus/$target" -type f -printf '%s\n' | sort -n | tail -n 1)"
done
printf '%d executions, without a panic, a hang or memory beyond bounds\n' "$total"
