#!/usr/bin/env bash
# What is measured, beside others in the same run. It wants a quiet machine.
#
#   scripts/bench.sh [ROUNDS]    the cipher beside AWS-LC, OpenSSL and xts-mode
#   scripts/bench.sh kms         calls a second of the local KMS
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/prerequisites.sh"
cd "$envol_repo"

need_rust
if [ "${1-}" = kms ]; then
    exec cargo bench --locked --package local-kms --bench decrypts
fi
need_openssl
exec cargo bench --locked --package envol-bench --bench cipher -- "$@"
