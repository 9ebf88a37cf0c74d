//! What can be wrong with the bytes of one record.

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("has only {len} of {expected} bytes")]
    Truncated { len: usize, expected: usize },
    #[error("is not an envol record at all (no magic, no checksum)")]
    Foreign,
    #[error("has the checksum {stored:08x} where its bytes give {computed:08x}")]
    Checksum { stored: u32, computed: u32 },
    #[error("is of format version {0}, which this envol does not read; use the envol that wrote it, or a newer one")]
    Version(u32),
    #[error(
        "requires the features {0:#x}, which this envol does not have; use the envol that wrote it, or a newer one"
    )]
    Features(u64),
    #[error("is whole, but its field `{field}` {problem}")]
    Field { field: &'static str, problem: String },
}

impl Damage {
    /// These bytes were not written like this: torn, rotten or never written. Another copy may serve instead of them.
    ///
    /// Otherwise somebody wrote them so on purpose, with a right checksum, and no copy is to be trusted.
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Truncated { .. } | Self::Foreign | Self::Checksum { .. })
    }
}
