//! Volumes with data that tells its place, snapshots of them, and volumes made of those.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Host, Ran};

pub const CHUNK: u64 = 512 << 10;
const BLOCK: usize = 4096;

/// Random looking, different for each seed, and not to be compressed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // xorshift64* (Vigna, 2016)
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The image of an attached volume, through the page cache of nobody.
pub fn image(host: &Host, volume: &str) -> File {
    OpenOptions::new().read(true).write(true).open(host.image(volume)).expect("an attached volume")
}

/// Durable on return.
pub fn write(host: &Host, volume: &str, at: u64, bytes: &[u8]) {
    let file = image(host, volume);
    file.write_all_at(bytes, at).expect("a write");
    file.sync_all().expect("a sync");
}

/// Every block that is not zero, hashed with its place; enough to tell two volumes apart.
pub fn content(path: &Path) -> Vec<(u64, u64)> {
    let file = File::open(path).expect("an image");
    let len = fs::metadata(path).expect("its length").len();
    let mut found = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < len {
        let part = usize::try_from((len - at).min(buffer.len() as u64)).expect("a MiB");
        file.read_exact_at(&mut buffer[..part], at).expect("a read");
        found.extend(blocks(at, &buffer[..part]));
        at += part as u64;
    }
    found
}

/// The same of bytes that lie at `at`, which is where a block begins.
pub fn blocks(at: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    let numbered = (at / BLOCK as u64..).zip(bytes.chunks(BLOCK));
    numbered.filter(|(_, block)| block.iter().any(|byte| *byte != 0)).map(|(number, block)| (number, hash(block)))
}

/// FNV-1a
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Host {
    /// `envol snapshot create`; what it prints as JSON.
    #[track_caller]
    pub fn snapshot(&self, volume: &str, more: &[&str]) -> Value {
        self.json(&[&["snapshot", "create", volume], more].concat())
    }

    pub fn try_restore(&self, snapshot: &str, more: &[&str]) -> Ran {
        let create = ["create", "--snapshot", snapshot, "--db-id", "db-RESTORED", "--kms-key", "alias/test"];
        self.envol(&[&create, more].concat())
    }

    /// The new volume's id.
    #[track_caller]
    pub fn restore(&self, snapshot: &str, more: &[&str]) -> String {
        self.try_restore(snapshot, more).expect_code(0).stdout.trim().to_owned()
    }

    /// Restores it, looks at all of it, and takes it away again.
    #[track_caller]
    pub fn content_of_snapshot(&self, snapshot: &str, more: &[&str]) -> Vec<(u64, u64)> {
        let volume = self.restore(snapshot, more);
        self.envol(&["attach", &volume, "--raw"]).expect_code(0);
        let found = content(&self.image(&volume));
        self.envol(&["detach", &volume]).expect_code(0);
        self.envol(&["delete", &volume, "--yes"]).expect_code(0);
        found
    }

    pub fn store(&self) -> PathBuf {
        self.root().join("snapshots")
    }

    /// Names below the directory of volumes, also of what is not listed.
    pub fn volume_directories(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root().join("volumes")).expect("volumes");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("plain")).collect();
        names.sort();
        names
    }
}

/// The files of a store that no manifest in it accounts for, and those that one refers to and that are not there.
pub fn unaccounted(store: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let mut wanted = BTreeSet::new();
    for entry in fs::read_dir(store.join("snapshots")).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().contains('#') {
            continue;
        }
        // Magic, version, length of the header, header.
        let manifest = fs::read(entry.path()).expect("a manifest");
        let len = u32::from_le_bytes(manifest[12..16].try_into().expect("4 bytes"));
        let header: Value = serde_json::from_slice(&manifest[16..16 + len as usize]).expect("a header");
        wanted.insert(entry.path());
        for (origin, ranges) in header["packs"].as_object().expect("packs") {
            for range in ranges.as_array().expect("ranges") {
                let end = |index: usize| range[index].as_u64().expect("a number");
                wanted
                    .extend((end(0)..=end(1)).map(|pack| store.join("packs").join(origin).join(format!("{pack:08}"))));
            }
        }
    }
    let there: BTreeSet<PathBuf> = objects(store).into_iter().map(|(path, _)| path).collect();
    (there.difference(&wanted).cloned().collect(), wanted.difference(&there).cloned().collect())
}

/// Every file of a store, with its length.
pub fn objects(store: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut dirs = vec![store.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let metadata = entry.metadata().expect("metadata");
            if metadata.is_dir() { dirs.push(entry.path()) } else { found.push((entry.path(), metadata.len())) }
        }
    }
    found.sort();
    found
}

pub fn bytes_in(store: &Path) -> u64 {
    objects(store).iter().map(|(_, len)| len).sum()
}
