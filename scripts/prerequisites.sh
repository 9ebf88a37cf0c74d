# shellcheck shell=bash
# Sourced by the other scripts: installs what is missing on Debian 12, and says plainly what it cannot install.
#
# Debian packages come from apt; Python packages go into a virtual environment under target/, so that nothing of the
# system's own Python changes.

envol_repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

give_up() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 9
}

# missing COMMAND... : those that are not on the PATH.
missing() {
    local command
    for command in "$@"; do
        command -v "$command" >/dev/null 2>&1 || printf '%s ' "$command"
    done
}

# need_packages COMMAND=PACKAGE... : installs the packages whose commands are missing.
need_packages() {
    local pair wanted=()
    for pair in "$@"; do
        [ -z "$(missing "${pair%%=*}")" ] || wanted+=("${pair#*=}")
    done
    [ ${#wanted[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || give_up "not installed: ${wanted[*]} (Debian packages). Install them, or run this as root."
    [ -n "$(missing apt-get)" ] && give_up "not installed: ${wanted[*]}, and there is no apt-get to install them with."
    echo "installing ${wanted[*]}"
    apt-get update -qq >/dev/null || give_up "apt-get update failed; is there a network?"
    # A database server that starts by itself would only be in the way.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    install_unstarted "${wanted[@]}" || give_up "apt-get could not install ${wanted[*]}"
}

# install_unstarted PACKAGE... : no service of theirs is started, by the policy of this host or, if it has none, by one of ours.
install_unstarted() (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
)

# Rust 1.95 or newer: what is there, rustup's, or Debian's rustc-web.
need_rust() {
    # shellcheck source=/dev/null
    [ ! -f "${HOME:-/root}/.cargo/env" ] || . "${HOME:-/root}/.cargo/env"
    need_packages cc=gcc cc=libc6-dev cargo=cargo-web rustc=rustc-web
    local version major minor
    version=$(rustc --version) || give_up "rustc does not run: $(command -v rustc)"
    IFS=' .' read -r _ major minor _ <<<"$version"
    [ "$major" -gt 1 ] || [ "$minor" -ge 95 ] ||
        give_up "Rust 1.95 or newer is needed, and $version is installed (rustup update, or Debian's rustc-web)."
}

# What the benches are compared with: OpenSSL's library, with its headers.
need_openssl() {
    need_packages pkg-config=pkg-config
    pkg-config --exists libcrypto || need_packages no-such-command=libssl-dev
}

# need_python MODULE=PACKAGE... [-- COMMAND=PACKAGE...] : a Python that has all these modules, the AWS CLI, and programs that
# PyPI alone has, first on the PATH.
need_python() {
    local environment="$envol_repo/target/python" pair modules="" commands=(aws) packages=(awscli)
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        modules+="import ${1%%=*};"
        packages+=("${1#*=}")
        shift
    done
    for pair in "${@:2}"; do
        commands+=("${pair%%=*}")
        packages+=("${pair#*=}")
    done
    need_packages python3=python3
    [ -x "$environment/bin/python3" ] && PATH="$environment/bin:$PATH"
    if python3 -c "$modules" 2>/dev/null && [ -z "$(missing "${commands[@]}")" ]; then
        return 0
    fi
    python3 -c 'import venv, ensurepip' 2>/dev/null || need_packages no-such-command=python3-venv
    echo "installing ${packages[*]} into $environment"
    python3 -m venv "$environment" || give_up "could not make a Python environment in $environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check \
        --constraint "$envol_repo/scripts/python-constraints.txt" "${packages[@]}" ||
        give_up "pip could not install ${packages[*]}; is there a network, and does PyPI have them for $(uname -m)?"
    PATH="$environment/bin:$PATH"
    [ -z "$(missing "${commands[@]}")" ] || give_up "${packages[*]} did not bring $(missing "${commands[@]}")"
}

# What no package brings: the kernel's side of it.
need_kernel() {
    [ "$(id -u)" = 0 ] || give_up "run this as root: it mounts file systems on loop devices."
    [ -c /dev/fuse ] || give_up "there is no /dev/fuse: load the module (modprobe fuse), or give the container the device."
    [ -c /dev/loop-control ] || give_up "there are no loop devices: load the module (modprobe loop), or give the container /dev/loop-control."
    losetup --find >/dev/null 2>&1 || give_up "no free loop device: this host or container does not allow them."
}
