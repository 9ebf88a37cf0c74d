//! What a file or block device already carries, so that nobody's data is overwritten. Nothing here writes.

use std::path::Path;
use std::time::Duration;

use super::error::HostError;
use super::tools::Tool;

const DEADLINE: Duration = Duration::from_secs(60);

/// How much is read at each end before blkid is believed: every place where it looks is in there, save a few in the middle.
const READ_BYTES: &str = "1048576";

/// Exit codes of blkid(8).
const NOTHING_FOUND: i32 = 2;
const AMBIVALENT: i32 = 8;

/// A file system, RAID member, encrypted container or partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// For a person: `ext4`, `crypto_LUKS`, `gpt partition table`.
    pub what: String,
}

/// Looks for what `path`, a regular file or block device, already carries.
///
/// # Errors
/// [`HostError::Failed`] if it cannot be read: then nobody knows whether it is empty.
pub fn find(path: &Path) -> Result<Option<Signature>, HostError> {
    // blkid takes what it cannot read for empty.
    for end in ["head", "tail"] {
        Tool::new(end, DEADLINE)?.args(["-c", READ_BYTES, "--"]).arg(path).run()?;
    }
    let finished = Tool::new("blkid", DEADLINE)?.args(["--probe", "-o", "export", "--"]).arg(path).finish()?;
    match finished.code() {
        Some(0) => Ok(Some(Signature { what: describe(&finished.stdout) })),
        Some(NOTHING_FOUND) if finished.stderr.is_empty() => Ok(None),
        Some(AMBIVALENT) => Ok(Some(Signature { what: "more than one file system or container".to_owned() })),
        _ => Err(finished.into_error()),
    }
}

/// Reads `KEY=value` lines. Something was found, even if blkid has no name for it.
pub fn describe(export: &str) -> String {
    let value = |key: &str| export.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    match (value("TYPE"), value("PTTYPE")) {
        (Some(kind), _) => kind.to_owned(),
        (None, Some(table)) => format!("{table} partition table"),
        (None, None) => "something that blkid does not name".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_or_a_partition_table_is_named() {
        assert_eq!(describe("DEVNAME=/x\nUUID=1\nTYPE=ext4\nUSAGE=filesystem"), "ext4");
        assert_eq!(describe("DEVNAME=/x\nPTUUID=1\nPTTYPE=gpt"), "gpt partition table");
        assert_eq!(describe("DEVNAME=/x\nPART_ENTRY_TYPE=1"), "something that blkid does not name");
    }
}
