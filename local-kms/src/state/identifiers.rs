//! Ids of keys, of key material and of grants, with the text forms AWS gives them.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::random;

/// A UUID in lower-case hyphenated form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct KeyId(Uuid);

#[derive(Debug, thiserror::Error)]
#[error("not an identifier")]
pub(crate) struct NotAnIdentifier;

impl KeyId {
    pub(crate) fn generate() -> Self {
        Self(Uuid::new_v4())
    }

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub(crate) fn as_u128(self) -> u128 {
        self.0.as_u128()
    }

    pub(crate) fn from_u128(number: u128) -> Self {
        Self(Uuid::from_u128(number))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for KeyId {
    type Err = NotAnIdentifier;

    fn from_str(text: &str) -> Result<Self, NotAnIdentifier> {
        let id = Self(Uuid::parse_str(text).map_err(|_| NotAnIdentifier)?);
        // The uuid crate also reads braces, URNs and upper case; KMS does not.
        if id.to_string() == text { Ok(id) } else { Err(NotAnIdentifier) }
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for KeyId {
    type Error = NotAnIdentifier;

    fn try_from(text: String) -> Result<Self, NotAnIdentifier> {
        text.parse()
    }
}

/// 32 bytes, 64 hexadecimal digits.
macro_rules! hexadecimal_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub(crate) struct $name([u8; 32]);

        impl $name {
            pub(crate) const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            pub(crate) fn generate() -> io::Result<Self> {
                let mut bytes = [0; 32];
                random::fill(&mut bytes)?;
                Ok(Self(bytes))
            }

            pub(crate) fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAnIdentifier;

            fn try_from(text: String) -> Result<Self, NotAnIdentifier> {
                hexadecimal(&text).map(Self)
            }
        }
    };
}

hexadecimal_id! {
    /// Names one of a key's materials.
    MaterialId
}
hexadecimal_id! {
    /// Names a grant; unique in the account.
    GrantId
}

fn hexadecimal(text: &str) -> Result<[u8; 32], NotAnIdentifier> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() {
        return Err(NotAnIdentifier);
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        // A sign would pass for a digit.
        let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|d| d.is_ascii_hexdigit()));
        *byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or(NotAnIdentifier)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn material_ids_survive_their_text_form() {
        let id = MaterialId::from_bytes(std::array::from_fn(|i| u8::try_from(i * 8).unwrap()));
        assert_eq!(MaterialId::try_from(id.to_string()).unwrap(), id);
        assert!(MaterialId::try_from("é".repeat(32)).is_err());
        assert!(MaterialId::try_from("0".repeat(63)).is_err());
        assert!(MaterialId::try_from("+1".repeat(32)).is_err());
    }
}
