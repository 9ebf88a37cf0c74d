//! What is read is what was written, through increments too; and damage is named.

use std::sync::Arc;
use std::thread;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::super::{SnapshotError, SnapshotReader, SnapshotStore, manifest};
use super::format::{draft, sealing_key};
use super::made::{CHUNKS, Model, Random, SIZE_BYTES, begin, full, hash, id, in_memory, objects, put, read, reader};

fn random_model(random: &mut Random, chunks: u64) -> Model {
    (0..chunks).map(|_| (random.below(CHUNKS), random.chunk())).collect()
}

#[test]
fn a_snapshot_reads_as_it_was_written_by_several_threads() {
    let store = in_memory();
    let model = random_model(&mut Random(7), 300);
    let writer = begin(&store, draft("snap-1", SIZE_BYTES), 1, None).unwrap();
    let parts: Vec<Vec<_>> = (0..4).map(|part| model.iter().skip(part).step_by(4).collect()).collect();
    thread::scope(|scope| {
        for part in &parts {
            scope.spawn(|| part.iter().for_each(|(chunk, content)| put(&writer, **chunk, content).unwrap()));
        }
    });
    let header = writer.finish().unwrap();
    let reader = reader(&store, "snap-1", 1);
    assert!(read(&reader).unwrap() == model);
    let bytes: u64 = model.values().map(|(_, data)| data.len() as u64).sum();
    assert_eq!((header.full_bytes, header.incremental_bytes), (bytes, bytes));
    assert_eq!(store.headers().unwrap().headers, [header]);
    assert!(objects(&store).iter().all(|name| !name.starts_with("uploads/")));
}

#[test]
fn an_empty_volume_has_a_snapshot_too() {
    let store = in_memory();
    let header = full(&store, "snap-1", 1, &Model::new());
    assert_eq!((header.full_bytes, objects(&store)), (0, vec!["snapshots/snap-1".to_owned()]));
    assert!(read(&reader(&store, "snap-1", 1)).unwrap().is_empty());
}

#[test]
fn an_increment_stores_what_changed_alone_and_leaves_leaves_as_they_are() {
    let store = in_memory();
    let mut model: Model = (0..CHUNKS).step_by(50).map(|chunk| (chunk, Random(chunk + 1).chunk())).collect();
    full(&store, "snap-1", 1, &model);
    let writer = begin(&store, draft("snap-2", SIZE_BYTES), 2, Some(reader(&store, "snap-1", 1))).unwrap();
    let fresh = Random(99).chunk();
    assert_eq!(writer.known(50).unwrap(), Some(hash(model[&50].0, &model[&50].1)));
    assert_eq!(writer.known(51).unwrap(), None);
    for chunk in 0..1024 {
        match chunk {
            50 => put(&writer, chunk, &fresh).unwrap(),
            100 => writer.hole(chunk).unwrap(),
            _ => writer.keep(chunk).unwrap(),
        }
    }
    assert!(matches!(writer.keep(0), Err(SnapshotError::Refused(_))), "its leaf is closed");
    // All of the second leaf as it is, the third not mentioned.
    (1024..2048).for_each(|chunk| writer.keep(chunk).unwrap());
    let header = writer.finish().unwrap();
    model.insert(50, fresh.clone());
    model.remove(&100);
    assert!(read(&reader(&store, "snap-2", 2)).unwrap() == model);
    assert_eq!(header.incremental_bytes, fresh.1.len() as u64);
    assert!(header.stored_bytes < 700_000, "{}", header.stored_bytes);
    assert_eq!(header.base_snapshot_id, Some(id("snap-1")));
    assert!(header.packs.contains(&id("snap-1"), 1) && header.packs.contains(&id("snap-2"), 1));
}

#[test]
fn a_chunk_is_given_once_and_with_its_blocks() {
    let store = in_memory();
    let writer = begin(&store, draft("snap-1", SIZE_BYTES), 1, None).unwrap();
    writer.hole(7).unwrap();
    assert!(matches!(writer.hole(7), Err(SnapshotError::Refused(_))));
    assert!(matches!(writer.put(8, hash(0, &[]), 3, &[0; 4096]), Err(SnapshotError::Refused(_))));
    assert!(matches!(writer.hole(CHUNKS), Err(SnapshotError::Refused(_))));
}

#[test]
fn no_byte_of_any_object_can_change_unnoticed() {
    let memory = Arc::new(InMemory::new());
    let store = Arc::new(SnapshotStore::from_objects(Arc::clone(&memory) as Arc<dyn ObjectStore>, None).unwrap());
    let model: Model =
        [(3, (1, vec![5; 4096])), (1030, (2, (0..4096u32).map(|i| (i * i).to_le_bytes()[1]).collect()))].into();
    let header = full(&store, "snap-1", 1, &model);
    let open =
        || SnapshotReader::open(Arc::clone(&store), &id("snap-1"), sealing_key(1)).and_then(|reader| read(&reader));
    let put_back = |name: &str, bytes: &[u8]| {
        store.block_on(memory.put(&Path::from(name), bytes.to_vec().into())).unwrap();
    };
    for name in objects(&store) {
        let whole = store.read(&name).unwrap().unwrap().to_vec();
        // Behind the last leaf lies the index, which is not for readers.
        let sealed = if name.starts_with("packs/") { whole.len() - 12 - index_len(&whole) } else { whole.len() };
        for position in (0..sealed).step_by(7).chain([sealed - 1]) {
            let mut edited = whole.clone();
            edited[position] ^= 4;
            put_back(&name, &edited);
            let error = open().err().unwrap_or_else(|| panic!("{name}: byte {position} went unnoticed"));
            assert!(error.to_string().contains("snap-1") && error.to_string().contains(&name), "{error}");
            put_back(&name, &whole[..position]);
            let error = open().expect_err("cut short");
            assert!(matches!(error, SnapshotError::Damaged { .. }), "{name} cut at {position}: {error}");
        }
        store.remove(&name).unwrap();
        let error = open().expect_err("missing").to_string();
        assert!(error.contains("snap-1"), "{error}");
        put_back(&name, &whole);
    }
    assert!(open().unwrap() == model);
    assert_eq!(store.header(&id("snap-1")).unwrap(), header);
}

fn index_len(pack: &[u8]) -> usize {
    let footer = pack.len() - 12;
    usize::try_from(u32::from_le_bytes(*pack[footer..].first_chunk().unwrap())).unwrap()
}

#[test]
fn two_chunks_cannot_change_places_nor_a_pack_be_another() {
    let memory = Arc::new(InMemory::new());
    let store = Arc::new(SnapshotStore::from_objects(Arc::clone(&memory) as Arc<dyn ObjectStore>, None).unwrap());
    let (mut one, mut other) = (vec![0; 4096], vec![0; 4096]);
    getrandom::fill(&mut one).unwrap();
    getrandom::fill(&mut other).unwrap();
    full(&store, "snap-1", 1, &[(3, (1, one)), (4, (1, other))].into());
    let name = "packs/snap-1/00000001";
    let mut pack = store.read(name).unwrap().unwrap().to_vec();
    let (first, second) = pack.split_at_mut(4112);
    first.swap_with_slice(&mut second[..4112]);
    store.block_on(memory.put(&Path::from(name), pack.into())).unwrap();
    let error = read(&reader(&store, "snap-1", 1)).unwrap_err().to_string();
    assert!(error.contains("packs/snap-1/00000001: chunk 3 does") || error.contains("chunk 4 does"), "{error}");
}

#[test]
fn a_manifest_that_cannot_be_read_hides_no_other() {
    let store = in_memory();
    full(&store, "snap-1", 1, &Model::new());
    store.overwrite(&manifest::object_name(&id("snap-2")), b"ENVOLSNP".to_vec()).unwrap();
    let listing = store.headers().unwrap();
    assert_eq!((listing.headers.len(), listing.unreadable.len()), (1, 1));
    assert!(matches!(store.header(&id("snap-3")), Err(SnapshotError::NoSuchSnapshot(_))));
    assert!(matches!(
        SnapshotReader::open(Arc::clone(&store), &id("snap-3"), sealing_key(1)),
        Err(SnapshotError::NoSuchSnapshot(_))
    ));
}
