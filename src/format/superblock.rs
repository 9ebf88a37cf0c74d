//! The superblock: what a volume is, and its wrapped keys. Written here, read in [`super::unverified`].

use kms_client::{KmsKeyArn, WrappedKey};

use super::layout::superblock::*;
use super::{DatabaseId, FileSystemState, Geometry, RevocationPolicy, VolumeId};

pub(super) const MAGIC_BYTES: [u8; 8] = *b"envol\0SB";
pub(super) const DATABASE_INSTANCE: u8 = 1;
pub(super) const DATABASE_CLUSTER: u8 = 2;

/// The facts of one volume. Of an existing volume there is one only after its MAC was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// One more with each write. The copy with the higher number is the newer.
    pub sequence: u64,
    pub volume_id: VolumeId,
    pub database_id: DatabaseId,
    pub geometry: Geometry,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub created_at_s: i64,
    pub kms_key: KmsKeyArn,
    /// The 64-byte volume key as KMS wrapped it.
    pub wrapped_volume_key: WrappedKey,
    /// A second, worthless key under the same KMS key, which probes decrypt.
    pub wrapped_canary: WrappedKey,
    /// 1 at create; one more with each rewrap under another KMS key.
    pub key_generation: u64,
    pub revocation_policy: RevocationPolicy,
    pub file_system: FileSystemState,
}

/// KMS promises names of at most 2048 bytes and wrapped keys of 1 to 6144; this is for a server that breaks it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` of {len} bytes does not fit the volume's header, which has 1 to {max_len} bytes for it")]
pub struct SlotOverflow {
    pub field: &'static str,
    pub len: usize,
    pub max_len: usize,
}

impl Superblock {
    /// The bytes of one copy. `mac` computes the HMAC-SHA-256 of what it is given, under the header's MAC key.
    pub fn encode(&self, mac: impl FnOnce(&[u8]) -> [u8; 32]) -> Result<Box<[u8; LEN]>, SlotOverflow> {
        let mut bytes = Box::new([0; LEN]);
        let record = bytes.as_mut_slice();

        MAGIC.put(record, &MAGIC_BYTES);
        FORMAT_VERSION.put(record, &super::FORMAT_VERSION.to_le_bytes());
        BLOCK_SIZE.put(record, &block_size_field());
        SEQUENCE.put(record, &self.sequence.to_le_bytes());
        SIZE_BYTES.put(record, &self.geometry.size_bytes().to_le_bytes());
        CREATED_AT_S.put(record, &self.created_at_s.to_le_bytes());
        KEY_GENERATION.put(record, &self.key_generation.to_le_bytes());

        let (policy, window_s) = self.revocation_policy.to_codes();
        REVOCATION_WINDOW_S.put(record, &window_s.to_le_bytes());
        REVOCATION_POLICY.put(record, &[policy]);
        let (state, kind) = self.file_system.to_codes();
        FILE_SYSTEM_STATE.put(record, &[state]);
        FILE_SYSTEM_KIND.put(record, &[kind]);
        let database_kind = match self.database_id {
            DatabaseId::Instance(_) => DATABASE_INSTANCE,
            DatabaseId::Cluster(_) => DATABASE_CLUSTER,
        };
        DATABASE_ID_KIND.put(record, &[database_kind]);

        let slots = [
            (VOLUME_ID_SLOT, self.volume_id.as_str().as_bytes()),
            (DATABASE_ID_SLOT, self.database_id.name().as_str().as_bytes()),
            (KMS_KEY_ARN_SLOT, self.kms_key.as_str().as_bytes()),
            (WRAPPED_VOLUME_KEY_SLOT, self.wrapped_volume_key.0.as_slice()),
            (WRAPPED_CANARY_SLOT, self.wrapped_canary.0.as_slice()),
        ];
        for (slot, value) in slots {
            let overflow = SlotOverflow { field: slot.bytes.name, len: value.len(), max_len: slot.bytes.len };
            if value.is_empty() || slot.write(record, value).is_none() {
                return Err(overflow);
            }
        }

        let tag = mac(&record[..MAC.offset]);
        MAC.put(record, &tag);
        let crc = crc32fast::hash(&record[..CRC.offset]);
        CRC.put(record, &crc.to_le_bytes());
        Ok(bytes)
    }
}

/// The block size in the four bytes it has in the superblock.
pub(super) fn block_size_field() -> [u8; 4] {
    let [a, b, c, d, ..] = super::BLOCK_SIZE.to_le_bytes();
    [a, b, c, d]
}
