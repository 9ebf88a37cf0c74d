//! A store in memory, for tests and models. Only what was written takes room, so it can be of any length.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::header_file::check_aligned;
use super::{Store, StoreError};

const PAGE_LEN: usize = 4096;

type Pages = BTreeMap<u64, Box<[u8; PAGE_LEN]>>;

pub struct MemoryStore {
    len_bytes: AtomicU64,
    /// By page number; an absent page is zeros.
    pages: Mutex<Pages>,
}

/// The part of a transfer that lies in one page.
struct Piece {
    page: u64,
    start: usize,
    len: usize,
}

impl MemoryStore {
    pub fn new(len_bytes: u64) -> Self {
        Self { len_bytes: AtomicU64::new(len_bytes), pages: Mutex::default() }
    }

    /// How many 4 KiB pages hold something.
    pub fn allocated_pages(&self) -> usize {
        self.pages().len()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, offset: u64, len: u64) -> io::Result<()> {
        let len_bytes = self.len_bytes.load(Ordering::Acquire);
        match offset.checked_add(len) {
            Some(end) if end <= len_bytes => Ok(()),
            _ => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{len} bytes at {offset} end behind byte {len_bytes}"),
            )),
        }
    }
}

impl Store for MemoryStore {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.len_bytes.load(Ordering::Acquire))
    }

    fn read_at(&self, offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        self.check(offset, buffer.len() as u64)?;
        let pages = self.pages();
        for piece in pieces(offset, buffer.len()) {
            let (part, rest) = buffer.split_at_mut(piece.len);
            match pages.get(&piece.page) {
                Some(page) => part.copy_from_slice(&page[piece.start..][..piece.len]),
                None => part.fill(0),
            }
            buffer = rest;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        self.check(offset, bytes.len() as u64)?;
        let mut pages = self.pages();
        for piece in pieces(offset, bytes.len()) {
            let (part, rest) = bytes.split_at(piece.len);
            let page = pages.entry(piece.page).or_insert_with(|| Box::new([0; PAGE_LEN]));
            page[piece.start..][..piece.len].copy_from_slice(part);
            bytes = rest;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn punch(&self, offset: u64, len_bytes: u64) -> io::Result<()> {
        self.check(offset, len_bytes)?;
        let page_len = PAGE_LEN as u64;
        let (first, end) = (offset.div_ceil(page_len), (offset + len_bytes) / page_len);
        let mut pages = self.pages();
        let mut behind = pages.split_off(&first);
        pages.append(&mut behind.split_off(&end.max(first)));
        Ok(())
    }

    fn grow(&self, path: &Path, len_bytes: u64, zeros: &[Range<u64>]) -> Result<(), StoreError> {
        let before = self.len_bytes.fetch_max(len_bytes, Ordering::AcqRel);
        for range in zeros.iter().map(|range| range.start..range.end.min(before)).filter(|range| !range.is_empty()) {
            let zeroed = self.punch(range.start, range.end - range.start);
            zeroed.map_err(|source| StoreError::Io {
                path: path.to_owned(),
                action: "zero its allocation map",
                source,
            })?;
        }
        Ok(())
    }

    fn read_header(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        check_aligned(offset, buffer.len())?;
        self.read_at(offset, buffer)
    }

    fn write_header(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        check_aligned(offset, bytes.len())?;
        self.write_at(offset, bytes)
    }
}

fn pieces(mut offset: u64, mut len: usize) -> impl Iterator<Item = Piece> {
    std::iter::from_fn(move || {
        let start = usize::try_from(offset % PAGE_LEN as u64).ok()?;
        let piece = Piece { page: offset / PAGE_LEN as u64, start, len: len.min(PAGE_LEN - start) };
        offset += piece.len as u64;
        len -= piece.len;
        (piece.len > 0).then_some(piece)
    })
}
