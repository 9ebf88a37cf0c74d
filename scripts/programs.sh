#!/usr/bin/env bash
# Programs that check what they read, on volumes with ext4 and xfs; afterwards the file systems themselves. Run as root.
#
#   scripts/programs.sh [--fs ext4|xfs] [fio|fsx|stress-ng|git|postgres|mariadb ...]    default: both, and all
#
# What they print lies under target/programs/. Everything else is in a directory of its own under /var/tmp and is gone
# afterwards, also when it is interrupted. ENVOL_SOAK_SEED repeats what fio and fsx chose at random; ENVOL_BINARY is
# tried instead of what is built here.
set -euo pipefail
export LC_ALL=C
unset "${!AWS_@}" "${!PG@}" "${!MYSQL_@}" "${!GIT_@}"

# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/prerequisites.sh"
cd "$envol_repo"

readonly volume_size=4GiB limit_s=900
file_systems=(ext4 xfs) programs=()
while [ $# -gt 0 ]; do
    case "$1 ${2-}" in
        '--fs ext4' | '--fs xfs') file_systems=("$2"); shift 2 ;;
        'fio '* | 'fsx '* | 'stress-ng '* | 'git '* | 'postgres '* | 'mariadb '*) programs+=("$1"); shift ;;
        *) echo "usage: scripts/programs.sh [--fs ext4|xfs] [fio|fsx|stress-ng|git|postgres|mariadb ...]" >&2; exit 2 ;;
    esac
done
[ ${#programs[@]} -gt 0 ] || programs=(fio fsx stress-ng git postgres mariadb)
wanted() { [[ " ${programs[*]} " == *" $1 "* ]]; }

readonly notes=$envol_repo/target/programs tools=$envol_repo/target/tools seed=${ENVOL_SOAK_SEED:-$RANDOM}
mkdir -p "$notes"

# --- what is needed beyond packages

# The regression tests are in PostgreSQL's source alone, and their library needs the server's headers: both of just the
# version that is installed, unpacked and not installed.
need_postgres_tests() {
    postgres_bin=$(find /usr/lib/postgresql/*/bin -name initdb -printf '%h\n' | sort -V | tail -n 1)
    local major version apt
    major=$(basename "$(dirname "$postgres_bin")")
    version=$(dpkg-query -W -f '${Version}' "postgresql-$major")
    postgres_tests=$notes/postgresql-$version
    [ ! -e "$postgres_tests/regress.so" ] || return 0
    rm -rf "$postgres_tests"
    mkdir -p "$postgres_tests/lists/partial"
    printf 'deb-src http://deb.debian.org/%s main\n' 'debian bookworm' 'debian-security bookworm-security' >"$postgres_tests/sources"
    apt=(apt-get -qq -o "Dir::Etc::SourceList=$postgres_tests/sources" -o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User=root
        -o "Dir::State::Lists=$postgres_tests/lists" -o Dir::Cache::srcpkgcache= -o Dir::Cache::pkgcache=)
    (
        cd "$postgres_tests"
        "${apt[@]}" update
        "${apt[@]}" source --download-only "postgresql-$major=$version"
        apt-get update -qq
        apt-get download -qq -o APT::Sandbox::User=root "postgresql-server-dev-$major=$version"
        dpkg-deb -x postgresql-server-dev-*.deb headers
        tar -xf postgresql-*.orig.tar.* --strip-components=3 --wildcards '*/src/test/regress'
        cc -O2 -fPIC -shared -I "headers/usr/include/postgresql/$major/server" -I headers/usr/include/postgresql/internal \
            -o regress/regress.so regress/regress.c
        cp "$postgres_bin"/../lib/{autoinc,refint}.so regress/
        mv regress/regress.so .
    ) >"$notes/postgres-tests.log" 2>&1 || give_up "PostgreSQL $version has no tests to be had; see $notes/postgres-tests.log"
}

# --- the programs: each in a directory of its own on the volume, $here, and a failure of anything in it is its own

run_fio() {
    local common=(--directory="$here" --verify=crc32c --verify_fatal=1 --randseed="$seed" --group_reporting)
    # Each block is written once, and read back past the cache or after it was dropped.
    fio "${common[@]}" --size=96m --fsync=64 \
        --name=direct --rw=randrw --direct=1 --ioengine=libaio --iodepth=16 --bs=4k --numjobs=2 \
        --name=large --filename=large --rw=randwrite --direct=1 --ioengine=libaio --iodepth=4 --bs=256k \
        --name=buffered --rw=randrw --ioengine=psync --bs=16k --numjobs=2 \
        --name=small --rw=randwrite --ioengine=psync --bs=1536 --size=24m \
        --name=mapped --rw=randwrite --ioengine=mmap --bs=4k --size=48m
    # Once more when all the others have written theirs.
    sync -f "$here"
    fio "${common[@]}" --size=96m --verify_only=1 --name=large --filename=large --rw=randwrite --direct=1 --ioengine=libaio --bs=256k
}

run_fsx() {
    # No posix_fallocate: at the file's largest size fsx asks for 0 bytes of it, which is refused on any file system.
    local align
    for align in 1 4096; do
        printf 'flen = 4194304\n[opsize]\nmin = %s\nalign = %s\nmax = 131072\n[weights]\n' "$align" "$align" >fsx.toml
        printf '%s = 5\n' close_open invalidate truncate fsync fdatasync punch_hole sendfile posix_fadvise copy_file_range >>fsx.toml
        "$tools/bin/fsx" -q -N 8000 -S "$seed" -P "$notes" -f fsx.toml "file-$align"
    done
}

run_stress-ng() {
    local stress=(stress-ng --temp-path "$here" --verify --timeout 10s --metrics-brief)
    # Its random places are multiples of 512, and what is direct has to be one of 4096 here.
    "${stress[@]}" --hdd 2 --hdd-bytes 128m --hdd-opts direct,wr-seq,rd-seq,fsync
    "${stress[@]}" --hdd 2 --hdd-bytes 128m --hdd-opts wr-rnd,rd-rnd,fdatasync
    "${stress[@]}" --iomix 1 --iomix-bytes 64m --aio 1 --aiol 1 --dir 1 --dirdeep 1 --fallocate 1 --fpunch 1 --seek 1 --seek-punch \
        --sync-file 1 --sync-file-bytes 64m --rename 1 --link 1 --copy-file 1 --copy-file-bytes 128m --readahead 1 --readahead-bytes 64m \
        --revio 1 --revio-bytes 64m --xattr 1 --mmap 1 --mmap-file --mmap-bytes 64m
}

run_git() {
    # The clone may be another user's than root, and neither configuration is any of this.
    printf '[safe]\n directory = *\n' >config
    export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=$here/config
    git clone --quiet --mirror "file://$envol_repo" "$here/objects"
    git -C "$here/objects" repack -a -d -f -q
    git -C "$here/objects" fsck --full --strict --no-progress
    git clone --quiet --no-local "$here/objects" "$here/clone"
    git -C "$here/clone" fsck --full --strict --no-progress
    git -C "$here/clone" diff --exit-code
    # The C of zstd, which the build of envol has fetched, here and on the host's own disk.
    local zstd
    zstd=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/src" -maxdepth 2 -name 'zstd-sys-*' | sort -V | tail -n 1)
    build_zstd "$zstd/zstd/lib" "$here/zstd"
    [ -e "$place/zstd" ] || build_zstd "$zstd/zstd/lib" "$place/zstd"
    sync -f "$here"
    diff --recursive "$place/zstd" "$here/zstd"
}
build_zstd() (
    cp -r "$1" "$2"
    cd "$2"
    find . -name '*.c' -print0 | xargs -0 -P "$(nproc)" -I {} cc -O1 -fPIC -DZSTD_DISABLE_ASM -DZSTD_LEGACY_SUPPORT=1 -c {} -o {}.o
    find . -name '*.o' | sort | xargs cc -shared -o libzstd.so
)

as_user() { setpriv "--reuid=$1" "--regid=$1" --init-groups "${@:2}"; }

run_postgres() {
    local server data=$here/data to=(-h "$here" -U postgres) regress=$postgres_bin/../lib/pgxs/src/test/regress/pg_regress
    cp -r "$postgres_tests/regress" "$here/regress"
    cp "$postgres_tests/regress.so" "$here/regress/"
    chown -R postgres: "$here"
    as_user postgres "$postgres_bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --data-checksums
    as_user postgres "$postgres_bin/postgres" -D "$data" -k "$here" -c listen_addresses= &
    server=$!
    until "$postgres_bin/pg_isready" -q -h "$here"; do kill -0 "$server"; sleep 0.2; done
    as_user postgres "$regress" --bindir="$postgres_bin" --dlpath="$here/regress" --inputdir="$here/regress" --outputdir="$here/regress" \
        --host="$here" --user=postgres --schedule="$here/regress/parallel_schedule" --max-concurrent-tests=20 ||
        { cat "$here/regress/regression.diffs"; return 1; }
    "$postgres_bin/createdb" "${to[@]}" pgbench
    "$postgres_bin/pgbench" "${to[@]}" -i -q -s 10 pgbench
    "$postgres_bin/pgbench" "${to[@]}" -c 4 -j 2 -T 15 -b tpcb-like -b simple-update -b select-only pgbench
    "$postgres_bin/pg_amcheck" "${to[@]}" --all --install-missing --heapallindexed --rootdescend
    as_user postgres "$postgres_bin/pg_ctl" -D "$data" -m fast -w stop
    wait "$server"
    as_user postgres "$postgres_bin/pg_checksums" --check -D "$data"
}

run_mariadb() {
    local server to=(--no-defaults --user=root "--socket=$here/socket")
    local load=(sysbench oltp_read_write --db-driver=mysql --mysql-user=root "--mysql-socket=$here/socket" --mysql-db=test
        --tables=4 --table-size=50000 --threads=4)
    chown mysql: "$here"
    as_user mysql mkdir "$here/tmp"
    as_user mysql mariadb-install-db --no-defaults --auth-root-authentication-method=normal "--datadir=$here/data" >/dev/null
    as_user mysql mariadbd --no-defaults --skip-networking "--datadir=$here/data" "--socket=$here/socket" "--pid-file=$here/pid" "--tmpdir=$here/tmp" &
    server=$!
    until mariadb "${to[@]}" -e 'create database if not exists test'; do kill -0 "$server"; sleep 0.2; done
    "${load[@]}" prepare
    "${load[@]}" --time=20 run
    # It says what is corrupt, and ends with success.
    mariadb-check "${to[@]}" --all-databases --check --extended | tee "$here/checked"
    [ "$(grep -c '^test\.sbtest[1-4] *OK$' "$here/checked")" -eq 4 ]
    if grep -i -E 'error|corrupt' "$here/checked"; then return 1; fi
    mariadb-admin "${to[@]}" shutdown
    wait "$server"
}

# --- the volumes

place='' kms='' program='' failed=0
envol_binary=${ENVOL_BINARY:-${CARGO_TARGET_DIR:-$envol_repo/target}/debug/envol}
envol() { timeout 300 "$envol_binary" --root "$place/envol" "$@"; }
say() { printf '%-5s  %-10s  %-7s %4d s  %s\n' "$file_system" "$1" "$2" $((SECONDS - began)) "${3-}"; }
failure() { say "$1" failed "see $2"; failed=1; }

# A group of its own, where Ctrl-C does not reach it: it is ended in the clean-up.
start() {
    set -m
    "${@:2}" </dev/null >"$1" 2>&1 &
    set +m
}
end_program() {
    [ -n "$program" ] || return 0
    kill -s TERM -- "-$program" 2>/dev/null || true
    for _ in {1..100}; do kill -0 -- "-$program" 2>/dev/null || break; sleep 0.1; done
    kill -s KILL -- "-$program" 2>/dev/null || true
    program=''
}
in_its_directory() { here=$place/mnt/$1; mkdir "$here"; cd "$here"; set -x; "run_$1"; }

run_program() {
    local log=$notes/$file_system-$1.log clock first='' code=0
    began=$SECONDS
    start "$log" in_its_directory "$1"
    program=$!
    sleep "$limit_s" &
    clock=$!
    wait -n -p first "$program" "$clock" || code=$?
    kill "$clock" 2>/dev/null || echo "not done after $limit_s s" >>"$log"
    if [ "$first" = "$program" ] && [ "$code" -eq 0 ]; then say "$1" passed; else failure "$1" "$log"; fi
    end_program
}

# The file system as it is in the image, that nobody has mounted.
check_file_system() {
    local device code=0
    envol detach "$volume" && envol attach "$volume" --raw || return 1
    device=$(losetup --find --show --read-only "/run/envol/$volume/image") || return 1
    case $file_system in
        ext4) e2fsck -f -n "$device" || code=$? ;;
        xfs) xfs_repair -n "$device" || code=$? ;;
    esac
    losetup --detach "$device" && envol detach "$volume" && return "$code"
}

clean_up() {
    local status=$? directory volume
    trap '' INT TERM HUP
    trap - EXIT
    set +e
    end_program
    for directory in "$place"/envol/volumes/vol-*; do
        volume=${directory##*/}
        losetup --associated "/run/envol/$volume/image" --noheadings --output NAME | xargs -r losetup --detach
        envol detach "$volume" --force
        envol delete "$volume" --yes
    done >>"$notes/log" 2>&1
    [ -z "$kms" ] || kill "$kms"
    chattr -i "$place/mnt" 2>/dev/null
    rm -rf --one-file-system "$place" || { echo "$place is left; see $notes/log" >&2; status=1; }
    exit "$status"
}

need_packages losetup=mount mkfs.ext4=e2fsprogs mkfs.xfs=xfsprogs fio=fio stress-ng=stress-ng git=git psql=postgresql setpriv=util-linux \
    mariadbd=mariadb-server sysbench=sysbench
need_rust
# shellcheck disable=SC2119 # no module: only the AWS CLI
need_python
need_kernel
! wanted fsx || [ -x "$tools/bin/fsx" ] || cargo install --quiet --locked --root "$tools" --version 0.3.2 fsx || give_up "cargo could not install fsx."
! wanted postgres || need_postgres_tests
# Not for release: that build does not look for overflows.
[ -n "${ENVOL_BINARY-}" ] || cargo build --quiet --locked --workspace

export no_proxy=127.0.0.1 NO_PROXY=127.0.0.1
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
place=$(mktemp -d /var/tmp/envol-programs.XXXXXX)
chmod 755 "$place"
: >"$notes/log"
eval "$(envol kms init --listen "127.0.0.1:$((20000 + RANDOM % 10000))")"
start "$notes/kms.log" "$envol_binary" --root "$place/envol" kms serve
kms=$!
until grep -q "listens on" "$notes/kms.log"; do kill -0 "$kms" || give_up "the local KMS does not start; see $notes/kms.log"; sleep 0.1; done
key=$(aws --endpoint-url "$AWS_ENDPOINT_URL_KMS" --output text kms create-key --query KeyMetadata.KeyId)

for file_system in "${file_systems[@]}"; do
    volume=$(envol create --db-id db-PROGRAMS --size "$volume_size" --kms-key "$key")
    mkdir -p "$place/mnt"
    envol attach "$volume" "$place/mnt" --fs "$file_system" >>"$notes/log" 2>&1
    for each in "${programs[@]}"; do run_program "$each"; done
    began=$SECONDS
    if check_file_system >"$notes/$file_system-check.log" 2>&1; then say check passed; else failure check "$notes/$file_system-check.log"; fi
    # Whatever failed: the next file system has a volume of its own.
    envol delete "$volume" --yes >>"$notes/log" 2>&1 || break
done
[ "$failed" -eq 0 ]
