//! Copies the source of the volume, with the locks and atomics of the scheduler in place of the standard library's; and once more for
//! each control, with a mistake in it.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the scheduler takes the place of the threads of the host.
const SCHEDULED: [(&str, &str); 3] = [
    ("std::sync::", "crate::sync::"),
    ("crossbeam_utils::sync::", "crate::sync::"),
    ("use std::thread;", "use shuttle::thread;"),
];

struct Mistake {
    name: &'static str,
    file: &'static str,
    edits: &'static [(&'static str, &'static str)],
}

const MISTAKES: [Mistake; 9] = [
    Mistake { name: "writers_share", file: "io.rs", edits: &[("self.ranges.exclude(", "self.ranges.share(")] },
    Mistake {
        name: "queued_writers_share",
        file: "queued.rs",
        edits: &[("self.ranges.exclude_owned(", "self.ranges.share_owned(")],
    },
    Mistake {
        name: "no_barrier",
        file: "epoch.rs",
        edits: &[
            ("let barrier = self.ranges.hold_writers_back(|| self.state.check_not_ended())?;", ""),
            ("drop(barrier);", ""),
        ],
    },
    Mistake {
        name: "nobody_is_woken",
        file: "range_lock.rs",
        edits: &[(
            "state.held.swap_remove(index);\n        }\n        self.wake(state);",
            "state.held.swap_remove(index);\n        }",
        )],
    },
    Mistake {
        name: "bits_before_their_data",
        file: "io.rs",
        edits: &[
            (
                "let pending = self.allocation.pending(&turn);",
                "self.store.sync().map_err(VolumeError::store(\"sync\"))?;\n        let pending = self.allocation.pending(&turn);",
            ),
            ("self.latch(self.store.sync().map_err(VolumeError::store(\"sync\")))?;", ""),
        ],
    },
    Mistake {
        name: "synced_ahead_too_much",
        file: "queued.rs",
        edits: &[("volume.ahead.synced_itself(before);", "volume.ahead.synced(volume.ahead.count());")],
    },
    Mistake {
        name: "synced_ahead_for_others",
        file: "queued.rs",
        edits: &[("= self.ahead.all_durable().", "= Some(self.ahead.count()).")],
    },
    Mistake {
        name: "a_sync_waits_for_nobody",
        file: "behind.rs",
        edits: &[("*other < number)", "*other < number && false)")],
    },
    Mistake {
        name: "the_end_wakes_nobody",
        file: "state.rs",
        edits: &[(
            "self.serving.store(false, Ordering::Release);\n        self.wake();",
            "self.serving.store(false, Ordering::Release);",
        )],
    },
];

fn main() {
    let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the crate is"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where to write"));
    let source = manifest.parent().expect("a member lies in its workspace").join("src/volume");
    println!("cargo::rerun-if-changed={}", source.display());
    println!("cargo::rerun-if-changed=build.rs");
    let scenarios = manifest.join("src/scenarios.rs");
    let mut copies = String::new();
    for (name, mistake) in
        std::iter::once(("sound", None)).chain(MISTAKES.iter().map(|mistake| (mistake.name, Some(mistake))))
    {
        let copy = out.join(name);
        let _ = fs::remove_dir_all(&copy);
        copy_scheduled(&source, &copy);
        if let Some(mistake) = mistake {
            make(mistake, &copy.join(mistake.file));
        }
        let volume = copy.join("mod.rs");
        write!(
            copies,
            "pub mod {name} {{\n    #[allow(dead_code, unused, unreachable_pub, clippy::all)]\n    #[path = {volume:?}]\n    pub mod volume;\n    \
             #[path = {scenarios:?}]\n    pub mod scenarios;\n}}\n"
        )
        .expect("a string takes everything");
    }
    fs::write(out.join("copies.rs"), copies).expect("the folder is ours");
}

/// All but the tests, which are for the threads of the host.
fn copy_scheduled(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder is ours");
    for entry in fs::read_dir(from).expect("the source of the volume") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("an entry has a name");
        if path.is_dir() {
            copy_scheduled(&path, &to.join(name));
        } else if name != "tests.rs" {
            let text = fs::read_to_string(&path).expect("a source file");
            let mut text = text
                .split("#[cfg(test)]\nmod tests {")
                .next()
                .unwrap_or_default()
                .replace("#[cfg(test)]\nmod tests;", "");
            for (ours, scheduled) in SCHEDULED {
                text = text.replace(ours, scheduled);
            }
            fs::write(to.join(name), text).expect("the folder is ours");
        }
    }
}

fn make(mistake: &Mistake, file: &Path) {
    let mut text = fs::read_to_string(file).expect("a copied file");
    for (right, wrong) in mistake.edits {
        assert!(text.contains(right), "the control {} has lost its place: {right}", mistake.name);
        text = text.replace(right, wrong);
    }
    fs::write(file, text).expect("the folder is ours");
}
