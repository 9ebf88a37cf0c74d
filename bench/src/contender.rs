//! Who takes part, behind one signature.

use std::fmt;

use envol::cipher::{BlockNumber, Path, XtsCipher};

#[derive(Clone, Copy)]
pub enum Direction {
    Encrypt,
    Decrypt,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
        })
    }
}

/// Takes whole blocks, the first of which has the number given, from one buffer to another.
type Run = Box<dyn Fn(Direction, u64, &[u8], &mut [u8])>;

pub struct Contender {
    pub name: String,
    /// Of the registers it uses, where that is known.
    pub width_bits: u32,
    pub is_slow: bool,
    pub run: Run,
}

impl Contender {
    pub fn new(name: String, run: impl Fn(Direction, u64, &[u8], &mut [u8]) + 'static) -> Self {
        Self { name, width_bits: u32::MAX, is_slow: false, run: Box::new(run) }
    }

    pub fn path(path: Path, key: &[u8; 64]) -> Self {
        let cipher = XtsCipher::with_path(key, path).expect("the halves of the key differ");
        let width_bits = match path {
            Path::VaesAvx2 => 256,
            Path::AesNi => 128,
            _ => u32::MAX,
        };
        let run = move |direction, first, input: &[u8], output: &mut [u8]| match direction {
            Direction::Encrypt => cipher.encrypt_blocks(BlockNumber(first), input, output),
            Direction::Decrypt => cipher.decrypt_blocks(BlockNumber(first), input, output),
        };
        Self { width_bits, ..Self::new(path.to_string(), run) }
    }

    pub fn run(&self, direction: Direction, first: u64, input: &[u8], output: &mut [u8]) {
        (self.run)(direction, first, input, output);
    }
}
