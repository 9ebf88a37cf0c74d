#!/usr/bin/env bash
# The tests that gain from time, for hours: kills under databases, power cuts, faults, random operations, orders of threads, random bytes,
# programs. Run as root.
#
#   scripts/soak.sh [--hours N] [--seed N]     default: 1 hour, a new seed each round
#   scripts/soak.sh --kills POSTGRES MARIADB   once, with so many kill -9 of the daemon under each, and nothing else
#
# Each round prints its seed; --seed repeats that round, and the ones after it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/prerequisites.sh"
cd "$envol_repo"

hours=1
seed=""
kills=()
while [ $# -gt 0 ]; do
    case "$1" in
        --hours) hours="$2"; shift 2 ;;
        --seed) seed="$2"; shift 2 ;;
        --kills) kills=("$2" "$3"); shift 3 ;;
        *) give_up "what is $1? See the top of $0." ;;
    esac
done

need_packages losetup=mount mkfs.ext4=e2fsprogs mkfs.xfs=xfsprogs psql=postgresql setpriv=util-linux mariadbd=mariadb-server faketime=faketime
need_rust
need_python boto3=boto3
need_kernel

run() { cargo test --workspace --locked "$@" -- --nocapture; }

if [ ${#kills[@]} -gt 0 ]; then
    ENVOL_SOAK_ROUNDS="${kills[0]}" run --test postgres_crash
    ENVOL_SOAK_ROUNDS="${kills[1]}" run --test mariadb_crash
    exit
fi

until=$(($(date +%s) + hours * 3600))
round=1
while [ "$(date +%s)" -lt "$until" ]; do
    export ENVOL_SOAK_SEED="${seed:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}"
    printf '\n== round %s: scripts/soak.sh --seed %s\n' "$round" "$ENVOL_SOAK_SEED"
    # Volume, snapshots, formats and decoders against their models, with more cases than in the tests.
    PROPTEST_CASES=2000 PROPTEST_RNG_SEED="$ENVOL_SOAK_SEED" run --lib
    PROPTEST_CASES=2000 PROPTEST_RNG_SEED="$ENVOL_SOAK_SEED" run --test format_golden
    ENVOL_SOAK_ROUNDS=50 run --test races
    PROPTEST_CASES=20 PROPTEST_RNG_SEED="$ENVOL_SOAK_SEED" run --test model
    ENVOL_SOAK_ROUNDS=20 run --test postgres_crash
    ENVOL_SOAK_ROUNDS=10 run --test mariadb_crash
    run --test snapshot_kills --test kms_kill --test image_io --test recovery --test resize --test faults
    scripts/fuzz.sh --runs 10000000 --seconds 20 --seed "$ENVOL_SOAK_SEED"
    scripts/programs.sh
    [ -z "$seed" ] || seed=$((seed + 1))
    round=$((round + 1))
done
