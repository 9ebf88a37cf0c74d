//! OpenSSL's EVP interface, as the host has it.

use std::cell::RefCell;

use envol::cipher::BLOCK_SIZE;
use openssl::cipher::Cipher;
use openssl::cipher_ctx::CipherCtx;

use crate::contender::{Contender, Direction};

pub(crate) fn contender(key: &[u8; 64]) -> Contender {
    let context = |direction| {
        let mut context = CipherCtx::new().expect("memory");
        let (cipher, iv) = (Some(Cipher::aes_256_xts()), Some(&[0; 16][..]));
        match direction {
            Direction::Encrypt => context.encrypt_init(cipher, Some(key), iv),
            Direction::Decrypt => context.decrypt_init(cipher, Some(key), iv),
        }
        .expect("a key that XTS accepts");
        RefCell::new(context)
    };
    let (encrypt, decrypt) = (context(Direction::Encrypt), context(Direction::Decrypt));
    // The key stays in the context; each block has an IV of its own.
    let run = move |direction, first: u64, input: &[u8], output: &mut [u8]| {
        let blocks = input.chunks_exact(BLOCK_SIZE).zip(output.chunks_exact_mut(BLOCK_SIZE));
        for (number, (input, output)) in (u128::from(first)..).zip(blocks) {
            let iv = number.to_le_bytes();
            let mut context = match direction {
                Direction::Encrypt => encrypt.borrow_mut(),
                Direction::Decrypt => decrypt.borrow_mut(),
            };
            match direction {
                Direction::Encrypt => context.encrypt_init(None, None, Some(&iv)),
                Direction::Decrypt => context.decrypt_init(None, None, Some(&iv)),
            }
            .and_then(|()| context.cipher_update(input, Some(output)))
            .expect("whole blocks");
        }
    };
    let version = openssl::version::version();
    Contender::new(version.split_inclusive(' ').take(2).collect::<String>().trim_end().to_owned(), run)
}
