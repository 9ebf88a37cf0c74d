//! The observer's two probes, in its own process.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use memmap2::MmapMut;
use rustix::fs::OFlags;

use super::{Commit, Failure, Order, Probe, Sample};
use crate::drill::moment::monotonic_us;

const READ_INTERVAL: Duration = Duration::from_millis(10);
const COMMIT_INTERVAL: Duration = Duration::from_millis(50);

/// A client that has lost its server is not started again all the time.
const RESTART_INTERVAL: Duration = Duration::from_millis(200);

/// What direct I/O reads: one block of the volume.
const BLOCK_LEN: usize = 4096;

const FILLING: u8 = b'e';

/// Whether a file has what [`Reader`] writes.
pub(super) fn holds_the_block(path: &Path) -> io::Result<bool> {
    Ok(std::fs::read(path)? == [FILLING; BLOCK_LEN])
}

/// Writes samples until the input ends or nobody reads them.
pub(super) fn run(order: Order) -> ExitCode {
    let Ok(reader) = Reader::make(&order.read) else { return ExitCode::FAILURE };
    thread::spawn(move || repeat(Probe::Read, READ_INTERVAL, reader));
    match order.commit {
        Commit::File(path) => {
            let Ok(file) = File::create(&path) else { return ExitCode::FAILURE };
            thread::spawn(move || repeat(Probe::Commit, COMMIT_INTERVAL, Writer { path, file: Some(file), count: 0 }));
        }
        Commit::Client { program, arguments, environment, statement } => {
            let mut command = Command::new(program);
            command.args(arguments).envs(environment);
            thread::spawn(move || repeat(Probe::Commit, COMMIT_INTERVAL, Client::new(command, statement)));
        }
    }
    let _ = io::stdin().read_to_end(&mut Vec::new());
    ExitCode::SUCCESS
}

trait Try {
    fn once(&mut self) -> Result<(), Failure>;
}

fn repeat(probe: Probe, interval: Duration, mut tried: impl Try) {
    loop {
        let started_us = monotonic_us();
        let failure = tried.once().err();
        let sample = Sample { probe, started_us, ended_us: monotonic_us(), failure };
        let Ok(mut line) = serde_json::to_string(&sample) else { return };
        line.push('\n');
        if io::stdout().lock().write_all(line.as_bytes()).is_err() {
            return;
        }
        thread::sleep(interval);
    }
}

/// Past the page cache, from which a read would succeed without the volume. After a failure it lets go of the file, as
/// a program that ends does, and tries to open it again.
struct Reader {
    path: PathBuf,
    file: Option<File>,
    block: MmapMut,
}

impl Reader {
    fn make(path: &Path) -> io::Result<Self> {
        let file = options().write(true).create(true).truncate(true).open(path)?;
        // Whole pages are aligned as direct I/O wants it.
        let mut block = MmapMut::map_anon(BLOCK_LEN)?;
        block.fill(FILLING);
        file.write_all_at(&block, 0)?;
        file.sync_all()?;
        Ok(Self { path: path.to_owned(), file: Some(file), block })
    }

    fn read(&mut self) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => options().open(&self.path)?,
        };
        file.read_exact_at(&mut self.block, 0)?;
        self.file = Some(file);
        Ok(())
    }
}

fn options() -> OpenOptions {
    let mut options = File::options();
    options.read(true).custom_flags(i32::try_from(OFlags::DIRECT.bits()).unwrap_or_default());
    options
}

impl Try for Reader {
    fn once(&mut self) -> Result<(), Failure> {
        self.read().map_err(|error| failure(&error))
    }
}

/// The same for what is written.
struct Writer {
    path: PathBuf,
    file: Option<File>,
    count: u64,
}

impl Writer {
    fn write(&mut self) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            // Never made anew: where the mount was, it would be another file.
            None => File::options().write(true).open(&self.path)?,
        };
        file.write_all_at((self.count + 1).to_string().as_bytes(), 0)?;
        file.sync_data()?;
        self.count += 1;
        self.file = Some(file);
        Ok(())
    }
}

impl Try for Writer {
    fn once(&mut self) -> Result<(), Failure> {
        self.write().map_err(|error| failure(&error))
    }
}

/// A client of a database; after it has lost its server it is started once in a while again.
struct Client {
    command: Command,
    statement: String,
    running: Option<Running>,
    lost: bool,
}

struct Running {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Client {
    fn new(mut command: Command, statement: String) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, statement, running: None, lost: false }
    }
}

impl Try for Client {
    fn once(&mut self) -> Result<(), Failure> {
        if self.running.is_none() {
            if self.lost {
                thread::sleep(RESTART_INTERVAL);
            }
            let mut child = self.command.spawn().map_err(|error| failure(&error))?;
            let answers = child.stdout.take().map(BufReader::new);
            self.running = answers.map(|answers| Running { child, answers });
        }
        let Some(running) = &mut self.running else {
            return Err(Failure { errno: None, message: "no client".to_owned() });
        };
        let mut answer = String::new();
        let asked = running.child.stdin.as_mut().is_some_and(|input| writeln!(input, "{}", self.statement).is_ok());
        if asked && running.answers.read_line(&mut answer).is_ok_and(|len| len > 0) {
            return Ok(());
        }
        let mut said = String::new();
        if let Some(mut stderr) = running.child.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        let _ = running.child.wait();
        self.running = None;
        self.lost = true;
        let message = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("the connection was lost").to_owned();
        Err(Failure { errno: None, message })
    }
}

fn failure(error: &io::Error) -> Failure {
    Failure { errno: error.raw_os_error(), message: error.to_string() }
}
