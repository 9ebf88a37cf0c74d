//! The state of an attached volume. `Active` owns the keys; nothing else does, and there is no way back to it.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard};
use jiff::Timestamp;

use super::error::VolumeError;
use crate::cipher::{BLOCK_SIZE, BlockNumber, XtsCipher};
use crate::format::BLOCKS_PER_REGION;
use crate::secret::LockedBox;

/// One cipher for each 1 TiB region, in order.
pub struct VolumeKeys(pub Vec<LockedBox<XtsCipher>>);

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
    /// Sharded: a reader touches only the cache line of its own core. Writers are rare: the end of the volume.
    state: ShardedLock<State>,
}

/// The right to one cipher call. Exists only while the volume is active; the wipe waits for every one of them, so it
/// must never be held across a system call.
pub(super) struct IoPermit<'a>(ShardedLockReadGuard<'a, State>);

impl StateLock {
    pub(super) fn new(keys: VolumeKeys) -> Self {
        Self { serving: AtomicBool::new(true), state: ShardedLock::new(State::Active(keys)) }
    }

    pub(super) fn permit(&self) -> Result<IoPermit<'_>, VolumeError> {
        self.check_serving()?;
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Active(_) => Ok(IoPermit(state)),
            State::Ended(ended) => Err(VolumeError::Ended(ended.reason.clone())),
        }
    }

    /// What a worker asks again after each cipher call: before it writes, and before it replies.
    pub(super) fn check_serving(&self) -> Result<(), VolumeError> {
        if self.serving.load(Ordering::Acquire) { Ok(()) } else { Err(VolumeError::Ended(self.reason())) }
    }

    pub(super) fn end(&self, ended: Ended) {
        self.serving.store(false, Ordering::Release);
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
            call(&keys.0[region], block, done..done + len);
            done += len;
        }
    }
}
