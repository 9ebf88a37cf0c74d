//! The names of volumes and snapshots, as EBS gives them: `vol-` or `snap-`, and up to 32 characters.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! resource_id {
    ($(#[$doc:meta])* $name:ident, $invalid:ident, $prefix:literal, $message:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        #[error($message)]
        pub struct $invalid(String);

        impl $name {
            /// A fresh id, shaped like those of EBS: 17 lower-case hexadecimal digits.
            pub fn random() -> Result<Self, getrandom::Error> {
                let mut random = [0; 8];
                getrandom::fill(&mut random)?;
                Ok(Self(format!(concat!($prefix, "0{:016x}"), u64::from_le_bytes(random))))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = $invalid;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if is_valid(text, $prefix) { Ok(Self(text.to_owned())) } else { Err($invalid(text.to_owned())) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = $invalid;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

resource_id! {
    /// `vol-` followed by 1 to 32 of `A-Z a-z 0-9 -`: safe as a directory name and in an encryption context.
    VolumeId, InvalidVolumeId, "vol-",
    "`{0}` is not a volume id: `vol-` followed by 1 to 32 letters, digits or hyphens"
}

resource_id! {
    /// `snap-` followed by 1 to 32 of `A-Z a-z 0-9 -`: safe as the name of an object.
    SnapshotId, InvalidSnapshotId, "snap-",
    "`{0}` is not a snapshot id: `snap-` followed by 1 to 32 letters, digits or hyphens"
}

fn is_valid(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        (1..=32).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_a_directory_may_be_called() {
        for good in ["vol-0", "vol-0123456789abcdef0", "vol-Orders-DB", &format!("vol-{}", "x".repeat(32))] {
            assert_eq!(good.parse::<VolumeId>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn refuses_the_rest() {
        let long = format!("vol-{}", "x".repeat(33));
        for bad in
            ["", "vol", "vol-", "Vol-1", "snap-1", "vol-a/b", "vol-..", "vol-a b", "vol-a\n", "vol-ä", "vol-a\0", &long]
        {
            assert!(bad.parse::<VolumeId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn random_ids_are_valid_and_differ() {
        let (one, other) = (VolumeId::random().unwrap(), VolumeId::random().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.as_str().len(), 21);
        assert_eq!(one.as_str().parse::<VolumeId>().unwrap(), one);
    }

    #[test]
    fn a_snapshot_is_no_volume() {
        assert_eq!("snap-1".parse::<SnapshotId>().unwrap().to_string(), "snap-1");
        assert!("vol-1".parse::<SnapshotId>().is_err());
        assert!(SnapshotId::random().unwrap().as_str().starts_with("snap-0"));
        let message = "x".parse::<SnapshotId>().unwrap_err().to_string();
        assert_eq!(message, "`x` is not a snapshot id: `snap-` followed by 1 to 32 letters, digits or hyphens");
    }

    #[test]
    fn json_is_checked_too() {
        assert_eq!(serde_json::from_str::<VolumeId>("\"vol-1\"").unwrap().as_str(), "vol-1");
        assert!(serde_json::from_str::<VolumeId>("\"../vol-1\"").is_err());
    }
}
