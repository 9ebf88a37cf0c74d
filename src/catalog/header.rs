//! The header of one volume, from two copies on the store to a fact, and back.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use kms_client::{EncryptionContext, KmsKeyArn, WrappedKey};

use super::binding::Binding;
use super::error::CatalogError;
use super::grant::VolumeGrant;
use super::lifecycle::{Standing, standing};
use super::paths::VolumePaths;
use super::peek::peek;
use crate::format::{
    Geometry, Growth, HeaderCopy, Headers, LIFECYCLE_BLOCK_LEN, LifecycleRecord, SUPERBLOCK_LEN, Superblock,
    UnverifiedSuperblock, VolumeId,
};
use crate::secret::HeaderMacKey;
use crate::store::Store;

/// A header that is whole and this volume's by name. Only the volume key can prove the rest.
pub struct ReadHeader {
    headers: Headers,
    id: VolumeId,
    grant: Option<VolumeGrant>,
    recoverable_until: Option<Timestamp>,
}

/// A header that a holder of the volume key wrote, and the means to write it again.
pub struct UnlockedHeader {
    superblock: Superblock,
    write_order: [HeaderCopy; 2],
    mac_key: HeaderMacKey,
    store: Arc<dyn Store>,
}

/// Reads both copies, and refuses whatever can be refused without a key: a damaged or another volume's header, a
/// terminal volume, an image that was cut, a header that names another KMS key than the volume was created under.
pub fn read_header(store: &dyn Store, paths: &VolumePaths) -> Result<ReadHeader, CatalogError> {
    let id = paths.id();
    let not_ours = |problem: String| CatalogError::NotOurs { id: id.clone(), problem };
    let [a, b] = HeaderCopy::BOTH.map(|copy| read_copy(store, copy.superblock_offset(), SUPERBLOCK_LEN));
    let headers = Headers::parse(&a, &b).map_err(|error| CatalogError::header(id, &error))?;
    let newest = headers.newest();
    if newest.volume_id() != id {
        return Err(not_ours(format!("its image holds the header of volume {}", newest.volume_id())));
    }
    let record = read_lifecycle(store, id)?;
    let recoverable_until = match standing(record.as_ref(), newest, Timestamp::now()) {
        Standing::Available => None,
        Standing::RecoverableUntil(until) => Some(until),
        Standing::Terminal => return Err(terminal(id, record.as_ref())),
    };
    let binding = Binding::read(paths)?;
    if let Some(binding) = &binding {
        binding.check(paths, newest.kms_key())?;
    }
    let needed = newest.unproven().geometry.image_len_bytes();
    let found = store
        .len_bytes()
        .map_err(|source| CatalogError::Io { action: format!("find the length of the image of {id}"), source })?;
    if found < needed {
        return Err(not_ours(format!(
            "its image is {found} bytes long, but its header says {needed}: it was cut short"
        )));
    }
    let grant = binding.and_then(|binding| binding.bound(newest.kms_key())?.grant.clone());
    Ok(ReadHeader { headers, id: id.clone(), grant, recoverable_until })
}

/// `None`: this volume was never terminal.
fn read_lifecycle(store: &dyn Store, id: &VolumeId) -> Result<Option<LifecycleRecord>, CatalogError> {
    let [a, b] = HeaderCopy::BOTH.map(|copy| read_copy(store, copy.lifecycle_offset(), LIFECYCLE_BLOCK_LEN));
    LifecycleRecord::of_copies(&a, &b, id)
        .map_err(|error| CatalogError::NotOurs { id: id.clone(), problem: error.to_string() })
}

/// The error that says so, if the key of the volume was revoked while it was served; without its lock, so that it works
/// while the daemon still ends.
pub fn read_revoked(paths: &VolumePaths) -> Option<CatalogError> {
    let peek = peek(&paths.backing()).ok()?;
    let (header, record) = (peek.headers.ok()?, peek.lifecycle.ok()?);
    let newest = header.newest();
    match standing(record.as_ref(), newest, Timestamp::now()) {
        _ if newest.volume_id() != paths.id() => None,
        Standing::Available => None,
        Standing::RecoverableUntil(until) => Some(CatalogError::Recoverable { id: paths.id().clone(), until }),
        Standing::Terminal => Some(terminal(paths.id(), record.as_ref())),
    }
}

/// Needs no key, since there is none any more. Durable in both copies on return.
pub fn write_lifecycle(store: &dyn Store, record: &LifecycleRecord) -> io::Result<()> {
    write_lifecycle_block(store, &record.encode())
}

fn write_lifecycle_block(store: &dyn Store, block: &[u8; LIFECYCLE_BLOCK_LEN]) -> io::Result<()> {
    let [a, b] = HeaderCopy::BOTH.map(|copy| store.write_header(copy.lifecycle_offset(), &block[..]));
    // One copy is enough to be believed.
    a.or(b)
}

/// Overwrites the wrapped keys in both copies of the header: from then on no KMS key brings the volume back.
pub fn erase_keys(store: &dyn Store) -> io::Result<()> {
    let mut result = Ok(());
    for copy in HeaderCopy::BOTH {
        let found = UnverifiedSuperblock::parse(&read_copy(store, copy.superblock_offset(), SUPERBLOCK_LEN));
        // A copy that says nothing may still hold the keys.
        let bytes = found.map_or_else(|_| vec![0; SUPERBLOCK_LEN], |superblock| superblock.erased().to_vec());
        result = store.write_header(copy.superblock_offset(), &bytes).and(result);
    }
    result
}

pub(super) fn terminal(id: &VolumeId, record: Option<&LifecycleRecord>) -> CatalogError {
    let at = record.and_then(|record| Timestamp::from_millisecond(record.at_ms).ok());
    CatalogError::Terminal {
        id: id.clone(),
        cause: record.map_or_else(|| "erased".to_owned(), |record| record.cause.to_string()),
        detail: record.map_or_else(|| "its wrapped keys are overwritten".to_owned(), |record| record.detail.clone()),
        at: at.unwrap_or(Timestamp::UNIX_EPOCH),
    }
}

/// A copy that cannot be read is like one that is damaged: the other may serve.
fn read_copy(store: &dyn Store, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    match store.read_header(offset, &mut bytes) {
        Ok(()) => bytes,
        Err(error) => {
            tracing::warn!("the header copy at byte {offset} cannot be read: {error}");
            Vec::new()
        }
    }
}

impl ReadHeader {
    pub fn id(&self) -> &VolumeId {
        &self.id
    }

    pub fn kms_key(&self) -> &KmsKeyArn {
        self.headers.newest().kms_key()
    }

    pub fn wrapped_volume_key(&self) -> &WrappedKey {
        self.headers.newest().wrapped_volume_key()
    }

    /// What the volume key was wrapped with, if the header is right about its database.
    pub fn encryption_context(&self) -> EncryptionContext {
        let newest = self.headers.newest();
        newest.database_id().encryption_context(newest.volume_id())
    }

    /// Unproven, as all of it.
    pub fn geometry(&self) -> Geometry {
        self.headers.newest().unproven().geometry
    }

    /// Of a volume whose key was revoked, and whose policy is that it may come back until then.
    pub fn recoverable_until(&self) -> Option<Timestamp> {
        self.recoverable_until
    }

    /// Both copies. Nothing of them is proven.
    pub(super) fn headers(&self) -> &Headers {
        &self.headers
    }

    /// From beside the image, by which KMS may be asked.
    pub fn grant(&self) -> Option<&VolumeGrant> {
        self.grant.as_ref()
    }

    /// Proves the header, and mends a copy that is damaged or behind; `warn` hears of that.
    pub fn unlock(
        self,
        mac_key: HeaderMacKey,
        store: Arc<dyn Store>,
        warn: impl FnOnce(&str),
    ) -> Result<UnlockedHeader, CatalogError> {
        let (id, is_back) = (self.id, self.recoverable_until.is_some());
        let verified = self
            .headers
            .verify(|covered, mac| mac_key.verify(&[covered], mac))
            .map_err(|error| CatalogError::header(&id, &error))?;
        if let Some(repair) = &verified.repair {
            warn(&format!("volume {id}: {repair}"));
            store
                .write_header(repair.copy.superblock_offset(), &repair.bytes[..])
                .map_err(|source| CatalogError::Io { action: format!("repair the header of volume {id}"), source })?;
        }
        if is_back {
            write_lifecycle_block(&*store, &[0; LIFECYCLE_BLOCK_LEN])
                .map_err(|source| CatalogError::Io { action: format!("take volume {id} back into use"), source })?;
        }
        Ok(UnlockedHeader { write_order: verified.write_order(), superblock: verified.superblock, mac_key, store })
    }
}

impl UnlockedHeader {
    /// Of a volume that is being made. Nothing is written yet.
    pub(super) fn new(superblock: Superblock, mac_key: HeaderMacKey, store: Arc<dyn Store>) -> Self {
        Self { superblock, write_order: HeaderCopy::BOTH, mac_key, store }
    }

    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    pub fn geometry(&self) -> Geometry {
        self.superblock.geometry
    }

    /// Whether this is the key that the header is written under.
    pub fn is_under(&self, mac_key: &HeaderMacKey) -> bool {
        let said = self.superblock.volume_id.as_str().as_bytes();
        mac_key.verify(&[said], &self.mac_key.mac(&[said]))
    }

    /// The volume is larger from now on; its image is long enough already.
    pub fn grow(&mut self, growth: Growth) -> io::Result<()> {
        assert_eq!(self.geometry(), growth.from(), "a volume grows from its size");
        self.update(|superblock| superblock.geometry = growth.to())
    }

    /// Changes the header. Durable in both copies on return; cut short, one copy is whole, old or new.
    pub fn update(&mut self, change: impl FnOnce(&mut Superblock)) -> io::Result<()> {
        let mut superblock = self.superblock.clone();
        change(&mut superblock);
        superblock.sequence += 1;
        self.write(&superblock)?;
        self.superblock = superblock;
        Ok(())
    }

    pub(super) fn write(&self, superblock: &Superblock) -> io::Result<()> {
        let bytes = superblock.encode(|covered| self.mac_key.mac(&[covered])).map_err(io::Error::other)?;
        for copy in self.write_order {
            self.store.write_header(copy.superblock_offset(), &bytes[..])?;
        }
        Ok(())
    }
}
