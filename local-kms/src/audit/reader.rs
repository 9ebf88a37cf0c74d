//! The reading side: all records in their order, beside a running server or without one.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::AuditFilter;
use super::file_name::{self, CURRENT};
use crate::kms::{OpenError, STATE_FILE};

/// How soon somebody who follows the log sees a record.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// One record of the log.
#[derive(Clone, Copy, Debug)]
pub struct AuditRecord<'a> {
    /// As it is stored, without the end of the line.
    pub line: &'a str,
    /// The same, parsed.
    pub record: &'a Value,
}

/// What there was besides records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditSummary {
    /// Lines that are no whole record. A crash, or a full disk, tears the line that is being written.
    pub torn_lines: u64,
}

/// Calls `on_record` with each record in the log of the server in `dir` that `filter` takes, oldest first, until it
/// breaks. A server may be running; it is neither needed nor disturbed.
///
/// Without `until` this returns at the end of the log. With it, it goes on with what is written from then on, until
/// something is received or the sender is gone.
///
/// # Errors
/// [`OpenError::NotInitialised`] if there is no server's directory at `dir`; [`OpenError::Io`].
pub fn read_audit(
    dir: &Path,
    filter: &AuditFilter,
    until: Option<&Receiver<()>>,
    on_record: &mut dyn FnMut(&AuditRecord) -> ControlFlow<()>,
) -> Result<AuditSummary, OpenError> {
    let io_error = |action| move |source| OpenError::Io { action, path: dir.to_owned(), source };
    if !fs::exists(dir.join(STATE_FILE)).map_err(io_error("look into"))? {
        return Err(OpenError::NotInitialised { dir: dir.to_owned() });
    }
    let mut reader = Reader { filter, until, on_record, summary: AuditSummary::default() };
    reader.read(&mut Files { dir: dir.to_owned(), after: None }).map_err(io_error("read the audit log in"))?;
    Ok(reader.summary)
}

struct Reader<'a> {
    filter: &'a AuditFilter,
    until: Option<&'a Receiver<()>>,
    on_record: &'a mut dyn FnMut(&AuditRecord) -> ControlFlow<()>,
    summary: AuditSummary,
}

impl Reader<'_> {
    fn read(&mut self, files: &mut Files) -> io::Result<()> {
        let mut reading: Option<LogFile> = None;
        loop {
            if let Some(file) = &mut reading
                && self.read_lines(file)?.is_break()
            {
                return Ok(());
            }
            let next = files.next(reading.as_ref())?;
            if next.is_some() || self.until.is_none() {
                if let Some(file) = reading
                    && self.finish(file)?.is_break()
                {
                    return Ok(());
                }
                reading = next;
                if reading.is_none() {
                    return Ok(());
                }
            } else if self.told_to_stop(POLL_INTERVAL) {
                return Ok(());
            }
        }
    }

    /// Nothing is appended to a file with a successor, but until there was one, something may have been.
    fn finish(&mut self, mut file: LogFile) -> io::Result<ControlFlow<()>> {
        let read = self.read_lines(&mut file)?;
        Ok(if read.is_break() { read } else { self.line(&file.line) })
    }

    /// Reads to the end. A line without an end stays in `file.line`: the rest of it may still come.
    fn read_lines(&mut self, file: &mut LogFile) -> io::Result<ControlFlow<()>> {
        while file.input.read_until(b'\n', &mut file.line)? > 0 && file.line.ends_with(b"\n") {
            if self.told_to_stop(Duration::ZERO) || self.line(&file.line).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            file.line.clear();
        }
        Ok(ControlFlow::Continue(()))
    }

    fn line(&mut self, line: &[u8]) -> ControlFlow<()> {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return ControlFlow::Continue(());
        }
        let record = serde_json::from_slice::<Value>(line).ok().filter(Value::is_object);
        let (Some(record), Ok(line)) = (record, std::str::from_utf8(line)) else {
            self.summary.torn_lines += 1;
            return ControlFlow::Continue(());
        };
        if !self.filter.takes(&record) {
            return ControlFlow::Continue(());
        }
        (self.on_record)(&AuditRecord { line, record: &record })
    }

    fn told_to_stop(&self, within: Duration) -> bool {
        match self.until {
            None => false,
            Some(until) if within.is_zero() => !matches!(until.try_recv(), Err(TryRecvError::Empty)),
            Some(until) => !matches!(until.recv_timeout(within), Err(RecvTimeoutError::Timeout)),
        }
    }
}

struct LogFile {
    input: BufReader<File>,
    /// Device and inode: the same under either name. Neither is given away while the file is open.
    identity: (u64, u64),
    /// What was read of a line whose end is still missing.
    line: Vec<u8>,
}

impl LogFile {
    /// `None` if there is no such file.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let metadata = file.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(Some(Self { input: BufReader::with_capacity(64 * 1024, file), identity, line: Vec::new() }))
    }
}

/// The files of a log, one after the other.
struct Files {
    dir: PathBuf,
    /// When the newest full file was that has been passed.
    after: Option<Timestamp>,
}

impl Files {
    /// The successor of `reading`, which is the first file if that is `None`. An administrator may have deleted files.
    fn next(&mut self, reading: Option<&LogFile>) -> io::Result<Option<LogFile>> {
        let is_read = |file: &LogFile| reading.is_some_and(|reading| reading.identity == file.identity);
        // Before the directory is listed: if it becomes full in between, it is in the list, as are all before it.
        let current = LogFile::open(&self.dir.join(CURRENT))?;
        if current.as_ref().is_some_and(is_read) {
            return Ok(None);
        }
        for time in file_name::rotation_times(&self.dir)? {
            if self.after.is_some_and(|after| time <= after) {
                continue;
            }
            self.after = Some(time);
            let file = LogFile::open(&self.dir.join(file_name::rotated(time)))?;
            // What is being read may have got this name since it was opened.
            if let Some(file) = file.filter(|file| !is_read(file)) {
                return Ok(Some(file));
            }
        }
        Ok(current)
    }
}

#[cfg(test)]
mod tests;
