//! The change map against plain sets, over kills, boots and closings; and what it must not trust.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const CHUNKS: u64 = 200;
const BOOT: [u8; 16] = [1; 16];
const OTHER_BOOT: [u8; 16] = [2; 16];

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("changes")
    }

    fn open(&self, boot_id: [u8; 16]) -> ChangeMap {
        ChangeMap::open(&self.path(), CHUNKS, 7, boot_id).unwrap()
    }

    /// With a base, and chunk 5 marked since.
    fn based(&self) -> ChangeMap {
        let map = self.open(BOOT);
        map.begin_epoch();
        map.commit_epoch(&snapshot(1)).unwrap();
        map.mark(5);
        map
    }
}

fn snapshot(number: u32) -> SnapshotId {
    format!("snap-{number}").parse().unwrap()
}

fn set(words: &[u64]) -> BTreeSet<u64> {
    (0..)
        .zip(words)
        .flat_map(|(at, word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit))
        .collect()
}

/// The bits so far, looked at through an epoch of its own.
fn bits(map: &ChangeMap) -> BTreeSet<u64> {
    let words = map.begin_epoch();
    map.abandon_epoch();
    assert_eq!(words.len(), 4);
    set(&words)
}

fn is_trusted(map: &ChangeMap) -> bool {
    let trusted = map.base() == Some(snapshot(1));
    assert_eq!(bits(map), BTreeSet::from_iter(trusted.then_some(5)));
    assert!(trusted || map.base().is_none());
    trusted
}

#[test]
fn a_new_file_knows_nothing() {
    let place = Place::new();
    let map = place.open(BOOT);
    assert_eq!((map.base(), map.chunk_count()), (None, CHUNKS));
    assert_eq!(bits(&map), BTreeSet::new());
    assert!(map.commit_epoch(&snapshot(1)).is_err(), "there is no epoch");
}

#[test]
fn after_a_kill_it_is_trusted_under_the_same_boot_alone() {
    let place = Place::new();
    drop(place.based());
    assert!(is_trusted(&place.open(BOOT)));
    assert!(!is_trusted(&place.open(OTHER_BOOT)));
}

#[test]
fn closed_in_good_order_it_is_trusted_after_a_boot_and_only_once() {
    let place = Place::new();
    place.based().close().unwrap();
    assert!(is_trusted(&place.open(OTHER_BOOT)));
    // That was a kill.
    assert!(!is_trusted(&place.open(BOOT)));
}

#[test]
fn a_mark_after_closing_takes_the_closing_back() {
    let place = Place::new();
    let map = place.based();
    map.close().unwrap();
    // Nothing new: it is still what was closed.
    map.mark(5);
    assert!(Header::read(&map.file).unwrap().clean);
    map.mark(6);
    assert!(!Header::read(&map.file).unwrap().clean);
    map.close().unwrap();
    drop(map);
    assert_eq!(bits(&place.open(OTHER_BOOT)), BTreeSet::from([5, 6]));
}

#[test]
fn another_header_or_another_size_is_not_trusted() {
    let place = Place::new();
    place.based().close().unwrap();
    assert!(!is_trusted(&ChangeMap::open(&place.path(), CHUNKS, 8, BOOT).unwrap()));

    let place = Place::new();
    place.based().close().unwrap();
    assert!(!is_trusted(&ChangeMap::open(&place.path(), CHUNKS + 1, 7, BOOT).unwrap()));
}

#[test]
fn a_header_that_it_was_told_of_is_trusted() {
    let place = Place::new();
    place.based().follow_header(8).unwrap();
    assert!(is_trusted(&ChangeMap::open(&place.path(), CHUNKS, 8, BOOT).unwrap()));
    assert!(!is_trusted(&place.open(BOOT)));
}

#[test]
fn what_is_damaged_cut_short_or_something_else_starts_anew() {
    let damages: [fn(&Path); 4] = [
        |path| OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[0xFF], 50).unwrap(),
        |path| OpenOptions::new().write(true).open(path).unwrap().set_len(5000).unwrap(),
        |path| fs::write(path, "something else").unwrap(),
        |path| fs::write(path, vec![0xAA; 12288]).unwrap(),
    ];
    for (number, damage) in damages.iter().enumerate() {
        let place = Place::new();
        place.based().close().unwrap();
        damage(&place.path());
        assert!(!is_trusted(&place.open(BOOT)), "damage {number}");
        assert_eq!(fs::metadata(place.path()).unwrap().len(), 3 * 4096);
    }
}

#[test]
fn what_is_marked_during_an_epoch_outlives_its_commit_and_its_end_without_one() {
    let place = Place::new();
    let map = place.based();
    assert_eq!(set(&map.begin_epoch()), BTreeSet::from([5]));
    map.mark(5);
    map.mark(70);
    map.abandon_epoch();
    assert_eq!((map.base(), bits(&map)), (Some(snapshot(1)), BTreeSet::from([5, 70])));

    map.begin_epoch();
    map.mark(199);
    map.commit_epoch(&snapshot(2)).unwrap();
    map.mark(0);
    assert_eq!((map.base(), bits(&map)), (Some(snapshot(2)), BTreeSet::from([0, 199])));
    drop(map);
    let map = place.open(BOOT);
    assert_eq!((map.base(), bits(&map)), (Some(snapshot(2)), BTreeSet::from([0, 199])));
}

#[test]
fn all_of_the_file_is_allocated() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    let _map = ChangeMap::open(&place.path(), 1 << 21, 7, BOOT).unwrap();
    let metadata = fs::metadata(place.path()).unwrap();
    assert_eq!(metadata.len(), 4096 + (512 << 10));
    assert!(metadata.blocks() * 512 >= metadata.len());
}

/// Needs root, for a disk that is full.
#[test]
fn a_full_disk_is_an_error_and_no_signal() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    let dir = place.0.path();
    rustix::mount::mount("none", dir, "tmpfs", rustix::mount::MountFlags::empty(), Some(c"size=64k")).unwrap();
    let opened = ChangeMap::open(&place.path(), 1 << 21, 7, BOOT).map(drop);
    let removed = !place.path().exists();
    // The control: it is the size that does not fit.
    let small = ChangeMap::open(&place.path(), CHUNKS, 7, BOOT);
    let grown = small.as_ref().map(|map| {
        let grown = map.reserve(1 << 21);
        map.mark(3);
        (grown.map_err(|error| error.kind()), map.chunk_count())
    });
    let grown = grown.map_err(io::Error::kind);
    drop(small);
    rustix::mount::unmount(dir, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(removed, "what the volume does now would be missing in it");
    assert_eq!(grown, Ok((Err(io::ErrorKind::StorageFull), CHUNKS)));
}

/// Four pages of bits each, so that chunks of every page are marked before and after.
#[test]
fn it_grows_at_its_end_and_keeps_what_it_knows() {
    const LARGE: u64 = 3 * 32768 + 77;
    let place = Place::new();
    let map = place.based();
    map.begin_epoch();
    map.mark(6);
    map.reserve(LARGE).unwrap();
    assert_eq!((map.chunk_count(), set(&map.begin_epoch())), (CHUNKS, BTreeSet::from([5, 6])));
    map.mark(7);
    map.grow(LARGE, 8).unwrap();
    map.mark(LARGE - 1);
    map.mark(32768);
    map.commit_epoch(&snapshot(2)).unwrap();
    map.mark(2 * 32768 + 1);
    let expected = BTreeSet::from([7, 32768, 2 * 32768 + 1, LARGE - 1]);
    assert_eq!(set(&map.begin_epoch()), expected);
    map.abandon_epoch();
    drop(map);
    // After a kill, and after being closed.
    for boot_id in [BOOT, OTHER_BOOT] {
        let map = ChangeMap::open(&place.path(), LARGE, 8, boot_id).unwrap();
        assert_eq!((map.base(), set(&map.begin_epoch())), (Some(snapshot(2)), expected.clone()));
        map.close().unwrap();
    }
    assert!(place.open(OTHER_BOOT).base().is_none(), "it is of another size now");
}

#[test]
fn room_for_a_growth_that_did_not_come_about_is_given_back() {
    let place = Place::new();
    let map = place.based();
    map.reserve(1 << 21).unwrap();
    drop(map);
    assert!(is_trusted(&place.open(BOOT)));
    assert_eq!(fs::metadata(place.path()).unwrap().len(), 3 * 4096);
}

#[test]
fn marks_of_many_threads_are_all_there() {
    let place = Place::new();
    let map = place.based();
    map.begin_epoch();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let map = &map;
            scope.spawn(move || (thread..CHUNKS).step_by(4).for_each(|chunk| map.mark(chunk)));
        }
        map.commit_epoch(&snapshot(2)).unwrap();
    });
    assert_eq!(bits(&map), (0..CHUNKS).collect());
}

#[derive(Clone, Debug)]
enum Operation {
    Mark(u64),
    Begin,
    Commit,
    Abandon,
    Kill,
    CloseAndBoot,
    Boot,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => (0..CHUNKS).prop_map(Operation::Mark),
        2 => Just(Operation::Begin),
        2 => Just(Operation::Commit),
        1 => Just(Operation::Abandon),
        1 => Just(Operation::Kill),
        1 => Just(Operation::CloseAndBoot),
        1 => Just(Operation::Boot),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn behaves_like_plain_sets(operations in prop::collection::vec(operation(), 1..60)) {
        let place = Place::new();
        let mut boot = 0;
        let mut map = place.open([boot; 16]);
        let (mut base, mut changed, mut since) = (None, BTreeSet::new(), None::<BTreeSet<u64>>);
        for (number, operation) in (0..).zip(operations) {
            match operation {
                Operation::Mark(chunk) => {
                    map.mark(chunk);
                    changed.insert(chunk);
                    since = since.map(|since| &since | &BTreeSet::from([chunk]));
                }
                Operation::Begin => {
                    prop_assert_eq!(set(&map.begin_epoch()), changed.clone());
                    since = Some(BTreeSet::new());
                }
                Operation::Commit => match since.take() {
                    Some(since) => {
                        map.commit_epoch(&snapshot(number)).unwrap();
                        (base, changed) = (Some(snapshot(number)), since);
                    }
                    None => prop_assert!(map.commit_epoch(&snapshot(number)).is_err()),
                },
                Operation::Abandon => {
                    map.abandon_epoch();
                    since = None;
                }
                Operation::Kill => {
                    drop(map);
                    map = place.open([boot; 16]);
                    since = None;
                }
                Operation::CloseAndBoot => {
                    map.close().unwrap();
                    boot += 1;
                    drop(map);
                    map = place.open([boot; 16]);
                    since = None;
                }
                Operation::Boot => {
                    boot += 1;
                    drop(map);
                    map = place.open([boot; 16]);
                    (base, changed, since) = (None, BTreeSet::new(), None);
                }
            }
            prop_assert_eq!(map.base(), base.clone());
        }
        prop_assert_eq!(bits(&map), changed);
    }
}
