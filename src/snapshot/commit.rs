//! The commit: everything that a snapshot refers to is there, then its manifest, then its marker goes.

use std::collections::HashSet;

use crate::format::SnapshotId;
use crate::secret::SealingKey;

use super::attempt::own_packs;
use super::root::LeafRef;
use super::upload::marker_gone;
use super::{PackSet, SnapshotError, SnapshotHeader, SnapshotStore, SnapshotWriter, manifest, marker, pack};

impl SnapshotWriter {
    /// Commits. Chunks that were not mentioned stay as the base has them.
    ///
    /// # Errors
    /// What became of the upload; nothing is committed then, and it can be taken up again.
    pub fn finish(self) -> Result<SnapshotHeader, SnapshotError> {
        self.upload.check()?;
        let finished = self.close_all()?;
        self.upload.finish()?;

        let mut leaves: Vec<LeafRef> = Vec::new();
        if let Some(base) = &self.base {
            leaves.extend(base.leaves().iter().filter(|leaf| !finished.leaves.contains_key(&leaf.number)).cloned());
        }
        leaves.extend(finished.leaves.into_values().flatten());
        leaves.sort_unstable_by_key(|leaf| leaf.number);

        let store = self.upload.store();
        let packs = packs_of(&leaves);
        let id = &self.draft.snapshot_id;
        let there = own_packs(store, id)?;
        let stored_bytes = there.iter().filter(|(number, _)| packs.contains(id, *number)).map(|(_, size)| size).sum();
        let header = SnapshotHeader {
            base_snapshot_id: self.base.as_ref().map(|base| base.header().id().clone()),
            full_bytes: leaves.iter().map(|leaf| leaf.data_bytes).sum(),
            incremental_bytes: finished.incremental_bytes,
            stored_bytes,
            packs,
            draft: self.draft.clone(),
        };
        commit(store, &header, &leaves, self.upload.key())?;

        // Of earlier attempts, and not used: gc would find them too.
        for (number, _) in there.iter().filter(|(number, _)| !header.packs.contains(id, *number)) {
            let _ = store.remove(&pack::object_name(id, *number));
        }
        Ok(header)
    }
}

pub(super) fn packs_of(leaves: &[LeafRef]) -> PackSet {
    let mut packs = PackSet::default();
    for leaf in leaves {
        packs.extend(&leaf.packs);
    }
    packs
}

pub(super) fn refuse_committed(store: &SnapshotStore, id: &SnapshotId) -> Result<(), SnapshotError> {
    let there = store.size(&manifest::object_name(id))?.is_some();
    if there { Err(SnapshotError::Refused(format!("there is a snapshot {id} already"))) } else { Ok(()) }
}

/// Its own packs are stored, and a marker stands for those of others.
pub(super) fn commit(
    store: &SnapshotStore,
    header: &SnapshotHeader,
    leaves: &[LeafRef],
    key: &SealingKey,
) -> Result<(), SnapshotError> {
    let id = header.id();
    let (name, marker_name) = (manifest::object_name(id), marker::object_name(id));
    let object = manifest::encode(header, leaves, key)?;
    if store.size(&marker_name)?.is_none() || !own_packs_are_there(store, header)? {
        return Err(marker_gone(id));
    }
    if !store.create(&name, object)? {
        return Err(SnapshotError::Refused(format!("there is another snapshot {id} already")));
    }
    // Somebody who took the upload for dead may have begun before the manifest was there.
    if !own_packs_are_there(store, header)? {
        store.remove(&name)?;
        return Err(marker_gone(id));
    }
    // It is committed; a marker that stays is cleared away by gc.
    let _ = store.remove(&marker_name);
    Ok(())
}

fn own_packs_are_there(store: &SnapshotStore, header: &SnapshotHeader) -> Result<bool, SnapshotError> {
    let there: HashSet<u32> = own_packs(store, header.id())?.into_iter().map(|(number, _)| number).collect();
    let mut own = header.packs.ranges(header.id()).iter().flat_map(|[first, last]| *first..=*last);
    Ok(own.all(|number| there.contains(&number)))
}
