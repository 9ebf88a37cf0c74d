//! Which blocks were ever written: one bit a block, so that a hole is a fact and never a guess.
//!
//! A bit goes through three stages: set in memory once the block's ciphertext is written; *pending* until a sync has
//! made that ciphertext durable; then on disk. The map on disk therefore never claims a block whose ciphertext could
//! still be lost in a power cut: such a block would read as a lost block instead of as what it was before.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::BLOCKS_PER_CHUNK;
use super::written::{CAPACITY, Written};
use crate::format::{MAP_LEN, MAX_REGIONS, map_page_offset};
use crate::store::Store;

/// The unit in which the map is read and written.
const PAGE_BYTES: usize = 4096;
const PAGE_WORDS: usize = PAGE_BYTES / 8;
const PAGE_BITS: u64 = PAGE_BYTES as u64 * 8;
const PAGES_PER_REGION: usize = 8192;

const _: () = assert!((PAGES_PER_REGION * PAGE_BYTES) as u64 == MAP_LEN);

type Words = Box<[u64; PAGE_WORDS]>;

struct Page {
    bits: [AtomicU64; PAGE_WORDS],
    /// Bits that are set in `bits` and not yet on disk. Changed only under its lock, before `bits` is.
    pending: Mutex<Option<Words>>,
}

/// Read from the store on first use: 4 KiB for each 128 MiB of volume that is touched.
type Pages = Box<[OnceLock<Box<Page>>]>;

/// Of a volume of any size: who asks for a block knows that it is there.
pub(super) struct AllocationMap {
    /// A table for each region that was touched, so that none ever moves, however large the volume becomes.
    regions: [OnceLock<Pages>; MAX_REGIONS],
    /// Pages with pending bits.
    dirty: Mutex<BTreeSet<usize>>,
    /// Held while the map on disk changes (sync, discard), so that these never overtake one another.
    persist: Mutex<()>,
}

/// Pending bits as they stood before a sync of the data: exactly those that the sync makes safe to write.
pub(super) struct PendingBits(Vec<(usize, Words)>);

impl PendingBits {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The right to change the map on disk.
pub(super) struct PersistGuard<'a>(#[expect(dead_code, reason = "held, not read")] MutexGuard<'a, ()>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Page, word in the page, mask in the word.
fn position(block: u64) -> (usize, usize, u64) {
    let page = usize::try_from(block / PAGE_BITS).expect("a volume has at most 2^19 map pages");
    let bit = usize::try_from(block % PAGE_BITS).expect("below 2^15");
    (page, bit / 64, 1 << (bit % 64))
}

fn page_offset(index: usize) -> u64 {
    map_page_offset(index as u64)
}

impl Default for AllocationMap {
    fn default() -> Self {
        Self { regions: std::array::from_fn(|_| OnceLock::new()), dirty: Mutex::default(), persist: Mutex::default() }
    }
}

impl AllocationMap {
    fn page(&self, store: &dyn Store, index: usize) -> io::Result<&Page> {
        let slot = self.slot(index);
        if let Some(page) = slot.get() {
            return Ok(page);
        }
        let mut bytes = vec![0; PAGE_BYTES];
        store.read_at(page_offset(index), &mut bytes)?;
        let page = Box::new(Page {
            bits: std::array::from_fn(|word| {
                let bytes: [u8; 8] = bytes[word * 8..][..8].try_into().expect("eight bytes");
                AtomicU64::new(u64::from_le_bytes(bytes))
            }),
            pending: Mutex::default(),
        });
        // Two threads may both have read it; before the first use nobody changed it, so either copy is right.
        Ok(slot.get_or_init(|| page))
    }

    fn slot(&self, index: usize) -> &OnceLock<Box<Page>> {
        let pages = self.regions[index / PAGES_PER_REGION]
            .get_or_init(|| (0..PAGES_PER_REGION).map(|_| OnceLock::new()).collect());
        &pages[index % PAGES_PER_REGION]
    }

    /// Bit `i` for block `blocks.start + i`. There are [`CAPACITY`] blocks at most.
    pub(super) fn written(&self, store: &dyn Store, blocks: &Range<u64>) -> io::Result<Written> {
        let count = blocks.end - blocks.start;
        assert!(count <= CAPACITY, "a request is not longer than {CAPACITY} blocks");
        let shift = u32::try_from(blocks.start % BLOCKS_PER_CHUNK).expect("below 128");
        let chunk = |index: u64| match blocks.start - u64::from(shift) + index * BLOCKS_PER_CHUNK {
            first if first < blocks.end => self.written_in_chunk(store, first),
            _ => Ok(0),
        };
        let [one, two, three] = [chunk(0)?, chunk(1)?, chunk(2)?];
        let join = |low: u128, high: u128| low >> shift | high.checked_shl(u128::BITS - shift).unwrap_or(0);
        let lowest = |bits: u64| {
            let others = u128::BITS - u32::try_from(bits).unwrap_or(u32::MAX).min(u128::BITS);
            u128::MAX.checked_shr(others).unwrap_or(0)
        };
        let (first, second) = (lowest(count), lowest(count.saturating_sub(BLOCKS_PER_CHUNK)));
        Ok([join(one, two) & first, join(two, three) & second])
    }

    /// Of the 128 blocks from `first`, a multiple of 128: bit `i` for block `first + i`.
    pub(super) fn written_in_chunk(&self, store: &dyn Store, first: u64) -> io::Result<u128> {
        let (page, word, _) = position(first);
        let bits = &self.page(store, page)?.bits;
        let [low, high] = [word, word + 1].map(|word| u128::from(bits[word].load(Ordering::Acquire)));
        Ok(high << 64 | low)
    }

    /// Whether none of the first `block_count` blocks was ever written. Reads the map of all of them.
    pub(super) fn is_blank(store: &dyn Store, block_count: u64) -> io::Result<bool> {
        let mut bytes = vec![0; PAGE_BYTES];
        for page in 0..block_count.div_ceil(PAGE_BITS) {
            store.read_at(map_page_offset(page), &mut bytes)?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Call once the ciphertext of `blocks` is in the store, and with these blocks locked.
    pub(super) fn mark_written(&self, store: &dyn Store, blocks: Range<u64>) -> io::Result<()> {
        let mut at = blocks.start;
        while at < blocks.end {
            let end = blocks.end.min((at / 64 + 1) * 64);
            let (index, word, first) = position(at);
            // From the first block's bit to the last one's.
            let mask = u64::MAX >> (63 - (end - 1) % 64) & !(first - 1);
            self.page(store, index)?.mark(word, mask, || lock(&self.dirty).insert(index));
            at = end;
        }
        Ok(())
    }

    pub(super) fn persist(&self) -> PersistGuard<'_> {
        PersistGuard(lock(&self.persist))
    }

    /// Step 1 of a sync, before the data is flushed.
    pub(super) fn pending(&self, _turn: &PersistGuard<'_>) -> PendingBits {
        let dirty: Vec<usize> = lock(&self.dirty).iter().copied().collect();
        let mut bits = Vec::with_capacity(dirty.len());
        for index in dirty {
            if let Some(words) = self.slot(index).get().and_then(|page| lock(&page.pending).clone()) {
                bits.push((index, words));
            }
        }
        PendingBits(bits)
    }

    /// Step 2 of a sync, after the data is durable. What it writes must then be flushed.
    pub(super) fn write_pending(
        &self,
        store: &dyn Store,
        bits: PendingBits,
        _turn: &PersistGuard<'_>,
    ) -> io::Result<()> {
        for (index, durable) in bits.0 {
            let page = self.page(store, index)?;
            let image = {
                let mut pending = lock(&page.pending);
                if let Some(words) = pending.as_mut() {
                    words.iter_mut().zip(durable.iter()).for_each(|(word, durable)| *word &= !durable);
                    if words.iter().all(|word| *word == 0) {
                        *pending = None;
                        lock(&self.dirty).remove(&index);
                    }
                }
                page.image(pending.as_deref())
            };
            store.write_at(page_offset(index), &image)?;
        }
        Ok(())
    }

    /// Clears the bits of `blocks` in memory and writes the map; the caller flushes, and only then may the store
    /// forget the blocks. Returns whether any was set. Call with these blocks locked.
    pub(super) fn clear(&self, store: &dyn Store, blocks: Range<u64>, _turn: &PersistGuard<'_>) -> io::Result<bool> {
        let mut any = false;
        let mut at = blocks.start;
        while at < blocks.end {
            let (index, ..) = position(at);
            let end = blocks.end.min((index as u64 + 1) * PAGE_BITS);
            let page = self.page(store, index)?;
            if let Some(image) = page.clear(at..end) {
                store.write_at(page_offset(index), &image)?;
                any = true;
            }
            at = end;
        }
        Ok(any)
    }
}

impl Page {
    /// Tells `pending_now` when the first bit becomes pending.
    fn mark(&self, word: usize, mask: u64, pending_now: impl FnOnce() -> bool) {
        if self.bits[word].load(Ordering::Relaxed) & mask == mask {
            return;
        }
        let mut pending = lock(&self.pending);
        let words = pending.get_or_insert_with(|| {
            pending_now();
            Box::new([0; PAGE_WORDS])
        });
        // One that was set before may be on disk already, and must not be taken off it.
        words[word] |= mask & !self.bits[word].load(Ordering::Relaxed);
        self.bits[word].fetch_or(mask, Ordering::Release);
    }

    /// What belongs on disk: all that is set and not pending.
    fn image(&self, pending: Option<&[u64; PAGE_WORDS]>) -> [u8; PAGE_BYTES] {
        let mut bytes = [0; PAGE_BYTES];
        for (word, bits) in self.bits.iter().enumerate() {
            let durable = bits.load(Ordering::Acquire) & !pending.map_or(0, |pending| pending[word]);
            bytes[word * 8..][..8].copy_from_slice(&durable.to_le_bytes());
        }
        bytes
    }

    /// The new image of the page, or `None` where no bit of `blocks` was set.
    fn clear(&self, blocks: Range<u64>) -> Option<[u8; PAGE_BYTES]> {
        let mut pending = lock(&self.pending);
        let mut any = false;
        for block in blocks {
            let (_, word, mask) = position(block);
            if self.bits[word].load(Ordering::Relaxed) & mask == 0 {
                continue;
            }
            any = true;
            self.bits[word].fetch_and(!mask, Ordering::AcqRel);
            if let Some(words) = pending.as_mut() {
                words[word] &= !mask;
            }
        }
        any.then(|| self.image(pending.as_deref()))
    }
}
