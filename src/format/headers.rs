//! The two superblock copies of one image: which one serves, what is to be repaired, what is refused.
//!
//! A copy with a bad checksum was torn or has rotted: the other one serves and is used to repair it. A copy with a
//! right checksum that is wrong in any other way was written so on purpose, and the image is refused.

use std::fmt;

use super::{Damage, NotAuthentic, SUPERBLOCK_LEN, Superblock, UnverifiedSuperblock, VolumeId};

/// Which of the two copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderCopy {
    A,
    B,
}

impl HeaderCopy {
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Where the superblock copy begins in the image.
    pub fn superblock_offset(self) -> u64 {
        match self {
            Self::A => 0,
            Self::B => 512 << 10,
        }
    }

    /// Where the lifecycle record's block begins in the image.
    pub fn lifecycle_offset(self) -> u64 {
        self.superblock_offset() + (256 << 10)
    }
}

impl fmt::Display for HeaderCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A => f.write_str("A (at 0 KiB)"),
            Self::B => f.write_str("B (at 512 KiB)"),
        }
    }
}

/// Both copies, read and found consistent with each other; nothing is proven yet.
#[derive(Clone, Debug)]
pub struct Headers {
    serving: HeaderCopy,
    newest: UnverifiedSuperblock,
    other: OtherCopy,
}

#[derive(Clone, Debug)]
enum OtherCopy {
    Same,
    Older(Box<UnverifiedSuperblock>),
    Corrupt(Damage),
}

/// A header whose every readable copy was proven to be written by a holder of the volume key.
#[derive(Clone, Debug)]
pub struct VerifiedHeader {
    pub superblock: Superblock,
    /// The copy that `superblock` was read from.
    pub serving: HeaderCopy,
    /// What to write, and to say, before the volume serves.
    pub repair: Option<Repair>,
}

/// One copy that is behind or broken, and what belongs there. Its `Display` is the warning.
#[derive(Clone, Debug)]
pub struct Repair {
    pub copy: HeaderCopy,
    /// `None`: it is whole, but older; the update that should have reached it was cut short.
    pub damage: Option<Damage>,
    pub bytes: Box<[u8; SUPERBLOCK_LEN]>,
}

/// Why an image is refused: exit code 7 for each of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("this is not the image of an envol volume: it has no superblock")]
    NotAVolume,
    #[error("both superblock copies are damaged: copy A {a}; copy B {b}")]
    BothDamaged { a: Damage, b: Damage },
    #[error("superblock copy {copy} {damage}")]
    Refused { copy: HeaderCopy, damage: Damage },
    #[error("the superblock copies are of two volumes: copy A of {a}, copy B of {b}")]
    TwoVolumes { a: VolumeId, b: VolumeId },
    #[error("both superblock copies have the sequence {sequence}, but their bytes differ")]
    Conflict { sequence: u64 },
    #[error("superblock copy {copy} was not written by a holder of this volume's key: its MAC is wrong")]
    NotAuthentic { copy: HeaderCopy },
}

impl Headers {
    /// Takes the bytes of both copies as they were read; a copy that could not be read is an empty slice.
    pub fn parse(a: &[u8], b: &[u8]) -> Result<Self, HeaderError> {
        use HeaderCopy::{A, B};
        match (parse_copy(A, a)?, parse_copy(B, b)?) {
            (Ok(a), Ok(b)) => Self::choose(a, b),
            (Ok(newest), Err(damage)) => Ok(Self { serving: A, newest, other: OtherCopy::Corrupt(damage) }),
            (Err(damage), Ok(newest)) => Ok(Self { serving: B, newest, other: OtherCopy::Corrupt(damage) }),
            (Err(Damage::Foreign | Damage::Truncated { .. }), Err(Damage::Foreign | Damage::Truncated { .. })) => {
                Err(HeaderError::NotAVolume)
            }
            (Err(a), Err(b)) => Err(HeaderError::BothDamaged { a, b }),
        }
    }

    fn choose(a: UnverifiedSuperblock, b: UnverifiedSuperblock) -> Result<Self, HeaderError> {
        if a.volume_id() != b.volume_id() {
            return Err(HeaderError::TwoVolumes { a: a.volume_id().clone(), b: b.volume_id().clone() });
        }
        if a.sequence() == b.sequence() && a.bytes() != b.bytes() {
            return Err(HeaderError::Conflict { sequence: a.sequence() });
        }
        let (serving, newest, other) =
            if a.sequence() >= b.sequence() { (HeaderCopy::A, a, b) } else { (HeaderCopy::B, b, a) };
        let other =
            if other.sequence() == newest.sequence() { OtherCopy::Same } else { OtherCopy::Older(Box::new(other)) };
        Ok(Self { serving, newest, other })
    }

    /// The copy that will serve: the one to ask KMS about.
    pub fn newest(&self) -> &UnverifiedSuperblock {
        &self.newest
    }

    /// The other copy is older or damaged: an update was cut short, or it has rotted.
    pub fn is_behind(&self) -> bool {
        !matches!(self.other, OtherCopy::Same)
    }

    /// `mac_is_right` gets the covered bytes and the MAC of each whole copy.
    pub fn verify(self, mac_is_right: impl Fn(&[u8], &[u8; 32]) -> bool) -> Result<VerifiedHeader, HeaderError> {
        let serving = self.serving;
        let refuse = |copy| move |NotAuthentic| HeaderError::NotAuthentic { copy };
        let bytes = Box::new(*self.newest.bytes());
        let superblock = self.newest.verify(&mac_is_right).map_err(refuse(serving))?;
        let damage = match self.other {
            OtherCopy::Same => None,
            OtherCopy::Older(older) => {
                older.verify(&mac_is_right).map_err(refuse(serving.other()))?;
                Some(None)
            }
            OtherCopy::Corrupt(damage) => Some(Some(damage)),
        };
        Ok(VerifiedHeader {
            superblock,
            serving,
            repair: damage.map(|damage| Repair { copy: serving.other(), damage, bytes }),
        })
    }
}

impl VerifiedHeader {
    /// The order in which an update writes the copies, with a sync after each: first the one that is not serving, so
    /// that at any moment one copy is whole.
    pub fn write_order(&self) -> [HeaderCopy; 2] {
        [self.serving.other(), self.serving]
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.damage {
            Some(damage) => write!(f, "superblock copy {} {damage}", self.copy)?,
            None => write!(f, "superblock copy {} is older: an update was cut short", self.copy)?,
        }
        write!(f, "; it is rewritten from the other copy")
    }
}

/// Corruption of one copy is the business of [`Headers::parse`]; anything else ends it here.
fn parse_copy(copy: HeaderCopy, bytes: &[u8]) -> Result<Result<UnverifiedSuperblock, Damage>, HeaderError> {
    match UnverifiedSuperblock::parse(bytes) {
        Ok(superblock) => Ok(Ok(superblock)),
        Err(damage) if damage.is_corruption() => Ok(Err(damage)),
        Err(damage) => Err(HeaderError::Refused { copy, damage }),
    }
}

#[cfg(test)]
mod tests;
