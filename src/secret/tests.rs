use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use zeroize::Zeroize;

use crate::cipher::{BLOCK_SIZE, BlockNumber};

use super::{LockedArea, Protection, SecretError, VolumeKey};

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The key whose byte `at` is `byte(at)`, made in place.
fn volume_key(byte: impl Fn(u8) -> u8) -> VolumeKey {
    let mut bytes = LockedArea::new().unwrap().place([0; 64]).unwrap();
    for (at, slot) in (0..).zip(bytes.iter_mut()) {
        *slot = byte(at);
    }
    VolumeKey::new(bytes)
}

fn address_of<T: ?Sized>(value: &T) -> usize {
    std::ptr::from_ref(value).addr()
}

/// The `VmFlags` of the mapping at `address` (proc_pid_smaps(5)).
fn vm_flags(address: usize) -> Vec<String> {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut inside = false;
    for line in smaps.lines() {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let bounds = range.map(|(from, to)| (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16)));
        if let Some((Ok(from), Ok(to))) = bounds {
            inside = (from..to).contains(&address);
        } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| inside) {
            return flags.split_whitespace().map(str::to_owned).collect();
        }
    }
    panic!("nothing is mapped at {address:#x}");
}

/// Locked, left out of core dumps, not copied to a child.
fn is_kept(address: usize) -> [bool; 3] {
    let flags = vm_flags(address);
    ["lo", "dd", "dc"].map(|wanted| flags.iter().any(|flag| flag == wanted))
}

#[test]
fn both_kinds_of_area_are_locked_not_dumped_and_not_inherited() {
    let ordinary = vec![0u8; 1 << 20];
    assert_eq!(is_kept(address_of(&ordinary[0])), [false; 3]);

    for area in [LockedArea::new().unwrap(), Arc::new(LockedArea::mlocked().unwrap())] {
        let value = area.place([1u8; 64]).unwrap();
        assert_eq!(is_kept(address_of(&*value)), [true; 3], "{:?}", area.protection());
    }
}

/// /proc/PID/mem goes through the kernel's own mapping, as a debugger, a driver or a kernel bug would.
#[test]
fn the_kernel_cannot_read_a_secret_area() {
    let memory = File::open("/proc/self/mem").unwrap();
    let mut seen = [0; 4];
    let ordinary = [1u8, 2, 3, 4];
    memory.read_exact_at(&mut seen, address_of(&ordinary) as u64).unwrap();
    assert_eq!(seen, ordinary);

    let area = LockedArea::new().unwrap();
    let value = area.place(ordinary).unwrap();
    let read = memory.read_exact_at(&mut seen, address_of(&*value) as u64);
    assert_eq!(read.is_err(), area.protection() == Protection::MemfdSecret, "{:?}", area.protection());
}

#[test]
fn a_dropped_value_leaves_zeros() {
    let area = Arc::new(LockedArea::mlocked().unwrap());
    let memory = File::open("/proc/self/mem").unwrap();
    let mut seen = [0; 64];

    let value = area.place([0xabu8; 64]).unwrap();
    let neighbour = area.place([0xcdu8; 64]).unwrap();
    let address = address_of(&*value) as u64;
    memory.read_exact_at(&mut seen, address).unwrap();
    assert_eq!(seen, [0xab; 64]);

    drop(value);
    memory.read_exact_at(&mut seen, address).unwrap();
    assert_eq!(seen, [0; 64]);
    assert_eq!(*neighbour, [0xcd; 64]);
}

#[test]
fn a_dropped_cipher_leaves_zeros() {
    let area = Arc::new(LockedArea::mlocked().unwrap());
    let memory = File::open("/proc/self/mem").unwrap();
    let cipher = VolumeKey::new(area.place([3; 64]).unwrap()).xts_cipher(0).unwrap();
    let mut seen = vec![0; size_of_val(&*cipher)];
    let address = address_of(&*cipher) as u64;

    memory.read_exact_at(&mut seen, address).unwrap();
    assert!(seen.iter().any(|byte| *byte != 0));
    drop(cipher);
    memory.read_exact_at(&mut seen, address).unwrap();
    assert!(seen.iter().all(|byte| *byte == 0));
}

#[test]
fn values_are_aligned_and_apart() {
    let area = LockedArea::new().unwrap();
    let byte = area.place(0xffu8).unwrap();
    let word = area.place(0x0123_4567_89ab_cdefu64).unwrap();
    let block = area.place([0x77u8; 4096]).unwrap();
    assert!(address_of(&*word).is_multiple_of(align_of::<u64>()));
    assert_eq!((*byte, *word, *block), (0xff, 0x0123_4567_89ab_cdef, [0x77; 4096]));
}

#[test]
fn a_full_area_refuses() {
    let area = LockedArea::new().unwrap();
    let most = area.place([1u8; LockedArea::LEN_BYTES - 64]).unwrap();
    let too_much = area.place([2u8; 65]).err();
    assert!(matches!(too_much, Some(SecretError::AreaFull { wanted_bytes: 65, free_bytes: 64 })), "{too_much:?}");
    let rest = area.place([3u8; 64]).unwrap();
    assert!(area.place(4u8).is_err());
    assert!(most.iter().all(|byte| *byte == 1) && *rest == [3; 64]);
}

#[test]
fn the_keys_of_64_regions_fit() {
    let key = volume_key(|at| at);
    let header = key.header_mac_key().unwrap();
    let ciphers: Vec<_> = (0..64).map(|region| key.xts_cipher(region).unwrap()).collect();
    assert_eq!(ciphers.len(), 64);
    assert_eq!(header.mac(&[]), header.mac(&[b""]));
}

#[test]
fn a_refused_lock_says_which_limit() {
    let refused = SecretError::NotLocked {
        limit_bytes: Some(64 * 1024),
        source: std::io::Error::from_raw_os_error(libc::ENOMEM),
    };
    let message = refused.to_string();
    assert!(message.contains("RLIMIT_MEMLOCK is 64 KiB") && message.contains("LimitMEMLOCK="), "{message}");
}

/// Expected values from Python's `cryptography` 48: HKDF(SHA512, 64, b"", label), then XTS and HMAC with the result.
#[test]
fn keys_are_derived_as_an_independent_implementation_does() {
    let key = volume_key(|at| at);

    let mut ciphertext = vec![0; BLOCK_SIZE];
    key.xts_cipher(258).unwrap().encrypt_blocks(BlockNumber(5), &[0x5a; BLOCK_SIZE], &mut ciphertext);
    let expected = from_hex("a007931d108e164ac058bf68af88228b2d8800bb1e648911e93f297dc9bb62f3");
    assert_eq!(ciphertext[..32], expected);

    let header = key.header_mac_key().unwrap();
    let expected = from_hex("03a6dd97b1a856d1750e7aa53b4974d34a244b243052f5b53ec9640bb15c9aca");
    assert_eq!(header.mac(&[b"one header, ", b"in parts"])[..], expected);
}

#[test]
fn derived_keys_are_the_golden_ones() {
    let volume_key: [u8; 64] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let mut key = [0; 64];
    for (region, expected) in [
        (
            0,
            "866a8f5359f4ad1ba70fcbc622efb34d90e47d7b5c3023fd6b15993332c6e289\
             8157b4c1568e8aa3f266461daafea3480d6e338862eeab2f7db8a10c484bfb9c",
        ),
        (
            63,
            "1ba31253126fa971683803cb889f99b85071803652a317d6f20a34fa61d65229\
             cdd09717d55cf3e3e8e722200e1c06cc347ce8e7fb7a2dc367366cab83a7e65a",
        ),
    ] {
        super::derive::xts_region(&volume_key, region, &mut key);
        assert_eq!(key[..], from_hex(expected), "region {region}");
    }
    super::derive::header_mac(&volume_key, &mut key);
    assert_eq!(
        key[..],
        from_hex(
            "b74849b063399f9898a078480790ab7e03932e5ff8222732751ea5a73b00ce25\
             625c2be3a141566adf7f9e0591cfdcaec6d22b1f1bc950cbde20861796b9e9a4"
        )
    );
}

#[test]
fn a_changed_header_is_not_ours() {
    let header = volume_key(|at| at).header_mac_key().unwrap();
    let mac = header.mac(&[b"header"]);
    assert!(header.verify(&[b"header"], &mac));
    assert!(header.verify(&[b"hea", b"der"], &mac));
    assert!(!header.verify(&[b"Header"], &mac));
    for bit in [0, 255] {
        let mut changed = mac;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!header.verify(&[b"header"], &changed), "bit {bit}");
    }
    assert!(!volume_key(|at| at ^ 1).header_mac_key().unwrap().verify(&[b"header"], &mac));
}

const MASK: u8 = 0xa5;

/// Whether `masked`, every byte of it xored with [`MASK`], is anywhere in the memory that this process can write, except
/// in the mapping at `area`. The pattern itself is in no buffer here, or the search would find itself.
fn is_elsewhere_in_memory(masked: &[u8], area: usize) -> bool {
    let memory = File::open("/proc/self/mem").unwrap();
    let address = |text: &str| usize::from_str_radix(text, 16).unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter_map(|line| line.split_once(" rw")).any(|(range, _)| {
        let (from, to) = range.split_once('-').unwrap();
        let range = address(from)..address(to);
        // Windows overlap, so that nothing hides on the border of two.
        !range.contains(&area)
            && range.clone().step_by(WINDOW_LEN).any(|start| {
                let mut window = vec![0; (range.end - start).min(WINDOW_LEN + masked.len())];
                // A mapping may be gone since.
                let len = memory.read_at(&mut window, start as u64).unwrap_or(0);
                let is_match = |bytes: &[u8]| bytes.iter().zip(masked).all(|(byte, masked)| byte ^ MASK == *masked);
                let found = window[..len].windows(masked.len()).any(is_match);
                window.zeroize();
                found
            })
    })
}

const WINDOW_LEN: usize = 1 << 20;

#[test]
fn deriving_leaves_no_key_outside_the_area() {
    // The volume key whose bytes are n ^ 0x5a, and both halves of its XTS key of region 77 as Python derives it.
    let volume_key_masked: Vec<u8> = (0..64).map(|at| at ^ 0x5a ^ MASK).collect();
    let data_key_masked = from_hex("3e7d9d670903b3fa810eb01e9eaab5ae7ff0e410ab7e225d58c02a762865d7dd");
    let tweak_key_masked = from_hex("578a516bc015c2d8a7ae28bd41ca102d7c362fb88185e41631d12ed8d21b7ee0");

    let key = volume_key(|at| at ^ 0x5a);
    let area = address_of(key.expose_secret());
    let cipher = key.xts_cipher(77).unwrap();
    let header = key.header_mac_key().unwrap();
    assert!(header.verify(&[b"x"], &header.mac(&[b"x"])));
    for masked in [&volume_key_masked, &data_key_masked, &tweak_key_masked] {
        assert!(!is_elsewhere_in_memory(masked, area));
    }

    let leaked: Vec<u8> = data_key_masked.iter().map(|byte| byte ^ MASK).collect();
    assert!(is_elsewhere_in_memory(&data_key_masked, area));
    drop((cipher, leaked));
}

/// On the path that volumes take, which reads its round keys where they lie. The first and the last ones may pass through
/// the stack: neither gives away a neighbour, and it takes two for a key.
#[test]
fn encrypting_leaves_no_schedule_outside_the_area() {
    let area = Arc::new(LockedArea::mlocked().unwrap());
    let key = VolumeKey::new(area.place(std::array::from_fn(|at| u8::try_from(at).unwrap() ^ 0x3c)).unwrap());
    let cipher = key.xts_cipher(3).unwrap();
    let mut schedules = vec![0; size_of_val(&*cipher)];
    File::open("/proc/self/mem").unwrap().read_exact_at(&mut schedules, address_of(&*cipher) as u64).unwrap();
    schedules.iter_mut().for_each(|byte| *byte ^= MASK);

    let mut blocks = vec![7; 33 * BLOCK_SIZE];
    cipher.encrypt_blocks_in_place(BlockNumber(5), &mut blocks);
    cipher.decrypt_blocks_in_place(BlockNumber(7), &mut blocks[..BLOCK_SIZE]);
    let in_area = address_of(&*cipher);
    let found: Vec<_> = schedules
        .chunks_exact(32)
        .enumerate()
        .filter(|(_, two_round_keys)| is_elsewhere_in_memory(two_round_keys, in_area))
        .map(|(at, _)| at)
        .collect();
    assert!(found.is_empty(), "round keys {found:?} (counted in twos) are elsewhere");

    let leaked: Vec<u8> = schedules[64..96].iter().map(|byte| byte ^ MASK).collect();
    assert!(is_elsewhere_in_memory(&schedules[64..96], in_area));
    drop(leaked);
}
