#!/usr/bin/env bash
# Installs the package in a minimal Debian 12 and does what an administrator does with it: use, upgrade, remove, purge.
#
#   packaging/deb/check.sh PACKAGE NEXT_VERSION_OF_IT
#
# The Debian is made once by debootstrap, below target/package; what is written to it is gone afterwards. Mounts and processes
# are in namespaces of their own; loop devices are the host's. Run as root.
set -euo pipefail
export LC_ALL=C

# shellcheck source=scripts/prerequisites.sh
. "$(dirname "$0")/../../scripts/prerequisites.sh"

fail() {
    printf 'check.sh: %s\n' "$1" >&2
    [ ! -f "${log:-}" ] || tail -n 40 "$log" >&2
    exit 1
}
seen() { printf '  %s\n' "$*"; }

# --- from outside: what the rest needs, then the rest in namespaces of its own

if [ "${1:-}" != --inside ]; then
    package=$(readlink -f "$1") next=$(readlink -f "$2")
    need_packages debootstrap=debootstrap lintian=lintian unshare=util-linux
    need_kernel
    # shellcheck disable=SC2119 # no module: only the AWS CLI
    need_python >/dev/null
    lintian --profile debian --fail-on error,warning "$package" || fail "lintian has something to say."
    seen "lintian: no error and no warning"
    work=$(dirname "$package") base=$(dirname "$package")/debian12
    if [ ! -e "$base/made" ]; then
        rm -rf "$base"
        debootstrap --variant=minbase bookworm "$base/root" http://deb.debian.org/debian >"$work/debootstrap.log" ||
            fail "debootstrap could not make a Debian 12; see $work/debootstrap.log"
        touch "$base/made"
    fi
    # With its first process everything in the namespace ends, and with the last its mounts.
    exec unshare --mount --pid --fork --kill-child --propagation private \
        "$0" --inside "$package" "$next" "$base/root" "$work"
fi
package=$2 next=$3 base=$4 work=$5
log=$work/check.log
: >"$log"

# --- inside: a Debian that forgets

room=$(mktemp -d /var/tmp/envol-package.XXXXXX)
trap 'cleared' EXIT
cleared() {
    local status=$?
    trap - EXIT
    [ "$status" = 0 ] || envol detach "${volume:-vol-0}" --force >/dev/null 2>&1 || true
    umount --recursive --lazy "$room" || true
    rmdir "$room" || true
    exit "$status"
}
# A tmpfs below: overlayfs takes no directory of an overlayfs to write to.
mount -t tmpfs tmpfs "$room"
mkdir "$room/changes" "$room/work" "$room/root"
mount -t overlay -o "lowerdir=$base,upperdir=$room/changes,workdir=$room/work" debian12 "$room/root"
root=$room/root
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir -p "$root/packages"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp "$package" "$root/packages/envol.deb"
cp "$next" "$root/packages/next.deb"

inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive HOME=/root "$@"; }
envol() { inside "${kms[@]}" envol "$@"; }
kms=()
quietly() { "$@" >>"$log" 2>&1; }
installed() { inside dpkg-query --show --showformat '${db:Status-Abbrev}${Version}' envol 2>/dev/null; }
until_true() { # SECONDS COMMAND...
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.1
    done
}

quietly inside apt-get update || fail "apt-get update failed in the Debian 12; is there a network?"
quietly inside apt-get install -y --no-install-recommends /packages/envol.deb || fail "the package cannot be installed."
[ "$(inside dpkg --verify envol)" = "" ] || fail "what is installed is not what is in the package."
seen "installed: $(installed), $(inside envol --version)"

libraries=$(inside ldd /usr/bin/envol | sed -n 's/^\t\([a-z0-9_+-]*\)\.so.*/\1/p' | sort | paste -s -d ' ')
case " $libraries " in *" libssl "* | *" libcrypto "* | *" libfuse"*) fail "the binary wants more than the C library: $libraries" ;; esac
seen "it is linked with: $libraries"

for page in envol envol-attach envol-snapshot-create envol-kms-audit; do
    zcat "$root/usr/share/man/man1/$page.1.gz" | grep -q '^\.SH "EXIT STATUS"' || fail "there is no page $page(1)."
done
offered=$(inside bash -c '. /usr/share/bash-completion/completions/envol; COMP_WORDS=(envol det) COMP_CWORD=1 COMP_TYPE=9
    _clap_complete_envol envol det envol 2>/dev/null; echo "${COMPREPLY[@]}"')
[ "$offered" = detach ] || fail "the completions of bash do not know detach: $offered"
seen "$(find "$root/usr/share/man/man1" -name 'envol*' | wc -l) man pages, completions"

# --- a volume

for _ in {1..20}; do
    port=$((20000 + RANDOM % 10000))
    (exec 4<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
done
mapfile -t kms < <(inside envol kms init --listen "127.0.0.1:$port" | sed "s/^export //; s/'//g")
touch "$work/kms.log"
envol kms serve 2>"$work/kms.log" &
until_true 10 grep -q "listens on" "$work/kms.log" || fail "the local KMS does not start: $(tail -n 1 "$work/kms.log")"
aws_kms() {
    env AWS_CONFIG_FILE="$root/var/lib/envol/kms/aws/config" AWS_SHARED_CREDENTIALS_FILE="$root/var/lib/envol/kms/aws/credentials" \
        AWS_PROFILE=envol-admin no_proxy=127.0.0.1 aws --endpoint-url "http://127.0.0.1:$port" --output text kms "$@"
}
key=$(aws_kms create-key --query KeyMetadata.KeyId) || fail "no key was made."
volume=$(envol create --db-id db-PACKAGE --size 64MiB --kms-key "$key") || fail "no volume was made."
attach() { quietly envol attach "$volume" /srv/orders --probe-interval 1s || fail "the volume cannot be attached."; }
attach
echo before >"$root/srv/orders/file"
seen "$volume is attached, ext4 at /srv/orders"

# --- apt remove, apt upgrade

code=0
refusal=$(inside apt-get remove -y envol 2>&1) || code=$?
[ "$code" != 0 ] || fail "removal was not refused: $refusal"
[[ "$refusal" == *"not removed, because"*"$volume"* ]] || fail "the refusal does not say why: $refusal"
[[ "$(installed)" == ii* ]] || fail "after a refused removal the package is half removed: $(installed)"
[ "$(cat "$root/srv/orders/file")" = before ] || fail "the refused removal harmed the volume."
seen "apt remove is refused while it is attached"

daemon() { envol --json status "$volume" | sed -n 's/.*"pid":\([0-9]*\).*/\1/p'; }
pid=$(daemon)
upgrade=$(inside dpkg --install /packages/next.deb 2>&1) || fail "the upgrade failed: $upgrade"
[[ "$upgrade" == *"still served by"*"$volume"* ]] || fail "the upgrade does not say who goes on with the old program: $upgrade"
[ "$(daemon)" = "$pid" ] || fail "the upgrade touched the daemon."
echo after >>"$root/srv/orders/file" || fail "the volume does not go on after the upgrade."
sync -f "$root/srv/orders" || fail "the volume does not sync after the upgrade."
seen "apt upgrade ($(installed)) leaves its daemon ($pid) alone"

# The daemon's program is a deleted file now, and its helpers are that file.
aws_kms disable-key --key-id "$key" >>"$log"
terminal() { envol --json status "$volume" 2>/dev/null | grep -q '"state":"terminal"'; }
until_true 20 terminal || fail "a revocation does not reach a daemon from before the upgrade."
gone() { ! grep -q -e /srv/orders -e "$volume" /proc/mounts; }
until_true 20 gone || fail "after the upgrade a revocation does not take the mounts away."
seen "a revocation after that ends it: $(envol status "$volume" | sed -n 's/^cause  *//p')"

aws_kms enable-key --key-id "$key" >>"$log"
quietly envol delete "$volume" --yes
volume=$(envol create --db-id db-PACKAGE --size 64MiB --kms-key "$key") || fail "no volume was made."
attach
quietly envol detach "$volume" || fail "the volume cannot be detached."

# --- apt remove, apt purge

quietly inside apt-get remove -y envol || fail "the package cannot be removed."
[ ! -e "$root/usr/bin/envol" ] || fail "removed, and the program is still there."
quietly inside apt-get purge -y envol || fail "the package cannot be purged."
[ -s "$root/var/lib/envol/volumes/$volume/backing" ] || fail "a purge deleted a volume."
left=$(find "$root" -xdev -name '*envol*' ! -path "$root/var/lib/envol*" ! -path "$root/packages/*" ! -path "$root/var/log/*")
[ -z "$left" ] || fail "a purge left: $left"
seen "removed and purged; nothing is left but /var/lib/envol with $volume"
