//! The log of one volume: a line of JSON for each event, oldest first. Several processes append to it, and any may be
//! killed while it does.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::event::Event;

/// How soon somebody who follows the log sees an event.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// No event comes near it; what is longer is not read into memory.
const MAX_LINE_BYTES: usize = 1 << 20;

#[derive(Clone, Debug)]
pub struct EventLog {
    path: PathBuf,
}

/// One event of the log.
#[derive(Clone, Copy, Debug)]
pub struct StoredEvent<'a> {
    /// As it is stored, without the end of the line.
    pub line: &'a str,
    /// The same, parsed.
    pub event: &'a Event,
}

impl EventLog {
    /// Made with its first event.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Durable on return.
    pub fn append(&self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        let mut options = File::options();
        let options = options.read(true).append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(&self.path)?;
        let len = file.metadata()?.len();
        // A crash, or a full disk, may have cut the last line short: this one must not become the rest of it.
        if len > 0 && !ends_with_newline(&file, len)? {
            line.insert(0, b'\n');
        }
        // One call, so that lines of several processes do not mix.
        if file.write(&line)? != line.len() {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "only a part of the line could be written"));
        }
        file.sync_data()?;
        match self.path.parent() {
            // Its name is new.
            Some(dir) if len == 0 => File::open(dir)?.sync_all(),
            _ => Ok(()),
        }
    }

    /// Calls `on_event` with each event, oldest first, until it breaks. What is no whole event is passed over.
    ///
    /// Without `until` this returns at the end of the log. With it, it goes on with what comes, until something is
    /// received, the sender is gone, or the volume is deleted.
    pub fn read(
        &self,
        until: Option<&Receiver<()>>,
        on_event: &mut dyn FnMut(&StoredEvent) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let mut lines = None;
        loop {
            if lines.is_none() {
                lines = Lines::open(&self.path)?;
            }
            while let Some(lines) = &mut lines
                && let Some(line) = lines.next()?
            {
                let Ok(line) = std::str::from_utf8(line) else { continue };
                let Ok(event) = serde_json::from_str(line) else { continue };
                if on_event(&StoredEvent { line, event: &event }).is_break() || is_over(until, Duration::ZERO) {
                    return Ok(());
                }
            }
            if until.is_none() || self.is_deleted() || is_over(until, POLL_INTERVAL) {
                return Ok(());
            }
        }
    }

    /// It lies in the directory of its volume, and goes with it.
    fn is_deleted(&self) -> bool {
        self.path.parent().is_some_and(|dir| matches!(fs::exists(dir), Ok(false)))
    }
}

fn ends_with_newline(file: &File, len: u64) -> io::Result<bool> {
    let mut last = [0];
    file.read_exact_at(&mut last, len - 1)?;
    Ok(last == *b"\n")
}

fn is_over(until: Option<&Receiver<()>>, within: Duration) -> bool {
    until.is_some_and(|until| !matches!(until.recv_timeout(within), Err(RecvTimeoutError::Timeout)))
}

struct Lines {
    input: BufReader<File>,
    /// What was read of a line whose end is still missing; or the line that was returned last.
    line: Vec<u8>,
    is_too_long: bool,
}

impl Lines {
    /// `None` if there is no such file.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => Ok(Some(Self { input: BufReader::new(file), line: Vec::new(), is_too_long: false })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `None` at the end, for now: more may come, also of the line that has no end yet.
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        if self.line.ends_with(b"\n") {
            self.line.clear();
        }
        loop {
            let room = u64::try_from(MAX_LINE_BYTES - self.line.len()).unwrap_or_default();
            let read = self.input.by_ref().take(room).read_until(b'\n', &mut self.line)?;
            if self.line.ends_with(b"\n") {
                if !std::mem::take(&mut self.is_too_long) {
                    return Ok(Some(self.line.trim_ascii_end()));
                }
                self.line.clear();
            } else if self.line.len() == MAX_LINE_BYTES {
                self.is_too_long = true;
                self.line.clear();
            } else if read == 0 {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::mpsc;
    use std::thread;

    use tempfile::TempDir;

    use super::super::event::{EventKind, VolumeState};
    use super::*;

    fn event(message: &str) -> Event {
        Event::new("vol-1".parse().unwrap(), EventKind::Attached, VolumeState::InUse, message)
    }

    fn log() -> (TempDir, EventLog) {
        let dir = TempDir::new().unwrap();
        let log = EventLog::at(dir.path().join("events.jsonl"));
        (dir, log)
    }

    fn messages(log: &EventLog) -> Vec<String> {
        let mut found = Vec::new();
        log.read(None, &mut |stored| {
            assert_eq!(stored.line, serde_json::to_string(stored.event).unwrap());
            found.push(stored.event.message.clone());
            ControlFlow::Continue(())
        })
        .unwrap();
        found
    }

    fn write_raw(log: &EventLog, bytes: &[u8]) {
        File::options().append(true).create(true).open(log.path()).unwrap().write_all(bytes).unwrap();
    }

    #[test]
    fn what_is_appended_is_read_in_order_and_for_the_owner_alone() {
        let (_dir, log) = log();
        assert_eq!(messages(&log), Vec::<String>::new());
        log.append(&event("one\nline")).unwrap();
        log.append(&event("two")).unwrap();
        assert_eq!(messages(&log), ["one\nline", "two"]);
        assert_eq!(fs::metadata(log.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(log.path()).unwrap().lines().count(), 2);
    }

    #[test]
    fn a_line_that_was_cut_short_swallows_neither_what_comes_nor_what_was() {
        let (_dir, log) = log();
        log.append(&event("before")).unwrap();
        write_raw(&log, br#"{"at":"2026-11-24T21:0"#);
        assert_eq!(messages(&log), ["before"]);
        log.append(&event("after")).unwrap();
        log.append(&event("last")).unwrap();
        assert_eq!(messages(&log), ["before", "after", "last"]);
        assert!(fs::read_to_string(log.path()).unwrap().contains("T21:0\n{"));
    }

    #[test]
    fn what_is_no_event_is_passed_over_however_long() {
        let (_dir, log) = log();
        write_raw(&log, b"\n{}\n\xff\xfe\n[1]\n");
        log.append(&event("one")).unwrap();
        write_raw(&log, &vec![b' '; 2 * MAX_LINE_BYTES + 10]);
        let spaces_then_event = [serde_json::to_vec(&event("at the end of a line too long")).unwrap(), vec![b'\n']];
        write_raw(&log, &spaces_then_event.concat());
        log.append(&event("two")).unwrap();
        assert_eq!(messages(&log), ["one", "two"]);
    }

    #[test]
    fn lines_of_several_writers_do_not_mix() {
        let (_dir, log) = log();
        let names: Vec<String> = (0..4).map(|writer| format!("{writer}").repeat(2000)).collect();
        thread::scope(|scope| {
            for name in &names {
                scope.spawn(|| (0..20).for_each(|_| log.append(&event(name)).unwrap()));
            }
        });
        let found = messages(&log);
        for name in &names {
            assert_eq!(found.iter().filter(|message| *message == name).count(), 20);
        }
    }

    #[test]
    fn who_follows_sees_what_comes_also_in_two_pieces_until_told_to_stop() {
        let (_dir, log) = log();
        let (stop, until) = mpsc::channel();
        let (send, seen) = mpsc::channel();
        let following = log.clone();
        let follower = thread::spawn(move || {
            following.read(Some(&until), &mut |stored| {
                send.send(stored.event.message.clone()).unwrap();
                ControlFlow::Continue(())
            })
        });
        let next = || seen.recv_timeout(Duration::from_secs(20)).unwrap();
        log.append(&event("one")).unwrap();
        assert_eq!(next(), "one");
        let line = serde_json::to_vec(&event("two")).unwrap();
        let (begin, end) = line.split_at(10);
        write_raw(&log, begin);
        write_raw(&log, &[end, b"\n"].concat());
        assert_eq!(next(), "two");
        stop.send(()).unwrap();
        follower.join().unwrap().unwrap();
    }

    #[test]
    fn who_follows_is_done_when_the_volume_is_deleted() {
        let (dir, log) = log();
        log.append(&event("one")).unwrap();
        let (_stop, until) = mpsc::channel();
        let mut dir = Some(dir);
        log.read(Some(&until), &mut |_| {
            dir.take().unwrap().close().unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(dir.is_none());
    }
}
