//! Looks at what the kernel and the volume itself say, every few milliseconds, until all is gone. Nothing here asks the
//! mount: it may be dead.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use super::command::ThisProgram;
use super::error::DrillError;
use super::interrupts::Interrupts;
use super::moment::monotonic_us;
use super::observer::Observer;
use crate::host::ProcessName;
use crate::host::mounts::Mounts;

const INTERVAL: Duration = Duration::from_millis(10);

/// Where there is no event log `status` is asked, which is a process each time.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);

/// What of a volume has to go.
pub(super) struct Traces {
    pub(super) mount: PathBuf,
    pub(super) image_mount: PathBuf,
    /// The loop device with its present backing.
    pub(super) loop_backing: Option<Shown>,
    /// The FUSE connection, where the kernel shows those.
    pub(super) connection: Option<Shown>,
    pub(super) volume_id: String,
    pub(super) daemon: Option<ProcessName>,
    pub(super) database: Option<ProcessName>,
}

/// A directory in which the kernel shows an object. Its name is given to another one later; the inode then differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    path: PathBuf,
    inode: u64,
}

impl Shown {
    /// None where the kernel does not show it.
    pub(super) fn at(path: &Path) -> Option<Self> {
        Some(Self { path: path.to_owned(), inode: fs::metadata(path).ok()?.ino() })
    }

    fn is_there(&self) -> bool {
        Self::at(&self.path).as_ref() == Some(self)
    }
}

/// When each was first seen to be gone: the monotonic clock, to 10 ms.
#[derive(Clone, Debug, Default)]
pub(super) struct Gone {
    pub(super) mount_us: Option<i64>,
    pub(super) fuse_us: Option<i64>,
    pub(super) loop_us: Option<i64>,
    pub(super) daemon_us: Option<i64>,
    pub(super) database_us: Option<i64>,
}

/// What the volume says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) verdict_at: Option<Timestamp>,
    /// The event, or the answer of `status` where there are no events.
    pub(super) verdict: Value,
    pub(super) purged: Option<Value>,
    pub(super) events: Vec<Value>,
}

pub(super) struct Watched {
    pub(super) gone: Gone,
    pub(super) told: Told,
    pub(super) gave_up: bool,
}

pub(super) fn watch(
    traces: &Traces,
    events: &Path,
    program: &ThisProgram,
    observer: &Observer,
    patience: Duration,
    interrupts: &Interrupts,
) -> Result<Watched, DrillError> {
    let until = Instant::now() + patience;
    let mut gone = Gone::default();
    let mut log = EventLog::new(events);
    let mut told = Told::default();
    let mut asked = Instant::now();
    loop {
        interrupts.check()?;
        traces.look(&mut gone);
        log.read(&mut told);
        if told.verdict_at.is_none() && !log.exists() && asked.elapsed() > STATUS_INTERVAL {
            ask_status(program, &traces.volume_id, &mut told)?;
            asked = Instant::now();
        }
        let seen = observer.seen();
        let failed = |probe: &super::observer::Seen| probe.first_failure.is_some() || seen.ended_us.is_some();
        let access_ended = failed(&seen.read) && failed(&seen.commit);
        let purge_told = told.purged.is_some() || !log.exists();
        let done = told.verdict_at.is_some() && access_ended && gone.is_all(traces) && purge_told;
        if done || Instant::now() > until {
            return Ok(Watched { gone, told, gave_up: !done });
        }
        thread::sleep(INTERVAL);
    }
}

fn ask_status(program: &ThisProgram, volume_id: &str, told: &mut Told) -> Result<(), DrillError> {
    let status = program.run(&["status", volume_id])?.object;
    if matches!(status["state"].as_str(), Some("terminal" | "recoverable" | "erased")) {
        told.verdict_at = status["since"].as_str().and_then(|since| since.parse().ok());
        told.verdict = status;
    }
    Ok(())
}

impl Traces {
    fn look(&self, gone: &mut Gone) {
        let now = monotonic_us();
        let mounts = Mounts::read().unwrap_or_default();
        let note = |what: &mut Option<i64>, is_gone: bool| {
            if is_gone {
                what.get_or_insert(now);
            }
        };
        note(&mut gone.mount_us, mounts.at(&self.mount).is_none());
        let connected = self.connection.as_ref().is_some_and(Shown::is_there);
        note(&mut gone.fuse_us, !connected && mounts.at(&self.image_mount).is_none());
        note(&mut gone.loop_us, !self.loop_backing.as_ref().is_some_and(Shown::is_there));
        note(&mut gone.daemon_us, self.daemon.is_none_or(|process| !process.is_alive()));
        note(&mut gone.database_us, self.database.is_none_or(|process| !process.is_alive()));
    }
}

impl Gone {
    pub(super) fn is_all(&self, traces: &Traces) -> bool {
        self.is_volume() && (traces.database.is_none() || self.database_us.is_some())
    }

    fn is_volume(&self) -> bool {
        [self.mount_us, self.fuse_us, self.loop_us, self.daemon_us].iter().all(Option::is_some)
    }

    /// When the last trace of the volume itself was gone.
    pub(super) fn volume_us(&self) -> Option<i64> {
        [self.mount_us?, self.fuse_us?, self.loop_us?, self.daemon_us?].into_iter().max()
    }
}

/// Lines that come to a volume's `events.jsonl`; there may be no such file.
struct EventLog {
    path: PathBuf,
    offset: u64,
    partial: String,
}

impl EventLog {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), offset: fs::metadata(path).map_or(0, |file| file.len()), partial: String::new() }
    }

    fn exists(&self) -> bool {
        self.path.exists()
    }

    fn read(&mut self, told: &mut Told) {
        let Ok(mut file) = fs::File::open(&self.path) else { return };
        let mut new = String::new();
        if file.seek(SeekFrom::Start(self.offset)).is_err() || file.read_to_string(&mut new).is_err() {
            return;
        }
        self.offset += u64::try_from(new.len()).unwrap_or_default();
        self.partial += &new;
        while let Some(end) = self.partial.find('\n') {
            let line: String = self.partial.drain(..=end).collect();
            if let Ok(event) = serde_json::from_str(&line) {
                told.note(event);
            }
        }
    }
}

impl Told {
    fn note(&mut self, event: Value) {
        match event["event"].as_str() {
            Some("terminal" | "recoverable" | "erased") if self.verdict_at.is_none() => {
                self.verdict_at = event["at"].as_str().and_then(|at| at.parse().ok());
                self.verdict = event.clone();
            }
            Some("purged") if self.purged.is_none() => self.purged = Some(event.clone()),
            _ => {}
        }
        self.events.push(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_they_come_and_half_a_line_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        fs::write(&path, "{\"event\":\"terminal\",\"at\":\"2026-01-01T00:00:00Z\"}\n").unwrap();
        let (mut log, mut told) = (EventLog::new(&path), Told::default());
        log.read(&mut told);
        assert!(told.verdict_at.is_none(), "what was there before does not count");

        let append = |text: &str| {
            let old = fs::read_to_string(&path).unwrap();
            fs::write(&path, old + text).unwrap();
        };
        append("no JSON\n{\"event\":\"terminal\",\"at\":\"2026-11-24T21:00:00");
        log.read(&mut told);
        assert!(told.verdict_at.is_none());
        append(".123Z\"}\n{\"event\":\"purged\",\"steps\":[]}\n");
        log.read(&mut told);
        assert_eq!(told.verdict_at.map(|at| at.to_string()).as_deref(), Some("2026-11-24T21:00:00.123Z"));
        assert!(told.purged.is_some() && told.events.len() == 2);
    }
}
