//! Whether a volume carries a file system made by envol: an attach must never make a second one.

use std::fmt;
use std::str::FromStr;

/// As it goes from left to right, once: blank, formatting, formatted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystemState {
    /// There never was one.
    Blank,
    /// Durable before mkfs starts: if this is found at attach, mkfs was cut short.
    Formatting(FileSystemKind),
    Formatted(FileSystemKind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystemKind {
    Ext4,
    Xfs,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a file system that envol makes; use ext4 or xfs")]
pub struct UnknownFileSystem(String);

impl FileSystemState {
    /// The bytes of `file_system_state` and `file_system_kind`.
    pub(super) fn to_codes(self) -> (u8, u8) {
        match self {
            Self::Blank => (0, 0),
            Self::Formatting(kind) => (1, kind.to_code()),
            Self::Formatted(kind) => (2, kind.to_code()),
        }
    }

    pub(super) fn from_codes(state: u8, kind: u8) -> Option<Self> {
        match state {
            0 => (kind == 0).then_some(Self::Blank),
            1 => FileSystemKind::from_code(kind).map(Self::Formatting),
            2 => FileSystemKind::from_code(kind).map(Self::Formatted),
            _ => None,
        }
    }
}

impl fmt::Display for FileSystemState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("none"),
            Self::Formatting(kind) => write!(f, "{kind}, not finished"),
            Self::Formatted(kind) => kind.fmt(f),
        }
    }
}

impl FileSystemKind {
    /// As mkfs and mount call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    fn to_code(self) -> u8 {
        match self {
            Self::Ext4 => 1,
            Self::Xfs => 2,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Ext4),
            2 => Some(Self::Xfs),
            _ => None,
        }
    }
}

impl FromStr for FileSystemKind {
    type Err = UnknownFileSystem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "ext4" => Ok(Self::Ext4),
            "xfs" => Ok(Self::Xfs),
            _ => Err(UnknownFileSystem(text.to_owned())),
        }
    }
}

impl fmt::Display for FileSystemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_as_it_is_written() {
        for kind in [FileSystemKind::Ext4, FileSystemKind::Xfs] {
            assert_eq!(kind.to_string().parse::<FileSystemKind>().unwrap(), kind);
        }
        assert!("ext3".parse::<FileSystemKind>().is_err() && "XFS".parse::<FileSystemKind>().is_err());
    }
}
