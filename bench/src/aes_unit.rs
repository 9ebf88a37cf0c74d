//! What the AES units can do at most: nothing but AES rounds, on more independent registers than they have stages.

#![allow(unsafe_code, reason = "inline assembly")]

pub struct Limit {
    pub width_bits: u32,
    /// Takes about as many bytes as asked for through 14 rounds, and says how many.
    pub run: fn(usize) -> usize,
}

/// The widest first; none where there is no loop for the processor.
#[must_use]
pub fn limits() -> Vec<Limit> {
    #[cfg(target_arch = "x86_64")]
    return x86_64::limits();
    #[cfg(not(target_arch = "x86_64"))]
    Vec::new()
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::asm;
    use std::arch::is_x86_feature_detected as has;

    use super::Limit;

    pub(super) fn limits() -> Vec<Limit> {
        let all = [
            (has!("avx512f") && has!("vaes"), Limit { width_bits: 512, run: rounds_512 }),
            (has!("avx2") && has!("vaes"), Limit { width_bits: 256, run: rounds_256 }),
            (has!("aes"), Limit { width_bits: 128, run: rounds_128 }),
        ];
        all.into_iter().filter_map(|(available, limit)| available.then_some(limit)).collect()
    }

    macro_rules! rounds {
        ($name:ident, $width_bytes:literal, $round:literal, $end:literal) => {
            fn $name(bytes: usize) -> usize {
                let times = bytes / (12 * $width_bytes);
                // SAFETY: changes the registers that it says, and no memory. `limits` has asked for the instruction.
                unsafe {
                    asm!(
                        "2:",
                        ".rept 14",
                        ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
                        $round,
                        ".endr",
                        ".endr",
                        "dec {times}",
                        "jnz 2b",
                        $end,
                        times = inout(reg) times => _,
                        out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                        out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                        options(nostack, nomem),
                    );
                }
                times * 12 * $width_bytes
            }
        };
    }

    rounds!(rounds_512, 64, "vaesenc zmm\\i, zmm\\i, zmm12", "vzeroupper");
    rounds!(rounds_256, 32, "vaesenc ymm\\i, ymm\\i, ymm12", "vzeroupper");
    rounds!(rounds_128, 16, "aesenc xmm\\i, xmm12", "");
}
