//! How much memory a decoder takes: an allocator that counts what the thread that decodes has at its worst moment.

#![allow(unsafe_code, reason = "an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counting;

thread_local! {
    /// Below zero where a thread frees what another one made.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// More memory at once than the target allows for an input of that length.
#[derive(Debug, PartialEq, Eq)]
pub struct Excess {
    pub taken_bytes: usize,
    pub limit_bytes: usize,
}

pub(crate) fn begin() -> isize {
    let before = LIVE.get();
    PEAK.set(before);
    before
}

pub(crate) fn end(before: isize, limit_bytes: usize) -> Result<(), Excess> {
    let taken_bytes = usize::try_from(PEAK.get() - before).unwrap_or(0);
    if taken_bytes <= limit_bytes { Ok(()) } else { Err(Excess { taken_bytes, limit_bytes }) }
}

/// Also for what could not be had: it was asked for.
fn count(more: usize, less: usize) {
    let signed = |len: usize| isize::try_from(len).unwrap_or(isize::MAX);
    let live = LIVE.get().saturating_add(signed(more));
    PEAK.set(PEAK.get().max(live));
    LIVE.set(live.saturating_sub(signed(less)));
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size, layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.realloc(start, layout, new_size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(start, layout) }
    }
}
