//! One sealed blob: a chunk or a leaf, compressed where that helps, under a random key of its own.
//!
//! A key seals once, so the nonce is zero. What is sealed is bound to the volume that it came from and to its place in it.

use std::cell::RefCell;
use std::io;

use aes_gcm_siv::aead::inout::InOutBuf;
use aes_gcm_siv::{AeadInOut, Aes256GcmSiv, KeyInit, Nonce, Tag};
use zeroize::Zeroizing;

use crate::format::VolumeId;
use crate::volume::CHUNK_SIZE;

const LABEL: &[u8] = b"envol/v1/snapshot-blob";
pub(super) const TAG_LEN: usize = 16;
const ZSTD_LEVEL: i32 = 1;
/// Compression has to save a sixteenth, or reading it back is not worth the work.
const WORTH_IT: usize = 16;

pub(super) type BlobKey = Zeroizing<[u8; 32]>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Raw,
    Zstd,
}

impl Codec {
    pub(super) fn to_code(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Where a blob belongs. Both kinds have numbers of their own.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Chunk { number: u64, written: u128 },
    Leaf { number: u64 },
}

impl Place {
    fn associated(self, lineage: &VolumeId) -> Vec<u8> {
        let (kind, number, written) = match self {
            Self::Chunk { number, written } => (1, number, written),
            Self::Leaf { number } => (2, number, 0),
        };
        let mut associated = Vec::with_capacity(96);
        associated.extend_from_slice(LABEL);
        associated.push(kind);
        associated.extend_from_slice(&number.to_le_bytes());
        associated.extend_from_slice(&written.to_le_bytes());
        associated.extend_from_slice(lineage.as_str().as_bytes());
        associated
    }
}

pub(super) struct Sealed {
    pub(super) key: BlobKey,
    pub(super) codec: Codec,
    pub(super) bytes: Vec<u8>,
}

thread_local! {
    /// A context of zstd is large, and made once a thread; so is the buffer, which is copied from because most of it is
    /// empty.
    static COMPRESSOR: RefCell<Option<(zstd::bulk::Compressor<'static>, Vec<u8>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

pub(super) fn seal(lineage: &VolumeId, place: Place, compress: bool, data: &[u8]) -> io::Result<Sealed> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *key)?;
    let compressed = if compress { compress_well(data)? } else { None };
    let (codec, mut bytes) = compressed.map_or_else(
        || {
            let mut raw = Vec::with_capacity(data.len() + TAG_LEN);
            raw.extend_from_slice(data);
            (Codec::Raw, raw)
        },
        |compressed| (Codec::Zstd, compressed),
    );
    let associated = place.associated(lineage);
    let tag = cipher(&key)
        .encrypt_inout_detached(&Nonce::default(), &associated, InOutBuf::from(&mut bytes[..]))
        .expect("a blob is shorter than 64 GiB");
    bytes.extend_from_slice(&tag);
    Ok(Sealed { key, codec, bytes })
}

/// Decrypts `sealed` in place. `None`: it was not sealed with this key for this place.
pub(super) fn decrypt<'a>(
    lineage: &VolumeId,
    place: Place,
    key: &BlobKey,
    sealed: &'a mut [u8],
) -> Option<&'a mut [u8]> {
    let (payload, tag) = sealed.split_last_chunk_mut::<TAG_LEN>()?;
    let associated = place.associated(lineage);
    let tag = Tag::from(*tag);
    cipher(key).decrypt_inout_detached(&Nonce::default(), &associated, InOutBuf::from(&mut *payload), &tag).ok()?;
    Some(payload)
}

/// Fills `data` exactly. `false`: it does not come to that.
pub fn decompress(payload: &[u8], data: &mut [u8]) -> io::Result<bool> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(zstd::bulk::Decompressor::new()?),
        };
        Ok(decompressor.decompress_to_buffer(payload, data).is_ok_and(|len| len == data.len()))
    })
}

/// `None`: it did not become small enough.
fn compress_well(data: &[u8]) -> io::Result<Option<Vec<u8>>> {
    COMPRESSOR.with_borrow_mut(|slot| {
        let (compressor, buffer) = match slot {
            Some(used) => used,
            None => slot.insert((zstd::bulk::Compressor::new(ZSTD_LEVEL)?, Vec::with_capacity(CHUNK_SIZE))),
        };
        let limit = data.len() - data.len() / WORTH_IT;
        buffer.resize(limit, 0);
        // It fails where the result does not fit, and for no other reason that a plain buffer can have.
        let Ok(len) = compressor.compress_to_buffer(data, &mut buffer[..]) else { return Ok(None) };
        let mut compressed = Vec::with_capacity(len + TAG_LEN);
        compressed.extend_from_slice(&buffer[..len]);
        Ok(Some(compressed))
    })
}

fn cipher(key: &BlobKey) -> Aes256GcmSiv {
    Aes256GcmSiv::new((&**key).into())
}
