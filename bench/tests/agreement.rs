//! Every path, AWS-LC, OpenSSL and xts-mode have the same result, whatever the key, the block numbers and the length.

#![allow(clippy::unwrap_used, reason = "a test file: a panic is its way to fail")]

use envol::cipher::BLOCK_SIZE;
use envol_bench::{Direction, contenders};
use proptest::array::uniform32;
use proptest::collection::vec;
use proptest::prelude::*;

/// Small numbers, and the neighbourhoods of 2^32, 2^63 and 2^64, where a narrower or signed number would show.
fn block_numbers() -> impl Strategy<Value = u64> {
    let around = |middle: u64| middle - 20..=middle + 20;
    prop_oneof![any::<u64>(), 0..200u64, around(1 << 32), around(1 << 63), u64::MAX - 20..=u64::MAX]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Counts on both sides of 16, the number of blocks whose numbers are encrypted together.
    #[test]
    fn all_agree(
        data_key in uniform32(any::<u8>()),
        tweak_key in uniform32(any::<u8>()),
        first in block_numbers(),
        data in prop_oneof![3 => 1..6usize, 1 => 15..35usize].prop_flat_map(|count| vec(any::<u8>(), count * BLOCK_SIZE)),
    ) {
        prop_assume!(data_key != tweak_key);
        let key: [u8; 64] = [data_key, tweak_key].concat().try_into().unwrap();
        let contenders = contenders(&key);
        for direction in [Direction::Encrypt, Direction::Decrypt] {
            let outputs: Vec<_> = contenders
                .iter()
                .map(|contender| {
                    let mut output = vec![0; data.len()];
                    contender.run(direction, first, &data, &mut output);
                    output
                })
                .collect();
            for (contender, output) in contenders.iter().zip(&outputs) {
                prop_assert!(*output == outputs[0], "{direction}: {} differs from {}", contender.name, contenders[0].name);
            }
        }
    }
}
