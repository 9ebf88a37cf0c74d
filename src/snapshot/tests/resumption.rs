//! Uploads that end early, and are taken up again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use object_store::{ObjectStore, ObjectStoreExt};

use super::super::{SnapshotError, SnapshotStore, SnapshotWriter, pack};
use super::faulty::Faulty;
use super::format::{draft, sealing_key};
use super::made::{
    CHUNKS, Model, Random, SIZE_BYTES, begin, full, hash, id, in_memory, nobody_lives, objects, options, put, read,
    reader,
};

/// Incompressible and whole, so that packs fill.
fn large_chunk(seed: u64) -> (u128, Vec<u8>) {
    let mut random = Random(seed + 1);
    (u128::MAX, (0..512 * 1024 / 8).flat_map(|_| random.next().to_le_bytes()).collect())
}

fn model() -> Model {
    (0..300).map(|chunk| (chunk * 5, large_chunk(chunk))).collect()
}

/// All of the model, of what is stored nothing again; how many chunks were put.
fn take_up(store: &Arc<SnapshotStore>, model: &Model) -> u64 {
    let writer = begin(store, draft("snap-1", SIZE_BYTES), 1, None).unwrap();
    let mut stored = 0;
    for (chunk, content) in model {
        if writer.known(*chunk).unwrap() == Some(hash(content.0, &content.1)) {
            writer.keep(*chunk).unwrap();
        } else {
            put(&writer, *chunk, content).unwrap();
            stored += 1;
        }
    }
    assert_eq!(writer.progress().sealed_bytes, stored * 512 * 1024);
    writer.finish().unwrap();
    stored
}

#[test]
fn what_an_interrupted_upload_has_stored_is_not_stored_again() {
    let (store, model) = (in_memory(), model());
    let writer = begin(&store, draft("snap-1", SIZE_BYTES), 1, None).unwrap();
    for (chunk, content) in model.iter().take(200) {
        put(&writer, *chunk, content).unwrap();
    }
    drop(writer);
    let marker = store.interrupted(&|_| true, &nobody_lives).unwrap().unwrap();
    assert_eq!(marker.snapshot_id(), &id("snap-1"));
    assert!(store.interrupted(&|_| true, &|_| true).unwrap().is_none());
    assert!(store.interrupted(&|_| false, &nobody_lives).unwrap().is_none());

    let stored = take_up(&store, &model);
    assert!((100..=300 - 63).contains(&stored), "{stored}");
    assert!(read(&reader(&store, "snap-1", 1)).unwrap() == model);
    assert!(store.interrupted(&|_| true, &nobody_lives).unwrap().is_none());
    let before = objects(&store);
    let freed = store.gc(&nobody_lives, false).unwrap();
    assert_eq!((freed.objects, objects(&store)), (0, before));
}

/// What was on its way when an attempt was called off gets there when it likes.
#[test]
fn a_pack_that_arrives_after_the_next_attempt_looked_is_in_nobodys_way() {
    let (store, model) = (in_memory(), model());
    let arrive = |number: u32| {
        let path = pack::object_name(&id("snap-1"), number).as_str().into();
        store.block_on(store.objects.put(&path, b"cut short".as_slice().into())).unwrap();
    };
    let begin = || begin(&store, draft("snap-1", SIZE_BYTES), 1, None).unwrap();
    drop(begin());
    drop(begin());
    let third = begin();
    // Of the first and the second: as many as are uploaded at a time.
    [1, 2, 3, 9, 10, 11].into_iter().for_each(arrive);
    model.iter().for_each(|(chunk, content)| put(&third, *chunk, content).unwrap());
    third.finish().unwrap();
    assert!(read(&reader(&store, "snap-1", 1)).unwrap() == model);
}

#[test]
fn a_chunk_that_changed_between_two_attempts_is_as_the_second_saw_it() {
    let (store, mut model) = (in_memory(), model());
    let writer = begin(&store, draft("snap-1", SIZE_BYTES), 1, None).unwrap();
    model.iter().for_each(|(chunk, content)| put(&writer, *chunk, content).unwrap());
    drop(writer);
    model.insert(0, large_chunk(1000));
    model.remove(&5);
    take_up(&store, &model);
    assert!(read(&reader(&store, "snap-1", 1)).unwrap() == model);
}

#[test]
fn a_put_that_fails_ends_the_upload_and_a_repeat_finishes_it() {
    let faulty = Arc::new(Faulty { puts_until_failure: AtomicU64::new(3), ..Faulty::default() });
    let store = Arc::new(SnapshotStore::from_objects(Arc::clone(&faulty) as Arc<dyn ObjectStore>, None).unwrap());
    let model = model();
    let writer = begin(&store, draft("snap-1", SIZE_BYTES), 1, None).unwrap();
    let failed = model.iter().try_for_each(|(chunk, content)| put(&writer, *chunk, content));
    let failed = failed.and_then(|()| writer.finish().map(drop)).unwrap_err();
    assert!(matches!(failed, SnapshotError::Store { .. }), "{failed}");
    assert!(failed.to_string().starts_with("cannot store packs/snap-1/"), "{failed}");
    assert!(store.headers().unwrap().headers.is_empty());
    assert!(take_up(&store, &model) < 300);
    assert!(read(&reader(&store, "snap-1", 1)).unwrap() == model);
}

/// What a whole upload comes to: the snapshot is there, or a repeat makes it, and nothing else is left.
fn fail_at(put_number: u64, failures_land: bool) -> bool {
    let faulty = Arc::new(Faulty { failures_land, ..Faulty::default() });
    let store = Arc::new(SnapshotStore::from_objects(Arc::clone(&faulty) as Arc<dyn ObjectStore>, None).unwrap());
    let mut model: Model = (0..10).map(|chunk| (chunk * 100, Random(chunk + 1).chunk())).collect();
    full(&store, "snap-0", 2, &model);
    faulty.puts_until_failure.store(put_number, Ordering::Relaxed);
    model.extend((1..80).map(|chunk| (chunk * 7, large_chunk(chunk))));
    let attempt = || {
        let writer = begin(&store, draft("snap-1", SIZE_BYTES), 1, Some(reader(&store, "snap-0", 2)))?;
        for (chunk, content) in &model {
            if writer.known(*chunk)? == Some(hash(content.0, &content.1)) {
                writer.keep(*chunk)?;
            } else {
                put(&writer, *chunk, content)?;
            }
        }
        writer.finish()
    };
    let failed = attempt().is_err();
    assert_eq!(failed, store.headers().unwrap().headers.len() == 1, "put {put_number}: it failed, or it is there");
    if failed {
        attempt().unwrap();
    }
    assert!(read(&reader(&store, "snap-1", 1)).unwrap() == model);
    let freed = store.gc(&nobody_lives, false).unwrap();
    assert_eq!(freed.objects, 0, "put {put_number}, landed: {failures_land}");
    assert!(objects(&store).iter().all(|name| !name.starts_with("uploads/")));
    failed
}

#[test]
fn an_upload_can_fail_at_any_put() {
    for failures_land in [false, true] {
        let failed: Vec<u64> = (1..8).filter(|put_number| fail_at(*put_number, failures_land)).collect();
        // The marker, two packs, the manifest; that one may have landed, which is found out.
        assert_eq!(failed, if failures_land { vec![1, 2, 3] } else { vec![1, 2, 3, 4] });
    }
}

#[test]
fn a_conditional_put_that_landed_and_says_it_exists_is_ours() {
    let faulty = Arc::new(Faulty { says_exists: true, ..Faulty::default() });
    let store = Arc::new(SnapshotStore::from_objects(faulty, None).unwrap());
    let writer = begin(&store, draft("snap-1", SIZE_BYTES), 1, None).unwrap();
    put(&writer, 3, &(1, vec![1; 4096])).unwrap();
    writer.finish().unwrap();
    assert_eq!(read(&reader(&store, "snap-1", 1)).unwrap().len(), 1);
    assert!(matches!(begin(&store, draft("snap-1", SIZE_BYTES), 1, None), Err(SnapshotError::Refused(_))));
}

#[test]
fn cancelled_is_quick_and_leaves_the_marker() {
    let store = in_memory();
    let mut options = options();
    options.cancelled = Arc::new(AtomicBool::new(false));
    let cancelled = Arc::clone(&options.cancelled);
    let writer =
        SnapshotWriter::begin(Arc::clone(&store), draft("snap-1", SIZE_BYTES), sealing_key(1), None, options).unwrap();
    writer.hole(0).unwrap();
    cancelled.store(true, Ordering::Relaxed);
    assert!(matches!(writer.hole(1), Err(SnapshotError::Cancelled)));
    assert!(matches!(writer.known(CHUNKS - 1), Err(SnapshotError::Cancelled)));
    assert!(matches!(writer.finish(), Err(SnapshotError::Cancelled)));
    assert_eq!(objects(&store), ["uploads/snap-1"]);
}

#[test]
fn an_upload_whose_marker_was_taken_away_does_not_commit() {
    let store = in_memory();
    let writer = begin(&store, draft("snap-1", SIZE_BYTES), 1, None).unwrap();
    put(&writer, 3, &(1, vec![1; 4096])).unwrap();
    store.gc(&nobody_lives, false).unwrap();
    assert!(matches!(writer.finish(), Err(SnapshotError::Refused(_))));
    assert!(store.headers().unwrap().headers.is_empty());
}
