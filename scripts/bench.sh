#!/usr/bin/env bash
# What is measured, beside others in the same run. It wants a quiet machine.
#
#   scripts/bench.sh [ROUNDS]    the cipher beside AWS-LC, OpenSSL and xts-mode
#   scripts/bench.sh kms         calls a second of the local KMS
#   scripts/bench.sh snapshots [restic|database] [ROUNDS]    taking and restoring 4 GiB beside restic, and pgbench meanwhile; as root
#   scripts/bench.sh revocation [ROUNDS]    from the owner's no to the last byte, and to an empty host; as root
#   scripts/bench.sh large [ROUNDS]    a volume of 4 TiB beside a small one, and one that 40 GiB were written to; as root
#   scripts/bench.sh io [OPTION...]   the image file, and ext4 with databases on it, beside a plain file, the same front-end
#                                without a cipher, LUKS of QEMU and of nbdkit, and gocryptfs; as root; --help has the options
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/prerequisites.sh"
cd "$envol_repo"

need_rust
if [ "${1-}" = kms ]; then
    exec cargo bench --locked --package local-kms --bench decrypts
fi
if [ "${1-}" = revocation ]; then
    need_packages psql=postgresql setpriv=util-linux
    need_python boto3=boto3
    need_kernel
    exec cargo bench --locked --package envol --bench revocation -- "${@:2}"
fi
if [ "${1-}" = large ]; then
    need_packages fio=fio
    need_python boto3=boto3
    need_kernel
    exec cargo bench --locked --package envol --bench large -- "${@:2}"
fi
if [ "${1-}" = snapshots ]; then
    need_packages psql=postgresql setpriv=util-linux restic=restic
    need_python boto3=boto3
    need_kernel
    exec cargo bench --locked --package envol --bench snapshots -- "${@:2}"
fi
need_openssl
if [ "${1-}" = io ]; then
    need_packages fio=fio psql=postgresql mariadbd=mariadb-server sysbench=sysbench setpriv=util-linux losetup=mount mkfs.ext4=e2fsprogs \
        qemu-storage-daemon=qemu-utils nbdkit=nbdkit nbdfuse=libnbd-bin gocryptfs=gocryptfs
    need_python boto3=boto3
    need_kernel
    cargo build --locked --release --package envol-bench --bin plain-front-end
    exec cargo bench --locked --package envol --bench io -- \
        --plain-front-end "${CARGO_TARGET_DIR:-target}/release/plain-front-end" "${@:2}"
fi
exec cargo bench --locked --package envol-bench --bench cipher -- "$@"
