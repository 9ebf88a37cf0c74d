//! envol's front-end without its cipher: what a byte costs on its way through FUSE and the store alone.
//!
//!   plain-front-end MOUNT_POINT BACKING            serves the bytes of BACKING as they are
//!   plain-front-end MOUNT_POINT --no-store BYTES   answers from nothing
//!
//! The mount, what is negotiated with the kernel, open flags, number of receivers, buffers and store are those of `src/fuse` and
//! `src/daemon`; but there is no waiting room: who receives a request waits for the disk. It is a program of its own, so that no build of envol can serve a byte unencrypted. Whoever unmounts
//! MOUNT_POINT ends it. As root.

use std::cell::RefCell;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

use envol::fuse::IMAGE_NAME;
use envol::store::{FileStore, Store};
use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    Session, SessionACL, WriteFlags,
};
use rustix::mount::MountFlags;

const MAX_REQUEST_BYTES: u32 = 1 << 20;
const MAX_BACKGROUND: u16 = 64;
const MIN_WORKERS: usize = 2;
const MAX_WORKERS: usize = 8;
const TTL: Duration = Duration::from_secs(86_400);
const IMAGE: INodeNo = INodeNo(2);

struct PlainFrontEnd {
    store: Option<FileStore>,
    size_bytes: u64,
    mounted_at: SystemTime,
}

thread_local! {
    static REPLY: RefCell<Vec<u8>> = RefCell::new(vec![0; MAX_REQUEST_BYTES as usize]);
}

fn main() -> io::Result<()> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (mount_point, store, size_bytes) = match &arguments[..] {
        [mount_point, option, bytes] if option == "--no-store" => {
            let bytes = bytes.to_str().and_then(|bytes| bytes.parse().ok());
            (mount_point, None, bytes.ok_or_else(|| io::Error::other("BYTES is not a number"))?)
        }
        [mount_point, backing] => {
            let store = FileStore::open(Path::new(backing)).map_err(io::Error::other)?;
            let size_bytes = store.len_bytes()?;
            (mount_point, Some(store), size_bytes)
        }
        _ => return Err(io::Error::other("usage: plain-front-end MOUNT_POINT BACKING | MOUNT_POINT --no-store BYTES")),
    };
    // A file system on a loop device on the image may wait for this process when memory is short. As envol, without it if it
    // is refused.
    let _ = rustix::process::configure_io_flusher_behavior(true);
    let device = mount(Path::new(mount_point))?;
    let mut config = Config::default();
    config.acl = SessionACL::Owner;
    config.n_threads =
        Some(std::thread::available_parallelism().map_or(MIN_WORKERS, usize::from).clamp(MIN_WORKERS, MAX_WORKERS));
    config.clone_fd = true;
    let front_end = PlainFrontEnd { store, size_bytes, mounted_at: SystemTime::now() };
    Session::from_fd(front_end, device, SessionACL::Owner, config)?.run()
}

fn mount(mount_point: &Path) -> io::Result<OwnedFd> {
    let device = File::options().read(true).write(true).open("/dev/fuse")?;
    let options = format!("fd={},rootmode=40700,user_id=0,group_id=0", device.as_raw_fd());
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
    let options = CString::new(options)?;
    rustix::mount::mount("plain-front-end", mount_point, "fuse.plain", flags, Some(options.as_c_str()))?;
    Ok(device.into())
}

impl PlainFrontEnd {
    fn attr(&self, ino: INodeNo) -> Option<FileAttr> {
        let (kind, perm, size) = match ino {
            INodeNo::ROOT => (FileType::Directory, 0o700, 0),
            IMAGE => (FileType::RegularFile, 0o600, self.size_bytes),
            _ => return None,
        };
        let at = self.mounted_at;
        let (atime, mtime, ctime, crtime) = (at, at, at, at);
        let (nlink, uid, gid, rdev, blksize, flags) = (1, 0, 0, 0, 4096, 0);
        let blocks = size / 512;
        Some(FileAttr {
            ino,
            size,
            blocks,
            atime,
            mtime,
            ctime,
            crtime,
            kind,
            perm,
            nlink,
            uid,
            gid,
            rdev,
            blksize,
            flags,
        })
    }

    /// How much of `len` bytes from `offset` lies inside of the image.
    fn clip(&self, offset: u64, len: usize) -> usize {
        len.min(usize::try_from(self.size_bytes.saturating_sub(offset)).unwrap_or(usize::MAX))
    }

    fn read_image(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.store.as_ref().map_or(Ok(()), |store| store.read_at(offset, out))
    }

    fn write_image(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.store.as_ref().map_or(Ok(()), |store| store.write_at(offset, bytes))
    }
}

impl Filesystem for PlainFrontEnd {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for flag in [InitFlags::FUSE_ASYNC_DIO, InitFlags::FUSE_PARALLEL_DIROPS, InitFlags::FUSE_ABORT_ERROR] {
            let _ = config.add_capabilities(flag);
        }
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
            Some(attr) if parent == INodeNo::ROOT && name == IMAGE_NAME => reply.entry(&TTL, &attr, Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(inode) {
            Some(attr) => reply.attr(&TTL, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _request: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES);
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
        REPLY.with_borrow_mut(|buffer| {
            let len = self.clip(offset, buffer.len().min(size as usize));
            match self.read_image(offset, &mut buffer[..len]) {
                Ok(()) => reply.data(&buffer[..len]),
                Err(error) => reply.error(error.into()),
            }
        });
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
        let data = &data[..self.clip(offset, data.len())];
        match self.write_image(offset, data) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(0)),
            Err(error) => reply.error(error.into()),
        }
    }

    fn flush(&self, _request: &Request, _inode: INodeNo, _handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _request: &Request, _inode: INodeNo, _handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        match self.store.as_ref().map_or(Ok(()), Store::sync) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.into()),
        }
    }
}
