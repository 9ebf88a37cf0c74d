#!/usr/bin/env bash
# Runs a command in a virtual machine that has a kernel and all capabilities of its own, on this machine's files: for what a
# container may not do, such as growing a mounted ext4. Run as root, on x86-64.
#
#   scripts/guest.sh [--deadline SECONDS] COMMAND [ARGUMENT...]     default: 3600 seconds
#
# The command runs as root, in the directory and with the environment that guest.sh is called in. It sees the files of this machine,
# under a layer for what it writes, which is gone afterwards; /tmp and /run are empty, and there is no network but its own loopback.
# Build nothing meanwhile: a program that is replaced here while it runs there may crash.
# What it prints comes out on stdout, and its exit code is that of guest.sh; 124 is the deadline, and 9 a guest that did not
# get as far. The kernel is Debian's, unpacked into target/guest (remove that folder for a newer one).
#
# Where the processor does not virtualise, everything takes about ten times as long, and the deadlines of the tests with it
# (ENVOL_TEST_PATIENCE). So take a test by its name:
#   scripts/guest.sh target/debug/deps/resize-... --exact ext4_grows_more_than_a_thousandfold_while_postgres_works_on_it
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/prerequisites.sh"

deadline=3600
if [ "${1-}" = --deadline ]; then
    deadline="$2"
    shift 2
fi
[ $# -gt 0 ] || give_up "what is to be run? See the top of $0."
[ "$(uname -m)" = x86_64 ] || give_up "the guest is an x86-64 machine, and this is $(uname -m)."
[ "$(id -u)" = 0 ] || give_up "run this as root: the guest reads every file of this machine."
# modprobe: the guest's kernel calls it too
need_packages qemu-system-x86_64=qemu-system-x86 depmod=kmod modprobe=kmod mkfs.ext4=e2fsprogs

unpacked="$envol_repo/target/guest"
mkdir -p "$envol_repo/target"
run=$(mktemp -d "$envol_repo/target/guest.XXXXXX")
machine=""
# shellcheck disable=SC2317 # the traps call it
end() {
    # Whoever is in a hurry presses Ctrl-C twice.
    trap '' INT TERM
    if [ -n "$machine" ]; then
        kill "$machine" 2>/dev/null || true
        wait "$machine" || true
    fi
    rm -rf "$run"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Debian's kernel, and a shell for before there is a root. Not installed: how this machine itself boots is none of our business.
if [ ! -d "$unpacked" ]; then
    echo "unpacking Debian's kernel into $unpacked" >&2
    apt-get update -qq >/dev/null || give_up "apt-get update failed; is there a network?"
    kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-\)/\1/p')
    [ -n "$kernel" ] || give_up "apt-get knows no linux-image-amd64."
    (cd "$run" && apt-get download -qq -o APT::Sandbox::User=root "$kernel" busybox-static) ||
        give_up "apt-get could not download $kernel and busybox-static"
    for package in "$run"/*.deb; do
        dpkg -x "$package" "$run/unpacked"
    done
    depmod --basedir "$run/unpacked" "${kernel#linux-image-}"
    # Somebody else may have been faster.
    mv -T "$run/unpacked" "$unpacked" 2>/dev/null || [ -d "$unpacked" ] || give_up "could not make $unpacked"
fi
version=$(ls "$unpacked/lib/modules")

# /dev/kvm alone does not say so: it is there in some machines that are guests themselves, and hangs.
if grep -qwE 'vmx|svm' /proc/cpuinfo && [ -w /dev/kvm ]; then
    processor=(-accel kvm -cpu host)
else
    processor=(-accel 'tcg,thread=multi' -cpu max)
    export ENVOL_TEST_PATIENCE="${ENVOL_TEST_PATIENCE:-10}"
fi

# What the guest begins with: the modules that its root takes, in their order, and how to put that together.
initramfs="$run/initramfs"
mkdir -p "$initramfs"/{bin,dev,lower,modules,root,upper}
cp "$unpacked/bin/busybox" "$initramfs/bin/"
number=100
while read -r _ module; do
    cp "$module" "$initramfs/modules/$number.ko"
    number=$((number + 1))
done < <(modprobe --dirname "$unpacked" --set-version "$version" --show-depends --all \
    virtio_pci virtio_blk 9pnet_virtio 9p ext4 overlay fuse loop | grep '^insmod' | awk '!seen[$2]++')
cat >"$initramfs/init" <<END
#!/bin/busybox sh
set -e
/bin/busybox --install -s /bin
for module in /modules/*; do insmod "\$module"; done
mount -t devtmpfs devtmpfs /dev
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose host /lower
mount -t ext4 /dev/vda /upper
mkdir -m 1777 /upper/upper /upper/work /upper/tmp
chmod 755 /upper/upper
mount -t overlay -o lowerdir=/lower,upperdir=/upper/upper,workdir=/upper/work overlay /root
mount --bind /upper/tmp /root/tmp
mount -t tmpfs -o mode=755 tmpfs /root/run
mount -t proc proc /root/proc
mount -t sysfs sysfs /root/sys
mount --move /dev /root/dev
ln -s /proc/self/fd /root/dev/fd
mkdir -p /root/dev/pts /root/dev/shm /root/lib/modules
mount -t devpts devpts /root/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /root/dev/shm
mount --bind "/root$unpacked/lib/modules" /root/lib/modules
ip link set lo up
exec switch_root /root /bin/bash "$run/main"
END
chmod +x "$initramfs/init"
(cd "$initramfs" && find . | bin/busybox cpio -o -H newc 2>/dev/null) >"$run/initramfs.cpio"

# What it does once it has a root. The first serial port is the kernel's, the second the command's, the third has the exit code.
cat >"$run/main" <<END
stty -F /dev/ttyS1 raw
stty -F /dev/ttyS2 raw
(
    $(export -p)
    cd $(printf %q "$PWD") && exec $(printf '%q ' "$@")
) </dev/null >/dev/ttyS1 2>&1
code=\$?
# Each stty waits until all is out.
stty -F /dev/ttyS1 raw
echo "\$code" >/dev/ttyS2
stty -F /dev/ttyS2 raw
"$unpacked/bin/busybox" poweroff -f
END

truncate -s 64G "$run/upper"
mkfs.ext4 -q "$run/upper"
# timeout: also for when this script is killed and ends nothing.
timeout "$deadline" qemu-system-x86_64 "${processor[@]}" -smp 2 -m 4G -nodefaults -no-user-config -no-reboot -display none \
    -kernel "$unpacked/boot/vmlinuz-$version" -initrd "$run/initramfs.cpio" -append "console=ttyS0 panic=-1" \
    -drive "file=$run/upper,format=raw,if=virtio,cache=unsafe,discard=unmap" \
    -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
    -serial "file:$run/console" -serial stdio -serial "file:$run/code" &
machine=$!
ended=0
wait "$machine" || ended=$?
machine=""
if [ -s "$run/code" ]; then
    exit "$(cat "$run/code")"
fi
tail -n 20 "$run/console" >&2 || true
[ "$ended" != 124 ] || { echo "$(basename "$0"): not done within $deadline s, and ended" >&2; exit 124; }
give_up "the guest ended without an exit code (qemu: $ended); the last of its kernel's messages is above."
