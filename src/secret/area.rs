//! The locked area: one mapping that is never swapped, dumped or inherited, where key bytes and key schedules live.

#![allow(
    unsafe_code,
    reason = "memory of our own: a system call without a safe wrapper, and typed values in raw bytes"
)]

use std::fmt;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::MemfdFlags;
use rustix::process::{Resource, getrlimit};
use zeroize::Zeroize;

use super::SecretError;

/// How the area is kept from other eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// memfd_secret(2): the kernel itself has no mapping of these pages, and hibernation is off while they exist.
    MemfdSecret,
    /// memfd_create(2) and mlock(2), where the kernel has no memfd_secret: not swapped, not dumped.
    Mlocked,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MemfdSecret => "memfd_secret",
            Self::Mlocked => "mlock",
        })
    }
}

/// One shared mapping of fixed size, zeroed when it is dropped. Values are laid into it one after the other; their room
/// is wiped when they are dropped, and not used again.
pub struct LockedArea {
    map: MmapRaw,
    file: File,
    protection: Protection,
    used_bytes: AtomicUsize,
}

impl LockedArea {
    /// Room for the key schedules of 64 regions (64 TiB) and the keys they come from. No more, because
    /// `RLIMIT_MEMLOCK` was 64 KiB before Linux 5.16 and still is in places.
    pub const LEN_BYTES: usize = 64 * 1024;

    /// # Errors
    /// [`SecretError::NotLocked`]: neither way of locking memory is open to this process.
    pub fn new() -> Result<Arc<Self>, SecretError> {
        let secret = memfd_secret().and_then(|file| Self::map(file, Protection::MemfdSecret));
        let area = secret
            .or_else(|_| Self::mlocked())
            .map_err(|source| SecretError::NotLocked { limit_bytes: getrlimit(Resource::Memlock).current, source })?;
        Ok(Arc::new(area))
    }

    pub(super) fn mlocked() -> io::Result<Self> {
        let file = rustix::fs::memfd_create(c"envol-keys", MemfdFlags::CLOEXEC)?;
        let area = Self::map(file, Protection::Mlocked)?;
        area.map.lock()?;
        Ok(area)
    }

    fn map(file: OwnedFd, protection: Protection) -> io::Result<Self> {
        let file = File::from(file);
        file.set_len(Self::LEN_BYTES as u64)?;
        let map = MmapOptions::new().len(Self::LEN_BYTES).map_raw(&file)?;
        map.advise(Advice::DontFork)?;
        map.advise(Advice::DontDump)?;
        let area = Self { map, file, protection, used_bytes: AtomicUsize::new(0) };
        // Touches every page now: later, with the key at hand, there may be no page to be had.
        wipe(area.map.as_mut_ptr(), Self::LEN_BYTES);
        Ok(area)
    }

    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// The memory as a file, for the process that unwraps the volume key into it.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Takes `value` in. What the compiler left of it on the stack is the caller's to clean.
    ///
    /// # Errors
    /// [`SecretError::AreaFull`]
    pub fn place<T>(self: &Arc<Self>, value: T) -> Result<LockedBox<T>, SecretError> {
        let offset = self.take(size_of::<T>(), align_of::<T>())?;
        // SAFETY: `take` gives out ranges inside the mapping only.
        let start = unsafe { self.map.as_mut_ptr().add(offset) };
        let slot = NonNull::new(start.cast::<T>()).expect("a mapping is never at address 0");
        // SAFETY: the range is aligned for a T, large enough, mapped writable, and given out to nobody else.
        unsafe { slot.write(value) };
        Ok(LockedBox { slot, area: Arc::clone(self) })
    }

    /// Reserves a range for good; its offset.
    fn take(&self, size: usize, align: usize) -> Result<usize, SecretError> {
        // The mapping begins at a page: what is aligned in it is aligned in memory.
        assert!(align <= 4096, "more than a page of alignment");
        let start_for = |used: usize| used.next_multiple_of(align);
        let reserve = |used| start_for(used).checked_add(size).filter(|end| *end <= Self::LEN_BYTES);
        let before = self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve);
        before
            .map(start_for)
            .map_err(|used| SecretError::AreaFull { wanted_bytes: size, free_bytes: Self::LEN_BYTES - used })
    }
}

impl Drop for LockedArea {
    fn drop(&mut self) {
        wipe(self.map.as_mut_ptr(), Self::LEN_BYTES);
    }
}

/// A value in the locked area, wiped when it is dropped. Neither copied nor printed.
pub struct LockedBox<T> {
    slot: NonNull<T>,
    area: Arc<LockedArea>,
}

// SAFETY: the box is the only owner of its T, as a `Box<T>` is of its own; the area is shared behind an Arc.
unsafe impl<T: Send> Send for LockedBox<T> {}
// SAFETY: a shared box gives out nothing but `&T`.
unsafe impl<T: Sync> Sync for LockedBox<T> {}

impl<T> LockedBox<T> {
    pub fn area(&self) -> &Arc<LockedArea> {
        &self.area
    }

    /// Where the value lies in the area.
    pub(super) fn offset_bytes(&self) -> usize {
        self.slot.as_ptr().addr() - self.area.map.as_ptr().addr()
    }
}

impl<T> Deref for LockedBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `place` wrote a T there; it stays until the drop of this box, which keeps the area mapped.
        unsafe { self.slot.as_ref() }
    }
}

impl<T> DerefMut for LockedBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` is the only way to it.
        unsafe { self.slot.as_mut() }
    }
}

impl<T> Drop for LockedBox<T> {
    fn drop(&mut self) {
        // SAFETY: the value is valid, and nobody can reach it after this.
        unsafe { self.slot.drop_in_place() };
        wipe(self.slot.as_ptr().cast(), size_of::<T>());
    }
}

/// Writes `bytes` at `offset` of another process's area, which came as `file`.
pub(super) fn write_into(file: &File, offset: usize, bytes: &[u8]) -> io::Result<()> {
    // A secret memory file cannot be written to, only mapped.
    let map = MmapOptions::new().len(LockedArea::LEN_BYTES).map_raw(file)?;
    let fits = offset.checked_add(bytes.len()).is_some_and(|end| end <= map.len());
    if !fits || file.metadata()?.len() != map.len() as u64 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a locked area, or not a place in it"));
    }
    // SAFETY: `offset + bytes.len()` was found to be inside the mapping.
    let start = unsafe { map.as_mut_ptr().add(offset) };
    // SAFETY: as many bytes are mapped from `start` on, the file is as long as the mapping, and a mapping made a moment
    // ago overlaps nothing.
    unsafe { start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    Ok(())
}

fn memfd_secret() -> io::Result<OwnedFd> {
    // SAFETY: the call takes flags and no pointer.
    let answer = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let fd = i32::try_from(answer).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Zeroes bytes of the area that hold no value, or none any more, in a way the compiler does not leave out.
fn wipe(start: *mut u8, len: usize) {
    // SAFETY: all callers pass a range of a live mapping to which no reference exists.
    let bytes = unsafe { std::slice::from_raw_parts_mut(start.cast::<MaybeUninit<u8>>(), len) };
    bytes.zeroize();
}
