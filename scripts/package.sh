#!/usr/bin/env bash
# Builds the Debian package of envol. Network is needed for crates alone.
#
#   scripts/package.sh [--profile release|dev] [--check]
#
# The package is target/package/envol_VERSION_ARCHITECTURE.deb. --check then lints it, and installs, uses, upgrades, removes
# and purges it in a minimal Debian 12 of its own (root; takes debootstrap and lintian, and the network of apt): see
# packaging/deb/check.sh. --profile dev is for trying this script: its binary is large and slow.
set -euo pipefail
export LC_ALL=C
umask 022

# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/prerequisites.sh"
cd "$envol_repo"

usage() {
    sed -n '2,/^set /{s/^# \{0,1\}//p}' "$0"
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    exit 2
}

profile=release check=
while [ $# -gt 0 ]; do
    case $1 in
    --profile) [ $# -ge 2 ] || usage "--profile needs a value"; profile=$2 && shift ;;
    --check) check=yes ;;
    *) usage "unknown: $1" ;;
    esac
    shift
done
case $profile in release) folder=release ;; dev) folder=debug ;; *) usage "no profile \`$profile\`" ;; esac

need_packages dpkg-deb=dpkg dpkg-shlibdeps=dpkg-dev strip=binutils python3=python3
need_rust

# What is committed last says when, so that the same commit makes the same package.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}

# What the package of this version holds, into $tree.
fill() {
    local version=$1
    rm -rf "$tree"
    install -D --strip --mode 755 "$target/envol" "$tree/usr/bin/envol"
    pages "$tree/usr/share/man/man1"
    install -D --mode 644 packaging/completions/envol.bash "$tree/usr/share/bash-completion/completions/envol"
    install -D --mode 644 --target-directory "$tree/usr/share/zsh/vendor-completions" packaging/completions/_envol
    install -D --mode 644 --target-directory "$tree/usr/share/fish/vendor_completions.d" packaging/completions/envol.fish
    integrations
    documents "$version"
    control "$version"
    find "$tree" -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
}

pages() {
    "$target/envol-manual" "$1" "$(date --utc --date "@$SOURCE_DATE_EPOCH" +%F)"
    gzip -9 --no-name "$1"/*.1
}

# What is there of units, mount helper, dashboards and alert rules. Drop-ins have a volume's id to be put in: they are examples.
integrations() {
    local unit file
    for unit in packaging/systemd/*.{service,socket,timer,target}; do
        [ ! -f "$unit" ] || install -D --mode 644 --target-directory "$tree/lib/systemd/system" "$unit"
    done
    for file in packaging/systemd/*.d/*; do
        [ ! -f "$file" ] || install -D --mode 644 "$file" "$tree/usr/share/doc/envol/examples/${file#packaging/}"
    done
    install -D --mode 755 packaging/mount.envol "$tree/sbin/mount.envol"
    mkdir -p "$tree/usr/share/man/man8"
    gzip -9n <packaging/mount.envol.8 >"$tree/usr/share/man/man8/mount.envol.8.gz"
    for file in packaging/{grafana,prometheus}/*; do
        [ ! -f "$file" ] || install -D --mode 644 "$file" "$tree/usr/share/envol/${file#packaging/}"
    done
}

documents() {
    local of=$tree/usr/share/doc/envol
    install -D --mode 644 --target-directory "$of" README.md
    install -D --mode 644 --target-directory "$of/docs" docs/*.md
    install -D --mode 644 --target-directory "$of/docs/adr" docs/adr/*.md
    gzip -9 --no-name <CHANGELOG.md >"$of/changelog.gz"
    {
        printf 'envol (%s) unstable; urgency=medium\n\n' "$1"
        printf '  * See changelog.gz.\n\n'
        printf ' -- The envol developers <envol@localhost>  %s\n' "$(date --utc --date "@$SOURCE_DATE_EPOCH" --rfc-email)"
    } | gzip -9 --no-name >"$of/changelog.Debian.gz"
    python3 packaging/deb/copyright.py "$(rustc -vV | sed -n 's/^host: //p')" >"$of/copyright"
    install -D --mode 644 packaging/deb/lintian-overrides "$tree/usr/share/lintian/overrides/envol"
}

control() {
    local libraries
    # dpkg-shlibdeps wants to stand in a source package.
    mkdir -p "$work/source/debian"
    printf 'Source: envol\n\nPackage: envol\nArchitecture: any\n' >"$work/source/debian/control"
    libraries=$(cd "$work/source" && dpkg-shlibdeps -O "$tree/usr/bin/envol" | sed -n 's/^shlibs:Depends=//p')
    [ -n "$libraries" ] || give_up "dpkg-shlibdeps found no libraries of the binary."
    mkdir -p "$tree/DEBIAN"
    sed -e "s/@VERSION@/$1/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@LIBRARIES@/$libraries/" \
        -e "s/@INSTALLED_KIB@/$(du -sk --exclude DEBIAN "$tree" | cut -f 1)/" packaging/deb/control.in >"$tree/DEBIAN/control"
    install --mode 755 --target-directory "$tree/DEBIAN" packaging/deb/{postinst,prerm,postrm}
    (cd "$tree" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
}

target=${CARGO_TARGET_DIR:-$envol_repo/target}/$folder
work=${CARGO_TARGET_DIR:-$envol_repo/target}/package
tree=$work/tree
architecture=$(dpkg --print-architecture)
cargo build --profile "$profile" --locked --package envol --package envol-manual
# Not before: C libraries among the crates would be built anew after each commit.
export SOURCE_DATE_EPOCH
version=$("$target/envol" --version | cut -d ' ' -f 2)
mkdir -p "$work"
rm -f "$work"/*.deb

package=$work/envol_$version-1_$architecture.deb
fill "$version-1"
dpkg-deb --root-owner-group -Zxz --build "$tree" "$package" >/dev/null
if [ -n "$check" ]; then
    # The same as a later version, to be upgraded to.
    sed -i "s/^Version: .*/Version: $version-2/" "$tree/DEBIAN/control"
    dpkg-deb --root-owner-group -Znone --build "$tree" "$work/next.deb" >/dev/null
    packaging/deb/check.sh "$package" "$work/next.deb"
    rm "$work/next.deb"
fi
rm -rf "$tree" "$work/source"
printf '%s  %d KiB\n' "$package" $(($(stat -c %s "$package") >> 10))
