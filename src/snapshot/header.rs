//! What a manifest says to whoever has no key. It is proven only by opening the root that is sealed with it.

use std::fmt;

use jiff::Timestamp;
use kms_client::{EncryptionContext, KmsKeyArn};
use serde::{Deserialize, Serialize};

use crate::format::{DatabaseId, FileSystemKind, SnapshotId, VolumeId};

use super::{CHUNK_SIZE, PackSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotKind {
    /// Taken of a volume.
    Volume,
    /// Another snapshot, under another key or in another store.
    Copy,
    /// Another snapshot, under a key for somebody else.
    Share,
}

impl fmt::Display for SnapshotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Volume => "volume",
            Self::Copy => "copy",
            Self::Share => "share",
        })
    }
}

/// What is known before the first chunk is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderDraft {
    pub snapshot_id: SnapshotId,
    /// The volume that it was taken of: the lineage to which everything sealed is bound, in copies too.
    pub volume_id: VolumeId,
    #[serde(with = "database")]
    pub database_id: DatabaseId,
    pub size_bytes: u64,
    #[serde(with = "file_system")]
    pub file_system: Option<FileSystemKind>,
    /// The point in time that it shows.
    pub created_at: Timestamp,
    pub kms_key: KmsKeyArn,
    /// As KMS wrapped it.
    #[serde(with = "hex")]
    pub wrapped_key: Vec<u8>,
    pub encryption_context: EncryptionContext,
    pub kind: SnapshotKind,
    /// Of a copy or a share.
    pub source_snapshot_id: Option<SnapshotId>,
    /// The file system was frozen at that moment.
    pub frozen: bool,
}

impl HeaderDraft {
    pub(super) fn chunk_count(&self) -> u64 {
        self.size_bytes.div_ceil(CHUNK_SIZE as u64)
    }
}

/// What a committed snapshot says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHeader {
    #[serde(flatten)]
    pub draft: HeaderDraft,
    /// What it was made from without reading all. It does not need it any more.
    pub base_snapshot_id: Option<SnapshotId>,
    /// Plaintext of the whole snapshot.
    pub full_bytes: u64,
    /// Plaintext that is new in it.
    pub incremental_bytes: u64,
    /// What its own packs take.
    pub stored_bytes: u64,
    /// What must stay as long as this snapshot does.
    pub packs: PackSet,
}

impl SnapshotHeader {
    pub fn id(&self) -> &SnapshotId {
        &self.draft.snapshot_id
    }
}

mod database {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::format::DatabaseId;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Text {
        Instance(String),
        Cluster(String),
    }

    pub(super) fn serialize<S: Serializer>(id: &DatabaseId, to: S) -> Result<S::Ok, S::Error> {
        match id {
            DatabaseId::Instance(name) => Text::Instance(name.to_string()),
            DatabaseId::Cluster(name) => Text::Cluster(name.to_string()),
        }
        .serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DatabaseId, D::Error> {
        Ok(match Text::deserialize(from)? {
            Text::Instance(name) => DatabaseId::Instance(name.parse().map_err(D::Error::custom)?),
            Text::Cluster(name) => DatabaseId::Cluster(name.parse().map_err(D::Error::custom)?),
        })
    }
}

mod file_system {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::format::FileSystemKind;

    #[allow(clippy::ref_option, reason = "serde's shape")]
    pub(super) fn serialize<S: Serializer>(kind: &Option<FileSystemKind>, to: S) -> Result<S::Ok, S::Error> {
        kind.map(FileSystemKind::as_str).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<FileSystemKind>, D::Error> {
        Option::<String>::deserialize(from)?.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

mod hex {
    use std::fmt::Write;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            write!(text, "{byte:02x}").expect("a string takes all");
        }
        to.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect::<Option<_>>();
        bytes.filter(|_| rest.is_empty()).ok_or_else(|| D::Error::custom("not hexadecimal"))
    }
}
