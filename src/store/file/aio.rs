//! The kernel's asynchronous I/O (io_submit(2)), as far as a [`Queue`](super::queue::Queue) needs it. A transfer belongs to the kernel from
//! [`Context::submit`] until [`Context::wait`] gives it back.
#![allow(unsafe_code, reason = "system calls that take addresses")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::store::transfer::{Direction, Transfer};

/// include/uapi/linux/aio_abi.h, `IOCB_CMD_PREAD` and `IOCB_CMD_PWRITE`.
const READ: u16 = 0;
const WRITE: u16 = 1;

/// include/uapi/linux/fs.h, `RWF_DSYNC`: as if the file were open with `O_DSYNC`, see pwritev2(2).
const SYNCED: u32 = 2;

/// Of the two halves of eight bytes, the one that has the flags (include/uapi/linux/aio_abi.h, `aio_rw_flags`).
const FLAGS: usize = if cfg!(target_endian = "little") { 1 } else { 0 };

/// What [`Context::wait`] takes at once, at most.
const BATCH: u8 = 32;

/// No transfer has this address.
const FAREWELL: u64 = 0;

pub(super) struct Context {
    id: libc::c_ulong,
}

pub(super) enum Event {
    /// With the number of bytes that were transferred.
    Done(Box<Transfer>, io::Result<usize>),
    /// What [`Context::submit_farewell`] submitted.
    Farewell,
}

/// `struct iocb`.
#[repr(C)]
#[derive(Default)]
struct ControlBlock {
    data: u64,
    /// The kernel's own key, and [`FLAGS`]; which comes first depends on the byte order.
    key_and_flags: [u32; 2],
    opcode: u16,
    priority: i16,
    file: u32,
    buffer: u64,
    len_bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    result_file: u32,
}

/// `struct io_event`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawEvent {
    data: u64,
    control_block: u64,
    result: i64,
    second_result: i64,
}

/// What one thread submits another gets back.
const _: fn() = || {
    fn is_sent<T: Send>() {}
    is_sent::<Transfer>();
};

impl Context {
    /// For `capacity` transfers under way at least.
    ///
    /// # Errors
    /// EAGAIN where the host has given all it has (`/proc/sys/fs/aio-max-nr`), ENOSYS from a kernel without it, EPERM from a sandbox.
    pub(super) fn new(capacity: u16) -> io::Result<Self> {
        let mut id: libc::c_ulong = 0;
        // SAFETY: io_setup(2) writes the identifier to where the pointer says.
        let result = unsafe { libc::syscall(libc::SYS_io_setup, libc::c_long::from(capacity), &raw mut id) };
        if result == 0 { Ok(Self { id }) } else { Err(io::Error::last_os_error()) }
    }

    /// # Errors
    /// The transfer comes back, and was not begun.
    pub(super) fn submit(&self, file: BorrowedFd<'_>, mut transfer: Box<Transfer>) -> Result<(), Box<Transfer>> {
        let bytes = &mut transfer.bytes[..transfer.len_bytes];
        let Ok(offset) = i64::try_from(transfer.offset) else { return Err(transfer) };
        let mut control_block = ControlBlock {
            opcode: match transfer.direction {
                Direction::Read => READ,
                Direction::Write | Direction::WriteDurably => WRITE,
            },
            // The buffer does not move with the box.
            buffer: bytes.as_mut_ptr().expose_provenance() as u64,
            len_bytes: bytes.len() as u64,
            offset,
            ..ControlBlock::default()
        };
        if transfer.direction == Direction::WriteDurably {
            control_block.key_and_flags[FLAGS] = SYNCED;
        }
        let address = Box::into_raw(transfer);
        control_block.data = address.expose_provenance() as u64;
        if self.submit_one(file, control_block) {
            return Ok(());
        }
        // SAFETY: from `into_raw` above, and the kernel has not taken it.
        Err(unsafe { Box::from_raw(address) })
    }

    /// Makes [`Context::wait`] return [`Event::Farewell`]. Nothing may be under way any more.
    pub(super) fn submit_farewell(&self, file: BorrowedFd<'_>) {
        let nothing = ControlBlock { data: FAREWELL, opcode: READ, ..ControlBlock::default() };
        self.submit_one(file, nothing);
    }

    fn submit_one(&self, file: BorrowedFd<'_>, mut control_block: ControlBlock) -> bool {
        control_block.file = file.as_raw_fd().cast_unsigned();
        let mut list = [&raw mut control_block];
        // SAFETY: a list of one control block, which the kernel writes its key to and copies before it returns. The buffer that it names is that of a
        // transfer that nobody else has until `wait` returns it, or is empty.
        let result = unsafe { libc::syscall(libc::SYS_io_submit, self.id, 1 as libc::c_long, list.as_mut_ptr()) };
        result == 1
    }

    /// Waits until something is done, and returns what is; nothing if it was interrupted.
    pub(super) fn wait(&self) -> impl Iterator<Item = Event> {
        let mut events = [RawEvent::default(); BATCH as usize];
        let (least, most) = (1 as libc::c_long, libc::c_long::from(BATCH));
        let no_deadline = std::ptr::null_mut::<libc::timespec>();
        // SAFETY: room for as many events as it is told.
        let count =
            unsafe { libc::syscall(libc::SYS_io_getevents, self.id, least, most, events.as_mut_ptr(), no_deadline) };
        let interrupted = || io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
        assert!(count >= 0 || interrupted(), "io_getevents(2): {}", io::Error::last_os_error());
        events.into_iter().take(usize::try_from(count).unwrap_or(0)).map(RawEvent::typed)
    }
}

impl RawEvent {
    fn typed(self) -> Event {
        if self.data == FAREWELL {
            return Event::Farewell;
        }
        let address = std::ptr::with_exposed_provenance_mut(usize::try_from(self.data).expect("it was an address"));
        // SAFETY: `submit` made it from a box; the kernel gives it back once, and is done with its buffer.
        let transfer = unsafe { Box::from_raw(address) };
        let result = usize::try_from(self.result)
            .map_err(|_| io::Error::from_raw_os_error(i32::try_from(-self.result).unwrap_or(libc::EIO)));
        Event::Done(transfer, result)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: nobody has the identifier any more.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.id) };
    }
}
