//! Transfers past the page cache that nobody waits for: the kernel is given them by whoever has one, and one thread takes back what is done.
//!
//! A thread for each transfer costs more than the transfer itself: it goes to sleep, and is woken, on whichever core is free.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;

use super::aio::{Context, Event};
use crate::store::transfer::Transfer;

/// Under way at once; the kernel makes it some hundreds. Twice what it lets a file system on the volume have under way.
const CAPACITY: u16 = 128;

pub(super) struct Queue {
    context: Arc<Context>,
    file: Arc<File>,
}

impl Queue {
    /// For `file`, which is open for direct I/O.
    ///
    /// # Errors
    /// The host has no thread left, or no descriptor, or [`Context::new`] says why not.
    pub(super) fn start(file: &File) -> io::Result<Self> {
        let file = Arc::new(file.try_clone()?);
        let context = Arc::new(Context::new(CAPACITY)?);
        let (of_thread, its_file) = (Arc::clone(&context), Arc::clone(&file));
        thread::Builder::new().name("store".to_owned()).spawn(move || take_back(&of_thread, &its_file))?;
        Ok(Self { context, file })
    }

    /// # Errors
    /// The transfer comes back where there is no room for it.
    pub(super) fn begin(&self, transfer: Box<Transfer>) -> Result<(), Box<Transfer>> {
        self.context.submit(self.file.as_fd(), transfer)
    }
}

fn take_back(context: &Context, file: &File) {
    loop {
        for event in context.wait() {
            let Event::Done(transfer, result) = event else { return };
            match result {
                Ok(len_bytes) if len_bytes == transfer.len_bytes => transfer.done(Ok(())),
                Err(error) if error.kind() != io::ErrorKind::Interrupted => transfer.done(Err(error)),
                // The end of the file, or of its room: whoever tries again is told.
                _ => transfer.carry_out(
                    |bytes, offset| file.read_exact_at(bytes, offset),
                    |bytes, offset| file.write_all_at(bytes, offset),
                    || file.sync_data(),
                ),
            }
        }
    }
}

impl Drop for Queue {
    /// Not joined: the last to close a store may be the thread itself.
    fn drop(&mut self) {
        self.context.submit_farewell(self.file.as_fd());
    }
}
