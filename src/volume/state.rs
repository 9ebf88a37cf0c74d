//! The state of an attached volume. `Active` owns the keys; nothing else does, and there is no way back to it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard};
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use super::error::VolumeError;
use crate::cipher::{BLOCK_SIZE, BlockNumber, XtsCipher};
use crate::format::{BLOCKS_PER_REGION, Geometry, Growth};
use crate::secret::{LockedArea, LockedBox, SecretError, VolumeKey, with_clean_cipher_stack};

/// One cipher for each 1 TiB region, in order.
pub struct VolumeKeys(pub Vec<LockedBox<XtsCipher>>);

impl VolumeKeys {
    /// In the area of the volume key, which is not needed any more then.
    pub fn derive(key: &VolumeKey, geometry: Geometry) -> Result<Self, SecretError> {
        (0..geometry.region_count()).map(|region| key.xts_cipher(region)).collect::<Result<_, _>>().map(Self)
    }

    /// Of the regions that are new, in `area`, where those of the others are: the one of `key` is given up with it.
    pub fn derive_new(key: &VolumeKey, growth: Growth, area: &Arc<LockedArea>) -> Result<Self, SecretError> {
        growth.regions().map(|region| key.xts_cipher_in(area, region)).collect::<Result<_, _>>().map(Self)
    }

    /// Where there are no new regions.
    pub fn none() -> Self {
        Self(Vec::new())
    }
}

/// Why a volume stopped serving, and when.
#[derive(Clone, Debug)]
pub struct Ended {
    pub phase: Phase,
    pub reason: String,
    pub at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A write or sync of the store failed. Attach again: what was acknowledged by `sync` is there.
    Failed,
    /// The key was taken away.
    Terminal,
    /// Detached in good order.
    Detached,
}

enum State {
    Active(VolumeKeys),
    Ended(Ended),
}

pub(super) struct StateLock {
    /// Cleared before the keys are wiped, so that new requests stop at once instead of queueing behind the wipe.
    serving: AtomicBool,
    /// Nanoseconds since boot after which requests wait: nobody has watched the key since. For ever, until a first limit is set.
    watched_until_ns: AtomicU64,
    /// Those who wait, for `watched_until_ns` or for the end.
    unwatched: Mutex<()>,
    watched_again: Condvar,
    /// Sharded: a reader touches only the cache line of its own core. Writers are rare: the end of the volume.
    state: ShardedLock<State>,
}

/// The right to one cipher call. Exists only while the volume is active; the wipe waits for every one of them, so it
/// must never be held across a system call.
pub(super) struct IoPermit<'a>(ShardedLockReadGuard<'a, State>);

impl StateLock {
    pub(super) fn new(keys: VolumeKeys) -> Self {
        Self {
            serving: AtomicBool::new(true),
            watched_until_ns: AtomicU64::new(u64::MAX),
            unwatched: Mutex::default(),
            watched_again: Condvar::new(),
            state: ShardedLock::new(State::Active(keys)),
        }
    }

    pub(super) fn watched_for(&self, duration: Duration) {
        let until = since_boot_ns().saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        self.watched_until_ns.store(until, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // Under the lock: whoever found no reason to go on is waiting by now.
        drop(self.unwatched.lock().unwrap_or_else(PoisonError::into_inner));
        self.watched_again.notify_all();
    }

    /// One look at a clock that the kernel shares with every process, without a system call.
    pub(super) fn is_watched(&self) -> bool {
        since_boot_ns() <= self.watched_until_ns.load(Ordering::Acquire)
    }

    fn wait_until_watched(&self) {
        if self.is_watched() {
            return;
        }
        let mut waiting = self.unwatched.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_watched() && self.serving.load(Ordering::Acquire) {
            waiting = self.watched_again.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn permit(&self) -> Result<IoPermit<'_>, VolumeError> {
        self.check_serving()?;
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Active(_) => Ok(IoPermit(state)),
            State::Ended(ended) => Err(VolumeError::Ended(ended.reason.clone())),
        }
    }

    /// What a worker asks again after each cipher call: before it writes, and before it replies. Waits while nobody watches
    /// the key, so it must not be asked with an [`IoPermit`] in hand.
    pub(super) fn check_serving(&self) -> Result<(), VolumeError> {
        self.wait_until_watched();
        self.check_not_ended()
    }

    /// As [`StateLock::check_serving`], for who must not wait.
    pub(super) fn check_not_ended(&self) -> Result<(), VolumeError> {
        if self.serving.load(Ordering::Acquire) { Ok(()) } else { Err(VolumeError::Ended(self.reason())) }
    }

    pub(super) fn stop(&self) {
        self.serving.store(false, Ordering::Release);
        self.wake();
    }

    pub(super) fn end(&self, ended: Ended) {
        self.stop();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            // Dropping the keys wipes them. A terminal verdict overrules a latched failure.
            State::Active(_) => *state = State::Ended(ended),
            State::Ended(before) if before.phase == Phase::Failed && ended.phase == Phase::Terminal => {
                *state = State::Ended(ended);
            }
            State::Ended(_) => {}
        }
    }

    /// Keys of regions that follow those there are. Waits for the cipher calls that are under way, as the end does.
    pub(super) fn add_keys(&self, new: VolumeKeys) -> Result<(), VolumeError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            State::Active(keys) => {
                keys.0.extend(new.0);
                Ok(())
            }
            // The new ones are dropped, and with that wiped.
            State::Ended(ended) => Err(VolumeError::Ended(ended.reason.clone())),
        }
    }

    pub(super) fn ended(&self) -> Option<Ended> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Active(_) => None,
            State::Ended(ended) => Some(ended.clone()),
        }
    }

    fn reason(&self) -> String {
        self.ended().map_or_else(|| "it is being ended".to_owned(), |ended| ended.reason)
    }
}

/// `CLOCK_BOOTTIME`: goes on while the machine is suspended.
fn since_boot_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

impl IoPermit<'_> {
    pub(super) fn encrypt(&self, first: BlockNumber, plaintext: &[u8], ciphertext: &mut [u8]) {
        self.each_region(first, plaintext.len(), |cipher, first, range| {
            cipher.encrypt_blocks(first, &plaintext[range.clone()], &mut ciphertext[range]);
        });
    }

    pub(super) fn decrypt(&self, first: BlockNumber, ciphertext: &[u8], plaintext: &mut [u8]) {
        self.each_region(first, ciphertext.len(), |cipher, first, range| {
            cipher.decrypt_blocks(first, &ciphertext[range.clone()], &mut plaintext[range]);
        });
    }

    pub(super) fn decrypt_in_place(&self, first: BlockNumber, blocks: &mut [u8]) {
        self.each_region(first, blocks.len(), |cipher, first, range| {
            cipher.decrypt_blocks_in_place(first, &mut blocks[range]);
        });
    }

    /// Cuts a run of blocks at region boundaries, since each region has a key of its own.
    fn each_region(
        &self,
        first: BlockNumber,
        len_bytes: usize,
        mut call: impl FnMut(&XtsCipher, BlockNumber, std::ops::Range<usize>),
    ) {
        let State::Active(keys) = &*self.0 else { unreachable!("a permit is only made while active") };
        let mut done = 0;
        while done < len_bytes {
            let block = BlockNumber(first.0 + (done / BLOCK_SIZE) as u64);
            let (region, in_region) = (block.0 / BLOCKS_PER_REGION, block.0 % BLOCKS_PER_REGION);
            let left_in_region = usize::try_from(BLOCKS_PER_REGION - in_region).unwrap_or(usize::MAX);
            let len = (len_bytes - done).min(left_in_region.saturating_mul(BLOCK_SIZE));
            let region = usize::try_from(region).expect("a volume has at most 64 regions");
            with_clean_cipher_stack(|| call(&keys.0[region], block, done..done + len));
            done += len;
        }
    }
}
