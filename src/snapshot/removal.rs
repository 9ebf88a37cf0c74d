//! Deletion of snapshots, and of what nothing refers to.
//!
//! Needs no key: every header says which packs its snapshot refers to. An upload that lives keeps its own packs, and
//! those of its base. Packs are listed first, then markers, then manifests: whatever becomes part of a snapshot
//! meanwhile is seen in one of the three.

use std::collections::BTreeSet;

use crate::format::SnapshotId;

use super::{PackSet, SnapshotError, SnapshotStore, UploadMarker, manifest, marker, pack};

/// What was removed, or with `dry_run` would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    pub bytes: u64,
    pub objects: u64,
}

struct Pack {
    origin: SnapshotId,
    number: u32,
    size: u64,
}

/// Everything that must stay.
struct Needed {
    packs: PackSet,
    /// Every pack of these, whatever its number: they are still being made.
    uploading: BTreeSet<SnapshotId>,
}

impl Needed {
    fn contains(&self, pack: &Pack) -> bool {
        self.uploading.contains(&pack.origin) || self.packs.contains(&pack.origin, pack.number)
    }
}

impl SnapshotStore {
    /// Its manifest first; then what no other snapshot refers to. A repeat after a kill finishes. It takes an upload that
    /// was interrupted, too.
    ///
    /// # Errors
    /// [`SnapshotError::NoSuchSnapshot`]; [`SnapshotError::Refused`] while it is being made, or while another manifest
    /// cannot be read: nobody knows what that one refers to.
    pub fn delete(&self, id: &SnapshotId, live: &dyn Fn(&UploadMarker) -> bool) -> Result<Freed, SnapshotError> {
        let name = manifest::object_name(id);
        let mut freed = Freed::default();
        let marker = self.marker(id)?;
        if let Some(size) = self.size(&name)? {
            self.refuse_unreadable(Some(id))?;
            self.remove(&name)?;
            self.sync_directory("snapshots")?;
            freed.add(size);
        } else if let Some(marker) = &marker
            && live(marker)
        {
            return Err(SnapshotError::Refused(format!("snapshot {id} is being made just now")));
        }
        let packs = self.packs()?;
        if marker.is_some() {
            self.remove(&marker::object_name(id))?;
        }
        // Whoever only stopped, and may continue, keeps what it has: that is for gc.
        let needed = self.needed(&|_| true)?;
        for pack in packs.iter().filter(|pack| !needed.contains(pack)) {
            self.remove_pack(pack)?;
            freed.add(pack.size);
        }
        self.remove_empty_directories(&packs);
        if freed.objects == 0 && marker.is_none() { Err(SnapshotError::NoSuchSnapshot(id.clone())) } else { Ok(freed) }
    }

    /// Removes what nothing refers to: uploads that nobody will continue, and what a killed delete or create left.
    ///
    /// # Errors
    /// [`SnapshotError::Refused`] while a manifest cannot be read: nobody knows what it refers to.
    pub fn gc(&self, live: &dyn Fn(&UploadMarker) -> bool, dry_run: bool) -> Result<Freed, SnapshotError> {
        let packs = self.packs()?;
        let markers = self.markers()?;
        self.refuse_unreadable(None)?;
        let mut freed = Freed::default();
        for marker in markers.iter().filter(|marker| !live(marker)) {
            if !dry_run {
                // Before its packs: an upload that lives after all sees that it is gone, and does not commit.
                self.remove(&marker::object_name(marker.snapshot_id()))?;
            }
            freed.objects += 1;
        }
        let needed = self.needed(live)?;
        for pack in packs.iter().filter(|pack| !needed.contains(pack)) {
            if !dry_run {
                self.remove_pack(pack)?;
            }
            freed.add(pack.size);
        }
        if !dry_run {
            self.remove_empty_directories(&packs);
        }
        let staged = self.remove_staged(&needed.uploading, dry_run)?;
        Ok(Freed { bytes: freed.bytes + staged.bytes, objects: freed.objects + staged.objects })
    }

    fn packs(&self) -> Result<Vec<Pack>, SnapshotError> {
        let objects = self.list("packs")?;
        let parse = |object: &object_store::ObjectMeta| {
            let parts: Vec<String> = object.location.parts().map(|part| part.as_ref().to_owned()).collect();
            let [_, origin, number] = &parts[..] else { return None };
            Some(Pack { origin: origin.parse().ok()?, number: pack::parse_number(number)?, size: object.size })
        };
        Ok(objects.iter().filter_map(parse).collect())
    }

    /// Of the markers as they are now, and after them the manifests.
    fn needed(&self, live: &dyn Fn(&UploadMarker) -> bool) -> Result<Needed, SnapshotError> {
        let markers = self.markers()?;
        let listing = self.headers()?;
        if let Some(error) = listing.unreadable.first() {
            return Err(cannot_tell(error));
        }
        let mut needed = Needed { packs: PackSet::default(), uploading: BTreeSet::new() };
        for header in &listing.headers {
            needed.packs.extend(&header.packs);
        }
        for marker in markers.iter().filter(|marker| live(marker)) {
            needed.packs.extend(&marker.base_packs);
            needed.uploading.insert(marker.snapshot_id().clone());
        }
        Ok(needed)
    }

    fn refuse_unreadable(&self, but: Option<&SnapshotId>) -> Result<(), SnapshotError> {
        let unreadable = self.headers()?.unreadable;
        let others = unreadable.iter().find(|error| match error {
            SnapshotError::Damaged { snapshot, .. } | SnapshotError::NewerFormat { snapshot, .. } => {
                but.is_none_or(|id| id.as_str() != snapshot)
            }
            _ => true,
        });
        others.map_or(Ok(()), |error| Err(cannot_tell(error)))
    }

    fn remove_pack(&self, pack: &Pack) -> Result<(), SnapshotError> {
        self.remove(&pack::object_name(&pack.origin, pack.number))
    }

    /// In a directory; an object store has none.
    fn remove_empty_directories(&self, packs: &[Pack]) {
        let Some(directory) = &self.directory else { return };
        for origin in packs.iter().map(|pack| pack.origin.as_str()).collect::<BTreeSet<_>>() {
            // Refused, and rightly, where something is left.
            let _ = std::fs::remove_dir(directory.join("packs").join(origin));
        }
    }

    /// Files that a killed process was writing: `NAME#N`, and never seen as objects.
    fn remove_staged(&self, uploading: &BTreeSet<SnapshotId>, dry_run: bool) -> Result<Freed, SnapshotError> {
        let mut freed = Freed::default();
        let Some(directory) = &self.directory else { return Ok(freed) };
        let mut folders = vec![directory.join("snapshots"), directory.join("uploads")];
        for entry in std::fs::read_dir(directory.join("packs")).into_iter().flatten().flatten() {
            let lives = entry.file_name().to_str().is_some_and(|name| uploading.iter().any(|id| id.as_str() == name));
            if !lives {
                folders.push(entry.path());
            }
        }
        for folder in folders {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let staged = name.to_str().and_then(|name| name.rsplit_once('#'));
                let Some((of, number)) = staged else { continue };
                let lives = uploading.iter().any(|id| id.as_str() == of);
                if lives || number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                    continue;
                }
                freed.add(entry.metadata().map_or(0, |metadata| metadata.len()));
                if !dry_run {
                    std::fs::remove_file(entry.path())
                        .map_err(|error| SnapshotError::host("remove a file that was half written", error))?;
                }
            }
            if !dry_run && folder.parent() == Some(&directory.join("packs")) {
                let _ = std::fs::remove_dir(&folder);
            }
        }
        Ok(freed)
    }
}

impl Freed {
    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.objects += 1;
    }
}

fn cannot_tell(error: &SnapshotError) -> SnapshotError {
    SnapshotError::Refused(format!("nothing is removed while nobody can tell what is still needed: {error}"))
}
