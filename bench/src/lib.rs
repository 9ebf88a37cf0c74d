//! AES-256-XTS by us and by others, behind one signature. What is measured with it is in `benches/`.

pub mod aes_unit;
mod aws_lc;
mod contender;
mod openssl_evp;
mod second_implementation;

use envol::cipher::Path;

pub use contender::{Contender, Direction};

/// All that this processor and host have; the halves of `key` must differ. Ours first, the fastest first.
#[must_use]
pub fn contenders(key: &[u8; 64]) -> Vec<Contender> {
    let paths = Path::ALL.into_iter().filter(|path| path.is_available());
    let mut all: Vec<_> = paths.map(|path| Contender::path(path, key)).collect();
    all.extend([aws_lc::contender(key), openssl_evp::contender(key), second_implementation::contender(key)]);
    all
}
