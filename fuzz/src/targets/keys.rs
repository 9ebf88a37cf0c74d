//! Keys for what must be sealed or encrypted, from locked memory that is used until it is full: to make it takes longer than
//! most decoders do.

use std::cell::RefCell;

use envol::format::Geometry;
use envol::secret::{LockedArea, SealingKey, SecretError, VolumeKey};
use envol::volume::VolumeKeys;

thread_local! {
    static KEY: RefCell<VolumeKey> = RefCell::new(volume_key());
}

fn volume_key() -> VolumeKey {
    let area = LockedArea::new().expect("locked memory");
    VolumeKey::new(area.place(std::array::from_fn(|at| u8::try_from(at).unwrap_or(0))).expect("room"))
}

fn derived<T>(derive: impl Fn(&VolumeKey) -> Result<T, SecretError>) -> T {
    KEY.with_borrow_mut(|key| match derive(key) {
        Err(SecretError::AreaFull { .. }) => {
            *key = volume_key();
            derive(key).expect("an area with room")
        }
        derived => derived.expect("a key"),
    })
}

pub(super) fn sealing_key() -> SealingKey {
    derived(VolumeKey::sealing_key)
}

pub(super) fn volume_keys(geometry: Geometry) -> VolumeKeys {
    derived(|key| VolumeKeys::derive(key, geometry))
}
