//! The file of `envol header backup`: the superblock of a volume that was not revoked, and a checksum over all of it.

use sha2::{Digest, Sha256};

use super::layout::header_backup::*;
use super::{Damage, HEADER_LEN, HeaderCopy, UnverifiedSuperblock};

const MAGIC_BYTES: [u8; 8] = *b"envol\0HB";
const VERSION: u32 = 1;

/// The header of one volume as it was; nothing of it is proven. There is no secret in it: its keys are wrapped.
#[derive(Clone, Debug)]
pub struct HeaderBackup {
    /// The whole copy with the highest sequence.
    pub superblock: UnverifiedSuperblock,
    /// Of the image file or device.
    pub image_len_bytes: u64,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub made_at_s: i64,
}

impl HeaderBackup {
    /// The whole file.
    pub fn encode(&self) -> Vec<u8> {
        let mut file = vec![0; LEN];
        MAGIC.put(&mut file, &MAGIC_BYTES);
        FORMAT_VERSION.put(&mut file, &VERSION.to_le_bytes());
        MADE_AT_S.put(&mut file, &self.made_at_s.to_le_bytes());
        IMAGE_LEN_BYTES.put(&mut file, &self.image_len_bytes.to_le_bytes());
        SUPERBLOCK.put(&mut file, self.superblock.bytes());
        let digest = Sha256::digest(&file[..SHA256.offset]);
        SHA256.put(&mut file, &digest);
        file
    }

    /// Any bytes may be given.
    pub fn parse(file: &[u8]) -> Result<Self, Damage> {
        if file.len() != LEN {
            return Err(if file.get(..MAGIC.end()) == Some(&MAGIC_BYTES[..]) {
                Damage::Truncated { len: file.len(), expected: LEN }
            } else {
                Damage::Foreign
            });
        }
        if MAGIC.of(file) != MAGIC_BYTES {
            return Err(Damage::Foreign);
        }
        if Sha256::digest(&file[..SHA256.offset])[..] != *SHA256.of(file) {
            return Err(SHA256.damage("does not fit its bytes"));
        }
        let version = u32::from_le_bytes(FORMAT_VERSION.array(file));
        if version != VERSION {
            return Err(Damage::Version(version));
        }
        RESERVED_1.check_zero(file)?;
        RESERVED_2.check_zero(file)?;
        Ok(Self {
            superblock: UnverifiedSuperblock::parse(SUPERBLOCK.of(file))?,
            image_len_bytes: u64::from_le_bytes(IMAGE_LEN_BYTES.array(file)),
            made_at_s: i64::from_le_bytes(MADE_AT_S.array(file)),
        })
    }

    /// The header area that it stands for, bit for bit: two copies of the superblock, and blank lifecycle records.
    pub fn header_area(&self) -> Vec<u8> {
        let mut area = vec![0; usize::try_from(HEADER_LEN).unwrap_or(0)];
        for copy in HeaderCopy::BOTH {
            let offset = usize::try_from(copy.superblock_offset()).unwrap_or(0);
            let bytes = self.superblock.bytes();
            area[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        area
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup() -> HeaderBackup {
        let superblock = include_bytes!("../../tests/vectors/format-v1/superblock.bin");
        HeaderBackup {
            superblock: UnverifiedSuperblock::parse(superblock).unwrap(),
            image_len_bytes: 51_380_224,
            made_at_s: 1_700_000_000,
        }
    }

    #[test]
    fn what_is_written_is_read_and_stands_for_the_whole_area() {
        let file = backup().encode();
        let read = HeaderBackup::parse(&file).unwrap();
        assert_eq!(read.encode(), file);
        let area = read.header_area();
        for copy in HeaderCopy::BOTH {
            let at = usize::try_from(copy.superblock_offset()).unwrap();
            assert_eq!(area[at..][..super::super::SUPERBLOCK_LEN], backup().superblock.bytes()[..]);
        }
        assert_eq!(area.len(), 1 << 20);
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed_and_so_is_another_length() {
        let file = backup().encode();
        for at in (0..file.len()).step_by(97).chain([file.len() - 1]) {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(HeaderBackup::parse(&changed).is_err(), "byte {at}");
        }
        assert!(HeaderBackup::parse(&file[..file.len() - 1]).is_err());
        assert!(HeaderBackup::parse(&[&file[..], &[0]].concat()).is_err());
        assert!(HeaderBackup::parse(&[]).is_err());
    }
}
