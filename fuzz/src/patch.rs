//! Long records that are mostly zeros, as a short list of changes to a whole one: what a fuzzer can change well, and what
//! takes little room to keep.

/// `changes` is, again and again, an offset (two bytes, little-endian), a length (one byte) and as many bytes to put there.
pub(crate) fn patched(record: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut patched = record.to_vec();
    let mut rest = changes;
    while let Some(([low, high, len], tail)) = rest.split_first_chunk() {
        let offset = usize::from(u16::from_le_bytes([*low, *high])) % patched.len().max(1);
        let (bytes, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        let room = patched.len() - offset;
        let bytes = &bytes[..bytes.len().min(room)];
        patched[offset..offset + bytes.len()].copy_from_slice(bytes);
        rest = tail;
    }
    patched
}

/// The first byte, to choose by, and the rest.
pub(crate) fn choice(data: &[u8]) -> (usize, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (usize::from(*first), rest))
}
