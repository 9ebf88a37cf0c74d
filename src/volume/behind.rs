//! Writes that were answered while they are on their way to the disk: the kernel has them, and nothing but the disk can lose them.
//!
//! A sync covers what was answered before it, so it waits until these have arrived.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::VolumeError;

/// As [`super::Volume::when_arrived`] has it.
pub(super) type Arrived = Box<dyn FnOnce(Option<Result<(), VolumeError>>) + Send>;

#[derive(Default)]
pub(super) struct Behind {
    state: Mutex<State>,
    one_less: Condvar,
}

#[derive(Default)]
struct State {
    /// Of the next write.
    number: u64,
    /// In any order; as few as receivers leave on their way at once.
    on_their_way: Vec<u64>,
    /// Whoever asked for a sync, and the number of the first write that they need not wait for.
    asked: Vec<(u64, Arrived)>,
    /// Threads in [`Behind::wait`]. To wake nobody is a system call as well.
    waiting: usize,
}

impl State {
    fn has_any_before(&self, number: u64) -> bool {
        self.on_their_way.iter().any(|other| *other < number)
    }
}

impl Behind {
    /// Call before the write begins. The number is for [`Behind::leave`].
    pub(super) fn enter(&self) -> u64 {
        let mut state = self.lock();
        let number = state.number;
        state.number += 1;
        state.on_their_way.push(number);
        number
    }

    /// The write has arrived, or failed and everybody knows. Returns those who waited for nothing else.
    #[must_use]
    pub(super) fn leave(&self, number: u64) -> Vec<Arrived> {
        let mut state = self.lock();
        state.on_their_way.retain(|other| *other != number);
        let (waiting, asked): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.asked).into_iter().partition(|(before, _)| state.has_any_before(*before));
        state.asked = waiting;
        let anybody = state.waiting > 0;
        drop(state);
        if anybody {
            self.one_less.notify_all();
        }
        asked.into_iter().map(|(_, arrived)| arrived).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().on_their_way.is_empty()
    }

    /// Until all have left that had entered before this call.
    pub(super) fn wait(&self) {
        let mut state = self.lock();
        let number = state.number;
        while state.has_any_before(number) {
            state.waiting += 1;
            state = self.one_less.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    /// As [`Behind::wait`], by nobody: [`Behind::leave`] returns it then. Gives it back if there is nothing to wait for.
    pub(super) fn ask(&self, arrived: Arrived) -> Option<Arrived> {
        let mut state = self.lock();
        let number = state.number;
        if !state.has_any_before(number) {
            return Some(arrived);
        }
        state.asked.push((number, arrived));
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
