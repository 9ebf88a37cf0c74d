//! The writing side: appends records, and begins a new file when the current one is full.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::SignedDuration;

use super::Record;
use super::file_name::{self, CURRENT};
use crate::clock::Clock;
use crate::durable_file;

/// A file with more is only one record longer than this.
const MAX_FILE_LEN: u64 = 64 * 1024 * 1024;

pub(crate) struct AuditLog(Mutex<Appender>);

struct Appender {
    dir: PathBuf,
    clock: Clock,
    max_file_len: u64,
    file: File,
    /// The last line has no end: it was torn by a crash or a full disk. The next record starts on a line of its own.
    torn: bool,
    /// The file is full and has its last name, but the next one could not be made yet.
    renamed: bool,
    /// The file's name is on disk.
    name_durable: bool,
    /// The last rotation failed, and that was logged.
    rotation_failed: bool,
}

impl AuditLog {
    pub(crate) fn open(dir: &Path, clock: Clock) -> io::Result<Self> {
        Self::with_max_file_len(dir, clock, MAX_FILE_LEN)
    }

    pub(super) fn with_max_file_len(dir: &Path, clock: Clock, max_file_len: u64) -> io::Result<Self> {
        let (file, torn) = open_current(dir)?;
        let mut appender = Appender {
            dir: dir.to_owned(),
            clock,
            max_file_len,
            file,
            torn,
            renamed: false,
            name_durable: false,
            rotation_failed: false,
        };
        appender.make_name_durable()?;
        Ok(Self(Mutex::new(appender)))
    }

    /// Appends a record. That of a change is on disk when this returns, as the change is; that of a call which
    /// changed nothing survives a killed process, not a power cut.
    pub(crate) fn append(&self, record: &Record) -> io::Result<()> {
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, record)?;
        line.push(b'\n');
        let mut appender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        appender.make_room(&line)?;
        let start = appender.line_start();
        appender.torn = true;
        appender.file.write_all(&line[start..])?;
        appender.torn = false;
        if !record.read_only {
            appender.file.sync_data()?;
            appender.make_name_durable()?;
        }
        Ok(())
    }
}

impl Appender {
    /// How much of `\n…\n` to leave out.
    fn line_start(&self) -> usize {
        usize::from(!self.torn)
    }

    /// A rotation that fails keeps nobody from an answer: the file grows on, and the next record tries again.
    fn make_room(&mut self, line: &[u8]) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        let new_len = len + line[self.line_start()..].len() as u64;
        if len == 0 || new_len <= self.max_file_len {
            return Ok(());
        }
        match self.rotate() {
            Ok(()) => self.rotation_failed = false,
            Err(error) if !self.rotation_failed => {
                tracing::error!(error = ?error, dir = %self.dir.display(), "cannot begin a new audit log file");
                self.rotation_failed = true;
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// A kill between any two steps loses nothing: the full file is whole under either name, and [`AuditLog::open`]
    /// makes a current one where there is none. Nothing is appended to a file once it has a successor, which is how a
    /// reader knows that it is at its end.
    fn rotate(&mut self) -> io::Result<()> {
        if !self.renamed {
            durable_file::rename_new(&self.dir.join(CURRENT), &self.dir.join(self.next_name()?))?;
            self.renamed = true;
        }
        // What a change promises includes the records before it.
        self.file.sync_data()?;
        (self.file, self.torn) = open_current(&self.dir)?;
        self.renamed = false;
        self.name_durable = false;
        self.make_name_durable()
    }

    /// The time or, if the clock went back, just after that of the newest file: the order of the names is that of the
    /// records.
    fn next_name(&self) -> io::Result<String> {
        const MILLISECOND: SignedDuration = SignedDuration::from_millis(1);
        let newest = file_name::rotation_times(&self.dir)?.pop();
        let after_newest = newest.map(|newest| newest.checked_add(MILLISECOND)).transpose();
        let now = self.clock.now();
        let time = after_newest.map_err(io::Error::other)?.map_or(now, |after| after.max(now));
        Ok(file_name::rotated(time))
    }

    fn make_name_durable(&mut self) -> io::Result<()> {
        if !self.name_durable {
            durable_file::sync_parent(&self.dir.join(CURRENT))?;
            self.name_durable = true;
        }
        Ok(())
    }
}

/// The current file, made if there is none, and whether its last line is torn.
fn open_current(dir: &Path) -> io::Result<(File, bool)> {
    let path = dir.join(CURRENT);
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(durable_file::PRIVATE).open(path)?;
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok((file, last != [b'\n']))
}

#[cfg(test)]
mod tests;
