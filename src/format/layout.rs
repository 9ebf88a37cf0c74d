//! The fields of the two records in the header area, and of its backup: name, offset, length. `docs/format.md` prints the same tables,
//! and a test keeps them equal.

use super::Damage;

/// One field of a record. Integers are little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub offset: usize,
    pub len: usize,
}

impl Field {
    const fn first(name: &'static str, len: usize) -> Self {
        Self { name, offset: 0, len }
    }

    const fn then(&self, name: &'static str, len: usize) -> Self {
        Self { name, offset: self.end(), len }
    }

    pub const fn end(&self) -> usize {
        self.offset + self.len
    }

    /// `record` is the whole record: the callers hold it in an array of its length.
    pub(super) fn of<'a>(&self, record: &'a [u8]) -> &'a [u8] {
        &record[self.offset..self.end()]
    }

    /// `N` is the field's length.
    pub(super) fn array<const N: usize>(&self, record: &[u8]) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(self.of(record));
        array
    }

    /// Writes `value` at the start of the field, whose rest stays as it is.
    pub(super) fn put(&self, record: &mut [u8], value: &[u8]) {
        record[self.offset..self.end()][..value.len()].copy_from_slice(value);
    }

    pub(super) fn damage(&self, problem: impl Into<String>) -> Damage {
        Damage::Field { field: self.name, problem: problem.into() }
    }

    pub(super) fn check_zero(&self, record: &[u8]) -> Result<(), Damage> {
        if self.of(record).iter().all(|&byte| byte == 0) {
            Ok(())
        } else {
            Err(self.damage("is not zero, but reserved"))
        }
    }
}

/// A slot of fixed length and the `u16` that says how much of it is used; the rest is zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) used: Field,
    pub(super) bytes: Field,
}

impl Slot {
    const fn new(used: Field, bytes: Field) -> Self {
        Self { used, bytes }
    }

    pub(super) fn read<'a>(&self, record: &'a [u8]) -> Result<&'a [u8], Damage> {
        let used = usize::from(u16::from_le_bytes(self.used.array(record)));
        let Some((value, rest)) = self.bytes.of(record).split_at_checked(used) else {
            return Err(self.used.damage(format!("is {used}, but the slot has {}", self.bytes.len)));
        };
        if rest.iter().any(|&byte| byte != 0) {
            return Err(self.bytes.damage("is not zero behind its value"));
        }
        Ok(value)
    }

    pub(super) fn read_text<'a>(&self, record: &'a [u8]) -> Result<&'a str, Damage> {
        std::str::from_utf8(self.read(record)?).map_err(|_| self.bytes.damage("is not UTF-8"))
    }

    /// The slot's length is the limit: `None` when `value` is longer.
    pub(super) fn write(&self, record: &mut [u8], value: &[u8]) -> Option<()> {
        let used = u16::try_from(value.len()).ok().filter(|_| value.len() <= self.bytes.len)?;
        self.used.put(record, &used.to_le_bytes());
        self.bytes.put(record, value);
        Some(())
    }
}

/// The superblock: 16 KiB, at offset 0 and at 512 KiB of the image.
pub mod superblock {
    use super::{Field, Slot};

    pub const LEN: usize = 16384;

    pub const MAGIC: Field = Field::first("magic", 8);
    pub const FORMAT_VERSION: Field = MAGIC.then("format_version", 4);
    pub const BLOCK_SIZE: Field = FORMAT_VERSION.then("block_size", 4);
    pub const REQUIRED_FEATURES: Field = BLOCK_SIZE.then("required_features", 8);
    pub const SEQUENCE: Field = REQUIRED_FEATURES.then("sequence", 8);
    pub const SIZE_BYTES: Field = SEQUENCE.then("size_bytes", 8);
    pub const CREATED_AT_S: Field = SIZE_BYTES.then("created_at_s", 8);
    pub const KEY_GENERATION: Field = CREATED_AT_S.then("key_generation", 8);
    pub const REVOCATION_WINDOW_S: Field = KEY_GENERATION.then("revocation_window_s", 4);
    pub const REVOCATION_POLICY: Field = REVOCATION_WINDOW_S.then("revocation_policy", 1);
    pub const FILE_SYSTEM_STATE: Field = REVOCATION_POLICY.then("file_system_state", 1);
    pub const FILE_SYSTEM_KIND: Field = FILE_SYSTEM_STATE.then("file_system_kind", 1);
    pub const DATABASE_ID_KIND: Field = FILE_SYSTEM_KIND.then("database_id_kind", 1);
    pub const VOLUME_ID_LEN: Field = DATABASE_ID_KIND.then("volume_id_len", 2);
    pub const DATABASE_ID_LEN: Field = VOLUME_ID_LEN.then("database_id_len", 2);
    pub const KMS_KEY_ARN_LEN: Field = DATABASE_ID_LEN.then("kms_key_arn_len", 2);
    pub const WRAPPED_VOLUME_KEY_LEN: Field = KMS_KEY_ARN_LEN.then("wrapped_volume_key_len", 2);
    pub const WRAPPED_CANARY_LEN: Field = WRAPPED_VOLUME_KEY_LEN.then("wrapped_canary_len", 2);
    pub const RESERVED_1: Field = WRAPPED_CANARY_LEN.then("reserved_1", 14);
    pub const VOLUME_ID: Field = RESERVED_1.then("volume_id", 40);
    pub const DATABASE_ID: Field = VOLUME_ID.then("database_id", 128);
    pub const KMS_KEY_ARN: Field = DATABASE_ID.then("kms_key_arn", 2048);
    pub const WRAPPED_VOLUME_KEY: Field = KMS_KEY_ARN.then("wrapped_volume_key", 6144);
    pub const WRAPPED_CANARY: Field = WRAPPED_VOLUME_KEY.then("wrapped_canary", 6144);
    pub const RESERVED_2: Field = WRAPPED_CANARY.then("reserved_2", 1756);
    /// HMAC-SHA-256 of every byte before it.
    pub const MAC: Field = RESERVED_2.then("mac", 32);
    /// CRC-32 (IEEE 802.3) of every byte before it.
    pub const CRC: Field = MAC.then("crc", 4);

    /// In order, without a gap.
    pub const FIELDS: [Field; 27] = [
        MAGIC,
        FORMAT_VERSION,
        BLOCK_SIZE,
        REQUIRED_FEATURES,
        SEQUENCE,
        SIZE_BYTES,
        CREATED_AT_S,
        KEY_GENERATION,
        REVOCATION_WINDOW_S,
        REVOCATION_POLICY,
        FILE_SYSTEM_STATE,
        FILE_SYSTEM_KIND,
        DATABASE_ID_KIND,
        VOLUME_ID_LEN,
        DATABASE_ID_LEN,
        KMS_KEY_ARN_LEN,
        WRAPPED_VOLUME_KEY_LEN,
        WRAPPED_CANARY_LEN,
        RESERVED_1,
        VOLUME_ID,
        DATABASE_ID,
        KMS_KEY_ARN,
        WRAPPED_VOLUME_KEY,
        WRAPPED_CANARY,
        RESERVED_2,
        MAC,
        CRC,
    ];

    pub(in crate::format) const VOLUME_ID_SLOT: Slot = Slot::new(VOLUME_ID_LEN, VOLUME_ID);
    pub(in crate::format) const DATABASE_ID_SLOT: Slot = Slot::new(DATABASE_ID_LEN, DATABASE_ID);
    pub(in crate::format) const KMS_KEY_ARN_SLOT: Slot = Slot::new(KMS_KEY_ARN_LEN, KMS_KEY_ARN);
    pub(in crate::format) const WRAPPED_VOLUME_KEY_SLOT: Slot = Slot::new(WRAPPED_VOLUME_KEY_LEN, WRAPPED_VOLUME_KEY);
    pub(in crate::format) const WRAPPED_CANARY_SLOT: Slot = Slot::new(WRAPPED_CANARY_LEN, WRAPPED_CANARY);
}

/// The lifecycle record: the first 512 bytes of a 4 KiB block, at 256 KiB and at 768 KiB of the image.
pub mod lifecycle {
    use super::{Field, Slot};

    /// One disk sector, so that a torn write leaves the old record or the new one.
    pub const LEN: usize = 512;

    pub const MAGIC: Field = Field::first("magic", 8);
    pub const FORMAT_VERSION: Field = MAGIC.then("format_version", 4);
    pub const STATE: Field = FORMAT_VERSION.then("state", 1);
    pub const CAUSE: Field = STATE.then("cause", 1);
    pub const RESERVED_1: Field = CAUSE.then("reserved_1", 2);
    pub const SEQUENCE: Field = RESERVED_1.then("sequence", 8);
    pub const AT_MS: Field = SEQUENCE.then("at_ms", 8);
    pub const VOLUME_ID_LEN: Field = AT_MS.then("volume_id_len", 2);
    pub const REQUEST_ID_LEN: Field = VOLUME_ID_LEN.then("request_id_len", 2);
    pub const DETAIL_LEN: Field = REQUEST_ID_LEN.then("detail_len", 2);
    pub const RESERVED_2: Field = DETAIL_LEN.then("reserved_2", 2);
    pub const VOLUME_ID: Field = RESERVED_2.then("volume_id", 40);
    pub const REQUEST_ID: Field = VOLUME_ID.then("request_id", 64);
    pub const DETAIL: Field = REQUEST_ID.then("detail", 256);
    pub const RESERVED_3: Field = DETAIL.then("reserved_3", 108);
    /// CRC-32 (IEEE 802.3) of every byte before it.
    pub const CRC: Field = RESERVED_3.then("crc", 4);

    /// In order, without a gap.
    pub const FIELDS: [Field; 16] = [
        MAGIC,
        FORMAT_VERSION,
        STATE,
        CAUSE,
        RESERVED_1,
        SEQUENCE,
        AT_MS,
        VOLUME_ID_LEN,
        REQUEST_ID_LEN,
        DETAIL_LEN,
        RESERVED_2,
        VOLUME_ID,
        REQUEST_ID,
        DETAIL,
        RESERVED_3,
        CRC,
    ];

    pub(in crate::format) const VOLUME_ID_SLOT: Slot = Slot::new(VOLUME_ID_LEN, VOLUME_ID);
    pub(in crate::format) const REQUEST_ID_SLOT: Slot = Slot::new(REQUEST_ID_LEN, REQUEST_ID);
    pub(in crate::format) const DETAIL_SLOT: Slot = Slot::new(DETAIL_LEN, DETAIL);
}

/// The file of a header backup.
pub mod header_backup {
    use super::Field;

    pub const LEN: usize = SHA256.end();

    pub const MAGIC: Field = Field::first("magic", 8);
    pub const FORMAT_VERSION: Field = MAGIC.then("format_version", 4);
    pub const RESERVED_1: Field = FORMAT_VERSION.then("reserved_1", 4);
    pub const MADE_AT_S: Field = RESERVED_1.then("made_at_s", 8);
    pub const IMAGE_LEN_BYTES: Field = MADE_AT_S.then("image_len_bytes", 8);
    pub const RESERVED_2: Field = IMAGE_LEN_BYTES.then("reserved_2", 4064);
    pub const SUPERBLOCK: Field = RESERVED_2.then("superblock", super::superblock::LEN);
    /// SHA-256 of every byte before it.
    pub const SHA256: Field = SUPERBLOCK.then("sha256", 32);

    /// In order, without a gap.
    pub const FIELDS: [Field; 8] =
        [MAGIC, FORMAT_VERSION, RESERVED_1, MADE_AT_S, IMAGE_LEN_BYTES, RESERVED_2, SUPERBLOCK, SHA256];
}
