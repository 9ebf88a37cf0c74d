//! The header of one volume, from two copies on the store to a fact, and back.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use kms_client::{EncryptionContext, KmsKeyArn, WrappedKey};

use super::binding::Binding;
use super::error::CatalogError;
use super::grant::VolumeGrant;
use super::paths::VolumePaths;
use super::peek::peek;
use crate::format::{
    Cause, Geometry, HeaderCopy, Headers, LIFECYCLE_BLOCK_LEN, LifecycleRecord, SUPERBLOCK_LEN, Superblock, VolumeId,
};
use crate::secret::HeaderMacKey;
use crate::store::Store;

/// A header that is whole and this volume's by name. Only the volume key can prove the rest.
pub struct ReadHeader {
    headers: Headers,
    id: VolumeId,
    grant: Option<VolumeGrant>,
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
    let headers = Headers::parse(&a, &b).map_err(|error| not_ours(error.to_string()))?;
    let newest = headers.newest();
    if newest.volume_id() != id {
        return Err(not_ours(format!("its image holds the header of volume {}", newest.volume_id())));
    }
    if let Some(record) = read_lifecycle(store, id)? {
        return Err(terminal(id, &record));
    }
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
    Ok(ReadHeader { headers, id: id.clone(), grant: binding.and_then(|binding| binding.grant) })
}

/// `None`: this volume was never terminal.
fn read_lifecycle(store: &dyn Store, id: &VolumeId) -> Result<Option<LifecycleRecord>, CatalogError> {
    let [a, b] = HeaderCopy::BOTH.map(|copy| read_copy(store, copy.lifecycle_offset(), LIFECYCLE_BLOCK_LEN));
    LifecycleRecord::of_copies(&a, &b, id)
        .map_err(|error| CatalogError::NotOurs { id: id.clone(), problem: error.to_string() })
}

/// The error that says so, if the volume is terminal; without its lock, so that it works while the daemon still ends.
pub fn read_terminal(paths: &VolumePaths) -> Option<CatalogError> {
    let record = peek(&paths.backing()).ok()?.lifecycle.ok()??;
    (record.volume_id == *paths.id()).then(|| terminal(paths.id(), &record))
}

/// Needs no key, since there is none any more. Durable in both copies on return.
pub fn write_terminal_record(store: &dyn Store, record: &LifecycleRecord) -> io::Result<()> {
    let block = record.encode();
    let [a, b] = HeaderCopy::BOTH.map(|copy| store.write_header(copy.lifecycle_offset(), &block[..]));
    // One copy is enough to be believed.
    a.or(b)
}

fn terminal(id: &VolumeId, record: &LifecycleRecord) -> CatalogError {
    CatalogError::Terminal {
        id: id.clone(),
        cause: record.cause.to_string(),
        detail: record.detail.clone(),
        at: Timestamp::from_millisecond(record.at_ms).unwrap_or(Timestamp::UNIX_EPOCH),
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
        let id = self.id;
        let verified = self
            .headers
            .verify(|covered, mac| mac_key.verify(&[covered], mac))
            .map_err(|error| CatalogError::NotOurs { id: id.clone(), problem: error.to_string() })?;
        if let Some(repair) = &verified.repair {
            warn(&format!("volume {id}: {repair}"));
            store
                .write_header(repair.copy.superblock_offset(), &repair.bytes[..])
                .map_err(|source| CatalogError::Io { action: format!("repair the header of volume {id}"), source })?;
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

/// The record of a revocation, ready to be written.
pub fn terminal_record(
    id: &VolumeId,
    cause: Cause,
    at: Timestamp,
    detail: &str,
    request_id: Option<&str>,
) -> LifecycleRecord {
    LifecycleRecord {
        sequence: 1,
        volume_id: id.clone(),
        cause,
        at_ms: at.as_millisecond(),
        request_id: request_id.unwrap_or_default().to_owned(),
        detail: detail.to_owned(),
    }
}
