//! FUSE requests to calls of the image, and nothing more.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::sync::Arc;

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::IMAGE_NAME;
use super::attributes::{Attributes, DIRECTORY, IMAGE, TTL};
use super::errno::errno;
use super::image::Image;
use super::in_flight::{InFlight, MAX_QUEUED_BYTES, Place};
use super::linger::Linger;
use super::meter::{IoRequest, Meter, RequestKind};
use super::waiting_room::WaitingRoom;
use crate::volume::{Aligned, Scratch, VolumeError};

/// The largest request to ask the kernel for; it may offer less (`/proc/sys/fs/fuse/max_pages_limit`).
const MAX_REQUEST_BYTES: u32 = 1 << 20;

/// How many requests the kernel may have under way before it holds back direct I/O: enough for a deep queue.
const MAX_BACKGROUND: u16 = 64;

const BLOCK_SIZE_BYTES: u32 = 4096;

pub(super) struct FrontEnd<I> {
    shown: Arc<Metered<I>>,
    attributes: Attributes,
    waiting: WaitingRoom,
    linger: Linger,
}

/// An image, and account of what is asked of it.
struct Metered<I> {
    image: Arc<I>,
    meter: Arc<Meter>,
    in_flight: Arc<InFlight>,
}

const _: () = assert!(Scratch::LEN_BYTES >= MAX_REQUEST_BYTES as usize, "a reply fits");

thread_local! {
    /// One for each worker, kept between requests.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

fn with_scratch<T>(call: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(call)
}

fn with_reply<T>(len: usize, call: impl FnOnce(&mut [u8], &mut Scratch) -> T) -> T {
    with_scratch(|scratch| scratch.with_bytes(|bytes, scratch| call(&mut bytes[..len], scratch)))
}

impl<I: Image> FrontEnd<I> {
    pub(super) fn new(image: Arc<I>, meter: Arc<Meter>, may_wait: usize, linger: Linger) -> io::Result<Self> {
        let shown = Arc::new(Metered { image, meter, in_flight: Arc::default() });
        Ok(Self { attributes: Attributes::new(), shown, waiting: WaitingRoom::new(may_wait)?, linger })
    }

    fn attr(&self, inode: INodeNo) -> Option<FileAttr> {
        self.attributes.of(inode, self.shown.image.size_bytes())
    }

    /// How much of `len` bytes from `offset` lies inside of the image.
    fn clip(&self, offset: u64, len: u64) -> u64 {
        len.min(self.shown.image.size_bytes().saturating_sub(offset))
    }

    /// Answers if that takes no wait for a disk, and gives the reply back if it does.
    fn read_at_once(&self, request: &IoRequest, len: usize, reply: ReplyData) -> Option<ReplyData> {
        with_reply(len, |bytes, scratch| {
            match self.shown.image.read_at_once(request.offset, bytes, scratch) {
                Err(VolumeError::WouldWait) => return Some(reply),
                result => data(reply, bytes, self.shown.answered(request, result)),
            }
            None
        })
    }

    fn wait(&self, request: impl FnOnce() + Send + 'static) {
        if self.waiting.enter(request) {
            self.linger.after_answer();
        }
    }

    /// What makes a range zeros as this mode of fallocate(2) wants it.
    fn zeroing(&self, offset: u64, len: u64, mode: i32) -> Result<(RequestKind, Zeroing<I>), Errno> {
        let keep_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        match mode & !libc::FALLOC_FL_KEEP_SIZE {
            libc::FALLOC_FL_PUNCH_HOLE if keep_size => Ok((RequestKind::Discard, I::discard)),
            libc::FALLOC_FL_ZERO_RANGE if keep_size || end <= self.shown.image.size_bytes() => {
                Ok((RequestKind::Zero, I::zero))
            }
            libc::FALLOC_FL_ZERO_RANGE => Err(Errno::EFBIG),
            // Space cannot be promised on a sparse image, nor ranges moved.
            _ => Err(Errno::EOPNOTSUPP),
        }
    }
}

impl<I> Drop for FrontEnd<I> {
    /// Whoever waits for the end of the front-end waits for the last answer.
    fn drop(&mut self) {
        self.shown.in_flight.wait_until_empty();
    }
}

type Zeroing<I> = fn(&I, u64, u64, &mut Scratch) -> Result<(), VolumeError>;

impl<I: Image> Metered<I> {
    /// Counts the answer, and makes it.
    fn answered(&self, request: &IoRequest, result: Result<(), VolumeError>) -> Result<(), Errno> {
        self.meter.answered(request, &result);
        result.map_err(|error| errno(&error))
    }

    /// Whether a request that would wait for the disk goes to the queue, and its receiver on to the next one.
    fn queues(&self, place: &Place, len: usize) -> bool {
        place.is_crowded() && len <= MAX_QUEUED_BYTES && self.image.has_queue()
    }

    fn begin_read(self: &Arc<Self>, place: Place, request: IoRequest, len: usize, reply: ReplyData) {
        let shown = Arc::clone(self);
        let (offset, buffer) = (request.offset, self.in_flight.buffer());
        let done = move |result, bytes: Aligned| {
            data(reply, &bytes[..len], shown.answered(&request, result));
            shown.leaves(place, bytes);
        };
        with_scratch(|scratch| self.image.begin_read(offset, len, buffer, scratch, done));
    }

    fn begin_write(self: &Arc<Self>, place: Place, request: IoRequest, data: &[u8], reply: ReplyWrite) {
        let shown = Arc::clone(self);
        let (offset, buffer) = (request.offset, self.in_flight.buffer());
        let done = move |result, bytes| {
            written(reply, &request, shown.answered(&request, result));
            shown.leaves(place, bytes);
        };
        with_scratch(|scratch| self.image.begin_write(offset, data, buffer, scratch, done));
    }

    /// The last thing that a request does: when all have left, nobody has the image any more.
    fn leaves(self: Arc<Self>, place: Place, buffer: Aligned) {
        self.in_flight.give_back(buffer);
        drop(self);
        drop(place);
    }

    fn read_and_wait(&self, request: &IoRequest, len: usize, reply: ReplyData) {
        with_reply(len, |bytes, scratch| {
            let result = self.image.read(request.offset, bytes, scratch);
            data(reply, bytes, self.answered(request, result));
        });
    }
}

fn data(reply: ReplyData, bytes: &[u8], answer: Result<(), Errno>) {
    match answer {
        Ok(()) => reply.data(bytes),
        Err(errno) => reply.error(errno),
    }
}

fn written(reply: ReplyWrite, request: &IoRequest, answer: Result<(), Errno>) {
    match answer.and_then(|()| u32::try_from(request.len_bytes).map_err(|_| Errno::EINVAL)) {
        Ok(len_bytes) => reply.written(len_bytes),
        Err(errno) => reply.error(errno),
    }
}

fn empty(reply: ReplyEmpty, answer: Result<(), Errno>) {
    match answer {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

impl<I: Image> Filesystem for FrontEnd<I> {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for flag in [InitFlags::FUSE_ASYNC_DIO, InitFlags::FUSE_PARALLEL_DIROPS, InitFlags::FUSE_ABORT_ERROR] {
            // What a kernel does not know it does without.
            let _ = config.add_capabilities(flag);
        }
        // On refusal the kernel's own largest value comes back, which is then the one to use.
        if let Err(largest) = config.set_max_write(MAX_REQUEST_BYTES) {
            let _ = config.set_max_write(largest);
        }
        if let Err(largest) = config.set_max_readahead(MAX_REQUEST_BYTES) {
            let _ = config.set_max_readahead(largest);
        }
        let _ = config.set_max_background(MAX_BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attr(IMAGE) {
            Some(attr) if parent == DIRECTORY && name == IMAGE_NAME => reply.entry(&TTL, &attr, Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(inode) {
            Some(attr) => reply.attr(&TTL, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    /// The size is the volume's, owner and mode are the mounter's; only setting what already is, or the times, is no change.
    fn setattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<std::time::SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let Some(attr) = self.attr(inode) else {
            return reply.error(Errno::ENOENT);
        };
        let unchanged = mode.is_none_or(|mode| mode & 0o7777 == u32::from(attr.perm))
            && uid.is_none_or(|uid| uid == attr.uid)
            && gid.is_none_or(|gid| gid == attr.gid)
            && size.is_none_or(|size| size == attr.size);
        if unchanged { reply.attr(&TTL, &attr) } else { reply.error(Errno::EPERM) }
    }

    fn open(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        if inode == IMAGE {
            // No page of plaintext may stay in the kernel's cache of this file: nothing could take it away in time.
            reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES);
        } else {
            reply.error(Errno::EISDIR);
        }
    }

    fn read(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let inside = self.clip(offset, u64::from(size.min(MAX_REQUEST_BYTES)));
        let Ok(len) = usize::try_from(inside) else { return reply.error(Errno::EINVAL) };
        if len == 0 {
            return reply.data(&[]);
        }
        let request = IoRequest::arrived(RequestKind::Read, offset, inside);
        if self.shown.image.always_waits() {
            let place = self.shown.in_flight.enter();
            if self.shown.queues(&place, len) {
                return self.shown.begin_read(place, request, len, reply);
            }
            self.shown.read_and_wait(&request, len, reply);
        } else if let Some(reply) = self.read_at_once(&request, len, reply) {
            let shown = Arc::clone(&self.shown);
            return self.wait(move || shown.read_and_wait(&request, len, reply));
        }
        self.linger.after_answer();
    }

    fn write(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let inside = self.clip(offset, data.len() as u64);
        // As on a block device: short at the end, no space behind it.
        let Ok(len) = usize::try_from(inside) else { return reply.error(Errno::EINVAL) };
        if len == 0 && !data.is_empty() {
            return reply.error(Errno::ENOSPC);
        }
        let request = IoRequest::arrived(RequestKind::Write, offset, inside);
        match self.shown.image.always_waits().then(|| self.shown.in_flight.enter()) {
            Some(place) if self.shown.queues(&place, len) => {
                return self.shown.begin_write(place, request, &data[..len], reply);
            }
            _place => {
                let result = with_scratch(|scratch| self.shown.image.write(offset, &data[..len], scratch));
                written(reply, &request, self.shown.answered(&request, result));
            }
        }
        self.linger.after_answer();
    }

    /// close(2), which promises nothing; `sync` is fsync.
    fn flush(&self, _request: &Request, _inode: INodeNo, _handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _request: &Request, _inode: INodeNo, _handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let request = IoRequest::arrived(RequestKind::Sync, 0, 0);
        let shown = Arc::clone(&self.shown);
        self.wait(move || empty(reply, shown.answered(&request, shown.image.sync())));
    }

    fn fallocate(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let (kind, zeroing) = match self.zeroing(offset, len, mode) {
            Ok(zeroing) => zeroing,
            Err(errno) => return reply.error(errno),
        };
        let len = self.clip(offset, len);
        if len == 0 {
            return reply.ok();
        }
        let request = IoRequest::arrived(kind, offset, len);
        let shown = Arc::clone(&self.shown);
        self.wait(move || {
            let result = with_scratch(|scratch| zeroing(&shown.image, offset, len, scratch));
            empty(reply, shown.answered(&request, result));
        });
    }

    fn readdir(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let entries = [
            (DIRECTORY, FileType::Directory, "."),
            (DIRECTORY, FileType::Directory, ".."),
            (IMAGE, FileType::RegularFile, IMAGE_NAME),
        ];
        for (index, (inode, kind, name)) in (1..).zip(entries).skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            if reply.add(inode, index, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn fsyncdir(&self, _request: &Request, _inode: INodeNo, _handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _inode: INodeNo, reply: ReplyStatfs) {
        let blocks = self.shown.image.size_bytes() / u64::from(BLOCK_SIZE_BYTES);
        reply.statfs(blocks, 0, 0, 1, 0, BLOCK_SIZE_BYTES, 255, BLOCK_SIZE_BYTES);
    }

    // The directory never changes.

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EPERM);
    }

    fn mkdir(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EPERM);
    }

    fn unlink(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EPERM);
    }

    fn rmdir(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EPERM);
    }

    fn rename(&self, _: &Request, _: INodeNo, _: &OsStr, _: INodeNo, _: &OsStr, _: RenameFlags, reply: ReplyEmpty) {
        reply.error(Errno::EPERM);
    }

    fn create(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        reply.error(Errno::EPERM);
    }
}
