//! What an interrupted upload of the same snapshot has stored: found by the indexes of its packs, and read again when needed.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use object_store::ObjectStore;

use crate::format::SnapshotId;
use crate::secret::SealingKey;

use super::entry::{ChunkEntry, leaf_of};
use super::store::read_range;
use super::{SnapshotError, SnapshotStore, pack};

/// Indexes read at a time.
const AT_A_TIME: usize = 8;
/// Most indexes are whole in this.
const FIRST_READ: u64 = 16 * 1024;

/// The packs alone are kept in memory, and which leaves they have chunks of: a large volume has millions of chunks.
#[derive(Default)]
pub(super) struct Attempt {
    packs: Vec<AttemptPack>,
    /// All numbers there are, readable or not.
    numbers: Vec<u32>,
}

struct AttemptPack {
    number: u32,
    size: u64,
    leaves: Vec<u64>,
}

impl Attempt {
    pub(super) fn find(store: &SnapshotStore, id: &SnapshotId, key: &SealingKey) -> Result<Self, SnapshotError> {
        let mut found = own_packs(store, id)?;
        found.sort_unstable();
        let reads = found.iter().map(|(number, size)| async move {
            let entries = read_index(&*store.objects, id, *number, *size, key).await?;
            let mut leaves: Vec<u64> = entries.iter().flatten().map(|entry| leaf_of(entry.chunk)).collect();
            leaves.sort_unstable();
            leaves.dedup();
            Ok::<_, SnapshotError>(AttemptPack { number: *number, size: *size, leaves })
        });
        let packs = store.block_on(futures_util::stream::iter(reads).buffered(AT_A_TIME).try_collect())?;
        Ok(Self { packs, numbers: found.iter().map(|(number, _)| *number).collect() })
    }

    pub(super) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// The chunks of one leaf; of a chunk that was stored twice the later one.
    pub(super) fn chunks(
        &self,
        store: &SnapshotStore,
        id: &Arc<SnapshotId>,
        key: &SealingKey,
        leaf: u64,
    ) -> Result<HashMap<u64, ChunkEntry>, SnapshotError> {
        let mut chunks = HashMap::new();
        for pack in self.packs.iter().filter(|pack| pack.leaves.binary_search(&leaf).is_ok()) {
            let entries = store.block_on(read_index(&*store.objects, id, pack.number, pack.size, key))?;
            let ours = entries.into_iter().flatten().filter(|entry| leaf_of(entry.chunk) == leaf);
            chunks.extend(ours.map(|entry| (entry.chunk, entry)));
        }
        Ok(chunks)
    }
}

/// Number and size of each pack that this snapshot has made.
pub(super) fn own_packs(store: &SnapshotStore, id: &SnapshotId) -> Result<Vec<(u32, u64)>, SnapshotError> {
    let objects = store.list(&format!("packs/{id}"))?;
    Ok(objects
        .iter()
        .filter_map(|object| Some((pack::parse_number(object.location.filename()?)?, object.size)))
        .collect())
}

/// `None`: it is not ours, or was cut short; nothing in it is used, and it goes when the snapshot is there.
async fn read_index(
    objects: &dyn ObjectStore,
    id: &SnapshotId,
    number: u32,
    size: u64,
    key: &SealingKey,
) -> Result<Option<Vec<ChunkEntry>>, SnapshotError> {
    let name = pack::object_name(id, number);
    let mut tail = read_range(objects, &name, size.saturating_sub(FIRST_READ)..size).await?.unwrap_or_default();
    let Some(len) = tail.len().checked_sub(pack::FOOTER_LEN).and_then(|at| pack::tail_len(&tail[at..])) else {
        return Ok(None);
    };
    if len as u64 > size {
        return Ok(None);
    }
    if len > tail.len() {
        tail = read_range(objects, &name, size - len as u64..size).await?.unwrap_or_default();
    }
    let Some(start) = tail.len().checked_sub(len) else { return Ok(None) };
    Ok(pack::decode_tail(id, number, &tail[start..], key))
}
