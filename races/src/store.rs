//! A disk whose every access gives way to the other threads, also halfway, and which knows what of it is durable.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use envol::format::Geometry;
use shuttle::sync::atomic::{AtomicUsize, Ordering};

pub use envol::store::{Aligned, Direction, Store, StoreError, Transfer};

const PAGE: usize = 4096;

/// By page number; an absent page is zeros.
type Pages = BTreeMap<u64, [u8; PAGE]>;

#[derive(Default)]
struct Content {
    now: Pages,
    durable: Pages,
}

/// Never locked while it gives way.
pub struct Disk {
    geometry: Mutex<Geometry>,
    content: Mutex<Content>,
    accesses: AtomicUsize,
    /// `None`: it has no queue.
    queue: Option<Mutex<Vec<Transfer>>>,
}

impl Disk {
    #[must_use]
    pub fn new(geometry: Geometry) -> Self {
        Self { geometry: Mutex::new(geometry), content: Mutex::default(), accesses: AtomicUsize::new(0), queue: None }
    }

    /// Whose transfers wait for [`Disk::carry_out_one`].
    #[must_use]
    pub fn with_queue(geometry: Geometry) -> Self {
        Self { queue: Some(Mutex::default()), ..Self::new(geometry) }
    }

    /// If there is one.
    pub fn carry_out_one(&self) {
        self.give_way();
        let next = self.queue.as_ref().and_then(|queue| queue.lock().expect("nobody panics with it in hand").pop());
        let Some(mut transfer) = next else { return };
        let bytes = &mut transfer.bytes[..transfer.len_bytes];
        let result = match transfer.direction {
            Direction::Read => self.read_at(transfer.offset, bytes),
            Direction::Write => self.write_at(transfer.offset, bytes),
            Direction::WriteDurably => {
                self.write_at(transfer.offset, bytes).map(|()| self.make_durable(transfer.offset, bytes.len()))
            }
        };
        (transfer.done)(result, transfer.bytes);
    }

    /// Past its cache, where everything else stays.
    fn make_durable(&self, offset: u64, len: usize) {
        self.give_way();
        let Content { now, durable } = &mut *self.content();
        for (page, ..) in pieces(offset, len) {
            durable.extend(now.get(&page).map(|content| (page, *content)));
        }
    }

    /// After a power cut that took all that it could.
    #[must_use]
    pub fn after_power_cut(&self) -> Self {
        let durable = self.content().durable.clone();
        Self {
            geometry: Mutex::new(self.geometry()),
            content: Mutex::new(Content { now: durable.clone(), durable }),
            accesses: AtomicUsize::new(0),
            queue: None,
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("nobody panics with it in hand")
    }

    fn geometry(&self) -> Geometry {
        *self.geometry.lock().expect("nobody panics with it in hand")
    }

    /// Any thread may be next. Not by yielding, which the scheduler takes for the wish to be last.
    fn give_way(&self) {
        self.accesses.fetch_add(1, Ordering::SeqCst);
    }

    /// The promise behind the order of a sync: what the map on disk says to be written is there, whenever the power goes.
    fn check_map_page(&self, offset: u64, bits: &[u8]) {
        let geometry = self.geometry();
        let Some(first) = (0..geometry.block_count())
            .step_by(8 * PAGE)
            .find(|block| geometry.map_byte_offset(*block) == Some(offset))
        else {
            return;
        };
        let content = self.content();
        for (bit, block) in (0..8 * PAGE).zip(first..geometry.block_count()) {
            if bits[bit / 8] >> (bit % 8) & 1 == 1 {
                let offset = geometry.block_offset(block).expect("a block of the volume");
                assert!(
                    content.durable.contains_key(&(offset / PAGE as u64)),
                    "the map says that block {block} is written, and it is not durable"
                );
            }
        }
    }
}

/// Within one page each.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let page = PAGE as u64;
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let start = usize::try_from(at % page).ok()?;
        // A block goes in two halves.
        let end = if start < PAGE / 2 { PAGE / 2 } else { PAGE };
        let len = (end - start).min(len - done);
        let piece = (at / page, start..start + len, done..done + len);
        done += len;
        (len > 0).then_some(piece)
    })
}

impl Store for Disk {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.geometry().image_len_bytes())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        for (page, at, bytes) in pieces(offset, buffer.len()) {
            self.give_way();
            match self.content().now.get(&page) {
                Some(content) => buffer[bytes].copy_from_slice(&content[at]),
                None => buffer[bytes].fill(0),
            }
        }
        Ok(())
    }

    fn has_queue(&self) -> bool {
        self.queue.is_some()
    }

    /// Only of volumes with a queue.
    fn begin(&self, transfer: Transfer) {
        self.give_way();
        let queue = self.queue.as_ref().expect("a disk with a queue");
        queue.lock().expect("nobody panics with it in hand").push(transfer);
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_map_page(offset, bytes);
        for (page, at, piece) in pieces(offset, bytes.len()) {
            self.give_way();
            self.content().now.entry(page).or_insert([0; PAGE])[at].copy_from_slice(&bytes[piece]);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.give_way();
        {
            let mut content = self.content();
            content.durable = content.now.clone();
        }
        self.give_way();
        Ok(())
    }

    fn punch(&self, offset: u64, len_bytes: u64) -> io::Result<()> {
        let page = PAGE as u64;
        for page in offset / page..(offset + len_bytes) / page {
            self.give_way();
            self.content().now.remove(&page);
        }
        Ok(())
    }

    fn grow(&self, _: &Path, len_bytes: u64, _: &[Range<u64>]) -> Result<(), StoreError> {
        unreachable!(
            "{len_bytes} bytes: the scenarios grow the volume within its region, on a disk that is long enough"
        )
    }

    fn read_header(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, buffer)
    }

    fn write_header(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_at(offset, bytes)
    }
}
