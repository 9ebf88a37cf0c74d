//! Random sequences of all that is done to a volume, against plain bytes in memory: through the image of a daemon, over the boundary of two
//! regions, with snapshots, growth, kill -9 and revocations in between.
//!
//! `PROPTEST_CASES` sets how many sequences; scripts/soak.sh has more of them.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use harness::snapshots::image;
use harness::{Host, is_alive, wait_until};
use proptest::prelude::*;
use rustix::fs::{FallocateFlags, fallocate};

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const BLOCK: usize = 4096;
const DEADLINE: Duration = Duration::from_secs(60);

/// What the model covers of the volume: where two regions meet, which lie under different keys and maps.
const WINDOW: usize = 4 << 20;
const WINDOW_START: u64 = TIB - 2 * MIB;
const FIRST_SIZE: u64 = TIB - MIB;

#[derive(Clone, Debug)]
enum Operation {
    Write {
        range: Range<usize>,
        fill: u8,
    },
    Read {
        range: Range<usize>,
    },
    Discard {
        range: Range<usize>,
    },
    Zero {
        range: Range<usize>,
    },
    Sync,
    Snapshot,
    /// Of one of the snapshots so far.
    Restore(prop::sample::Index),
    /// By so many blocks.
    Grow(u64),
    Reattach,
    /// kill -9 of the daemon.
    Kill,
    /// The key is taken away, and given back.
    Revoke,
}

fn operation() -> impl Strategy<Value = Operation> {
    let len = prop_oneof![3 => 1..40_000_usize, 1 => 1..WINDOW / 4];
    let unaligned = (0..WINDOW, len).prop_map(|(start, len)| start..WINDOW.min(start + len));
    let aligned =
        (0..WINDOW / BLOCK, 1..9_usize).prop_map(|(block, count)| block * BLOCK..WINDOW.min((block + count) * BLOCK));
    let range = prop_oneof![unaligned, aligned];
    prop_oneof![
        16 => (range.clone(), 1..=255_u8).prop_map(|(range, fill)| Operation::Write { range, fill }),
        8 => range.clone().prop_map(|range| Operation::Read { range }),
        5 => range.clone().prop_map(|range| Operation::Discard { range }),
        3 => range.prop_map(|range| Operation::Zero { range }),
        4 => Just(Operation::Sync),
        2 => Just(Operation::Snapshot),
        2 => any::<prop::sample::Index>().prop_map(Operation::Restore),
        2 => (1..256_u64).prop_map(Operation::Grow),
        1 => Just(Operation::Reattach),
        2 => Just(Operation::Kill),
        1 => Just(Operation::Revoke),
    ]
}

/// Different in each half KiB, so that a block in the wrong place shows.
fn pattern(fill: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| fill.wrapping_add(u8::try_from(i / 512 % 256).unwrap())).collect()
}

/// The window as whoever reads it has it, and what each block may be after a kill: what was last synced, or anything since.
struct Model {
    size_bytes: u64,
    now: Vec<u8>,
    possible: Vec<Vec<[u8; BLOCK]>>,
}

impl Model {
    fn new(size_bytes: u64) -> Self {
        Self { size_bytes, now: vec![0; WINDOW], possible: vec![vec![[0; BLOCK]]; WINDOW / BLOCK] }
    }

    /// How much of the window lies in the volume.
    fn len(&self) -> usize {
        usize::try_from(self.size_bytes - WINDOW_START).unwrap().min(WINDOW)
    }

    fn block(&self, number: usize) -> [u8; BLOCK] {
        self.now[number * BLOCK..][..BLOCK].try_into().unwrap()
    }

    fn change(&mut self, range: Range<usize>, bytes: &[u8]) {
        self.now[range.clone()].copy_from_slice(bytes);
        for number in range.start / BLOCK..range.end.div_ceil(BLOCK) {
            let block = self.block(number);
            self.possible[number].push(block);
        }
    }

    fn synced(&mut self) {
        for number in 0..WINDOW / BLOCK {
            self.possible[number] = vec![self.block(number)];
        }
    }

    /// From here on it is what was found, if that may be.
    fn found_after_a_kill(&mut self, found: &[u8]) -> Result<(), TestCaseError> {
        for (number, block) in found.chunks(BLOCK).enumerate() {
            let may_be = self.possible[number].iter().any(|version| version == block);
            prop_assert!(may_be, "block {number} of the window is nothing that was ever to be there");
        }
        self.now[..found.len()].copy_from_slice(found);
        self.synced();
        Ok(())
    }
}

struct Run {
    host: Host,
    volume: String,
    image: Option<File>,
    model: Model,
    /// And what the window was then.
    snapshots: Vec<(String, Vec<u8>)>,
}

impl Run {
    fn begin() -> Self {
        let host = Host::new();
        let size = FIRST_SIZE.to_string();
        let volume = host.create(&["--size", &size, "--on-revocation", "recoverable=7d"]);
        let mut run = Self { host, volume, image: None, model: Model::new(FIRST_SIZE), snapshots: Vec::new() };
        run.attach();
        run
    }

    fn attach(&mut self) {
        let attach = ["attach", &self.volume, "--raw", "--probe-interval", "1s", "--confirm-denial", "500ms"];
        self.host.envol(&attach).expect_code(0);
        self.image = Some(image(&self.host, &self.volume));
    }

    fn detach(&mut self) {
        self.image = None;
        self.host.envol(&["detach", &self.volume]).expect_code(0);
    }

    fn image(&self) -> &File {
        self.image.as_ref().unwrap()
    }

    fn window(image: &File, len: usize) -> Vec<u8> {
        let mut found = vec![0xEE; len];
        image.read_exact_at(&mut found, WINDOW_START).unwrap();
        found
    }

    fn after_a_kill(&mut self) -> Result<(), TestCaseError> {
        self.attach();
        let found = Self::window(self.image(), self.model.len());
        self.model.found_after_a_kill(&found)
    }

    /// What a range of the window is in the image, cut where the volume ends.
    fn place(&self, range: &Range<usize>) -> (Range<usize>, u64) {
        let len = self.model.len();
        let range = range.start.min(len)..range.end.min(len);
        let place = WINDOW_START + range.start as u64;
        (range, place)
    }

    fn fallocate(&self, range: &Range<usize>, place: u64, flags: FallocateFlags) {
        if !range.is_empty() {
            fallocate(self.image(), flags | FallocateFlags::KEEP_SIZE, place, range.len() as u64).unwrap();
        }
    }

    fn apply(&mut self, operation: Operation) -> Result<(), TestCaseError> {
        match operation {
            Operation::Write { range, fill } => {
                let (range, place) = self.place(&range);
                let data = pattern(fill, range.len());
                self.image().write_all_at(&data, place).unwrap();
                self.model.change(range, &data);
            }
            Operation::Read { range } => {
                let (range, place) = self.place(&range);
                let mut found = vec![0xEE; range.len()];
                self.image().read_exact_at(&mut found, place).unwrap();
                prop_assert!(found == self.model.now[range]);
            }
            Operation::Discard { range } => {
                let (range, place) = self.place(&range);
                self.fallocate(&range, place, FallocateFlags::PUNCH_HOLE);
                self.model.change(range.clone(), &vec![0; range.len()]);
            }
            Operation::Zero { range } => {
                let (range, place) = self.place(&range);
                self.fallocate(&range, place, FallocateFlags::ZERO_RANGE);
                self.model.change(range.clone(), &vec![0; range.len()]);
            }
            Operation::Sync => {
                self.image().sync_all().unwrap();
                self.model.synced();
            }
            Operation::Snapshot => {
                let taken = self.host.snapshot(&self.volume, &[]);
                let id = taken["snapshot_id"].as_str().unwrap().to_owned();
                self.snapshots.push((id, self.model.now[..self.model.len()].to_vec()));
            }
            Operation::Restore(which) if !self.snapshots.is_empty() => {
                let (snapshot, then) = which.get(&self.snapshots);
                let restored = self.host.restore(snapshot, &[]);
                self.host.envol(&["attach", &restored, "--raw"]).expect_code(0);
                let found = Self::window(&image(&self.host, &restored), then.len());
                self.host.envol(&["detach", &restored]).expect_code(0);
                self.host.envol(&["delete", &restored, "--yes"]).expect_code(0);
                prop_assert!(found == *then, "{snapshot} is not what the volume was");
            }
            Operation::Restore(_) => {}
            Operation::Grow(blocks) => {
                let size = (self.model.size_bytes + blocks * BLOCK as u64).min(WINDOW_START + WINDOW as u64);
                self.host.envol(&["resize", &self.volume, &size.to_string()]).expect_code(0);
                self.model.size_bytes = size;
            }
            Operation::Reattach => {
                self.detach();
                self.attach();
                self.model.synced();
            }
            Operation::Kill => {
                self.host.kill_daemon(&self.volume);
                self.after_a_kill()?;
            }
            Operation::Revoke => {
                let daemon = self.host.daemon_pid(&self.volume);
                self.host.disable_key();
                wait_until("the end of the daemon", DEADLINE, || !is_alive(daemon));
                prop_assert!(self.image().read_at(&mut [0; BLOCK], WINDOW_START).is_err(), "it is served");
                self.host.enable_key();
                self.after_a_kill()?;
            }
        }
        Ok(())
    }
}

proptest! {
    // Each sequence takes some seconds, and so does each that is tried to make a failing one shorter.
    #![proptest_config(ProptestConfig { cases: 2, max_shrink_iters: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_volume_is_plain_bytes_whatever_is_done_to_it(operations in prop::collection::vec(operation(), 20..50)) {
        let mut run = Run::begin();
        for operation in operations {
            run.apply(operation)?;
        }
        let found = Run::window(run.image(), run.model.len());
        prop_assert!(found == run.model.now[..found.len()]);
        run.detach();
    }
}

/// The control: a write that the model does not know, and a block that comes back from before the last sync.
#[test]
fn the_model_notices_what_was_not_done() {
    let mut run = Run::begin();
    let range = 0..BLOCK;
    run.apply(Operation::Write { range: range.clone(), fill: 1 }).unwrap();
    run.apply(Operation::Read { range: range.clone() }).unwrap();
    run.image().write_all_at(&[9; 512], WINDOW_START).unwrap();
    assert!(run.apply(Operation::Read { range: range.clone() }).is_err());
    run.image().write_all_at(&run.model.now[..BLOCK], WINDOW_START).unwrap();
    run.apply(Operation::Sync).unwrap();
    run.apply(Operation::Kill).unwrap();

    let before = run.model.now[..run.model.len()].to_vec();
    run.apply(Operation::Write { range: range.clone(), fill: 2 }).unwrap();
    let since = run.model.now[..run.model.len()].to_vec();
    assert!(run.model.found_after_a_kill(&before).is_ok(), "nobody has synced");
    assert!(run.model.found_after_a_kill(&since).is_err(), "that is settled now");
    run.detach();
}
