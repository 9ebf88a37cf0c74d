//! Whole blocks against the vectors of IEEE 1619 and against a second implementation.

#![allow(clippy::unwrap_used, reason = "a test, also outside its test functions")]

use aes::Aes256;
use aes::cipher::KeyInit;
use envol::cipher::{BLOCK_SIZE, BlockNumber, EqualHalves, Path, XtsCipher};
use proptest::array::uniform32;
use proptest::collection::vec;
use proptest::prelude::*;
use xts_mode::{Xts128, get_tweak_default};

fn from_hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "odd hex: {text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn paths() -> impl Iterator<Item = Path> {
    Path::ALL.into_iter().filter(|path| path.is_available())
}

/// One for each path that this processor has.
fn ciphers(key: &[u8; 64]) -> Vec<(Path, XtsCipher)> {
    paths().map(|path| (path, XtsCipher::with_path(key, path).unwrap())).collect()
}

/// The vectors are 512 bytes long; XTS does not chain, so they are also the first 512 bytes of a block.
#[test]
fn ieee_1619_annex_b() {
    let mut lines = include_str!("vectors/ieee1619/annex-b-aes-256.txt").lines().filter(|line| !line.starts_with('#'));
    let key = lines.next().unwrap().strip_prefix("Key ").map(from_hex).unwrap();
    let ciphers = ciphers(key.as_slice().try_into().unwrap());
    let plaintext: Vec<u8> = (0..=255).cycle().take(BLOCK_SIZE).collect();
    let mut checked = 0;
    for line in lines {
        let (number, expected) = line.split_once(' ').unwrap();
        let number = BlockNumber(u64::from_str_radix(number, 16).unwrap());
        let expected = from_hex(expected);
        assert_eq!(expected.len(), 512);

        for (path, cipher) in &ciphers {
            let mut ciphertext = vec![0; BLOCK_SIZE];
            cipher.encrypt_blocks(number, &plaintext, &mut ciphertext);
            assert_eq!(ciphertext[..512], expected, "{number:?}, {path}");

            let mut decrypted = vec![0; BLOCK_SIZE];
            cipher.decrypt_blocks(number, &ciphertext, &mut decrypted);
            assert_eq!(decrypted, plaintext, "{number:?}, {path}");
        }
        checked += 1;
    }
    assert_eq!(checked, 5);
}

/// Small numbers, and the neighbourhoods of 2^32, 2^63 and 2^64, where a narrower or signed number would show.
fn block_numbers() -> impl Strategy<Value = u64> {
    let around = |middle: u64| middle - 200..=middle + 200;
    prop_oneof![any::<u64>(), 0..200u64, around(1 << 32), around(1 << 63), u64::MAX - 200..=u64::MAX]
}

fn second_implementation(key: &[u8; 64], first: u64, data: &mut [u8], run: impl Fn(&Xts128<Aes256>, &mut [u8], u128)) {
    let (data_key, tweak_key) = key.split_at(32);
    let xts = Xts128::new(Aes256::new_from_slice(data_key).unwrap(), Aes256::new_from_slice(tweak_key).unwrap());
    for (number, block) in (u128::from(first)..).zip(data.chunks_mut(BLOCK_SIZE)) {
        run(&xts, block, number);
    }
}

proptest! {
    // xts-mode takes 16 bytes at a time, and this build is not optimised.
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Counts on both sides of 16, the number of blocks whose numbers are encrypted together.
    #[test]
    fn every_path_agrees_with_xts_mode(
        data_key in uniform32(any::<u8>()),
        tweak_key in uniform32(any::<u8>()),
        first in block_numbers(),
        data in prop_oneof![4 => 1..5usize, 1 => 15..35usize].prop_flat_map(|count| vec(any::<u8>(), count * BLOCK_SIZE)),
    ) {
        prop_assume!(data_key != tweak_key);
        let key: [u8; 64] = [data_key, tweak_key].concat().try_into().unwrap();
        let (mut encrypted, mut decrypted) = (data.clone(), data.clone());
        second_implementation(&key, first, &mut encrypted, |xts, block, number| {
            xts.encrypt_sector(block, get_tweak_default(number));
        });
        second_implementation(&key, first, &mut decrypted, |xts, block, number| {
            xts.decrypt_sector(block, get_tweak_default(number));
        });
        for (path, cipher) in ciphers(&key) {
            let mut output = vec![0; data.len()];
            cipher.encrypt_blocks(BlockNumber(first), &data, &mut output);
            prop_assert!(output == encrypted, "encrypting, {path}");
            cipher.decrypt_blocks(BlockNumber(first), &data, &mut output);
            prop_assert!(output == decrypted, "decrypting, {path}");

            output.copy_from_slice(&data);
            cipher.encrypt_blocks_in_place(BlockNumber(first), &mut output);
            prop_assert!(output == encrypted, "encrypting in place, {path}");
            output.copy_from_slice(&data);
            cipher.decrypt_blocks_in_place(BlockNumber(first), &mut output);
            prop_assert!(output == decrypted, "decrypting in place, {path}");
        }
    }
}

#[test]
fn equal_halves_are_refused_on_every_path() {
    for path in paths() {
        assert_eq!(XtsCipher::with_path(&[7; 64], path).err(), Some(EqualHalves), "{path}");
    }
}

fn any_cipher() -> XtsCipher {
    let mut key = [0; 64];
    key[63] = 1;
    XtsCipher::new(&key).unwrap()
}

#[test]
#[should_panic(expected = "not whole blocks")]
fn part_of_a_block_is_a_bug_of_the_caller() {
    any_cipher().encrypt_blocks(BlockNumber(0), &[0; 512], &mut [0; 512]);
}

#[test]
#[should_panic(expected = "not whole blocks")]
fn part_of_a_block_in_place_is_a_bug_of_the_caller() {
    any_cipher().decrypt_blocks_in_place(BlockNumber(0), &mut [0; BLOCK_SIZE + 16]);
}

#[test]
#[should_panic(expected = "as many bytes out as in")]
fn a_shorter_output_is_a_bug_of_the_caller() {
    any_cipher().decrypt_blocks(BlockNumber(0), &[0; 2 * BLOCK_SIZE], &mut [0; BLOCK_SIZE]);
}
