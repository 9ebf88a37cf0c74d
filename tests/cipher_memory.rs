//! What a path reads and writes: its buffers, to the last byte and not one more, wherever they lie.

#![allow(clippy::unwrap_used, reason = "a test file: a panic is its way to fail")]
#![allow(unsafe_code, reason = "memory between pages that cannot be touched")]

use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::slice;

use envol::cipher::{BLOCK_SIZE, BlockNumber, Path, XtsCipher};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

const PAGE: usize = 4096;
const FIRST: BlockNumber = BlockNumber(u32::MAX as u64 - 1);

/// Whole pages between two that nobody may touch: a byte too many ends the test with SIGSEGV.
struct Guarded {
    start: *mut u8,
    len: usize,
}

impl Guarded {
    fn new(blocks: usize) -> Self {
        let len = blocks * BLOCK_SIZE;
        // SAFETY: a mapping of its own.
        let all = unsafe { mmap_anonymous(null_mut(), PAGE + len + PAGE, ProtFlags::empty(), MapFlags::PRIVATE) };
        let start = all.unwrap().cast::<u8>().wrapping_add(PAGE);
        // SAFETY: the inner pages of that mapping, which nobody uses yet.
        unsafe { mprotect(start.cast(), len, MprotectFlags::READ | MprotectFlags::WRITE) }.unwrap();
        Self { start, len }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: mapped, writable, and lent once, for as long as `self` is.
        unsafe { slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: what `new` has mapped, and nobody holds a part of it.
        unsafe { munmap(self.start.wrapping_sub(PAGE).cast(), PAGE + self.len + PAGE) }.unwrap();
    }
}

fn key() -> [u8; 64] {
    std::array::from_fn(|at| u8::try_from(at).unwrap())
}

fn pattern(blocks: usize) -> Vec<u8> {
    (0..=250).cycle().take(blocks * BLOCK_SIZE).collect()
}

fn ciphers() -> impl Iterator<Item = (Path, XtsCipher)> {
    let paths = Path::ALL.into_iter().filter(|path| path.is_available());
    paths.map(|path| (path, XtsCipher::with_path(&key(), path).unwrap()))
}

/// Whether the kernel can read a byte there.
fn is_readable(address: *const u8) -> bool {
    let (_reader, writer) = std::io::pipe().unwrap();
    // SAFETY: the kernel reads one byte, or answers EFAULT.
    let written = unsafe { libc::write(writer.as_raw_fd(), address.cast(), 1) };
    written == 1
}

#[test]
fn the_pages_beside_the_buffers_cannot_be_touched() {
    let guarded = Guarded::new(2);
    let last = guarded.start.wrapping_add(guarded.len - 1);
    assert!(is_readable(guarded.start) && is_readable(last));
    assert!(!is_readable(guarded.start.wrapping_sub(1)) && !is_readable(last.wrapping_add(1)));
}

#[test]
fn nothing_beyond_the_buffers_is_read_or_written() {
    for (path, cipher) in ciphers() {
        for blocks in [0, 1, 2, 3, 15, 16, 17, 33] {
            let (mut plaintext, mut ciphertext) = (Guarded::new(blocks.max(1)), Guarded::new(blocks.max(1)));
            let (plaintext, ciphertext) = (plaintext.bytes(), ciphertext.bytes());
            let (plaintext, ciphertext) =
                (&mut plaintext[..blocks * BLOCK_SIZE], &mut ciphertext[..blocks * BLOCK_SIZE]);
            plaintext.copy_from_slice(&pattern(blocks));
            cipher.encrypt_blocks(FIRST, plaintext, ciphertext);
            cipher.encrypt_blocks_in_place(FIRST, plaintext);
            assert!(plaintext == ciphertext, "{blocks} blocks, {path}");
            cipher.decrypt_blocks(FIRST, ciphertext, plaintext);
            cipher.decrypt_blocks_in_place(FIRST, ciphertext);
            assert!(plaintext == pattern(blocks) && ciphertext == pattern(blocks), "{blocks} blocks, {path}");
        }
    }
}

/// Every alignment of either buffer within the widest register, and what lies beside the output stays.
#[test]
fn buffers_may_lie_anywhere() {
    const BLOCKS: usize = 2;
    const LEN: usize = BLOCKS * BLOCK_SIZE;
    let plaintext = pattern(BLOCKS);
    let mut expected = vec![0; LEN];
    XtsCipher::with_path(&key(), Path::Portable).unwrap().encrypt_blocks(FIRST, &plaintext, &mut expected);
    let (mut input, mut output) = (vec![0; LEN + 128], vec![0; LEN + 128]);
    for (path, cipher) in ciphers() {
        for (from, to) in (0..64).flat_map(|offset| [(offset, 0), (0, offset), (offset, 63 - offset)]) {
            input[from..from + LEN].copy_from_slice(&plaintext);
            output.fill(0xa5);
            cipher.encrypt_blocks(FIRST, &input[from..from + LEN], &mut output[to..to + LEN]);
            assert!(output[to..to + LEN] == expected, "encrypting from {from} to {to}, {path}");
            let beside = output[..to].iter().chain(&output[to + LEN..]);
            assert!(beside.copied().all(|byte| byte == 0xa5), "writes beside its output, {path}");

            input.fill(0xa5);
            cipher.decrypt_blocks(FIRST, &output[to..to + LEN], &mut input[from..from + LEN]);
            assert!(input[from..from + LEN] == plaintext, "decrypting from {to} to {from}, {path}");
            let beside = input[..from].iter().chain(&input[from + LEN..]);
            assert!(beside.copied().all(|byte| byte == 0xa5), "writes beside its output, {path}");
        }
    }
}
