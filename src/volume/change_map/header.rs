//! The first page of a change map's file: whose changes it holds, and whether they are all there.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::format::SnapshotId;

pub(super) const HEADER_LEN: u64 = 4096;
const LEN: usize = 4096;

const MAGIC: [u8; 8] = *b"ENVOLCHG";
/// 2: the bitmaps lie page by page in turn.
const VERSION: u32 = 2;

const MAGIC_AT: Range<usize> = 0..8;
const VERSION_AT: Range<usize> = 8..12;
const CLEAN_AT: usize = 12;
const CURRENT_AT: usize = 13;
const BASE_LEN_AT: usize = 14;
const BOOT_ID_AT: Range<usize> = 16..32;
const HEADER_SEQUENCE_AT: Range<usize> = 32..40;
const CHUNK_COUNT_AT: Range<usize> = 40..48;
const BASE_AT: Range<usize> = 48..112;
const CRC_AT: Range<usize> = LEN - 4..LEN;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Closed after the last write, and durable.
    pub(super) clean: bool,
    /// Of the boot since which it has been open.
    pub(super) boot_id: [u8; 16],
    /// Of the image's header.
    pub(super) header_sequence: u64,
    pub(super) chunk_count: u64,
    /// Which of the two bitmaps is complete since `base`.
    pub(super) current: u8,
    pub(super) base: Option<SnapshotId>,
}

impl Header {
    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        file.write_all_at(&self.encode(), 0)
    }

    /// None if there is no whole header of this version.
    pub(super) fn read(file: &File) -> Option<Self> {
        let mut page = [0; LEN];
        file.read_exact_at(&mut page, 0).ok()?;
        Self::decode(&page)
    }

    fn encode(&self) -> [u8; LEN] {
        let base = self.base.as_ref().map_or("", SnapshotId::as_str).as_bytes();
        let mut page = [0; LEN];
        page[MAGIC_AT].copy_from_slice(&MAGIC);
        page[VERSION_AT].copy_from_slice(&VERSION.to_le_bytes());
        page[CLEAN_AT] = u8::from(self.clean);
        page[CURRENT_AT] = self.current;
        page[BASE_LEN_AT] = u8::try_from(base.len()).expect("a snapshot id has at most 37 bytes");
        page[BOOT_ID_AT].copy_from_slice(&self.boot_id);
        page[HEADER_SEQUENCE_AT].copy_from_slice(&self.header_sequence.to_le_bytes());
        page[CHUNK_COUNT_AT].copy_from_slice(&self.chunk_count.to_le_bytes());
        page[BASE_AT][..base.len()].copy_from_slice(base);
        let crc = crc32fast::hash(&page[..CRC_AT.start]);
        page[CRC_AT].copy_from_slice(&crc.to_le_bytes());
        page
    }

    fn decode(page: &[u8; LEN]) -> Option<Self> {
        let crc = u32::from_le_bytes(page[CRC_AT].try_into().ok()?);
        let version = u32::from_le_bytes(page[VERSION_AT].try_into().ok()?);
        if page[MAGIC_AT] != MAGIC || version != VERSION || crc != crc32fast::hash(&page[..CRC_AT.start]) {
            return None;
        }
        let base = page[BASE_AT].get(..usize::from(page[BASE_LEN_AT]))?;
        let base = std::str::from_utf8(base).ok()?;
        Some(Self {
            clean: page[CLEAN_AT] == 1,
            boot_id: page[BOOT_ID_AT].try_into().ok()?,
            header_sequence: u64::from_le_bytes(page[HEADER_SEQUENCE_AT].try_into().ok()?),
            chunk_count: u64::from_le_bytes(page[CHUNK_COUNT_AT].try_into().ok()?),
            current: Some(page[CURRENT_AT]).filter(|current| *current < 2)?,
            base: if base.is_empty() { None } else { Some(base.parse().ok()?) },
        })
    }
}
