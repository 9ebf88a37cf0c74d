//! The kernel's name for a block device or a mounted file system.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `major:minor` in decimal, as `/proc/self/mountinfo` and `/sys/block/*/dev` print it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceNumber {
    pub major: u32,
    pub minor: u32,
}

impl DeviceNumber {
    /// `major:minor` in hexadecimal, as `/proc/PID/maps` prints it.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once(':')?;
        Some(Self { major: u32::from_str_radix(major, 16).ok()?, minor: u32::from_str_radix(minor, 16).ok()? })
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl FromStr for DeviceNumber {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let (major, minor) = text.trim().split_once(':').unwrap_or((text, ""));
        Ok(Self { major: major.parse()?, minor: minor.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_and_hexadecimal_are_told_apart() {
        let expected = DeviceNumber { major: 7, minor: 16 };
        assert_eq!("7:16\n".parse(), Ok(expected));
        assert_eq!(DeviceNumber::from_hex("07:10"), Some(expected));
        assert_eq!(expected.to_string(), "7:16");
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", ":", "7", "7:", "7:x", "-1:0"] {
            assert!(text.parse::<DeviceNumber>().is_err(), "{text:?}");
        }
        assert_eq!(DeviceNumber::from_hex("07"), None);
    }
}
