#!/usr/bin/env bash
# The whole story on one machine: a database on a volume under a KMS key, and the key revoked. Run as root on Debian 12.
#
#   scripts/quickstart.sh [--db postgres|mariadb]
#
# Installs what is missing, builds, and does each step for real; every line says what it does, how long that took and
# what was seen. It ends with an error at the first thing that is not as it should be. Whatever it makes lies in a
# directory of its own under /var/tmp and is gone afterwards, also when it is interrupted; what a run that was killed
# left behind is cleared by the next one.
set -euo pipefail
# Messages of databases and grep are compared below; the caller's AWS account and databases are none of our business.
export LC_ALL=C
unset "${!AWS_@}" "${!PG@}" "${!MYSQL_@}"

readonly volume_size=2GiB run_s=10 probe_interval=2s
# Not the clone: user postgres may not be able to look into it. Not /tmp: that may be memory.
readonly place_pattern=/var/tmp/envol-quickstart.

# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/prerequisites.sh"
cd "$envol_repo"
exec 3>&1
db=postgres
case "$*" in
'' | '--db postgres') ;;
'--db mariadb') db=mariadb ;;
*) echo "usage: scripts/quickstart.sh [--db postgres|mariadb]" >&2 && exit 2 ;;
esac
# What is said and done with the one or the other, under the same names.
# shellcheck source=scripts/quickstart/postgres.sh
. "scripts/quickstart/$db.sh"
[ "$(id -u)" = 0 ] || give_up "run this as root: it mounts file systems on loop devices."
readonly notes=$envol_repo/target/quickstart
readonly log=$notes/log database_log=$notes/$db.log kms_log=$notes/kms.log
mkdir -p "$notes"

# --- what is printed

now_us() { printf '%s' "${EPOCHREALTIME/[.,]/}"; }
# A command in an expression is read when it is carried out, and Bash 5.2 takes a signal in that moment for a part of it.
elapsed() { local now us; now=$(now_us) us=$((now - $1)); printf '%d.%d s' $((us / 1000000)) $((us / 100000 % 10)); }

# step WHAT IT DOES
step() {
    step=$1 step_began=$(now_us) seen_it=
    printf '%9s  %-38s' "$(elapsed "$began")" "$step" >&3
    printf '\n== %s\n' "$step" >>"$log"
}

# seen WHAT WAS SEEN
seen() {
    seen_it=yes
    printf '%9s  %s\n' "$(elapsed "$step_began")" "$*" >&3
    printf -- '-- %s\n' "$*" >>"$log"
}

# Ends the script; the clean-up follows.
fail() {
    [ -n "${seen_it-yes}" ] || printf '\n' >&3
    seen_it=yes reason=$*
    printf '%s: %s\n%s: details are in %s\n' "$(basename "$0")" "$*" "$(basename "$0")" "$log" >&3
    exit 1
}
give_up() { fail "$*"; }

# --- how commands are run: never with descriptor 3, what is printed, nor with 9, the lock

# start LOG COMMAND... : in the background, in a process group of its own, where Ctrl-C does not reach it.
start() {
    printf '+ %s\n' "${*:2}" >>"$log"
    set -m
    "${@:2}" </dev/null >>"$1" 2>&1 3>&- 9>&- &
    set +m
}

# Waited for like this, a signal to the script interrupts the waiting; the clean-up ends the command in good order.
run() {
    start "$log" "$@"
    running=$! running_name=$1
    local code=0
    wait "$running" || code=$?
    running=
    return "$code"
}

# Its standard output is the answer.
ask() {
    printf '+ %s\n' "$*" >>"$log"
    # shellcheck disable=SC2094 # both only append
    "$@" </dev/null 2>>"$log" 3>&- 9>&- | tee -a "$log"
}

envol() { "$envol_binary" --root "$place/envol" "$@"; }
# The endpoint is named, because an AWS CLI from before 2.13 (Debian's) does not know AWS_ENDPOINT_URL_KMS.
aws_kms() { aws --endpoint-url "$AWS_ENDPOINT_URL_KMS" --output text kms "$@"; }
as_db() { setpriv "--reuid=$db_user" "--regid=$db_user" --init-groups "$@"; }

quietly() { "$@" </dev/null >>"$log" 2>&1; }

# until_true SECONDS COMMAND... : waits for a state.
until_true() {
    local now deadline
    now=$(now_us) deadline=$((now + $1 * 1000000))
    shift
    until "$@"; do
        [ "$(now_us)" -lt "$deadline" ] || return 1
        sleep 0.1
    done
}

# --- clean-up: knows a run by its directory alone, so that it serves for a run that was killed, too

# processes NAME... : the pids of these programs that were started for $place. Nothing else has its name in the arguments.
processes() {
    local argv program
    grep -l -a -F "$place/" /proc/[0-9]*/cmdline 2>/dev/null | while read -r argv; do
        program=$(readlink "${argv%/cmdline}/exe") || continue
        program=${program% (deleted)}
        [[ " $* " != *" ${program##*/} "* ]] || basename "${argv%/cmdline}"
    done
}
# Of either database: a run that was killed may have been the other one's.
readonly any_client=(psql pgbench initdb mariadb sysbench)
none_left() { [ -z "$(processes "$@")" ]; }

# end SIGNAL SECONDS NAME... : asks them to end, and waits.
end() {
    local signal=$1 patience_s=$2 pid
    shift 2
    for pid in $(processes "$@"); do kill -s "$signal" "$pid" || true; done
    until_true "$patience_s" none_left "$@"
}

# The volume is detached and deleted as a person would do it. If its daemon is gone, what that left is taken down by
# the loop device's own number.
clear_volume() {
    local volume=$1 shown=/run/envol/$1 device mounted_on
    cat "$place/envol/volumes/$volume/daemon.log" || true
    [ ! -x "$envol_binary" ] || timeout 60 "$envol_binary" --root "$place/envol" detach "$volume" --force || true
    losetup --list --noheadings --output NAME,BACK-FILE | awk -v "file=$shown/image" '$2 == file { print $1 }' |
        while read -r device; do
            awk -v "device=$device" '$1 == device { print $2 }' /proc/mounts |
                while read -r mounted_on; do umount "$mounted_on" || umount -l "$mounted_on" || true; done
            losetup --detach "$device" || true
        done
    ! grep -q " $shown " /proc/mounts || umount "$shown" || umount -l "$shown" || true
    [ ! -d "$shown" ] || rmdir "$shown" || true
    rm -f "$shown.sock" "$shown".*.notify
    [ ! -x "$envol_binary" ] || timeout 60 "$envol_binary" --root "$place/envol" delete "$volume" --yes || true
}

# Ends and removes everything of the run in $place. Says nothing; fails if something is left.
clear_place() {
    local directory volumes=()
    # An attach that is under way is waited for: half an attach is harder to take back than a whole one.
    until_true 20 no_attach_under_way || true
    end TERM 5 "${any_client[@]}" || end KILL 5 "${any_client[@]}" || true
    # SIGINT is PostgreSQL's fast shutdown, SIGTERM MariaDB's.
    end INT 10 postgres || end QUIT 5 postgres || end KILL 5 postgres || true
    end TERM 10 mariadbd || end KILL 5 mariadbd || true
    for directory in "$place"/envol/volumes/vol-*; do
        [ -d "$directory" ] || continue
        volumes+=("${directory##*/}")
        clear_volume "${directory##*/}"
    done
    end TERM 10 envol || {
        end KILL 5 envol || true
        # A daemon that had to be killed leaves the rest to us.
        for directory in "${volumes[@]}"; do clear_volume "$directory"; done
    }
    ! grep -q -F " $place/" /proc/mounts || return 1
    [ ! -d "$place/mnt" ] || chattr -i "$place/mnt" || true
    rm -rf --one-file-system "$place"
    nothing_left "${volumes[@]}"
}

# An `envol attach` that is not the daemon itself is waiting for one.
no_attach_under_way() {
    local pid argv
    for pid in $(processes envol); do
        argv=$(tr '\0' ' ' <"/proc/$pid/cmdline") || continue
        [[ "$argv" != *" attach "* || "$argv" == *" --foreground "* ]] || return 1
    done 2>/dev/null
}

# nothing_left VOLUME... : no process, mount, loop device, directory.
nothing_left() {
    local volume
    none_left envol postgres mariadbd "${any_client[@]}" || return 1
    [ ! -e "$place" ] || return 1
    for volume in "$@"; do
        ! grep -q -F "/run/envol/$volume" /proc/mounts || return 1
        ! losetup --list --noheadings --output BACK-FILE | grep -q -F "/run/envol/$volume/" || return 1
        [ ! -e "/run/envol/$volume" ] && [ ! -e "/run/envol/$volume.sock" ] || return 1
    done
}

# What a run left that was killed before it could clean up.
clear_last_run() {
    [ -f "$notes/place" ] || return 0
    place=$(<"$notes/place")
    if [[ "$place" == "$place_pattern"* && -d "$place" && -O "$place" ]]; then
        step "clear what an earlier run left"
        clear_place >>"$log" 2>&1 || fail "$place could not be cleared."
        seen "$place is gone"
    fi
    rm "$notes/place"
    place=
}

# On every end of the script, after the last step too.
clean_up() {
    local status=$?
    trap '' INT TERM HUP PIPE
    trap - EXIT
    set +e
    # Bash would report each child that is ended here.
    exec 2>>"$log"
    # Our own commands end by themselves soon, and better whole than half.
    if [ -n "$running" ] && [ "$running_name" != envol ]; then
        kill -s TERM -- "-$running"
        wait "$running"
    fi
    if [ "$status" -ne 0 ] && [ -z "$reason" ]; then
        [ -n "$seen_it" ] || printf '\n' >&3
        printf '%s: "%s" did not work; details are in %s\n' "$(basename "$0")" "${step:-start}" "$log" >&3
    fi
    if [ -n "$place" ]; then
        step "clean up"
        if clear_place >>"$log" 2>&1; then
            rm -f "$notes/place"
            seen "no process, mount, loop device or file is left"
        else
            [ "$status" -ne 0 ] || status=1
            seen "something is left; see $log, and run this again"
        fi
    fi
    [ "$status" -ne 0 ] || printf '%9s  done\n' "$(elapsed "$began")" >&3
    exit "$status"
}

interrupted() {
    trap '' INT TERM HUP PIPE
    [ -n "${seen_it-yes}" ] || printf '\n' >&3
    seen_it=yes reason="interrupted"
    printf '%s: interrupted\n' "$(basename "$0")" >&3
    exit "$1"
}

# --- the steps

began=$(now_us) step='' step_began=$began seen_it=yes reason='' running='' running_name='' place=''
envol_binary=${CARGO_TARGET_DIR:-$envol_repo/target}/release/envol
[ -z "$(missing flock)" ] || fail "flock is missing (Debian package util-linux)."
exec 9>"$notes/lock"
flock -n 9 || fail "another run is under way in this clone."
: >"$log"
trap clean_up EXIT
trap 'interrupted 130' INT
trap 'interrupted 143' TERM
trap 'interrupted 129' HUP
# Nobody reads what is printed any more.
trap 'interrupted 141' PIPE
printf '%9s  %-38s%9s  %s\n' at step took seen >&3

step "install what is missing"
need_everything() {
    need_packages losetup=mount mkfs.ext4=e2fsprogs fusermount3=fuse3 setpriv=util-linux "${db_packages[@]}"
    need_kernel
    need_rust
    # shellcheck disable=SC2119 # no module: only the AWS CLI
    need_python
}
need_everything >>"$log" 2>&1
db_find
installed=$(sed -n 's/^installing //p' "$log" | paste -s -d ' ')
seen "${installed:-nothing was missing}"

clear_last_run

step "build envol for release"
run cargo build --release --locked || fail "cargo could not build envol."
seen "$(ask "$envol_binary" --version), $(($(stat -c %s "$envol_binary") >> 20)) MiB, with $(rustc --version | cut -d ' ' -f 1,2)"

# From here on nothing leaves this machine.
export no_proxy=127.0.0.1 NO_PROXY=127.0.0.1
place=$(mktemp -d "${place_pattern}XXXXXX")
echo "$place" >"$notes/place"
chmod 755 "$place"
mkdir "$place/mnt"
install -d -o "$db_user" -m 700 "$place/socket"

step "start the local KMS"
# Below the ports that the kernel gives to clients.
for _ in {1..20}; do
    port=$((20000 + RANDOM % 10000))
    (exec 4<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
done
eval "$(ask envol kms init --listen "127.0.0.1:$port")"
: >"$kms_log"
start "$kms_log" envol kms serve
until_true 10 grep -q "listens on" "$kms_log" || fail "the local KMS does not start: $(tail -n 1 "$kms_log")"
seen "$AWS_ENDPOINT_URL_KMS, profile $AWS_PROFILE"

step "make a KMS key with the AWS CLI"
key=$(ask aws_kms create-key --query KeyMetadata.KeyId) || fail "the AWS CLI could not make a key."
run aws_kms create-alias --alias-name alias/quickstart --target-key-id "$key" || fail "the AWS CLI could not make an alias."
seen "$key, alias/quickstart"

step "create a volume of $volume_size"
volume=$(ask envol create --db-id db-QUICKSTART --size "$volume_size" --kms-key alias/quickstart) || fail "no volume was made."
image=$(readlink -f "$place/envol/volumes/$volume/backing")
seen "$volume, its image takes $(du -m "$image" | cut -f 1) MiB"

step "attach it with ext4"
run envol attach "$volume" "$place/mnt" --fs ext4 --owner "$db_user" --probe-interval "$probe_interval" ||
    fail "the volume could not be attached."
mounted=$(awk -v "dir=$place/mnt" '$2 == dir { print $3 " from " $1 }' /proc/mounts)
[[ "$mounted" == "ext4 from /dev/loop"* ]] || fail "there is no ext4 at $place/mnt."
seen "$mounted at $place/mnt"

# status FIELD... : these lines of the status, as one.
status() {
    local field
    for field in "$@"; do envol status "$volume" | sed -n "s/^$field  *//p"; done | paste -s -d , | sed 's|,|, |g'
}
step "ask for its status"
[[ "$(ask envol --json status "$volume")" == *'"state":"in-use"'* ]] || fail "the volume is not in use."
seen "$(status state), key verified $(status 'key verified')"

step "start $db_title on it"
db_init || fail "$db_title could not make its files."
: >"$database_log"
db_start
until_true 30 quietly db_answers || fail "$db_title does not start; see $database_log"
seen "$(db_version), data in $place/mnt/data"

step "$bench, for $run_s s"
load_fill || fail "the tables of the load could not be filled."
load_for "$run_s" || fail "the load failed."
tps=$(load_tps)
[ "${tps:-0}" -gt 0 ] || fail "the load reported no transactions."
seen "$tps transactions per second"

step "look for a row in the image"
marker=plaintext-$RANDOM$RANDOM$RANDOM-marker
run db_note "$marker" || fail "the row could not be written."
sync -f "$place/mnt"
# NUL as the end of a line, or a hole in the image would be one line of gigabytes. The same command for both.
files_with_row() { grep -r -l -a -z -F "$marker" "$@"; }
found=$(ask files_with_row "$place/mnt") ||
    fail "the row is not found through the mount, so that not finding it elsewhere would mean nothing."
code=0
leaks=$(ask files_with_row "$place/envol" "$kms_log") || code=$?
[ "$code" -eq 1 ] || fail "the row's plaintext is outside the volume: ${leaks:-the search itself failed}"
seen "in $(wc -l <<<"$found") files through the mount; not in the image ($(du -m "$image" | cut -f 1) MiB), not in a log"

step "take a snapshot of it"
load_start
load=$!
before=$(ask transactions)
more_transactions() { [ "$(transactions)" -gt "$before" ]; }
until_true 10 more_transactions || fail "the load does not run, so that a snapshot beside it would mean nothing."
acknowledged=$(ask transactions)
snapshot=$(ask envol snapshot create "$volume") || fail "no snapshot was taken."
seen "$snapshot while the load runs, $(du -sm "$place/envol/snapshots" | cut -f 1) MiB"

step "disable the key with the AWS CLI"
before=$(ask transactions)
until_true 10 more_transactions || fail "the load does not run, so that its end would mean nothing."
run aws_kms disable-key --key-id "$key" || fail "the AWS CLI could not disable the key."
disabled=$(now_us)
seen "while the load runs"

step "wait for the volume to be terminal"
is_terminal() { [[ "$(envol --json status "$volume" 2>/dev/null)" == *'"state":"terminal"'* ]]; }
until_true 30 is_terminal || fail "the volume is not terminal 30 s after its key was disabled."
after=$(elapsed "$disabled")
run envol --json status "$volume"
seen "$after after the CLI's answer: $(status state cause)"

step "see the database stop"
until_true 30 grep -q -E "$db_signs" "$database_log" || fail "$db_title did not notice; see $database_log"
code=0
wait "$load" || code=$?
[ "$code" -ne 0 ] || fail "the load went on without its database."
! quietly transactions || fail "$db_title still answers from the volume."
seen "$clients fail; its log: $(grep -m 1 -o -E "$db_signs" "$database_log" | cut -c 1-90)"

step "enable the key, attach again"
run aws_kms enable-key --key-id "$key" || fail "the AWS CLI could not enable the key."
until_true 10 test ! -e "/run/envol/$volume" || fail "the volume's daemon is still there."
code=0
run envol attach "$volume" "$place/mnt" || code=$?
[ "$code" -eq 6 ] || fail "attach ended with exit code $code where 6 was expected: the volume is terminal for good."
seen "refused as it should be, exit code 6: $(sed -n 's/^envol: .*terminal.*)\. //p' "$log" | tail -n 1)"

step "restore the snapshot, attach that"
restored=$(ask envol create --snapshot "$snapshot" --db-id db-QUICKSTART --kms-key alias/quickstart) ||
    fail "no volume was made of the snapshot."
run envol attach "$restored" "$place/mnt" --probe-interval "$probe_interval" || fail "the restored volume could not be attached."
seen "$restored, with a key of its own, at $place/mnt"

step "start $db_title on that"
: >"$database_log"
db_start
until_true 60 quietly db_answers || fail "$db_title does not start; see $database_log"
found=$(ask transactions) || fail "the restored database does not answer."
[ "$found" -ge "$acknowledged" ] || fail "of $acknowledged transactions before the snapshot only $found are there."
seen "$found transactions are there; $acknowledged were acknowledged before the snapshot"
