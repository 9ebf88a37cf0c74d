//! FUSE requests to calls of the image, and nothing more.

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
use super::image::Image;
use super::linger::Linger;
use super::meter::{IoRequest, Meter, RequestKind};
use super::metered::{Metered, Zeroing};
use super::waiting_room::WaitingRoom;
use crate::volume::Scratch;

/// The largest request to ask the kernel for; it may offer less (`/proc/sys/fs/fuse/max_pages_limit`).
const MAX_REQUEST_BYTES: u32 = 1 << 20;

/// How many requests the kernel may have under way before it holds back direct I/O: enough for a deep queue.
pub(super) const MAX_BACKGROUND: u16 = 64;

const BLOCK_SIZE_BYTES: u32 = 4096;

const _: () = assert!(Scratch::LEN_BYTES >= MAX_REQUEST_BYTES as usize, "a reply fits");

pub(super) struct FrontEnd<I> {
    shown: Arc<Metered<I>>,
    attributes: Attributes,
    waiting: WaitingRoom,
    linger: Linger,
}

impl<I: Image> FrontEnd<I> {
    pub(super) fn new(image: Arc<I>, meter: Arc<Meter>, may_wait: usize, linger: Linger) -> io::Result<Self> {
        let shown = Arc::new(Metered::new(image, meter));
        Ok(Self { attributes: Attributes::new(), shown, waiting: WaitingRoom::new(may_wait)?, linger })
    }

    fn attr(&self, inode: INodeNo) -> Option<FileAttr> {
        self.attributes.of(inode, self.shown.image.size_bytes())
    }

    /// How much of `len` bytes from `offset` lies inside of the image.
    fn clip(&self, offset: u64, len: u64) -> u64 {
        len.min(self.shown.image.size_bytes().saturating_sub(offset))
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
        } else if let Some(reply) = self.shown.read_at_once(&request, len, reply) {
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
            Some(place) if self.shown.fits_queue(len) => self.shown.begin_write(place, request, &data[..len], reply),
            place => {
                self.shown.commits.written();
                self.shown.write(&request, &data[..len], reply);
                drop(place);
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
        self.shown.commits.synced();
        let shown = Arc::clone(&self.shown);
        if !self.shown.image.is_writing_behind() {
            return self.wait(move || shown.sync(&request, reply));
        }
        let threads = self.waiting.threads();
        self.shown.image.when_arrived(move |result| match result {
            Some(result) => shown.answer_sync(&request, result, reply),
            None => _ = threads.spawn_blocking(move || shown.sync(&request, reply)),
        });
        self.linger.after_answer();
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
        self.wait(move || shown.zero(&request, zeroing, reply));
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
