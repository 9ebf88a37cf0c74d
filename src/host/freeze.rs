//! Freezing a file system for the moment at which a snapshot is taken: what is in it is then whole on the volume, and needs no
//! recovery.
//!
//! A frozen file system that nobody thaws stops its database for good. So a process of its own freezes it, and thaws it
//! when its input ends, as it does when whoever started it dies, and after [`FROZEN_AT_MOST`] in any case.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::child::{self, Answer, Task};
use super::error::{Context, HostError};
use super::ioctl;
use super::tools::THIS_PROGRAM;

/// Writers wait meanwhile.
pub const FROZEN_AT_MOST: Duration = Duration::from_secs(2);

/// It has nothing to do but one ioctl.
const THAW_DEADLINE: Duration = Duration::from_secs(1);
/// Of another process, if the first does not answer.
const SECOND_THAW_DEADLINE: Duration = Duration::from_secs(5);

/// A file system that is frozen, until this is dropped or [`FROZEN_AT_MOST`] has passed.
#[derive(Debug)]
pub struct Frozen {
    program: PathBuf,
    dir: PathBuf,
    /// None once it was told to thaw.
    helper: Option<Child>,
}

/// Freezes the file system that is mounted at `dir`: writes back what is dirty, and holds all writers back.
///
/// # Errors
/// [`HostError::TimedOut`]: it is thawed as soon as it is frozen. [`HostError::Unsupported`] with the kernel's words.
pub fn freeze(dir: &Path, deadline: Duration) -> Result<Frozen, HostError> {
    freeze_by(Path::new(THIS_PROGRAM), dir, deadline)
}

/// As [`freeze`], by a copy of this program: for a process that is another one.
///
/// # Errors
/// As [`freeze`].
pub fn freeze_by(program: &Path, dir: &Path, deadline: Duration) -> Result<Frozen, HostError> {
    let task = Task::Freeze { dir: dir.to_owned(), at_most: FROZEN_AT_MOST };
    let mut helper = child::start_by(program, &task)?;
    let answer = next_answer(&mut helper, deadline);
    // On any failure it is let go and never killed, or it would leave behind what it is just freezing.
    match answer {
        Ok(Next::Answer(Answer::Frozen)) => {
            Ok(Frozen { program: program.to_owned(), dir: dir.to_owned(), helper: Some(helper) })
        }
        Ok(Next::Answer(_)) => {
            let_go(helper);
            Err(child::another_question())
        }
        Ok(Next::Late) => {
            let_go(helper);
            let program = format!("freezing {}", dir.display());
            Err(HostError::TimedOut { program, after: deadline, still_running: true })
        }
        Ok(Next::Gone) => {
            let_go(helper);
            // It may have been killed just after it was done.
            thaw_by(program, dir)?;
            Err(HostError::Unsupported { what: format!("the process that was to freeze {} was killed", dir.display()) })
        }
        Err(error) => {
            let_go(helper);
            Err(error)
        }
    }
}

impl Frozen {
    /// The process that keeps it frozen.
    #[must_use]
    pub fn helper_id(&self) -> Option<u32> {
        self.helper.as_ref().map(Child::id)
    }

    /// Lets it go on. Whether it was frozen until now: if not, something may have been written meanwhile.
    ///
    /// # Errors
    /// It may still be frozen: the helper does not answer, and neither does another one.
    pub fn thaw(mut self) -> Result<bool, HostError> {
        self.thaw_once().unwrap_or(Ok(false))
    }

    fn thaw_once(&mut self) -> Option<Result<bool, HostError>> {
        let mut helper = self.helper.take()?;
        drop(helper.stdin.take());
        if let Ok(Next::Answer(Answer::Thawed(until_now))) = next_answer(&mut helper, THAW_DEADLINE) {
            let_go(helper);
            return Some(Ok(until_now));
        }
        // Killed or stopped by somebody: what it has frozen stays frozen without it.
        let _ = helper.kill();
        let_go(helper);
        Some(thaw_by(&self.program, &self.dir))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.thaw_once() {
            tracing::error!("{} may still be frozen: {error}", self.dir.display());
        }
    }
}

/// Ends its input, and leaves it to a thread, so that it does not stay a zombie; without a thread it does.
fn let_go(mut helper: Child) {
    drop(helper.stdin.take());
    let _ = thread::Builder::new().spawn(move || helper.wait());
}

fn thaw_by(program: &Path, dir: &Path) -> Result<bool, HostError> {
    match child::run_by(program, &Task::Thaw { dir: dir.to_owned() }, SECOND_THAW_DEADLINE)? {
        Answer::Thawed(until_now) => Ok(until_now),
        _ => Err(child::another_question()),
    }
}

enum Next {
    Answer(Answer),
    Late,
    /// It has ended, and did not say why.
    Gone,
}

fn next_answer(helper: &mut Child, deadline: Duration) -> Result<Next, HostError> {
    let Some(output) = helper.stdout.as_mut() else { return Ok(Next::Gone) };
    let until = Instant::now() + deadline;
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let listening = || "cannot listen to a child".to_owned();
        if !is_readable_before(&output, until).context(listening)? {
            return Ok(Next::Late);
        }
        // By the byte, since the next line is not to be taken.
        let mut byte = [0];
        match output.read(&mut byte).context(listening)? {
            0 => return Ok(Next::Gone),
            _ => line.push(byte[0]),
        }
    }
    child::read_answer(&String::from_utf8_lossy(&line)).map(Next::Answer)
}

fn is_readable_before(input: &impl AsFd, until: Instant) -> Result<bool, Errno> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let wait = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        match poll(&mut [PollFd::new(input, PollFlags::IN)], Some(&wait)) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(ready) => return Ok(ready > 0),
        }
    }
}

/// What the helper does. `frozen` is called once it is. Returns whether the input ended in time and it was frozen until then.
pub(super) fn hold(dir: &Path, at_most: Duration, frozen: impl FnOnce() -> bool) -> Result<bool, HostError> {
    let place = open(dir)?;
    ioctl::freeze(&place).context(|| format!("cannot freeze {}", dir.display()))?;
    // Nothing may keep it from thawing now. If nobody hears that it is frozen, then its input has ended, too.
    let until = Instant::now() + at_most;
    frozen();
    let in_time = input_ends_before(until);
    Ok(thaw_open(&place, dir)? && in_time)
}

/// Returns whether it was frozen.
pub(super) fn thaw_here(dir: &Path) -> Result<bool, HostError> {
    thaw_open(&open(dir)?, dir)
}

fn open(dir: &Path) -> Result<File, HostError> {
    File::open(dir).context(|| format!("cannot open {}", dir.display()))
}

fn thaw_open(place: &File, dir: &Path) -> Result<bool, HostError> {
    match ioctl::thaw(place) {
        Ok(()) => Ok(true),
        // Somebody else did.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(false),
        Err(error) => Err(error).context(|| format!("cannot thaw {}", dir.display())),
    }
}

fn input_ends_before(until: Instant) -> bool {
    let mut input = std::io::stdin().lock();
    while is_readable_before(&input, until).unwrap_or(false) {
        match input.read(&mut [0; 64]) {
            Ok(0) | Err(_) => return true,
            Ok(_) => {}
        }
    }
    false
}
