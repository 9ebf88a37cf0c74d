//! Increments with deletions between them, copies and shares, against a model of each snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::{HeaderDraft, SnapshotError, SnapshotKind, SnapshotStore, SnapshotWriter, copy, reseal, verify};
use super::format::{draft, sealing_key};
use super::made::{
    CHUNKS, Model, Random, SIZE_BYTES, begin, full, id, in_memory, nobody_lives, objects, options, put, read, reader,
};

/// A few chunks change, a few become holes; in half of the leaves all others are mentioned too.
fn change(random: &mut Random, writer: &SnapshotWriter, model: &mut Model) {
    let mut mentioned = BTreeMap::new();
    for _ in 0..random.below(60) {
        mentioned.insert(random.below(CHUNKS), random.below(4) == 0);
    }
    for (chunk, hole) in &mentioned {
        if *hole {
            model.remove(chunk);
            writer.hole(*chunk).unwrap();
        } else {
            let content = random.chunk();
            put(writer, *chunk, &content).unwrap();
            model.insert(*chunk, content);
        }
    }
    for leaf in 0..CHUNKS / 1024 {
        if random.below(2) == 0 {
            let rest = (leaf * 1024..(leaf + 1) * 1024).filter(|chunk| !mentioned.contains_key(chunk));
            rest.for_each(|chunk| writer.keep(chunk).unwrap());
        }
    }
}

fn chain(seed: u64) {
    let mut random = Random(seed);
    let store = in_memory();
    let mut models: BTreeMap<String, (u8, Model)> = BTreeMap::new();
    let mut model: Model = (0..200).map(|_| (random.below(CHUNKS), random.chunk())).collect();
    full(&store, "snap-0", 1, &model);
    models.insert("snap-0".to_owned(), (1, model.clone()));
    for step in 1..=5u8 {
        let name = format!("snap-{step}");
        let base = reader(&store, &format!("snap-{}", step - 1), step);
        let writer = begin(&store, draft(&name, SIZE_BYTES), step + 1, Some(base)).unwrap();
        change(&mut random, &writer, &mut model);
        // Sometimes the base itself goes while the increment is being made.
        let gone = random.below(u64::from(step));
        if models.remove(&format!("snap-{gone}")).is_some() {
            store.delete(&id(&format!("snap-{gone}")), &nobody_lives).unwrap();
            store.gc(&|_| true, false).unwrap();
        }
        if random.below(3) == 0 && models.remove(&format!("snap-{}", step - 1)).is_some() {
            store.delete(&id(&format!("snap-{}", step - 1)), &nobody_lives).unwrap();
        }
        writer.finish().unwrap();
        models.insert(name, (step + 1, model.clone()));
        store.gc(&nobody_lives, false).unwrap();
        for (name, (key, model)) in &models {
            assert!(read(&reader(&store, name, *key)).unwrap() == *model, "{name} after step {step} of {seed}");
        }
    }
    for name in models.keys() {
        store.delete(&id(name), &nobody_lives).unwrap();
    }
    assert!(objects(&store).is_empty(), "{:?}", objects(&store));
}

#[test]
fn each_snapshot_of_a_chain_reads_as_its_model_whatever_is_deleted() {
    (1..=6).for_each(chain);
}

fn copied(text: &str, kind: SnapshotKind) -> HeaderDraft {
    HeaderDraft { kind, source_snapshot_id: Some(id("snap-1")), ..draft(text, SIZE_BYTES) }
}

fn two_snapshots(store: &Arc<SnapshotStore>) -> (Model, Model) {
    let mut random = Random(5);
    let first: Model = (0..100).map(|_| (random.below(CHUNKS), random.chunk())).collect();
    full(store, "snap-1", 1, &first);
    let mut second = first.clone();
    let writer = begin(store, draft("snap-2", SIZE_BYTES), 2, Some(reader(store, "snap-1", 1))).unwrap();
    change(&mut random, &writer, &mut second);
    writer.finish().unwrap();
    (first, second)
}

#[test]
fn a_share_moves_no_chunk_and_outlives_its_source() {
    let store = in_memory();
    let (first, _) = two_snapshots(&store);
    let packs = objects(&store).iter().filter(|name| name.starts_with("packs/")).count();
    let share = copied("snap-3", SnapshotKind::Share);
    let header = reseal(&reader(&store, "snap-1", 1), share.clone(), sealing_key(3), options()).unwrap();
    assert_eq!((header.stored_bytes, header.incremental_bytes), (0, 0));
    let again = reseal(&reader(&store, "snap-1", 1), share, sealing_key(3), options());
    assert!(matches!(again, Err(SnapshotError::Refused(_))));
    assert_eq!(objects(&store).iter().filter(|name| name.starts_with("packs/")).count(), packs);
    for name in ["snap-1", "snap-2"] {
        store.delete(&id(name), &nobody_lives).unwrap();
    }
    store.gc(&nobody_lives, false).unwrap();
    assert!(read(&reader(&store, "snap-3", 3)).unwrap() == first);
}

#[test]
fn a_copy_into_another_store_is_whole_and_increments_need_only_what_is_new() {
    let (from, to) = (in_memory(), in_memory());
    let (first, second) = two_snapshots(&from);
    let told = Mutex::new(0);
    let copy_of = |source: &str, key, name: &str, base| {
        let source = reader(&from, source, key);
        let told = |progress: super::super::Progress| *told.lock().unwrap() = progress.sealed_bytes;
        copy(&source, copied(name, SnapshotKind::Copy), sealing_key(9), Arc::clone(&to), base, options(), &told)
    };
    let header = copy_of("snap-1", 1, "snap-3", None).unwrap();
    assert_eq!(header.incremental_bytes, header.full_bytes);
    assert_eq!(*told.lock().unwrap(), header.full_bytes);
    let base = SnapshotReaderOf(&to).open("snap-3");
    let header = copy_of("snap-2", 2, "snap-4", Some(base)).unwrap();
    assert!(header.incremental_bytes < header.full_bytes);
    assert!(read(&reader(&to, "snap-3", 9)).unwrap() == first);
    assert!(read(&reader(&to, "snap-4", 9)).unwrap() == second);
    let copied: Vec<_> = objects(&to).into_iter().filter(|name| name.starts_with("packs/snap-1")).collect();
    assert!(copied.is_empty(), "it does not need the other store: {copied:?}");
}

struct SnapshotReaderOf<'a>(&'a Arc<SnapshotStore>);

impl SnapshotReaderOf<'_> {
    fn open(&self, name: &str) -> super::super::SnapshotReader {
        reader(self.0, name, 9)
    }
}

#[test]
fn verify_reads_all_and_names_what_is_missing() {
    let store = in_memory();
    let (first, _) = two_snapshots(&store);
    let bytes = AtomicU64::new(0);
    let count = |len| {
        bytes.fetch_add(len, Ordering::Relaxed);
    };
    let never = AtomicBool::new(false);
    verify(&reader(&store, "snap-1", 1), &count, &never).unwrap();
    assert_eq!(bytes.into_inner(), first.values().map(|(_, data)| data.len() as u64).sum::<u64>());
    let cancelled = AtomicBool::new(true);
    let second = reader(&store, "snap-2", 2);
    assert!(matches!(verify(&second, &|_| (), &cancelled), Err(SnapshotError::Cancelled)));
    store.remove("packs/snap-1/00000001").unwrap();
    let error = verify(&second, &|_| (), &never).unwrap_err().to_string();
    assert!(
        error.contains("snap-2") && error.contains("packs/snap-1/00000001") && error.contains("missing"),
        "{error}"
    );
}

#[test]
fn a_base_that_was_deleted_before_the_marker_was_there_is_no_base() {
    let store = in_memory();
    two_snapshots(&store);
    let base = reader(&store, "snap-1", 1);
    store.delete(&id("snap-1"), &nobody_lives).unwrap();
    let refused = begin(&store, draft("snap-3", SIZE_BYTES), 3, Some(base));
    assert!(matches!(refused, Err(SnapshotError::NoSuchSnapshot(gone)) if gone == id("snap-1")));
    let larger = begin(&store, draft("snap-3", SIZE_BYTES / 2), 3, Some(reader(&store, "snap-2", 2)));
    assert!(matches!(larger, Err(SnapshotError::Refused(_))));
}

#[test]
fn what_is_being_made_or_cannot_be_read_holds_up_deletion() {
    let store = in_memory();
    let writer = begin(&store, draft("snap-1", SIZE_BYTES), 1, None).unwrap();
    put(&writer, 1, &(1, vec![1; 4096])).unwrap();
    assert!(matches!(store.delete(&id("snap-1"), &|_| true), Err(SnapshotError::Refused(_))));
    assert!(matches!(store.delete(&id("snap-9"), &nobody_lives), Err(SnapshotError::NoSuchSnapshot(_))));
    writer.finish().unwrap();
    store.overwrite("snapshots/snap-2", b"nonsense".to_vec()).unwrap();
    assert!(matches!(store.gc(&nobody_lives, false), Err(SnapshotError::Refused(_))));
    assert!(matches!(store.delete(&id("snap-1"), &nobody_lives), Err(SnapshotError::Refused(_))));
    store.delete(&id("snap-2"), &nobody_lives).unwrap();
    let planned = store.gc(&nobody_lives, true).unwrap();
    assert_eq!(planned, super::super::Freed::default());
    store.delete(&id("snap-1"), &nobody_lives).unwrap();
    assert!(objects(&store).is_empty());
}
