//! AWS-LC's EVP interface.

#![allow(unsafe_code, reason = "AWS-LC has no safe interface to XTS")]

use std::ptr::{null, null_mut};

use aws_lc_sys::{
    EVP_CIPHER_CTX, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_CipherInit_ex, EVP_CipherUpdate, EVP_aes_256_xts,
};
use envol::cipher::BLOCK_SIZE;

use crate::contender::{Contender, Direction};

struct Context(*mut EVP_CIPHER_CTX);

impl Context {
    fn new(key: &[u8; 64], encrypt: i32) -> Self {
        // SAFETY: takes nothing.
        let context = unsafe { EVP_CIPHER_CTX_new() };
        assert!(!context.is_null());
        // SAFETY: takes nothing.
        let cipher = unsafe { EVP_aes_256_xts() };
        // SAFETY: a live context, and a key and an IV of the lengths that AES-256-XTS reads.
        let ok = unsafe { EVP_CipherInit_ex(context, cipher, null_mut(), key.as_ptr(), [0; 16].as_ptr(), encrypt) };
        assert_eq!(ok, 1);
        Self(context)
    }

    fn run(&self, number: u128, input: &[u8], output: &mut [u8]) {
        assert_eq!(input.len(), output.len());
        let iv = number.to_le_bytes();
        // SAFETY: a live context that has its cipher, key and direction; an IV of 16 bytes.
        let ok = unsafe { EVP_CipherInit_ex(self.0, null(), null_mut(), null(), iv.as_ptr(), -1) };
        assert_eq!(ok, 1);
        let (mut written, len) = (0, i32::try_from(input.len()).expect("one block"));
        // SAFETY: `output` is as long as `input`.
        let ok = unsafe { EVP_CipherUpdate(self.0, output.as_mut_ptr(), &raw mut written, input.as_ptr(), len) };
        assert_eq!((ok, written), (1, len));
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made in `new`, freed here only.
        unsafe { EVP_CIPHER_CTX_free(self.0) };
    }
}

pub(crate) fn contender(key: &[u8; 64]) -> Contender {
    let (encrypt, decrypt) = (Context::new(key, 1), Context::new(key, 0));
    // The key stays in the context; each block has an IV of its own.
    let run = move |direction, first: u64, input: &[u8], output: &mut [u8]| {
        let context = match direction {
            Direction::Encrypt => &encrypt,
            Direction::Decrypt => &decrypt,
        };
        let blocks = input.chunks_exact(BLOCK_SIZE).zip(output.chunks_exact_mut(BLOCK_SIZE));
        for (number, (input, output)) in (u128::from(first)..).zip(blocks) {
            context.run(number, input, output);
        }
    };
    let version = aws_lc_sys::AWSLC_VERSION_NUMBER_STRING;
    let version = std::ffi::CStr::from_bytes_with_nul(version).map(|text| text.to_string_lossy().into_owned());
    Contender::new(format!("AWS-LC {}", version.unwrap_or_default()), run)
}
