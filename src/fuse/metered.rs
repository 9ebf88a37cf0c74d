//! Requests that have the image's answer: asked of it by whoever waits for it or by nobody, counted, and sent.

use std::cell::RefCell;
use std::sync::Arc;

use fuser::{Errno, ReplyData, ReplyEmpty, ReplyWrite};

use super::commits::Commits;
use super::errno::errno;
use super::image::Image;
use super::in_flight::{InFlight, MAX_QUEUED_BYTES, Place};
use super::meter::{IoRequest, Meter};
use crate::volume::{Aligned, QueuedWrite, Scratch, VolumeError, WriteMode};

/// An image, and account of what is asked of it.
pub(super) struct Metered<I> {
    pub(super) image: Arc<I>,
    meter: Arc<Meter>,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) commits: Commits,
}

/// What makes a range of the image zeros.
pub(super) type Zeroing<I> = fn(&I, u64, u64, &mut Scratch) -> Result<(), VolumeError>;

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

impl<I: Image> Metered<I> {
    pub(super) fn new(image: Arc<I>, meter: Arc<Meter>) -> Self {
        Self { image, meter, in_flight: Arc::default(), commits: Commits::default() }
    }

    /// Counts the answer, and makes it.
    fn answered(&self, request: &IoRequest, result: Result<(), VolumeError>) -> Result<(), Errno> {
        self.meter.answered(request, &result);
        result.map_err(|error| errno(&error))
    }

    /// Whether a request that would wait for the disk goes to the queue, and its receiver on to the next one.
    pub(super) fn queues(&self, place: &Place, len: usize) -> bool {
        place.is_crowded() && self.fits_queue(len)
    }

    pub(super) fn fits_queue(&self, len: usize) -> bool {
        len <= MAX_QUEUED_BYTES && self.image.has_queue()
    }

    pub(super) fn begin_read(self: &Arc<Self>, place: Place, request: IoRequest, len: usize, reply: ReplyData) {
        let shown = Arc::clone(self);
        let (offset, buffer) = (request.offset, self.in_flight.buffer());
        let done = move |result, bytes: Aligned| {
            data(reply, &bytes[..len], shown.answered(&request, result));
            shown.leaves(place, bytes);
        };
        with_scratch(|scratch| self.image.begin_read(offset, len, buffer, scratch, done));
    }

    pub(super) fn begin_write(self: &Arc<Self>, place: Place, request: IoRequest, data: &[u8], reply: ReplyWrite) {
        let mode = match (place.is_crowded(), self.commits.written()) {
            (true, _) => WriteMode::Queued,
            (false, false) => WriteMode::Behind,
            (false, true) => WriteMode::Commit,
        };
        let (offset, bytes) = (request.offset, self.in_flight.buffer());
        let shown = Arc::clone(self);
        let answer = move |result| written(reply, &request, shown.answered(&request, result));
        let shown = Arc::clone(self);
        let done = move |bytes| shown.leaves(place, bytes);
        let write = QueuedWrite { offset, data, bytes, mode, answer, done };
        with_scratch(|scratch| self.image.begin_write(write, scratch));
    }

    /// The last thing that a request does: when all have left, nobody has the image any more.
    fn leaves(self: Arc<Self>, place: Place, buffer: Aligned) {
        self.in_flight.give_back(buffer);
        drop(self);
        drop(place);
    }

    /// Answers if that takes no wait for a disk, and gives the reply back if it does.
    pub(super) fn read_at_once(&self, request: &IoRequest, len: usize, reply: ReplyData) -> Option<ReplyData> {
        with_reply(len, |bytes, scratch| {
            match self.image.read_at_once(request.offset, bytes, scratch) {
                Err(VolumeError::WouldWait) => return Some(reply),
                result => data(reply, bytes, self.answered(request, result)),
            }
            None
        })
    }

    pub(super) fn read_and_wait(&self, request: &IoRequest, len: usize, reply: ReplyData) {
        with_reply(len, |bytes, scratch| {
            let result = self.image.read(request.offset, bytes, scratch);
            data(reply, bytes, self.answered(request, result));
        });
    }

    pub(super) fn write(&self, request: &IoRequest, data: &[u8], reply: ReplyWrite) {
        let result = with_scratch(|scratch| self.image.write(request.offset, data, scratch));
        written(reply, request, self.answered(request, result));
    }

    pub(super) fn sync(&self, request: &IoRequest, reply: ReplyEmpty) {
        self.answer_sync(request, self.image.sync(), reply);
    }

    pub(super) fn answer_sync(&self, request: &IoRequest, result: Result<(), VolumeError>, reply: ReplyEmpty) {
        empty(reply, self.answered(request, result));
    }

    pub(super) fn zero(&self, request: &IoRequest, zeroing: Zeroing<I>, reply: ReplyEmpty) {
        let result = with_scratch(|scratch| zeroing(&self.image, request.offset, request.len_bytes, scratch));
        empty(reply, self.answered(request, result));
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
