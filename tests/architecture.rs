//! The direction of dependencies: data goes `fuse -> volume -> cipher, store`, and no room knows those above it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each room and the rooms that it may name.
const ROOMS: [(&str, &[&str]); 14] = [
    ("catalog", &["format", "fuse", "host", "secret", "snapshot", "store", "volume"]),
    ("cipher", &[]),
    (
        "cli",
        &[
            "catalog",
            "cipher",
            "daemon",
            "drill",
            "format",
            "fuse",
            "host",
            "measure",
            "revocation",
            "secret",
            "snapshot",
            "store",
        ],
    ),
    (
        "daemon",
        &["catalog", "format", "fuse", "host", "measure", "revocation", "secret", "snapshot", "store", "volume"],
    ),
    ("drill", &["catalog", "format", "host"]),
    ("format", &[]),
    ("fuse", &["measure", "volume"]),
    ("host", &["format"]),
    ("measure", &[]),
    ("revocation", &["format", "measure"]),
    ("secret", &["cipher"]),
    ("snapshot", &["format", "secret", "volume"]),
    ("store", &[]),
    ("volume", &["cipher", "format", "secret", "store"]),
];

/// Names that belong to one place only, and where.
const CONFINED: [(&str, &str); 8] = [
    ("fuser::", "src/fuse"),
    ("aws_sdk", "kms-client"),
    ("aws_config", "kms-client"),
    ("hyper::", "local-kms"),
    ("redb::", "local-kms"),
    ("object_store::", "src/snapshot"),
    ("reqwest::", "src/revocation/events"),
    ("process::exit", "nowhere"),
];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

fn manifest_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Lines of code, without comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The rooms that a file names: `crate::ROOM` and `crate::{ROOM, …}` of one level.
fn named_rooms(code: &str) -> BTreeSet<&'static str> {
    ROOMS.iter().map(|(room, _)| *room).filter(|room| code.contains(&format!("crate::{room}"))).collect()
}

#[test]
fn rooms_name_only_what_lies_below_them() {
    for (room, allowed) in ROOMS {
        let files = sources(&manifest_dir().join("src").join(room));
        assert!(!files.is_empty(), "the room {room} is empty");
        for file in files {
            for named in named_rooms(&code(&file)) {
                let known = named == room || allowed.contains(&named);
                assert!(known, "{} names {named}, which lies above or beside {room}", file.display());
            }
        }
    }
}

#[test]
fn the_room_list_is_whole() {
    let rooms: BTreeSet<String> = fs::read_dir(manifest_dir().join("src"))
        .expect("src")
        .filter_map(|entry| entry.ok().filter(|entry| entry.path().is_dir())?.file_name().into_string().ok())
        .collect();
    assert_eq!(rooms, ROOMS.iter().map(|(room, _)| (*room).to_owned()).collect());
}

#[test]
fn no_room_reaches_itself_through_others() {
    fn below<'a>(room: &'a str, seen: &mut BTreeSet<&'a str>) {
        for next in ROOMS.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, allowed)| allowed) {
            if seen.insert(next) {
                below(next, seen);
            }
        }
    }
    for (room, _) in ROOMS {
        let mut seen = BTreeSet::new();
        below(room, &mut seen);
        assert!(!seen.contains(room), "{room} depends on itself through {seen:?}");
    }
}

#[test]
fn names_stay_where_they_belong() {
    for (name, home) in CONFINED {
        for folder in ["src", "kms-client/src", "local-kms/src"] {
            for file in sources(&manifest_dir().join(folder)) {
                let relative = file.strip_prefix(manifest_dir()).expect("below the manifest").to_path_buf();
                if !relative.starts_with(home) {
                    assert!(!code(&file).contains(name), "{} names {name}", relative.display());
                }
            }
        }
    }
}

/// `cargo tree` of the shipped dependencies, one crate a line.
fn tree(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--edges", "normal", "--prefix", "none"])
        .args(arguments)
        .current_dir(manifest_dir())
        .output()
        .expect("cargo tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn has(tree: &str, name: &str) -> bool {
    tree.lines().any(|line| line.split(' ').next() == Some(name))
}

#[test]
fn without_the_local_kms_there_is_no_server_and_no_database_in_the_tree() {
    let (with, without) = (tree(&[]), tree(&["--no-default-features"]));
    for name in ["redb", "local-kms"] {
        assert!(has(&with, name), "{name} should be there by default");
        assert!(!has(&without, name), "{name} is there without the feature local-kms");
    }
}

#[test]
fn local_kms_depends_on_no_other_crate_here() {
    let tree = tree(&["--package", "local-kms"]);
    assert!(has(&tree, "local-kms"));
    for name in ["envol", "kms-client"] {
        assert!(!has(&tree, name), "local-kms depends on {name}");
    }
}

#[test]
fn there_is_one_tls_stack() {
    let tree = tree(&[]);
    let versions = |name: &str| -> BTreeSet<String> {
        tree.lines()
            .filter(|line| line.starts_with(&format!("{name} v")))
            .map(|line| line.replace(" (*)", ""))
            .collect()
    };
    assert_eq!(versions("rustls").len(), 1);
    assert_eq!(versions("hyper").len(), 1);
    assert!(versions("ring").is_empty() && versions("openssl").is_empty());
}
