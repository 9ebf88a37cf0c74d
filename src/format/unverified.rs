//! A superblock as it was found: hostile until its MAC is verified.

use kms_client::{KmsKeyArn, WrappedKey};

use super::layout::superblock::*;
use super::superblock::{DATABASE_CLUSTER, DATABASE_INSTANCE, MAGIC_BYTES, block_size_field};
use super::{Damage, DatabaseId, DatabaseName, FileSystemState, Geometry, RevocationPolicy, Superblock, VolumeId};

/// Whole and well-formed, and no more than that. It says what to ask KMS; the key that KMS answers proves the rest.
#[derive(Clone, Debug)]
pub struct UnverifiedSuperblock {
    bytes: Box<[u8; LEN]>,
    claims: Superblock,
}

/// The MAC does not fit the bytes under the key that they led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the superblock's MAC is wrong: it was not written by a holder of this volume's key")]
pub struct NotAuthentic;

impl UnverifiedSuperblock {
    /// Reads one copy of at least [`super::SUPERBLOCK_LEN`] bytes. Any bytes may be given.
    pub fn parse(bytes: &[u8]) -> Result<Self, Damage> {
        let Some(bytes) = bytes.first_chunk::<LEN>() else {
            return Err(Damage::Truncated { len: bytes.len(), expected: LEN });
        };
        check_whole(bytes)?;
        Ok(Self { claims: parse_fields(bytes)?, bytes: Box::new(*bytes) })
    }

    pub fn sequence(&self) -> u64 {
        self.claims.sequence
    }

    pub fn volume_id(&self) -> &VolumeId {
        &self.claims.volume_id
    }

    pub fn database_id(&self) -> &DatabaseId {
        &self.claims.database_id
    }

    pub fn kms_key(&self) -> &KmsKeyArn {
        &self.claims.kms_key
    }

    pub fn wrapped_volume_key(&self) -> &WrappedKey {
        &self.claims.wrapped_volume_key
    }

    pub fn wrapped_canary(&self) -> &WrappedKey {
        &self.claims.wrapped_canary
    }

    /// Both wrapped keys were overwritten: nothing opens this volume any more.
    pub fn is_erased(&self) -> bool {
        let keys = [&self.claims.wrapped_volume_key, &self.claims.wrapped_canary];
        keys.into_iter().all(|key| key.0.iter().all(|byte| *byte == 0))
    }

    /// The next version of this copy, without its wrapped keys. Whole by its checksum; its MAC does not fit, since the key
    /// that would make one is gone.
    pub fn erased(&self) -> Box<[u8; LEN]> {
        let mut bytes = self.bytes.clone();
        let record = bytes.as_mut_slice();
        SEQUENCE.put(record, &self.claims.sequence.saturating_add(1).to_le_bytes());
        for field in [WRAPPED_VOLUME_KEY, WRAPPED_CANARY] {
            record[field.offset..field.offset + field.len].fill(0);
        }
        let crc = crc32fast::hash(&record[..CRC.offset]);
        CRC.put(record, &crc.to_le_bytes());
        bytes
    }

    /// Every field, with nothing proven: to be shown to a person, never to be acted on.
    pub fn unproven(&self) -> &Superblock {
        &self.claims
    }

    pub fn bytes(&self) -> &[u8; LEN] {
        &self.bytes
    }

    /// `mac_is_right` gets the covered bytes and the MAC that was found, and compares in constant time.
    pub fn verify(self, mac_is_right: impl FnOnce(&[u8], &[u8; 32]) -> bool) -> Result<Superblock, NotAuthentic> {
        let tag = MAC.array(self.bytes.as_slice());
        if mac_is_right(&self.bytes[..MAC.offset], &tag) { Ok(self.claims) } else { Err(NotAuthentic) }
    }
}

/// The checksum first: what fails it was not written like this, what passes it and is wrong elsewhere was.
fn check_whole(record: &[u8; LEN]) -> Result<(), Damage> {
    let stored = u32::from_le_bytes(CRC.array(record));
    let computed = crc32fast::hash(&record[..CRC.offset]);
    let has_magic = MAGIC.of(record) == MAGIC_BYTES;
    match (stored == computed, has_magic) {
        (true, true) => Ok(()),
        (true, false) => Err(MAGIC.damage("is not envol's")),
        (false, true) => Err(Damage::Checksum { stored, computed }),
        (false, false) => Err(Damage::Foreign),
    }
}

fn parse_fields(record: &[u8; LEN]) -> Result<Superblock, Damage> {
    let record = record.as_slice();
    let version = u32::from_le_bytes(FORMAT_VERSION.array(record));
    if version != super::FORMAT_VERSION {
        return Err(Damage::Version(version));
    }
    let features = u64::from_le_bytes(REQUIRED_FEATURES.array(record));
    if features != 0 {
        return Err(Damage::Features(features));
    }
    if BLOCK_SIZE.of(record) != block_size_field() {
        return Err(BLOCK_SIZE.damage("is not 4096"));
    }
    RESERVED_1.check_zero(record)?;
    RESERVED_2.check_zero(record)?;

    let size_bytes = u64::from_le_bytes(SIZE_BYTES.array(record));
    let [policy] = REVOCATION_POLICY.array(record);
    let window_s = u32::from_le_bytes(REVOCATION_WINDOW_S.array(record));
    let [state] = FILE_SYSTEM_STATE.array(record);
    let [kind] = FILE_SYSTEM_KIND.array(record);
    Ok(Superblock {
        sequence: u64::from_le_bytes(SEQUENCE.array(record)),
        volume_id: VOLUME_ID_SLOT.read_text(record)?.parse().map_err(|_| VOLUME_ID.damage("is not a volume id"))?,
        database_id: parse_database_id(record)?,
        geometry: Geometry::new(size_bytes).map_err(|error| SIZE_BYTES.damage(format!("is refused: {error}")))?,
        created_at_s: i64::from_le_bytes(CREATED_AT_S.array(record)),
        kms_key: KMS_KEY_ARN_SLOT
            .read_text(record)?
            .parse()
            .map_err(|_| KMS_KEY_ARN.damage("is not the ARN of a KMS key"))?,
        wrapped_volume_key: parse_wrapped(WRAPPED_VOLUME_KEY_SLOT, record)?,
        wrapped_canary: parse_wrapped(WRAPPED_CANARY_SLOT, record)?,
        key_generation: u64::from_le_bytes(KEY_GENERATION.array(record)),
        revocation_policy: RevocationPolicy::from_codes(policy, window_s)
            .ok_or_else(|| REVOCATION_POLICY.damage(format!("is {policy} with a window of {window_s} s")))?,
        file_system: FileSystemState::from_codes(state, kind)
            .ok_or_else(|| FILE_SYSTEM_STATE.damage(format!("is {state} with kind {kind}")))?,
    })
}

fn parse_database_id(record: &[u8]) -> Result<DatabaseId, Damage> {
    let name: DatabaseName =
        DATABASE_ID_SLOT.read_text(record)?.parse().map_err(|_| DATABASE_ID.damage("is not a database id"))?;
    let [kind] = DATABASE_ID_KIND.array(record);
    match kind {
        DATABASE_INSTANCE => Ok(DatabaseId::Instance(name)),
        DATABASE_CLUSTER => Ok(DatabaseId::Cluster(name)),
        other => Err(DATABASE_ID_KIND.damage(format!("is {other}"))),
    }
}

fn parse_wrapped(slot: super::layout::Slot, record: &[u8]) -> Result<WrappedKey, Damage> {
    match slot.read(record)? {
        [] => Err(slot.used.damage("is 0")),
        wrapped => Ok(WrappedKey(wrapped.to_vec())),
    }
}
