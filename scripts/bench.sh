#!/usr/bin/env bash
# What is measured, beside others in the same run. It wants a quiet machine.
#
#   scripts/bench.sh [ROUNDS]
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/prerequisites.sh"
cd "$envol_repo"

need_rust
need_openssl
exec cargo bench --locked --package envol-bench --bench cipher -- "$@"
