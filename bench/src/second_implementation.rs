//! The xts-mode crate.

use aes::Aes256;
use aes::cipher::KeyInit;
use envol::cipher::BLOCK_SIZE;
use xts_mode::{Xts128, get_tweak_default};

use crate::contender::{Contender, Direction};

pub(crate) fn contender(key: &[u8; 64]) -> Contender {
    let [data_key, tweak_key] = [&key[..32], &key[32..]].map(|key| Aes256::new_from_slice(key).expect("32 bytes"));
    let xts = Xts128::new(data_key, tweak_key);
    let run = move |direction, first: u64, input: &[u8], output: &mut [u8]| {
        output.copy_from_slice(input);
        match direction {
            Direction::Encrypt => xts.encrypt_area(output, BLOCK_SIZE, first.into(), get_tweak_default),
            Direction::Decrypt => xts.decrypt_area(output, BLOCK_SIZE, first.into(), get_tweak_default),
        }
    };
    Contender { is_slow: true, ..Contender::new("xts-mode".to_owned(), run) }
}
