//! Two bitmaps in a file, mapped, as words that all threads share. They lie page by page in turn, so that both become longer
//! at the end of the file, and no word ever moves.

#![allow(unsafe_code, reason = "a mapped file seen as atomic words")]

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use memmap2::{MmapOptions, MmapRaw};

pub(super) const WORDS_PER_PAGE: usize = 512;
const PAGE_LEN: usize = WORDS_PER_PAGE * size_of::<u64>();

pub(super) struct Bitmaps {
    /// As long as the file may ever become: what is mapped need not be there yet.
    map: MmapRaw,
    /// Of each bitmap: those before this one are there.
    pages: AtomicUsize,
}

/// What both bitmaps take in the file.
pub(super) fn len_bytes(pages: usize) -> u64 {
    2 * (pages * PAGE_LEN) as u64
}

impl Bitmaps {
    /// Two bitmaps of `pages` pages each from `offset`, a multiple of 4096, which may grow to `max_pages`. The file must be
    /// allocated up to their end, and nobody may make it shorter.
    pub(super) fn map(file: &File, offset: u64, pages: usize, max_pages: usize) -> io::Result<Self> {
        assert!(pages <= max_pages, "a bitmap is not longer than it may become");
        let map = MmapOptions::new().offset(offset).len(2 * max_pages * PAGE_LEN).map_raw(file)?;
        let bitmaps = Self { map, pages: AtomicUsize::new(0) };
        bitmaps.grow(pages);
        Ok(bitmaps)
    }

    /// The file has been allocated up to the end of so many pages of each. They never become fewer.
    pub(super) fn grow(&self, pages: usize) {
        let before = self.pages.load(Ordering::Acquire);
        assert!(2 * pages * PAGE_LEN <= self.map.len(), "bitmaps grow within what is mapped");
        if pages <= before {
            return;
        }
        let start = self.map.as_mut_ptr().wrapping_add(2 * before * PAGE_LEN);
        // A page whose write-back failed stays as it is while it is locked. Where that is not allowed, the failure shows when
        // the file is closed or opened next.
        // SAFETY: the range lies within the mapping, and locking changes none of it.
        let _ = unsafe { rustix::mm::mlock(start.cast(), 2 * (pages - before) * PAGE_LEN) };
        self.pages.store(pages, Ordering::Release);
    }

    /// Word `index` of bitmap 0 or 1.
    pub(super) fn word(&self, which: usize, index: usize) -> &AtomicU64 {
        &self.page(which, index / WORDS_PER_PAGE)[index % WORDS_PER_PAGE]
    }

    /// All words of bitmap 0 or 1, in order.
    pub(super) fn words(&self, which: usize) -> impl Iterator<Item = &AtomicU64> {
        (0..self.pages.load(Ordering::Acquire)).flat_map(move |page| self.page(which, page))
    }

    fn page(&self, which: usize, page: usize) -> &[AtomicU64] {
        assert!(which < 2, "there are two bitmaps");
        assert!(page < self.pages.load(Ordering::Acquire), "that page is not there");
        let start = self.map.as_mut_ptr().wrapping_add((2 * page + which) * PAGE_LEN).cast::<AtomicU64>();
        // SAFETY: the page lies within the mapping and the file, neither of which becomes shorter while `self` lives; it is
        // readable and writable, and its words are aligned; whoever is in this process changes them atomically, and no other
        // process has the file open.
        unsafe { std::slice::from_raw_parts(start, WORDS_PER_PAGE) }
    }
}
