//! Which way a block takes through the processor: chosen once, when the keys are set up.

#![allow(unsafe_code, reason = "the step from a processor that was looked at to its instructions")]

use std::fmt;
use std::str::FromStr;

use aes::cipher::inout::InOutBuf;

use super::portable::PortableKeys;
use super::{DataUnit, Direction};
#[cfg(target_arch = "x86_64")]
use super::{aes_ni, round_keys::RoundKeys, vaes_avx2, vaes_avx512};

/// A way through AES-XTS. All have the same result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// VAES on 512-bit registers.
    VaesAvx512,
    /// VAES on 256-bit registers.
    VaesAvx2,
    /// The AES instructions that x86-64 has had since 2010.
    AesNi,
    /// The `aes` crate, with what it makes of the processor. The only one on other architectures.
    Portable,
}

/// There is no path of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no path `{0}`; there are vaes-avx512, vaes-avx2, aes-ni and portable")]
pub struct NoSuchPath(String);

impl Path {
    /// The fastest first.
    pub const ALL: [Self; 4] = [Self::VaesAvx512, Self::VaesAvx2, Self::AesNi, Self::Portable];

    /// Whether this processor and kernel have it.
    #[cfg(target_arch = "x86_64")]
    #[must_use]
    pub fn is_available(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        match self {
            Self::VaesAvx512 => {
                has!("avx512f") && has!("avx512bw") && has!("vaes") && has!("vpclmulqdq") && has!("aes")
            }
            Self::VaesAvx2 => has!("avx2") && has!("vaes") && has!("vpclmulqdq") && has!("aes"),
            Self::AesNi => has!("aes"),
            Self::Portable => true,
        }
    }

    /// Whether this processor and kernel have it.
    #[cfg(not(target_arch = "x86_64"))]
    #[must_use]
    pub fn is_available(self) -> bool {
        self == Self::Portable
    }

    /// What every volume takes.
    #[must_use]
    pub fn fastest() -> Self {
        Self::ALL.into_iter().find(|path| path.is_available()).unwrap_or(Self::Portable)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::VaesAvx512 => "vaes-avx512",
            Self::VaesAvx2 => "vaes-avx2",
            Self::AesNi => "aes-ni",
            Self::Portable => "portable",
        })
    }
}

impl FromStr for Path {
    type Err = NoSuchPath;

    fn from_str(name: &str) -> Result<Self, NoSuchPath> {
        Self::ALL.into_iter().find(|path| path.to_string() == name).ok_or_else(|| NoSuchPath(name.to_owned()))
    }
}

/// Keys as one path wants them, and the way into it.
pub(super) enum Engine {
    #[cfg(target_arch = "x86_64")]
    Instructions {
        keys: RoundKeys,
        run: RunInstructions,
    },
    Portable(PortableKeys),
}

/// Safe to call with keys made for a path that the processor has.
#[cfg(target_arch = "x86_64")]
type RunInstructions = unsafe fn(&RoundKeys, Direction, u128, InOutBuf<'_, '_, DataUnit>);

impl Engine {
    /// The processor must have the path.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn new(path: Path, key: &[u8; 64]) -> Self {
        let run: RunInstructions = match path {
            Path::VaesAvx512 => vaes_avx512::run,
            Path::VaesAvx2 => vaes_avx2::run,
            Path::AesNi => aes_ni::run,
            Path::Portable => return Self::Portable(PortableKeys::new(key)),
        };
        // SAFETY: every other path needs AES instructions, and the processor has the path.
        let keys = unsafe { RoundKeys::new(key) };
        Self::Instructions { keys, run }
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn new(_: Path, key: &[u8; 64]) -> Self {
        Self::Portable(PortableKeys::new(key))
    }

    /// The tweak of the first data unit is `first`, encrypted; each one after it has the next number.
    pub(super) fn run(&self, direction: Direction, first: u128, units: InOutBuf<'_, '_, DataUnit>) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Instructions { keys, run } => {
                // SAFETY: `run` was chosen in `new`, for a path that the processor has.
                unsafe { run(keys, direction, first, units) };
            }
            Self::Portable(keys) => keys.run(direction, first, units),
        }
    }
}
