//! Every other key from the volume key: HKDF-SHA-512 (RFC 5869) without salt, one label for each use.

use hkdf::Hkdf;
use sha2::Sha512;

/// The XTS key of one 1 TiB region; the region's number follows, 32-bit little-endian.
const XTS_REGION: &[u8] = b"envol/v1/xts-region";
/// The key that authenticates the header.
const HEADER_MAC: &[u8] = b"envol/v1/header-mac";

/// The key of the hashes by which a changed chunk is told from an unchanged one.
const CHANGE_DETECTION: &[u8] = b"envol/v1/change-detection";
/// From a snapshot's own key: what seals its manifest.
const SNAPSHOT_SEAL: &[u8] = b"envol/v1/snapshot-seal";

pub(super) fn xts_region(volume_key: &[u8; 64], region: u32, key: &mut [u8; 64]) {
    expand(volume_key, &[XTS_REGION, &region.to_le_bytes()], key);
}

pub(super) fn header_mac(volume_key: &[u8; 64], key: &mut [u8; 64]) {
    expand(volume_key, &[HEADER_MAC], key);
}

pub(super) fn change_detection(volume_key: &[u8; 64], key: &mut [u8; 32]) {
    expand(volume_key, &[CHANGE_DETECTION], key);
}

pub(super) fn snapshot_seal(snapshot_key: &[u8; 64], key: &mut [u8; 32]) {
    expand(snapshot_key, &[SNAPSHOT_SEAL], key);
}

fn expand(volume_key: &[u8; 64], info: &[&[u8]], key: &mut [u8]) {
    Hkdf::<Sha512>::new(None, volume_key)
        .expand_multi_info(info, key)
        .expect("HKDF-SHA-512 gives up to 255 times 64 bytes");
}
