//! Locks on runs of blocks: any number of readers, or one writer.
//!
//! Only the requests that are in flight are kept, a handful, so a plain list under one mutex is the whole structure.

use std::ops::Range;
use std::sync::{Condvar, Mutex, PoisonError};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Shared,
    Exclusive,
}

#[derive(Default)]
pub(super) struct RangeLock {
    held: Mutex<Vec<(Range<u64>, Mode)>>,
    released: Condvar,
}

/// Releases the blocks on drop.
pub(super) struct RangeGuard<'a> {
    lock: &'a RangeLock,
    blocks: Range<u64>,
    mode: Mode,
}

impl RangeLock {
    pub(super) fn share(&self, blocks: Range<u64>) -> RangeGuard<'_> {
        self.acquire(blocks, Mode::Shared)
    }

    pub(super) fn exclude(&self, blocks: Range<u64>) -> RangeGuard<'_> {
        self.acquire(blocks, Mode::Exclusive)
    }

    fn acquire(&self, blocks: Range<u64>, mode: Mode) -> RangeGuard<'_> {
        let conflicts = |(held, held_mode): &(Range<u64>, Mode)| {
            held.start < blocks.end
                && blocks.start < held.end
                && (mode == Mode::Exclusive || *held_mode == Mode::Exclusive)
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while held.iter().any(conflicts) {
            held = self.released.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        held.push((blocks.clone(), mode));
        RangeGuard { lock: self, blocks, mode }
    }
}

impl Drop for RangeGuard<'_> {
    fn drop(&mut self) {
        let mut held = self.lock.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = held.iter().position(|(blocks, mode)| *blocks == self.blocks && *mode == self.mode) {
            held.swap_remove(index);
        }
        drop(held);
        self.lock.released.notify_all();
    }
}
