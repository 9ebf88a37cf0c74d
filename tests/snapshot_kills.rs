//! kill -9 while a snapshot is taken, copied, restored or deleted, at random moments, fifty times: no snapshot that was ever
//! listed is damaged, nothing half made is listed, the same command again finishes, and gc leaves no garbage.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use harness::snapshots::{CHUNK, blocks, content, noise, objects, unaccounted, write};
use harness::{ENVOL, Host, ran};
use serde_json::Value;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 96 * MIB;
/// So that the middle of an upload takes a while.
const BANDWIDTH: [&str; 2] = ["--bandwidth", "256MiB"];
const SEED_VARIABLE: &str = "SNAPSHOT_KILLS_SEED";
/// Between two looks at everything.
const ROUNDS_A_LOOK: usize = 20;
/// Fifty of which hit something.
const MAX_ROUNDS: usize = 150;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Command,
    Daemon,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Round {
    Create(Victim),
    Copy,
    Restore,
    Delete,
}

const ROUNDS: [(Round, usize); 6] = [
    (Round::Create(Victim::Command), 7),
    (Round::Create(Victim::Daemon), 6),
    (Round::Create(Victim::Both), 6),
    (Round::Copy, 10),
    (Round::Restore, 11),
    (Round::Delete, 10),
];

struct Random(u64);

impl Random {
    /// From the environment, to do the same again.
    fn seeded() -> Self {
        let given = std::env::var(SEED_VARIABLE).ok().map(|text| text.parse().expect("a number"));
        let seed = given.unwrap_or_else(|| {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).unwrap();
            u64::from_le_bytes(bytes)
        });
        eprintln!("{SEED_VARIABLE}={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn moment_within(&mut self, duration: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(duration.as_micros()).unwrap().max(1)))
    }

    fn one_of<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()].clone()
    }
}

type Content = Vec<(u64, u64)>;

struct Bench {
    host: Host,
    volume: String,
    random: Random,
    /// What the volume holds.
    model: BTreeMap<u64, u64>,
    /// What each listed snapshot shows, for each store.
    listed: BTreeMap<PathBuf, BTreeMap<String, Content>>,
    /// How long the last uninterrupted one took.
    took: BTreeMap<Round, Duration>,
    /// What was found after a kill, by kind of round.
    hits: BTreeMap<(Round, String), usize>,
    stores: u64,
    /// The last kill came after the end.
    was_through: bool,
}

impl Bench {
    fn new() -> Self {
        let random = Random::seeded();
        let host = Host::new();
        let volume = host.create(&["--size", "96MiB"]);
        let mut bench = Self {
            host,
            volume,
            random,
            model: BTreeMap::new(),
            listed: BTreeMap::new(),
            took: BTreeMap::new(),
            hits: BTreeMap::new(),
            stores: 0,
            was_through: false,
        };
        bench.attach();
        bench.write(0, SIZE);
        bench
    }

    fn attach(&self) {
        self.host.envol(&["attach", &self.volume, "--raw"]).expect_code(0);
    }

    fn write(&mut self, at: u64, len: u64) {
        let bytes = noise(self.random.below(u64::MAX), usize::try_from(len).unwrap());
        write(&self.host, &self.volume, at, &bytes);
        self.model.extend(blocks(at, &bytes));
    }

    /// A piece of it, or now and then nearly all.
    fn change(&mut self) -> u64 {
        let len = if self.random.below(2) == 0 { 80 * MIB } else { CHUNK * (1 + self.random.below(8)) };
        let at = CHUNK * self.random.below((SIZE - len) / CHUNK);
        self.write(at, len);
        len
    }

    fn moment(&self) -> Content {
        self.model.iter().map(|(block, hash)| (*block, *hash)).collect()
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.host.command(ENVOL);
        command.arg("--root").arg(self.host.root()).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs the command until a random moment of what it takes to do `len` bytes. Whether it was through by then.
    fn kill_within(&mut self, round: Round, len: u64, arguments: &[&str]) -> bool {
        let daemon = matches!(round, Round::Create(Victim::Daemon | Victim::Both)).then(|| {
            let pid = rustix::process::Pid::from_raw(self.host.daemon_pid(&self.volume)).unwrap();
            rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap()
        });
        let took = self.took[&kind(round)];
        // A third of it is not for the data: KMS, the header, the list of what is there.
        let takes = (took / 3).saturating_add(took.mul_f64(2.0 / 3.0 * len as f64 / SIZE as f64));
        let moment = self.random.moment_within(takes);
        let mut child = self.start(arguments);
        // Not a wait for anything: the random moment itself.
        std::thread::sleep(moment);
        if let Some(daemon) = &daemon {
            rustix::process::pidfd_send_signal(daemon, rustix::process::Signal::KILL).unwrap();
        }
        if round != Round::Create(Victim::Daemon) {
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        if let Some(daemon) = &daemon {
            // Of all its threads: one that still waits for the disk holds the image locked.
            let mut polled = [rustix::event::PollFd::new(daemon, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut polled, None).unwrap();
        }
        let through = ran(&output).code == 0;
        if through {
            self.hit(round, "through already, and done again");
            self.was_through = true;
        }
        through
    }

    /// The first one of its kind, which is let be.
    fn measure(&mut self, round: Round, arguments: &[&str]) -> String {
        let began = Instant::now();
        let done = self.host.envol(arguments).expect_code(0);
        self.took.insert(kind(round), began.elapsed());
        done.stdout.trim().to_owned()
    }

    fn hit(&mut self, round: Round, where_it_was: impl Into<String>) {
        *self.hits.entry((round, where_it_was.into())).or_default() += 1;
    }

    fn own_store(&self) -> PathBuf {
        self.host.store()
    }

    /// None where a copy was killed before it had made its store.
    fn ids(&self, store: &Path) -> BTreeSet<String> {
        if !store.exists() {
            return BTreeSet::new();
        }
        let listed = self.host.json(&["snapshot", "list", "--store", store.to_str().unwrap()]);
        assert_eq!(listed["unreadable"].as_array().unwrap().len(), 0, "{listed}");
        let ids = listed["snapshots"].as_array().unwrap().iter();
        ids.map(|snapshot| snapshot["snapshot_id"].as_str().unwrap().to_owned()).collect()
    }

    /// Whatever is listed now and was not before shows `moment`; nothing else has gone.
    fn note_new(&mut self, store: &Path, moment: &Content) -> BTreeSet<String> {
        let now = self.ids(store);
        let known = self.listed.entry(store.to_owned()).or_default();
        let lost: Vec<_> = known.keys().filter(|id| !now.contains(*id)).collect();
        assert!(lost.is_empty(), "no longer listed: {lost:?}");
        let new: BTreeSet<String> = now.into_iter().filter(|id| !known.contains_key(id)).collect();
        known.extend(new.iter().map(|id| (id.clone(), moment.clone())));
        new
    }

    fn verify(&self, store: &Path, snapshot: &str) {
        let verified = self.host.json(&["snapshot", "verify", snapshot, "--store", store.to_str().unwrap()]);
        assert_eq!(verified["verified"], true);
    }

    fn verify_all(&self) {
        for (store, snapshots) in &self.listed {
            snapshots.keys().for_each(|snapshot| self.verify(store, snapshot));
        }
    }

    /// Restored, and looked at.
    fn check_volume(&self, volume: &str, expected: &Content) {
        self.host.envol(&["attach", volume, "--raw"]).expect_code(0);
        assert!(content(&self.host.image(volume)) == *expected, "volume {volume} is not what the snapshot shows");
        self.host.envol(&["detach", volume]).expect_code(0);
        self.host.envol(&["delete", volume, "--yes"]).expect_code(0);
    }

    /// The same command again, and it goes on under the id that the killed one had.
    fn repeat(&mut self, store: &Path, arguments: &[&str], moment: &Content) -> String {
        let begun = markers(store);
        let id = self.host.envol(arguments).expect_code(0).stdout.trim().to_owned();
        let listed = self.ids(store);
        let begun = begun.iter().find(|begun| !self.listed[store].contains_key(*begun));
        // Unless that one was committed a moment after it was looked for.
        assert!(begun.is_none_or(|begun| *begun == id || listed.contains(begun)), "{begun:?} became {id}");
        self.note_new(store, moment);
        assert!(self.listed[store].contains_key(&id));
        id
    }

    fn create(&mut self, round: Round, victim: Victim) {
        let len = self.change();
        let moment = self.moment();
        let store = self.own_store();
        let volume = self.volume.clone();
        let create = ["snapshot", "create", &volume];
        let through = self.kill_within(round, len, &[&create[..], &BANDWIDTH].concat());
        let new = self.note_new(&store, &moment);
        if !through {
            self.hit(round, upload_at(&store, &new, &self.listed[&store]));
        }
        // Otherwise the command finds the volume not attached, and what the daemon left.
        let by_hand = victim == Victim::Daemon;
        if by_hand {
            self.host.envol(&["detach", &volume]);
            self.attach();
        }
        self.repeat(&store, &create, &moment);
        if victim == Victim::Both {
            self.attach();
        }
        assert!(content(&self.host.image(&volume)) == moment, "the volume itself is not as it was");
    }

    fn copy(&mut self) {
        let from = self.own_store();
        let snapshots: Vec<String> = self.listed[&from].keys().cloned().collect();
        let snapshot = self.random.one_of(&snapshots);
        let moment = self.listed[&from][&snapshot].clone();
        // A new store gets all of it, one that has a copy already what changed.
        if self.random.below(2) == 0 {
            self.stores += 1;
        }
        let to = self.host.root().join(format!("elsewhere-{}", self.stores));
        self.listed.entry(to.clone()).or_default();
        let mut copy = vec!["snapshot", "copy", &snapshot, "--to-store", to.to_str().unwrap()];
        if self.random.below(2) == 0 {
            copy.extend(["--kms-key", "alias/test"]);
        }
        let through = self.kill_within(Round::Copy, SIZE, &[&copy[..], &BANDWIDTH].concat());
        let new = self.note_new(&to, &moment);
        if !through {
            self.hit(Round::Copy, upload_at(&to, &new, &self.listed[&to]));
        }
        self.repeat(&to, &copy, &moment);
    }

    fn restore(&mut self) {
        let store = self.own_store();
        let snapshots: Vec<String> = self.listed[&store].keys().cloned().collect();
        let snapshot = self.random.one_of(&snapshots);
        let moment = self.listed[&store][&snapshot].clone();
        let mut create = vec!["create", "--snapshot", &snapshot, "--db-id", "db-RESTORED", "--kms-key", "alias/test"];
        let image = self.host.root().join("image");
        if self.random.below(2) == 0 {
            create.extend(["--backing", image.to_str().unwrap()]);
        }
        let before = self.host.volume_directories();
        let through = self.kill_within(Round::Restore, SIZE, &create);
        let left: Vec<String> =
            self.host.volume_directories().into_iter().filter(|name| !before.contains(name)).collect();
        let unfinished = left.iter().find_map(|name| name.strip_prefix(".restoring-"));
        let finished = left.iter().find(|name| name.starts_with("vol-"));
        let listed = self.host.json(&["list"]);
        let listed = listed["volumes"].as_array().unwrap();
        assert_eq!(listed.len(), 1 + usize::from(finished.is_some()), "{listed:?}");
        let place = match (unfinished, finished) {
            (None, None) => "before its directory",
            (Some(_), _) => "under way",
            (None, Some(_)) => "listed",
        };
        if !through {
            self.hit(Round::Restore, place);
        }
        if let Some(volume) = finished {
            self.check_volume(volume, &moment);
        }
        let recorded = unfinished.filter(|id| {
            self.host.root().join("volumes").join(format!(".restoring-{id}")).join("restore.json").exists()
        });
        let volume = self.host.envol(&create).expect_code(0).stdout.trim().to_owned();
        assert!(recorded.is_none_or(|recorded| recorded == volume), "{recorded:?} became {volume}");
        self.check_volume(&volume, &moment);
        assert_eq!(self.host.volume_directories(), before);
        assert!(!image.exists());
    }

    fn delete(&mut self) {
        let store = self.own_store();
        if self.listed[&store].len() < 2 {
            self.change();
            let moment = self.moment();
            self.host.snapshot(&self.volume, &[]);
            self.note_new(&store, &moment);
        }
        let snapshots: Vec<String> = self.listed[&store].keys().cloned().collect();
        let snapshot = self.random.one_of(&snapshots);
        self.verify(&store, &snapshot);
        let delete = ["snapshot", "delete", &snapshot, "--yes"];
        let through = self.kill_within(Round::Delete, SIZE / 3, &delete);
        let is_gone = !self.ids(&store).contains(&snapshot);
        let packs_left = store.join("packs").join(&snapshot).exists();
        let place = match (is_gone, packs_left) {
            (false, _) => "before its manifest went",
            (true, true) => "its packs left, or what others need of them",
            (true, false) => "nothing of its own left",
        };
        if !through {
            self.hit(Round::Delete, place);
        }
        let again = self.host.envol(&delete);
        // No such thing, once nothing of it was left.
        assert!(again.code == 0 || (again.code == 3 && is_gone), "{}", again.stderr);
        self.listed.get_mut(&store).unwrap().remove(&snapshot);
        assert!(self.note_new(&store, &Vec::new()).is_empty());
        let newest = self.host.status(&self.volume)["last_snapshot"]["snapshot_id"].clone();
        assert_ne!(newest, snapshot.as_str(), "status names a snapshot that is gone");
    }

    fn measure_all(&mut self) {
        let volume = self.volume.clone();
        let store = self.own_store();
        let first = self.measure(
            Round::Create(Victim::Command),
            &[&["snapshot", "create", volume.as_str()][..], &BANDWIDTH].concat(),
        );
        let moment = self.moment();
        self.note_new(&store, &moment);
        let to = self.host.root().join("elsewhere-0");
        let copy = ["snapshot", "copy", &first, "--to-store", to.to_str().unwrap()];
        self.measure(Round::Copy, &[&copy[..], &BANDWIDTH].concat());
        self.note_new(&to, &moment);
        let create = ["create", "--snapshot", &first, "--db-id", "db-RESTORED", "--kms-key", "alias/test"];
        let restored = self.measure(Round::Restore, &create);
        self.check_volume(&restored, &moment);
        self.write(0, 80 * MIB);
        self.host.snapshot(&volume, &[]);
        let moment = self.moment();
        self.note_new(&store, &moment);
        self.measure(Round::Delete, &["snapshot", "delete", &first, "--yes"]);
        self.listed.get_mut(&store).unwrap().remove(&first);
    }
}

/// They take alike, whoever is killed.
fn kind(round: Round) -> Round {
    if matches!(round, Round::Create(_)) { Round::Create(Victim::Command) } else { round }
}

/// Snapshots that are being made, or were.
fn markers(store: &Path) -> Vec<String> {
    let entries = fs::read_dir(store.join("uploads")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| !name.contains('#')).collect()
}

fn upload_at(store: &Path, new: &BTreeSet<String>, known: &BTreeMap<String, Content>) -> String {
    if !new.is_empty() {
        return "committed".to_owned();
    }
    match markers(store).iter().find(|marker| !known.contains_key(*marker)) {
        None => "before its marker".to_owned(),
        Some(marker) => {
            let packs = objects(&store.join("packs").join(marker));
            let whole = packs.iter().filter(|(path, _)| !path.to_str().unwrap().contains('#')).count();
            format!("{whole} packs stored")
        }
    }
}

#[test]
fn fifty_kills_at_random_moments_damage_nothing_that_is_listed_and_the_same_command_again_finishes() {
    let mut bench = Bench::new();
    bench.measure_all();
    let mut rounds: Vec<Round> = ROUNDS.iter().flat_map(|(round, times)| vec![*round; *times]).collect();
    assert_eq!(rounds.len(), 50);
    for index in (1..rounds.len()).rev() {
        rounds.swap(index, usize::try_from(bench.random.below(index as u64 + 1)).unwrap());
    }
    let mut rounds = VecDeque::from(rounds);
    for number in 0..MAX_ROUNDS {
        let Some(round) = rounds.pop_front() else { break };
        match round {
            Round::Create(victim) => bench.create(round, victim),
            Round::Copy => bench.copy(),
            Round::Restore => bench.restore(),
            Round::Delete => bench.delete(),
        }
        // A kill that came too late is none.
        if std::mem::take(&mut bench.was_through) {
            rounds.push_back(round);
        }
        if number % ROUNDS_A_LOOK == ROUNDS_A_LOOK - 1 {
            bench.verify_all();
        }
    }
    assert!(rounds.is_empty(), "the kills came too late again and again");
    for ((round, place), times) in &bench.hits {
        eprintln!("{round:?}: {times} {place}");
    }
    eprintln!("took: {:?}", bench.took);
    end(&bench);
}

/// Nothing but what is referred to stays, and in the end nothing at all.
fn end(bench: &Bench) {
    for (store, snapshots) in &bench.listed {
        let named = ["--store", store.to_str().unwrap()];
        let gc = |why: &str| {
            bench.host.json(&[&["snapshot", "gc"], &named[..]].concat());
            let (garbage, missing) = unaccounted(store);
            assert!(garbage.is_empty() && missing.is_empty(), "{why}: garbage {garbage:?}, missing {missing:?}");
        };
        gc("after the kills");
        // The control: what nobody refers to is seen, and goes.
        let (some_pack, _) = objects(&store.join("packs")).pop().unwrap();
        let orphans = ["packs/snap-0123456789abcdef0/00000001", "snapshots/snap-0123456789abcdef0#1"];
        for orphan in orphans.map(|orphan| store.join(orphan)) {
            fs::create_dir_all(orphan.parent().unwrap()).unwrap();
            fs::copy(&some_pack, orphan).unwrap();
        }
        assert_eq!(unaccounted(store).0.len(), orphans.len());
        gc("after garbage was put there");

        if let Some((some, moment)) = snapshots.iter().next_back() {
            let restored = bench.host.restore(some, &named);
            bench.check_volume(&restored, moment);
        }
        for snapshot in snapshots.keys() {
            bench.verify(store, snapshot);
            bench.host.envol(&[&["snapshot", "delete", snapshot, "--yes"], &named[..]].concat()).expect_code(0);
        }
        gc("after all are deleted");
        assert_eq!(objects(store), []);
    }
    assert_eq!(bench.host.volume_directories(), std::slice::from_ref(&bench.volume));
    let status: Value = bench.host.status(&bench.volume);
    assert!(status["last_snapshot"].is_null(), "{status}");
}
