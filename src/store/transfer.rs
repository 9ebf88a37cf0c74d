//! A read or a write that nobody waits for.

use std::io;

use super::Aligned;

/// With a buffer of its own, and with what is to be done when it is there.
pub struct Transfer {
    pub direction: Direction,
    /// What is no multiple of [`super::ALIGNMENT`], here or in `len_bytes`, has somebody who waits for it.
    pub offset: u64,
    /// Of the start of `bytes`.
    pub len_bytes: usize,
    pub bytes: Aligned,
    pub done: Done,
}

/// Called once, with the buffer, by a thread that others wait for: it must not wait for another transfer. It must keep the store open until
/// it is called.
pub type Done = Box<dyn FnOnce(io::Result<()>, Aligned) + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the store.
    Read,
    /// To the store.
    Write,
    /// To the store, and durable when it is done. It alone: a disk may have a write that goes past its cache for that (FUA), and no flush.
    WriteDurably,
}

impl Transfer {
    /// By whoever calls this, and waits for it. `read` and `write` take an offset last.
    pub(super) fn carry_out(
        mut self,
        read: impl FnOnce(&mut [u8], u64) -> io::Result<()>,
        write: impl FnOnce(&[u8], u64) -> io::Result<()>,
        sync: impl FnOnce() -> io::Result<()>,
    ) {
        let bytes = &mut self.bytes[..self.len_bytes];
        let result = match self.direction {
            Direction::Read => read(bytes, self.offset),
            Direction::Write => write(bytes, self.offset),
            Direction::WriteDurably => write(bytes, self.offset).and_then(|()| sync()),
        };
        self.done(result);
    }

    pub(super) fn done(self, result: io::Result<()>) {
        (self.done)(result, self.bytes);
    }
}
