//! Where old chunks wait to be stored: a bounded file of ciphertext that has no name, and so goes with its last user.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};

use crate::volume::CHUNK_SIZE;

pub(super) struct Spill {
    file: File,
    free: Vec<u32>,
    /// Those from here on were never used.
    fresh: u32,
    limit: u32,
}

/// Room for one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u32);

impl Spill {
    /// In `dir`, of `limit_bytes` at most. It takes room only as it is used.
    pub(super) fn create(dir: &Path, limit_bytes: u64) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = File::from(open(dir, flags, Mode::RUSR | Mode::WUSR)?);
        let limit = u32::try_from(limit_bytes / CHUNK_SIZE as u64).unwrap_or(u32::MAX).max(1);
        // All at once: a write that makes it longer takes a turn in the journal that the database's syncs wait for.
        file.set_len(u64::from(limit) * CHUNK_SIZE as u64)?;
        Ok(Self { file, free: Vec::new(), fresh: 0, limit })
    }

    /// `None`: it is full.
    pub(super) fn take(&mut self) -> Option<Slot> {
        if let Some(slot) = self.free.pop() {
            return Some(Slot(slot));
        }
        let slot = (self.fresh < self.limit).then_some(Slot(self.fresh))?;
        self.fresh += 1;
        Some(slot)
    }

    pub(super) fn give_back(&mut self, slot: Slot) {
        self.free.push(slot.0);
    }

    pub(super) fn is_half_full(&self) -> bool {
        let free = u32::try_from(self.free.len()).unwrap_or(u32::MAX);
        self.fresh - free > self.limit / 2
    }

    /// The file, to read and write slots without whatever lock this is behind.
    pub(super) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

impl Slot {
    pub(super) fn write(self, file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, self.offset())
    }

    pub(super) fn read(self, file: &File, bytes: &mut [u8]) -> io::Result<()> {
        file.read_exact_at(bytes, self.offset())
    }

    fn offset(self) -> u64 {
        u64::from(self.0) * CHUNK_SIZE as u64
    }
}
