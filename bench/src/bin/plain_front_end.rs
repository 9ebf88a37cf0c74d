//! envol's front-end without its cipher: what a byte costs on its way through FUSE and the store alone.
//!
//!   plain-front-end MOUNT_POINT BACKING            serves the bytes of BACKING as they are
//!   plain-front-end MOUNT_POINT --no-cache BACKING the same, past the page cache
//!   plain-front-end MOUNT_POINT --no-store BYTES   answers from nothing
//!
//! All but the image is `envol::fuse`. It is a program of its own, so that no build of envol can serve a byte unencrypted.
//! Whoever unmounts MOUNT_POINT ends it.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::Arc;

use envol::fuse::{Image, serve};
use envol::store::{ALIGNMENT, Aligned, Direction, FileStore, Store, Transfer};
use envol::volume::{OnAnswer, OnDone, QueuedWrite, Scratch, VolumeError, WriteMode};

fn main() -> io::Result<()> {
    // A file system on a loop device on the image may wait for this process when memory is short, for whichever of its threads. As envol,
    // without it if it is refused.
    let _ = rustix::process::configure_io_flusher_behavior(true);
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (mount_point, image) = match &arguments[..] {
        [mount_point, option, bytes] if option == "--no-store" => {
            let size_bytes = bytes.to_str().and_then(|bytes| bytes.parse().ok());
            let size_bytes = size_bytes.ok_or_else(|| io::Error::other("BYTES is not a number"))?;
            (mount_point, PlainImage { store: None, size_bytes })
        }
        [mount_point, option, backing] if option == "--no-cache" => {
            let mut store = open(backing)?;
            store.bypass_cache(Path::new(backing)).map_err(io::Error::other)?;
            (mount_point, PlainImage::of(store)?)
        }
        [mount_point, backing] => (mount_point, PlainImage::of(open(backing)?)?),
        _ => {
            return Err(io::Error::other("usage: plain-front-end MOUNT_POINT [--no-cache] BACKING | --no-store BYTES"));
        }
    };
    serve(Arc::new(image), Path::new(mount_point), "plain-front-end")?.join()
}

fn open(backing: &OsStr) -> io::Result<FileStore> {
    FileStore::open(Path::new(backing)).map_err(io::Error::other)
}

thread_local! {
    static ALIGNED: RefCell<Aligned> = RefCell::new(Aligned::new(Scratch::LEN_BYTES));
}

struct PlainImage {
    store: Option<FileStore>,
    size_bytes: u64,
}

impl PlainImage {
    fn of(store: FileStore) -> io::Result<Self> {
        Ok(Self { size_bytes: store.len_bytes()?, store: Some(store) })
    }

    fn in_store(
        &self,
        action: &'static str,
        call: impl FnOnce(&FileStore) -> io::Result<()>,
    ) -> Result<(), VolumeError> {
        let result = self.store.as_ref().map_or(Ok(()), call);
        result.map_err(|source| VolumeError::Store { action, source })
    }

    fn begin(
        self: &Arc<Self>,
        direction: Direction,
        offset: u64,
        len_bytes: usize,
        bytes: Aligned,
        done: impl FnOnce(Result<(), VolumeError>, Aligned) + Send + 'static,
    ) {
        let Some(store) = &self.store else { return done(Ok(()), bytes) };
        let image = Arc::clone(self);
        let done = move |result: io::Result<()>, bytes| {
            drop(image);
            done(result.map_err(|source| VolumeError::Store { action: "transfer", source }), bytes);
        };
        store.begin(Transfer { direction, offset, len_bytes, bytes, done: Box::new(done) });
    }
}

impl Image for PlainImage {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn always_waits(&self) -> bool {
        self.store.as_ref().is_some_and(Store::always_waits)
    }

    fn read(&self, offset: u64, out: &mut [u8], _scratch: &mut Scratch) -> Result<(), VolumeError> {
        self.in_store("read", |store| store.read_at(offset, out))
    }

    fn read_at_once(&self, offset: u64, out: &mut [u8], _scratch: &mut Scratch) -> Result<(), VolumeError> {
        let mut waits = false;
        self.in_store("read", |store| {
            waits = !store.read_at_once(offset, out)?;
            Ok(())
        })?;
        if waits { Err(VolumeError::WouldWait) } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8], _scratch: &mut Scratch) -> Result<(), VolumeError> {
        self.in_store("write", |store| {
            if !store.always_waits() {
                return store.write_at(offset, data);
            }
            // The request is not aligned, as ciphertext is.
            ALIGNED.with_borrow_mut(|aligned| {
                aligned[..data.len()].copy_from_slice(data);
                store.write_at(offset, &aligned[..data.len()])
            })
        })
    }

    fn has_queue(&self) -> bool {
        self.store.as_ref().is_some_and(Store::has_queue)
    }

    fn begin_read(
        self: &Arc<Self>,
        offset: u64,
        len_bytes: usize,
        bytes: Aligned,
        _scratch: &mut Scratch,
        done: impl FnOnce(Result<(), VolumeError>, Aligned) + Send + 'static,
    ) {
        self.begin(Direction::Read, offset, len_bytes, bytes, done);
    }

    /// Answered when it is written, and not before.
    fn begin_write(self: &Arc<Self>, write: QueuedWrite<'_, impl OnAnswer, impl OnDone>, scratch: &mut Scratch) {
        let QueuedWrite { offset, data, mut bytes, mode, answer, done } = write;
        if mode != WriteMode::Queued {
            answer(self.write(offset, data, scratch));
            return done(bytes);
        }
        bytes[..data.len()].copy_from_slice(data);
        self.begin(Direction::Write, offset, data.len(), bytes, |result, bytes| {
            answer(result);
            done(bytes);
        });
    }

    fn discard(&self, offset: u64, len_bytes: u64, scratch: &mut Scratch) -> Result<(), VolumeError> {
        let end = offset + len_bytes;
        let whole = offset.next_multiple_of(ALIGNMENT)..end / ALIGNMENT * ALIGNMENT;
        if whole.is_empty() {
            return self.zero(offset, len_bytes, scratch);
        }
        self.zero(offset, whole.start - offset, scratch)?;
        self.zero(whole.end, end - whole.end, scratch)?;
        self.in_store("discard", |store| store.punch(whole.start, whole.end - whole.start))
    }

    fn zero(&self, offset: u64, len_bytes: u64, _scratch: &mut Scratch) -> Result<(), VolumeError> {
        let zeros = [0; 1 << 15];
        let mut at = offset;
        while at < offset + len_bytes {
            let len = zeros.len().min(usize::try_from(offset + len_bytes - at).unwrap_or(usize::MAX));
            self.in_store("write", |store| store.write_at(at, &zeros[..len]))?;
            at += len as u64;
        }
        Ok(())
    }

    fn is_writing_behind(&self) -> bool {
        false
    }

    fn when_arrived(&self, arrived: impl FnOnce(Option<Result<(), VolumeError>>) + Send + 'static) {
        arrived(None);
    }

    fn sync(&self) -> Result<(), VolumeError> {
        self.in_store("sync", Store::sync)
    }
}
