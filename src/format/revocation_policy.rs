//! What becomes of a volume whose key is revoked: chosen at create and kept under the header's MAC.

use std::fmt;
use std::num::NonZeroU32;

const DAY_S: u32 = 86_400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationPolicy {
    /// Never again, even when the key comes back.
    Terminal,
    /// Inaccessible; usable again when the key comes back within the window, terminal after it.
    Recoverable { window_s: NonZeroU32 },
    /// Key and canary are overwritten.
    Erase,
}

impl RevocationPolicy {
    /// As RDS has it: recoverable for seven days.
    pub const RECOVERABLE_A_WEEK: Self =
        Self::Recoverable { window_s: NonZeroU32::new(7 * DAY_S).expect("a week is not nothing") };

    /// The fields `revocation_policy` and `revocation_window_s`.
    pub(super) fn to_codes(self) -> (u8, u32) {
        match self {
            Self::Terminal => (1, 0),
            Self::Recoverable { window_s } => (2, window_s.get()),
            Self::Erase => (3, 0),
        }
    }

    pub(super) fn from_codes(policy: u8, window_s: u32) -> Option<Self> {
        match (policy, NonZeroU32::new(window_s)) {
            (1, None) => Some(Self::Terminal),
            (2, Some(window_s)) => Some(Self::Recoverable { window_s }),
            (3, None) => Some(Self::Erase),
            _ => None,
        }
    }
}

/// As `--on-revocation` takes it.
impl fmt::Display for RevocationPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminal => f.write_str("terminal"),
            Self::Recoverable { window_s } => match window_s.get() {
                days if days.is_multiple_of(DAY_S) => write!(f, "recoverable={}d", days / DAY_S),
                seconds => write!(f, "recoverable={seconds}s"),
            },
            Self::Erase => f.write_str("erase"),
        }
    }
}
