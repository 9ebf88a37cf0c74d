//! Locks on runs of blocks: any number of readers, or one writer.
//!
//! Requests that touch different parts of the volume share nothing: the volume is cut into stretches, and each stretch
//! belongs to one of a few shards. A run is kept, as it is, in the shard of every stretch that it touches, so two runs that
//! have a block in common meet in the shard of that block. Only the requests that are in flight are kept, some dozens at most, so a
//! plain list under a mutex is a shard. Shards are always taken in ascending order.

use std::ops::{Deref, Range};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;

/// 1 MiB, the largest request: the usual request has one or two shards.
const STRETCH_BLOCKS: u64 = 256;

/// As many as there usually are requests in flight at most, and so few that the longest discard takes them all in no time.
const SHARDS: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Shared,
    Exclusive,
}

pub(super) struct RangeLock {
    shards: [CachePadded<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Default)]
struct State {
    held: Vec<(Range<u64>, Mode)>,
    /// From the wish on, and not only from when the last writer is gone: else those who come would keep it from ever
    /// being granted.
    writers_held_back: bool,
    /// To wake nobody is a system call as well.
    waiting: usize,
}

/// Releases the blocks on drop.
pub(super) struct RangeGuard<L: Deref<Target = RangeLock>> {
    lock: L,
    blocks: Range<u64>,
    mode: Mode,
}

/// No writer holds anything; until it is dropped.
pub(super) struct Barrier<'a> {
    lock: &'a RangeLock,
    /// Shards in which writers are held back: all of them, once it is granted.
    shards: usize,
}

impl Default for RangeLock {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| CachePadded::default()) }
    }
}

impl RangeLock {
    pub(super) fn share(&self, blocks: Range<u64>) -> RangeGuard<&Self> {
        RangeGuard::acquire(self, blocks, Mode::Shared)
    }

    pub(super) fn exclude(&self, blocks: Range<u64>) -> RangeGuard<&Self> {
        RangeGuard::acquire(self, blocks, Mode::Exclusive)
    }

    /// As [`RangeLock::share`], until whoever holds it is done, in whichever thread.
    pub(super) fn share_owned(self: &Arc<Self>, blocks: Range<u64>) -> RangeGuard<Arc<Self>> {
        RangeGuard::acquire(Arc::clone(self), blocks, Mode::Shared)
    }

    pub(super) fn exclude_owned(self: &Arc<Self>, blocks: Range<u64>) -> RangeGuard<Arc<Self>> {
        RangeGuard::acquire(Arc::clone(self), blocks, Mode::Exclusive)
    }

    /// Waits until no writer holds anything, and lets none begin until the barrier is dropped. Readers do not count. Gives
    /// up as soon as `go_on` fails; [`RangeLock::wake`] makes it look.
    pub(super) fn hold_writers_back<E>(&self, go_on: impl Fn() -> Result<(), E>) -> Result<Barrier<'_>, E> {
        // Whoever waits in a shard holds others before it at most, which are passed by then.
        let mut barrier = Barrier { lock: self, shards: 0 };
        for shard in &self.shards {
            let mut state = shard.lock();
            while state.writers_held_back {
                go_on()?;
                state = shard.wait(state);
            }
            state.writers_held_back = true;
            barrier.shards += 1;
            while state.held.iter().any(|(_, mode)| *mode == Mode::Exclusive) {
                if let Err(error) = go_on() {
                    // The barrier takes the lock when it goes.
                    drop(state);
                    return Err(error);
                }
                state = shard.wait(state);
            }
        }
        go_on()?;
        Ok(barrier)
    }

    /// Makes those who wait look again.
    pub(super) fn wake(&self) {
        for shard in &self.shards {
            // Under the lock: whoever found a reason to wait is waiting by now.
            shard.wake(shard.lock());
        }
    }

    /// Each once, in ascending order: a run that goes round has its last stretches in the first shards.
    fn shards_of(&self, blocks: &Range<u64>) -> impl Iterator<Item = &Shard> {
        let stretches = blocks.start / STRETCH_BLOCKS..blocks.end.div_ceil(STRETCH_BLOCKS);
        let count = usize::try_from(stretches.end - stretches.start).unwrap_or(SHARDS).min(SHARDS);
        let first = usize::try_from(stretches.start % SHARDS as u64).expect("below 64");
        let end = first + count;
        let round = &self.shards[..end.saturating_sub(SHARDS)];
        round.iter().chain(&self.shards[first..end.min(SHARDS)]).map(|shard| &**shard)
    }
}

impl Shard {
    fn acquire(&self, blocks: &Range<u64>, mode: Mode) {
        let conflicts = |(held, held_mode): &(Range<u64>, Mode)| {
            held.start < blocks.end
                && blocks.start < held.end
                && (mode == Mode::Exclusive || *held_mode == Mode::Exclusive)
        };
        let mut state = self.lock();
        while (mode == Mode::Exclusive && state.writers_held_back) || state.held.iter().any(conflicts) {
            state = self.wait(state);
        }
        state.held.push((blocks.clone(), mode));
    }

    fn release(&self, blocks: &Range<u64>, mode: Mode) {
        let mut state = self.lock();
        let own = |(held, held_mode): &(Range<u64>, Mode)| held == blocks && *held_mode == mode;
        if let Some(index) = state.held.iter().position(own) {
            state.held.swap_remove(index);
        }
        self.wake(state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.waiting += 1;
        let mut state = self.released.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state
    }

    fn wake(&self, state: MutexGuard<'_, State>) {
        let anybody = state.waiting > 0;
        drop(state);
        if anybody {
            self.released.notify_all();
        }
    }
}

impl<L: Deref<Target = RangeLock>> RangeGuard<L> {
    fn acquire(lock: L, blocks: Range<u64>, mode: Mode) -> Self {
        lock.shards_of(&blocks).for_each(|shard| shard.acquire(&blocks, mode));
        Self { lock, blocks, mode }
    }
}

impl<L: Deref<Target = RangeLock>> Drop for RangeGuard<L> {
    fn drop(&mut self) {
        self.lock.shards_of(&self.blocks).for_each(|shard| shard.release(&self.blocks, self.mode));
    }
}

impl Drop for Barrier<'_> {
    fn drop(&mut self) {
        for shard in &self.lock.shards[..self.shards] {
            let mut state = shard.lock();
            state.writers_held_back = false;
            shard.wake(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_barrier_that_waits_holds_back_writers_that_come_later_and_no_readers() {
        let lock = RangeLock::default();
        let (announce, announced) = mpsc::channel();
        let (enter, entered) = mpsc::channel();
        thread::scope(|scope| {
            let under_way = lock.exclude(0..1);
            let lock = &lock;
            let (first, second) = (enter.clone(), enter);
            scope.spawn(move || {
                let go_on = || announce.send(());
                let barrier = lock.hold_writers_back(go_on).unwrap();
                first.send("barrier").unwrap();
                drop(barrier);
            });
            announced.recv().unwrap();
            scope.spawn(move || {
                let _held = lock.exclude(5..6);
                second.send("writer").unwrap();
            });
            drop(lock.share(5..6));
            assert!(entered.recv_timeout(Duration::from_millis(100)).is_err(), "the writer came later");
            drop(under_way);
            assert_eq!([entered.recv().unwrap(), entered.recv().unwrap()], ["barrier", "writer"]);
        });
    }

    #[test]
    fn a_barrier_that_gives_up_holds_nobody_back() {
        let lock = RangeLock::default();
        assert_eq!(lock.hold_writers_back(|| Err("ended")).err(), Some("ended"));
        drop(lock.exclude(0..1));
        drop(lock.hold_writers_back(|| Ok::<_, ()>(())));
        drop(lock.exclude(0..1));
    }

    #[test]
    fn runs_that_have_a_block_in_common_meet_however_long_they_are() {
        const ROUND: u64 = STRETCH_BLOCKS * SHARDS as u64;
        let lock = RangeLock::default();
        let runs = [
            (0..1, 0..1),
            (255..257, 256..257),
            (ROUND - 1..ROUND + 1, ROUND..ROUND + 1),
            (ROUND - 1..ROUND + 1, ROUND - 1..ROUND),
            (3..5 * ROUND, 2 * ROUND + 77..2 * ROUND + 78),
            (10 * STRETCH_BLOCKS..(9 + SHARDS as u64) * STRETCH_BLOCKS, 72 * STRETCH_BLOCKS..90 * STRETCH_BLOCKS),
        ];
        for (one, other) in runs {
            for (first, second) in [(&one, &other), (&other, &one)] {
                thread::scope(|scope| {
                    let (enter, entered) = mpsc::channel();
                    let held = lock.exclude(first.clone());
                    let lock = &lock;
                    scope.spawn(move || {
                        let _held = lock.share(second.clone());
                        enter.send(()).unwrap();
                    });
                    assert!(entered.recv_timeout(Duration::from_millis(50)).is_err(), "{first:?} and {second:?}");
                    drop(held);
                    entered.recv().unwrap();
                });
            }
        }
        // The control: neighbours, and those that only share shards.
        let _held = [lock.exclude(0..256), lock.exclude(256..257), lock.exclude(ROUND..ROUND + 1)];
        drop(lock.exclude(257..ROUND));
    }

    #[test]
    fn a_barrier_and_writers_of_many_shards_never_wait_for_one_another() {
        let lock = RangeLock::default();
        let writing = std::sync::atomic::AtomicUsize::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        thread::scope(|scope| {
            for start in [0, 200 * STRETCH_BLOCKS, 63 * STRETCH_BLOCKS] {
                let (lock, writing) = (&lock, &writing);
                scope.spawn(move || {
                    for turn in 0..2000 {
                        let held = lock.exclude(start + turn..start + turn + 700);
                        writing.fetch_add(1, order);
                        writing.fetch_sub(1, order);
                        drop(held);
                    }
                });
            }
            for _ in 0..500 {
                let barrier = lock.hold_writers_back(|| Ok::<_, ()>(())).unwrap();
                assert_eq!(writing.load(order), 0);
                drop(barrier);
            }
        });
    }
}
