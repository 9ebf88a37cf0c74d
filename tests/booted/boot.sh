#!/bin/bash
# Boots the systemd of this host as the first process of namespaces of its own, on a tree of which it may change all: the
# host's root directory beneath, what the test laid down over it. Ends when that machine is powered off or rebooted.
#
#   boot.sh TREE CGROUP     TREE/upper: what is different; TREE/units: /etc/systemd/system
set -euo pipefail
tree=$1 cgroup=$2

if [ "${3:-}" != inside ]; then
    mkdir -p "$tree/upper" "$tree/work" "$tree/root" "$tree/units" "$cgroup"
    echo $$ >"$cgroup/cgroup.procs"
    # With whoever runs the test goes the machine.
    exec setpriv --pdeathsig KILL unshare --mount --propagation private --pid --uts --ipc --net --cgroup --fork --kill-child "$0" "$tree" "$cgroup" inside
fi

root=$tree/root
mount -t overlay envol-booted -o "lowerdir=/,upperdir=$tree/upper,workdir=$tree/work" "$root"
mount --bind "$tree/units" "$root/etc/systemd/system"
mount -t proc proc "$root/proc"
# What the kernel has once for all of this host is not this machine's to change: its settings, its devices.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 fuse:10:229 loop-control:10:237; do
    IFS=: read -r name major minor <<<"$device"
    mknod -m 666 "$root/dev/$name" c "$major" "$minor"
done
for ((number = 0; number < 256; number++)); do
    mknod -m 660 "$root/dev/loop$number" b 7 "$number"
done
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
# The AWS CLI that scripts/test.sh installs is in the checkout, wherever that lies. Read-only: systemd empties /tmp at boot.
checkout=$(realpath "$(dirname "$0")/../..")
if [[ $checkout == /tmp/* ]]; then
    mkdir -p "$root$checkout"
    mount --bind "$checkout" "$root$checkout"
    mount -o remount,bind,ro "$root$checkout"
fi

# Not a chroot: whoever enters its mount namespace must find the root of that there.
cd "$root"
pivot_root . .
umount --lazy .
exec env -i container=envol-booted PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --show-status=false </dev/null
