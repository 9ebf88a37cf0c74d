//! Where everything lies in a volume's image: pure arithmetic, no I/O.

use std::ops::Range;

/// The unit of encryption, of the allocation map and of alignment.
pub const BLOCK_SIZE: u64 = 4096;
/// Superblocks and lifecycle records lie here; the first region starts behind it.
pub const HEADER_LEN: u64 = 1 << 20;
/// Plaintext bytes of a full region. One XTS key pair serves one region: IEEE 1619-2025 says that a key should not
/// encrypt more than 2^36 blocks of 16 bytes, which is this.
pub const REGION_LEN: u64 = 1 << 40;
/// Blocks of a full region.
pub const BLOCKS_PER_REGION: u64 = REGION_LEN / BLOCK_SIZE;
/// The allocation map of one region, one bit a block; of full length in the last, shorter region too.
pub const MAP_LEN: u64 = BLOCKS_PER_REGION / 8;
/// An ext4 with its journal fits; anything smaller is a mistake.
pub const MIN_SIZE: u64 = 16 << 20;
/// As large as EBS volumes become.
pub const MAX_SIZE: u64 = 64 << 40;
/// Of the largest volume.
pub const MAX_REGIONS: usize = 64;
const _: () = assert!(MAX_REGIONS as u64 == MAX_SIZE / REGION_LEN);

const REGION_STRIDE: u64 = MAP_LEN + REGION_LEN;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSize {
    #[error("a volume of {0} bytes is outside 16 MiB to 64 TiB")]
    OutOfRange(u64),
    #[error("a volume of {0} bytes is not a multiple of 4096 bytes")]
    Unaligned(u64),
}

/// The shape of one image, of a size that was checked.
///
/// Block numbers count 4 KiB blocks over the whole volume. A method that takes one answers `None` beyond the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    size_bytes: u64,
}

/// The place of one block's bit in the allocation map, by the 4 KiB page of the map that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapBit {
    /// Offset of the page in the image, a multiple of 4096.
    pub page_offset: u64,
    /// Index of the byte in that page.
    pub byte: usize,
    /// The bit in that byte: least significant first.
    pub mask: u8,
}

/// From one size to a larger one: nothing that is there moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    from: Geometry,
    to: Geometry,
}

impl Growth {
    pub fn from(&self) -> Geometry {
        self.from
    }

    pub fn to(&self) -> Geometry {
        self.to
    }

    /// Those that are new, and need keys.
    pub fn regions(&self) -> Range<u32> {
        self.from.region_count()..self.to.region_count()
    }

    /// Their allocation maps, which have to read as zeros; what the maps of the others have behind the old end is zero already.
    pub fn map_ranges(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        let known = usize::try_from(self.from.region_count()).unwrap_or(usize::MAX);
        self.to.map_ranges().skip(known)
    }
}

impl Geometry {
    pub fn new(size_bytes: u64) -> Result<Self, InvalidSize> {
        if !(MIN_SIZE..=MAX_SIZE).contains(&size_bytes) {
            return Err(InvalidSize::OutOfRange(size_bytes));
        }
        if !size_bytes.is_multiple_of(BLOCK_SIZE) {
            return Err(InvalidSize::Unaligned(size_bytes));
        }
        Ok(Self { size_bytes })
    }

    /// What the volume shows, without header and maps.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    pub fn block_count(&self) -> u64 {
        self.size_bytes / BLOCK_SIZE
    }

    /// How many regions, the last one possibly shorter: 1 to 64.
    pub fn region_count(&self) -> u32 {
        let count = self.size_bytes.div_ceil(REGION_LEN);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Header, maps and blocks: what the image file is long.
    pub fn image_len_bytes(&self) -> u64 {
        HEADER_LEN + u64::from(self.region_count()) * MAP_LEN + self.size_bytes
    }

    /// The region of a block, which chooses its key.
    pub fn region_of(&self, block: u64) -> Option<u32> {
        self.checked(block).and_then(|block| u32::try_from(block / BLOCKS_PER_REGION).ok())
    }

    /// Where the ciphertext of a block lies in the image.
    pub fn block_offset(&self, block: u64) -> Option<u64> {
        let block = self.checked(block)?;
        Some(map_offset(block) + MAP_LEN + block % BLOCKS_PER_REGION * BLOCK_SIZE)
    }

    /// Where the allocation-map byte of a block lies in the image; its bit is `1 << (block % 8)`.
    pub fn map_byte_offset(&self, block: u64) -> Option<u64> {
        let block = self.checked(block)?;
        Some(map_offset(block) + block % BLOCKS_PER_REGION / 8)
    }

    /// As [`Geometry::map_byte_offset`], for callers that keep maps by the page.
    pub fn map_bit(&self, block: u64) -> Option<MapBit> {
        let byte_offset = self.map_byte_offset(block)?;
        Some(MapBit {
            page_offset: byte_offset - byte_offset % BLOCK_SIZE,
            byte: usize::try_from(byte_offset % BLOCK_SIZE).ok()?,
            mask: 1 << (block % 8),
        })
    }

    /// What a volume of this size becomes when it grows to that one. `None`: it would not grow.
    pub fn grown_to(&self, larger: Self) -> Option<Growth> {
        (self.size_bytes < larger.size_bytes).then_some(Growth { from: *self, to: larger })
    }

    /// The allocation maps in the image, region by region.
    pub fn map_ranges(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        (0..u64::from(self.region_count())).map(|region| {
            let start = HEADER_LEN + region * REGION_STRIDE;
            start..start + MAP_LEN
        })
    }

    fn checked(&self, block: u64) -> Option<u64> {
        (block < self.block_count()).then_some(block)
    }
}

/// Where page `page` of the allocation maps lies in the image: they are counted over all regions, 4096 bytes each.
pub fn map_page_offset(page: u64) -> u64 {
    const PAGES_PER_MAP: u64 = MAP_LEN / BLOCK_SIZE;
    HEADER_LEN + page / PAGES_PER_MAP * REGION_STRIDE + page % PAGES_PER_MAP * BLOCK_SIZE
}

/// The start of the region that holds `block`, which is the start of its map.
fn map_offset(block: u64) -> u64 {
    HEADER_LEN + block / BLOCKS_PER_REGION * REGION_STRIDE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIB: u64 = 1 << 40;

    fn geometry(size_bytes: u64) -> Geometry {
        Geometry::new(size_bytes).unwrap()
    }

    #[test]
    fn sizes_are_checked() {
        for good in [MIN_SIZE, MIN_SIZE + 4096, TIB, TIB + 4096, MAX_SIZE] {
            assert_eq!(geometry(good).size_bytes(), good);
        }
        for outside in [0, 4096, MIN_SIZE - 4096, MAX_SIZE + 4096, u64::MAX] {
            assert_eq!(Geometry::new(outside), Err(InvalidSize::OutOfRange(outside)));
        }
        assert_eq!(Geometry::new(MIN_SIZE + 512), Err(InvalidSize::Unaligned(MIN_SIZE + 512)));
    }

    #[test]
    fn smallest_volume() {
        let small = geometry(MIN_SIZE);
        assert_eq!((small.region_count(), small.block_count()), (1, 4096));
        assert_eq!(small.image_len_bytes(), (1 + 32 + 16) << 20);
        assert_eq!(small.block_offset(0), Some(33 << 20));
        assert_eq!(small.block_offset(4095), Some((49 << 20) - 4096));
        assert_eq!(small.block_offset(4096), None);
        assert_eq!(small.map_byte_offset(4096), None);
        assert_eq!(small.region_of(4096), None);
        assert!(small.map_ranges().eq(std::iter::once(1 << 20..33 << 20)));
    }

    #[test]
    fn second_region_starts_with_its_own_map() {
        let two = geometry(TIB + 4096);
        let region = (1 << 20) + (32 << 20) + TIB;
        assert_eq!(two.region_count(), 2);
        assert_eq!(two.region_of((1 << 28) - 1), Some(0));
        assert_eq!(two.region_of(1 << 28), Some(1));
        assert_eq!(two.block_offset((1 << 28) - 1), Some(region - 4096));
        assert_eq!(two.map_byte_offset(1 << 28), Some(region));
        assert_eq!(two.block_offset(1 << 28), Some(region + (32 << 20)));
        assert_eq!(two.image_len_bytes(), region + (32 << 20) + 4096);
    }

    #[test]
    fn exactly_one_region_has_no_second() {
        assert_eq!(geometry(TIB).region_count(), 1);
        assert_eq!(geometry(MAX_SIZE).region_count(), 64);
    }

    #[test]
    fn bits_count_from_the_least_significant() {
        let small = geometry(MIN_SIZE);
        let bit = small.map_bit(8 * 4000 / 8 + 3).unwrap();
        assert_eq!((bit.page_offset, bit.byte, bit.mask), (1 << 20, 500, 0b1000));
        let far = geometry(TIB).map_bit(32768 * 7 + 9).unwrap();
        assert_eq!((far.page_offset, far.byte, far.mask), ((1 << 20) + 7 * 4096, 1, 0b10));
    }

    #[test]
    fn a_growth_keeps_every_block_where_it_is_and_names_what_is_new() {
        let (small, large) = (geometry(TIB - 4096), geometry(3 * TIB + 4096));
        let growth = small.grown_to(large).unwrap();
        assert_eq!(growth.regions(), 1..4);
        assert!(growth.map_ranges().eq(large.map_ranges().skip(1)));
        for block in [0, small.block_count() - 1] {
            assert_eq!(small.block_offset(block), large.block_offset(block));
            assert_eq!(small.map_bit(block), large.map_bit(block));
        }
        let within = small.grown_to(geometry(TIB)).unwrap();
        assert_eq!((within.regions(), within.map_ranges().count()), (1..1, 0));
        assert_eq!((small.grown_to(small), large.grown_to(small)), (None, None));
    }

    proptest! {
        /// No two things share a byte: every block lies behind its map, and the last one ends the image.
        #[test]
        fn nothing_overlaps(blocks in MIN_SIZE / 4096..=MAX_SIZE / 4096, pick in any::<u64>()) {
            let geometry = geometry(blocks * 4096);
            let block = pick % blocks;
            let offset = geometry.block_offset(block).unwrap();
            let map = geometry.map_byte_offset(block).unwrap();
            for range in geometry.map_ranges() {
                prop_assert!(offset + 4096 <= range.start || offset >= range.end);
            }
            let own = geometry.map_ranges().nth(geometry.region_of(block).unwrap() as usize).unwrap();
            prop_assert!(own.contains(&map));
            let bit = geometry.map_bit(block).unwrap();
            prop_assert_eq!(bit.page_offset, map_page_offset(block / (8 * BLOCK_SIZE)));
            prop_assert!(offset >= own.end);
            let end = geometry.block_offset(blocks - 1).unwrap() + 4096;
            prop_assert_eq!(end, geometry.image_len_bytes());
            if block > 0 {
                prop_assert!(geometry.block_offset(block - 1).unwrap() + 4096 <= offset);
            }
        }
    }
}
