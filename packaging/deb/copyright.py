#!/usr/bin/env python3
"""Prints debian/copyright of the package: every crate that is linked into the binary, who holds its copyright, and under which
license it is passed on. `cargo metadata` knows the crates, their sources have the names.

    copyright.py TARGET_TRIPLE

Fails on a license that nobody has looked at: then deny.toml and packaging/deb/licenses want a line first.
"""

import json
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
REPOSITORY = HERE.parent.parent
# Of alternatives the first is taken. The text of the first is on every Debian.
PREFERENCE = ["Apache-2.0", "MIT", "ISC", "BSD-3-Clause", "BSD-2-Clause", "Unicode-3.0"]
ON_EVERY_DEBIAN = "On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0."


def metadata(triple):
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", triple]
    return json.loads(subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE).stdout)


def linked(everything):
    """The packages that `envol` is linked of, without those that only build or test it."""
    nodes = {node["id"]: node for node in everything["resolve"]["nodes"]}
    packages = {package["id"]: package for package in everything["packages"]}
    (root,) = [package["id"] for package in everything["packages"] if package["name"] == "envol"]
    seen, waiting = {root}, [root]
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]) and dependency["pkg"] not in seen:
                seen.add(dependency["pkg"])
                waiting.append(dependency["pkg"])
    return sorted((packages[identity] for identity in seen), key=lambda package: (package["name"], package["version"]))


def elected(expression):
    """The licenses that a crate's SPDX expression leaves us with: all of an AND, one of an OR."""
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def alternatives():
        found = [together()]
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            found.append(together())
        known = [names for names in found if all(name in PREFERENCE for name in names)]
        if not known:
            sys.exit(f"copyright.py: none of the licenses in `{expression}` is known")
        return min(known, key=lambda names: max(PREFERENCE.index(name) for name in names))

    def together():
        names = single()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            names = names + [name for name in single() if name not in names]
        return names

    def single():
        token = tokens.pop(0)
        if token == "(":
            names = alternatives()
            tokens.pop(0)
            return names
        if tokens and tokens[0] == "WITH":
            token = f"{token} WITH {tokens[1]}"
            del tokens[:2]
        return [token]

    return alternatives()


def holders(files):
    """The lines of license files that name somebody, without those of the licenses themselves."""
    found = []
    for path in files:
        for line in path.read_text(errors="replace").splitlines():
            line = line.strip(" \t#*/")
            names_somebody = re.match(r"(?i)(portions )?copyright (\(c\)|©|\d{4}|the )", line)
            template = re.search(r"(?i)[\[{<]|copyright (owner|holder|notice|license|statement|law)", line)
            if names_somebody and not template and line not in found:
                found.append(line)
    return found


def stanza(files, holders, licenses):
    lines = [f"Files: {files}", "Copyright: " + "\n           ".join(holders), "License: " + " and ".join(licenses)]
    return "\n".join(lines)


def paragraph(license):
    text = ON_EVERY_DEBIAN
    if license != "Apache-2.0":
        text = (HERE / "licenses" / license).read_text()
    lines = [f" {line}" if line.strip() else " ." for line in text.rstrip().splitlines()]
    return "\n".join([f"License: {license}", *lines])


def main():
    everything = metadata(sys.argv[1])
    used = {"MIT", "Apache-2.0"}
    stanzas = [
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
        "Upstream-Name: envol\n"
        "Comment: The binary is linked of the crates below. Where a crate may be had under one of several\n"
        " licenses, the one is named under which it is passed on here.",
        "Files: *\nCopyright: The envol developers\nLicense: MIT or Apache-2.0",
        stanza("rust/library/*", ["The Rust Project Developers"], ["Apache-2.0"]),
    ]
    for package in linked(everything):
        if package["source"] is None:
            continue
        directory = pathlib.Path(package["manifest_path"]).parent
        licenses = elected(package["license"])
        texts = sorted(path for path in directory.iterdir() if re.match(r"(?i)(licen[sc]e|copying|copyright|notice)", path.name) and path.is_file())
        people = holders(texts) or package["authors"] or [f"The developers of {package['name']}"]
        stanzas.append(stanza(f"vendor/{package['name']}-{package['version']}/*", people, licenses))
        for notice in (path for path in texts if path.name.upper().startswith("NOTICE")):
            lines = [f" {line}" if line.strip() else " ." for line in notice.read_text().strip().splitlines()]
            stanzas[-1] += "\nComment:\n" + "\n".join(lines)
        used.update(licenses)
    stanzas += [paragraph(license) for license in sorted(used)]
    print("\n\n".join(stanzas))


main()
