//! The lifecycle record: that the key of a volume was revoked, why and since when.
//!
//! It needs no key to be written, since the key is gone by then, and so has a checksum only: whoever can write the image
//! could remove it. A record that is there and cannot be read is damage, and then nothing is served.

use std::fmt;

use super::layout::lifecycle::*;
use super::{Damage, VolumeId};

/// What is written at [`super::HeaderCopy::lifecycle_offset`]: the record and zeros up to a block.
pub const LIFECYCLE_BLOCK_LEN: usize = 4096;

const MAGIC_BYTES: [u8; 8] = *b"envol\0LR";
/// Whether there is a way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecycleState {
    Terminal,
    /// Inaccessible. Until when, the policy in the header says, which is under its MAC.
    Recoverable,
}

/// The key of this volume was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecycleRecord {
    pub state: LifecycleState,
    /// One more with each write; of two whole copies the higher counts.
    pub sequence: u64,
    pub volume_id: VolumeId,
    pub cause: Cause,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub at_ms: i64,
    /// Of the KMS answer that decided; empty if there was none. Kept up to 64 bytes.
    pub request_id: String,
    /// AWS's code and message, for a person. Kept up to 256 bytes.
    pub detail: String,
}

/// Why it is inaccessible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    KeyDisabled,
    KeyPendingDeletion,
    KeyPendingReplicaDeletion,
    KeyPendingImport,
    AccessDenied,
    KeyNotFound,
    /// KMS could not be asked for longer than the operator allows.
    Unverified,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LifecycleError {
    /// There was a record once, and what it said is lost: nothing may be served.
    #[error("the lifecycle record is damaged: copy A {a}; copy B {b}")]
    Damaged { a: String, b: String },
}

impl LifecycleRecord {
    /// The block to write. Texts that are too long are cut at a character.
    pub fn encode(&self) -> Box<[u8; LIFECYCLE_BLOCK_LEN]> {
        let mut block = Box::new([0; LIFECYCLE_BLOCK_LEN]);
        let record = &mut block[..LEN];
        MAGIC.put(record, &MAGIC_BYTES);
        FORMAT_VERSION.put(record, &super::FORMAT_VERSION.to_le_bytes());
        STATE.put(record, &[self.state.to_code()]);
        CAUSE.put(record, &[self.cause.to_code()]);
        SEQUENCE.put(record, &self.sequence.to_le_bytes());
        AT_MS.put(record, &self.at_ms.to_le_bytes());
        let texts = [
            (VOLUME_ID_SLOT, self.volume_id.as_str()),
            (REQUEST_ID_SLOT, &self.request_id),
            (DETAIL_SLOT, &self.detail),
        ];
        for (slot, text) in texts {
            let cut = text.floor_char_boundary(slot.bytes.len);
            slot.write(record, &text.as_bytes()[..cut]);
        }
        let crc = crc32fast::hash(&record[..CRC.offset]);
        CRC.put(record, &crc.to_le_bytes());
        block
    }

    /// Reads one copy of at least 512 bytes; `None` if it is blank. Any bytes may be given.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Damage> {
        let Some(record) = bytes.first_chunk::<LEN>() else {
            return Err(Damage::Truncated { len: bytes.len(), expected: LEN });
        };
        let record = record.as_slice();
        if record.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let stored = u32::from_le_bytes(CRC.array(record));
        let computed = crc32fast::hash(&record[..CRC.offset]);
        match (stored == computed, MAGIC.of(record) == MAGIC_BYTES) {
            (true, true) => parse_fields(record).map(Some),
            (true, false) => Err(MAGIC.damage("is not envol's")),
            (false, true) => Err(Damage::Checksum { stored, computed }),
            (false, false) => Err(Damage::Foreign),
        }
    }

    /// What both copies say of `volume`: `None` if both are blank. One whole copy of this volume is enough; a copy that
    /// could not be read is an empty slice.
    pub fn of_copies(a: &[u8], b: &[u8], volume: &VolumeId) -> Result<Option<Self>, LifecycleError> {
        let read = |bytes| match Self::parse(bytes) {
            Ok(Some(record)) if record.volume_id != *volume => Err(format!("is of {}", record.volume_id)),
            Ok(record) => Ok(record),
            Err(damage) => Err(damage.to_string()),
        };
        match (read(a), read(b)) {
            (Ok(Some(a)), Ok(Some(b))) => Ok(Some(if b.sequence > a.sequence { b } else { a })),
            (Ok(Some(record)), _) | (_, Ok(Some(record))) => Ok(Some(record)),
            (Ok(None), Ok(None)) => Ok(None),
            (a, b) => {
                let say = |copy: Result<_, String>| copy.err().unwrap_or_else(|| "is blank".to_owned());
                Err(LifecycleError::Damaged { a: say(a), b: say(b) })
            }
        }
    }
}

fn parse_fields(record: &[u8]) -> Result<LifecycleRecord, Damage> {
    let version = u32::from_le_bytes(FORMAT_VERSION.array(record));
    if version != super::FORMAT_VERSION {
        return Err(Damage::Version(version));
    }
    let [state] = STATE.array(record);
    let [cause] = CAUSE.array(record);
    for reserved in [RESERVED_1, RESERVED_2, RESERVED_3] {
        reserved.check_zero(record)?;
    }
    Ok(LifecycleRecord {
        state: LifecycleState::from_code(state).ok_or_else(|| STATE.damage(format!("is {state}")))?,
        sequence: u64::from_le_bytes(SEQUENCE.array(record)),
        volume_id: VOLUME_ID_SLOT.read_text(record)?.parse().map_err(|_| VOLUME_ID.damage("is not a volume id"))?,
        cause: Cause::from_code(cause).ok_or_else(|| CAUSE.damage(format!("is {cause}")))?,
        at_ms: i64::from_le_bytes(AT_MS.array(record)),
        request_id: REQUEST_ID_SLOT.read_text(record)?.to_owned(),
        detail: DETAIL_SLOT.read_text(record)?.to_owned(),
    })
}

impl LifecycleState {
    fn to_code(self) -> u8 {
        match self {
            Self::Terminal => 1,
            Self::Recoverable => 2,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Terminal, Self::Recoverable].into_iter().find(|state| state.to_code() == code)
    }
}

impl Cause {
    pub const ALL: [Self; 7] = [
        Self::KeyDisabled,
        Self::KeyPendingDeletion,
        Self::KeyPendingReplicaDeletion,
        Self::KeyPendingImport,
        Self::AccessDenied,
        Self::KeyNotFound,
        Self::Unverified,
    ];

    /// The word in JSON and in `docs/format.md`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyDisabled => "key-disabled",
            Self::KeyPendingDeletion => "key-pending-deletion",
            Self::KeyPendingReplicaDeletion => "key-pending-replica-deletion",
            Self::KeyPendingImport => "key-pending-import",
            Self::AccessDenied => "access-denied",
            Self::KeyNotFound => "key-not-found",
            Self::Unverified => "unverified",
        }
    }

    /// The byte in the record.
    pub fn to_code(self) -> u8 {
        match self {
            Self::KeyDisabled => 1,
            Self::KeyPendingDeletion => 2,
            Self::KeyPendingReplicaDeletion => 3,
            Self::KeyPendingImport => 4,
            Self::AccessDenied => 5,
            Self::KeyNotFound => 6,
            Self::Unverified => 7,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.to_code() == code)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
