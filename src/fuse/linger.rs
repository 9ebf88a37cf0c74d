//! A receiver that has answered looks for the next request a moment longer before it sleeps.
//!
//! Who has just had an answer often asks again at once. To sleep until then costs more than the request itself: the
//! kernel has to wake another core from idle, on a virtual machine by way of its host. A core that has anything else to do is left to it.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Some two wake-ups from idle: whoever asks one request after the other is back by then.
const WINDOW: Duration = Duration::from_micros(50);

/// A call of sched_yield(2) that takes longer has let somebody else run; alone on its core it takes a tenth of that.
const YIELDED: Duration = Duration::from_micros(5);

/// In vain so many times in a row, it is tried once in 2 to the power of it requests.
const MAX_MISSES: u32 = 8;

const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

pub(super) struct Linger {
    /// A second descriptor of the connection: whether a request waits is the same to all.
    device: OwnedFd,
}

/// How it went for this receiver so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Luck {
    misses: u32,
    /// Requests to answer before it is tried again.
    pause: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// A request came meanwhile.
    Came,
    /// None did, or the core was wanted.
    InVain,
}

thread_local! {
    static LUCK: Cell<Luck> = Cell::default();
}

impl Linger {
    pub(super) fn new(device: OwnedFd) -> Self {
        Self { device }
    }

    /// By a receiver that has answered. Returns when it should receive again.
    pub(super) fn after_answer(&self) {
        LUCK.set(LUCK.get().after(|| self.look()));
    }

    fn look(&self) -> Outcome {
        let since = Instant::now();
        let mut looked = since;
        let mut first = true;
        while looked.duration_since(since) < WINDOW {
            // A connection that ended is ready, too: the receiver sees how it ended.
            if poll(&mut [PollFd::from_borrowed_fd(self.device.as_fd(), PollFlags::IN)], Some(&AT_ONCE)) != Ok(0) {
                // One that was there already would have been received without a sleep.
                return if first { Outcome::InVain } else { Outcome::Came };
            }
            first = false;
            let before = Instant::now();
            rustix::thread::sched_yield();
            looked = Instant::now();
            if looked.duration_since(before) > YIELDED {
                return Outcome::InVain;
            }
        }
        Outcome::InVain
    }
}

impl Luck {
    fn after(self, look: impl FnOnce() -> Outcome) -> Self {
        if self.pause > 0 {
            return Self { pause: self.pause - 1, ..self };
        }
        match look() {
            Outcome::Came => Self::default(),
            Outcome::InVain => {
                let misses = (self.misses + 1).min(MAX_MISSES);
                Self { misses, pause: (1 << misses) - 1 }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

    use super::*;

    #[test]
    fn neither_what_was_there_already_nor_silence_is_a_success() {
        let (device, mut requests) = std::io::pipe().unwrap();
        let linger = Linger::new(device.into());
        let since = Instant::now();
        assert_eq!(linger.look(), Outcome::InVain);
        assert!(since.elapsed() >= YIELDED, "nobody asked");
        requests.write_all(b"a request").unwrap();
        assert_eq!(linger.look(), Outcome::InVain);
    }

    /// On a busy machine the core is wanted by others most of the time.
    #[test]
    fn who_asks_meanwhile_is_seen() {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let device = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::empty()).unwrap();
            let soon = Timespec { tv_sec: 0, tv_nsec: 10_000 };
            let timer = Itimerspec { it_interval: AT_ONCE, it_value: soon };
            timerfd_settime(&device, TimerfdTimerFlags::empty(), &timer).unwrap();
            if Linger::new(device).look() == Outcome::Came {
                return;
            }
            assert!(Instant::now() < until, "a request was never seen to come");
        }
    }

    #[test]
    fn it_is_tried_the_less_the_longer_it_brings_nothing() {
        let mut luck = Luck::default();
        let mut tried = Vec::new();
        for request in 0..2000 {
            luck = luck.after(|| {
                tried.push(request);
                Outcome::InVain
            });
        }
        assert_eq!(tried[..9], [0, 2, 6, 14, 30, 62, 126, 254, 510]);
        assert_eq!(tried[9..], [766, 1022, 1278, 1534, 1790]);
    }

    #[test]
    fn after_a_success_it_is_tried_each_time() {
        let mut luck = Luck { misses: MAX_MISSES, pause: 1 };
        luck = luck.after(|| unreachable!("it pauses"));
        luck = luck.after(|| Outcome::Came);
        assert_eq!(luck, Luck::default());
    }
}
