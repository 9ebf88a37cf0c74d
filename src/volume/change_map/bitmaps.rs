//! Two bitmaps in a file, mapped, as words that all threads share.

#![allow(unsafe_code, reason = "a mapped file seen as atomic words")]

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};

pub(super) struct Bitmaps {
    map: MmapRaw,
    words: usize,
}

impl Bitmaps {
    /// Two bitmaps of `words` words each from `offset`, a multiple of 4096. The file must be allocated up to their end, and
    /// nobody may make it shorter.
    pub(super) fn map(file: &File, offset: u64, words: usize) -> io::Result<Self> {
        let map = MmapOptions::new().offset(offset).len(2 * words * size_of::<u64>()).map_raw(file)?;
        // A page whose write-back failed stays as it is while it is locked. Where that is not allowed, the failure shows when
        // the file is closed or opened next.
        let _ = map.lock();
        Ok(Self { map, words })
    }

    /// Bitmap 0 or 1.
    pub(super) fn words(&self, which: usize) -> &[AtomicU64] {
        assert!(which < 2, "there are two bitmaps");
        let start = self.map.as_mut_ptr().wrapping_add(which * self.words * size_of::<u64>()).cast::<AtomicU64>();
        // SAFETY: `words` words from `start` lie within the mapping, which lives as long as `self` and is readable and
        // writable; a mapping begins at a page, so the words are aligned; whoever is in this process changes them atomically,
        // and no other process has the file open.
        unsafe { std::slice::from_raw_parts(start, self.words) }
    }
}
