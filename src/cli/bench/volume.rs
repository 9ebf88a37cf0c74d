//! `envol bench volume`: what a volume does, and what the backing below it does bare, round about.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};

use super::requests::{Kind, Requests, Sample, sample};
use super::throughput::{PAGE, aligned, median, print_progress};
use crate::catalog::{Root, VolumePaths};
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitStatus;
use crate::cli::output::Output;
use crate::cli::quantity::size;
use crate::daemon::{Command, ControlError, LiveStatus, Reply, ask};
use crate::format::VolumeId;
use crate::fuse::IMAGE_NAME;
use crate::store::CacheMode;

const ROUNDS: usize = 7;

/// More than the caches of a disk, little enough to be written in a second.
const SCRATCH_BYTES: u64 = 256 << 20;

/// With less the figures say little.
const MIN_SCRATCH_BYTES: u64 = 16 << 20;

/// What is written at once, and what scratch files are a multiple of.
const PIECE: usize = 1 << 20;

/// Of an image that is only read. What is far inside is found the same way.
const MAX_READ_BYTES: u64 = 1 << 30;

struct Job {
    name: &'static str,
    requests: Requests,
}

const fn job(name: &'static str, kind: Kind, size_bytes: usize, depth: u64, sequential: bool) -> Job {
    Job { name, requests: Requests { kind, size_bytes, depth, sequential } }
}

/// What databases do: pages anywhere, commits, and whole tables.
const JOBS: [Job; 7] = [
    job("4 KiB random read", Kind::Read, 4 << 10, 1, false),
    job("4 KiB random read", Kind::Read, 4 << 10, 32, false),
    job("4 KiB random write", Kind::Write, 4 << 10, 1, false),
    job("4 KiB random write", Kind::Write, 4 << 10, 32, false),
    job("8 KiB write and fdatasync", Kind::Commit, 8 << 10, 1, false),
    job("1 MiB read", Kind::Read, 1 << 20, 2, true),
    job("1 MiB write", Kind::Write, 1 << 20, 2, true),
];

/// One of the two that are compared.
struct Side {
    file: File,
    len_bytes: u64,
    writable: bool,
    /// For people.
    what: String,
}

pub(super) fn run(root: &Root, id: &VolumeId, output: &Output) -> Result<(), CliError> {
    let paths = root.existing(id)?;
    let live = attached(&paths)?;
    if live.state != "in-use" {
        return Err(CliError::new(
            ExitStatus::Unexpected,
            format!("volume {id} is {} and serves nothing; `envol status {id}` says what to do", live.state),
        ));
    }
    let failed =
        |error: io::Error| CliError::new(ExitStatus::Unexpected, format!("volume {id} could not be measured: {error}"));
    output.progress("writing what will be read");
    let (volume, bare) = sides(&paths, &live)?;
    let cells = measure(&volume, &bare, !output.json && io::stderr().is_terminal()).map_err(failed)?;
    let results: Vec<Value> = cells.iter().map(Cell::to_json).collect();
    let object = json!({ "volume_id": id, "cache": live.cache, "rounds": ROUNDS, "results": results });
    output.print(&text(id, &live, &volume, &bare, &cells), &object)
}

fn attached(paths: &VolumePaths) -> Result<LiveStatus, CliError> {
    match ask(paths, &Command::Status) {
        Ok(Reply::Status(live)) => Ok(*live),
        Ok(_) => Err(CliError::new(ExitStatus::Unexpected, "the daemon answered something else")),
        Err(ControlError::NotAttached | ControlError::Ended) => {
            let id = paths.id();
            let message = format!("volume {id} is not attached; attach it as it is used, then measure");
            Err(CliError::new(ExitStatus::NoSuchThing, message))
        }
        Err(error) => Err(error.into()),
    }
}

/// The volume as its users see it, past their own cache; the backing as the daemon sees it, through the same cache.
fn sides(paths: &VolumePaths, live: &LiveStatus) -> Result<(Side, Side), CliError> {
    let direct = live.cache == CacheMode::None;
    let backing = fs::canonicalize(paths.backing()).map_err(|error| unreadable(&paths.backing(), &error))?;
    let is_device = fs::metadata(&backing).map_err(|error| unreadable(&backing, &error))?.file_type().is_block_device();
    let beside = backing.parent().filter(|_| !is_device);
    let Some(dir) = live.mount_point.as_deref().map(Path::new) else {
        let volume = Side::read_only(&paths.attach_link().join(IMAGE_NAME), true)?;
        return Ok((volume, Side::read_only(&backing, direct)?));
    };
    // Half of the room is left to whoever writes meanwhile.
    let in_volume = share_of_room(dir, 2)?;
    // Written twice on the host, in the image as well; a volume whose image finds no room serves nobody any more.
    let on_host = beside.map_or(Ok(SCRATCH_BYTES), |dir| share_of_room(dir, 4))?;
    let len_bytes = in_volume.min(on_host);
    let volume = Side::scratch(dir, len_bytes, true)?;
    let bare = match beside {
        Some(dir) => Side::scratch(dir, len_bytes, direct)?,
        None => Side::read_only(&backing, direct)?,
    };
    Ok((volume, bare))
}

/// How long a scratch file may be that takes no more than one in `parts` of the room in `dir`.
fn share_of_room(dir: &Path, parts: u64) -> Result<u64, CliError> {
    let room = rustix::fs::statvfs(dir).map_err(|error| unreadable(dir, &error.into()))?;
    let share = room.f_bavail.saturating_mul(room.f_frsize) / parts;
    if share < MIN_SCRATCH_BYTES {
        let needed = size(MIN_SCRATCH_BYTES * parts);
        let message = format!("{}: this needs {needed} of room there; free some, and try again", dir.display());
        return Err(CliError::new(ExitStatus::Unexpected, message));
    }
    Ok((share - share % PIECE as u64).min(SCRATCH_BYTES))
}

fn unreadable(path: &Path, error: &io::Error) -> CliError {
    let status = match error.kind() {
        io::ErrorKind::PermissionDenied => ExitStatus::Usage,
        _ => ExitStatus::Unexpected,
    };
    CliError::new(status, format!("{}: {error}", path.display()))
}

impl Side {
    /// A file without a name: nobody else sees it, and it is gone with this process.
    fn scratch(dir: &Path, len_bytes: u64, direct: bool) -> Result<Self, CliError> {
        let failed = |error: io::Error| match error.raw_os_error() {
            Some(libc::EOPNOTSUPP) => {
                let message = format!(
                    "{}: its file system has no unnamed files (O_TMPFILE); keep the image on ext4, XFS or Btrfs to measure it",
                    dir.display()
                );
                CliError::new(ExitStatus::HostLacks, message)
            }
            _ => unreadable(dir, &error),
        };
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let flags = if direct { flags | OFlags::DIRECT } else { flags };
        let file = rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR).map_err(|error| failed(error.into()))?;
        let file = File::from(file);
        fill(&file, len_bytes).map_err(failed)?;
        let what = format!("a file of {} in {}", size(len_bytes), dir.display());
        Ok(Self { file, len_bytes, writable: true, what })
    }

    fn read_only(path: &Path, direct: bool) -> Result<Self, CliError> {
        let open = || {
            let flags = if direct { libc::O_DIRECT } else { 0 };
            let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
            let len_bytes = file.seek(SeekFrom::End(0))?.min(MAX_READ_BYTES);
            Ok(Self { file, len_bytes, writable: false, what: path.display().to_string() })
        };
        open().map_err(|error| unreadable(path, &error))
    }
}

/// So that what is read was written, and what is written has its place.
fn fill(file: &File, len_bytes: u64) -> io::Result<()> {
    let mut memory = vec![0; PIECE + PAGE];
    let piece = aligned(&mut memory, PIECE);
    getrandom::fill(piece).map_err(io::Error::other)?;
    for offset in (0..len_bytes).step_by(PIECE) {
        file.write_all_at(piece, offset)?;
    }
    file.sync_all()
}

/// A job, and what both did in each round.
struct Cell {
    job: &'static Job,
    volume: Vec<Sample>,
    bare: Vec<Sample>,
}

fn measure(volume: &Side, bare: &Side, show_progress: bool) -> io::Result<Vec<Cell>> {
    let jobs = JOBS.iter().filter(|job| job.requests.kind == Kind::Read || volume.writable);
    let mut cells: Vec<_> = jobs.map(|job| Cell { job, volume: Vec::new(), bare: Vec::new() }).collect();
    for round in 1..=ROUNDS {
        for Cell { job, volume: ours, bare: theirs } in &mut cells {
            ours.push(sample(&volume.file, volume.len_bytes, &job.requests)?);
            if job.requests.kind == Kind::Read || bare.writable {
                theirs.push(sample(&bare.file, bare.len_bytes, &job.requests)?);
            }
        }
        if show_progress {
            print_progress(round, ROUNDS);
        }
    }
    Ok(cells)
}

fn of<T>(samples: &[T], value: impl Fn(&T) -> f64) -> Option<f64> {
    (!samples.is_empty()).then(|| median(samples.iter().map(value).collect()))
}

impl Cell {
    fn is_in_bytes(&self) -> bool {
        self.job.requests.size_bytes >= 1 << 20
    }

    #[allow(clippy::cast_precision_loss, reason = "a request of a mebibyte at most")]
    fn rate(&self, samples: &[Sample]) -> Option<f64> {
        let per_request = if self.is_in_bytes() { self.job.requests.size_bytes as f64 / 1e6 } else { 1.0 };
        of(samples, |sample| sample.requests_per_s * per_request)
    }

    fn p99_us(samples: &[Sample]) -> Option<f64> {
        of(samples, |sample| sample.p99.as_secs_f64() * 1e6)
    }

    /// Within a round: what disturbs all of it cancels out.
    fn ratio(&self) -> Option<f64> {
        let rounds: Vec<_> = self.volume.iter().zip(&self.bare).collect();
        of(&rounds, |(ours, theirs)| ours.requests_per_s / theirs.requests_per_s)
    }

    fn to_json(&self) -> Value {
        let Requests { kind, size_bytes, depth, sequential } = &self.job.requests;
        json!({
            "job": self.job.name,
            "direction": if *kind == Kind::Read { "read" } else { "write" },
            "sync": *kind == Kind::Commit,
            "size_bytes": size_bytes,
            "depth": depth,
            "sequential": sequential,
            "unit": if self.is_in_bytes() { "mb_per_s" } else { "requests_per_s" },
            "volume": self.rate(&self.volume),
            "bare": self.rate(&self.bare),
            "ratio": self.ratio(),
            "volume_p99_us": Self::p99_us(&self.volume),
            "bare_p99_us": Self::p99_us(&self.bare),
        })
    }
}

fn text(id: &VolumeId, live: &LiveStatus, volume: &Side, bare: &Side, cells: &[Cell]) -> String {
    let mut text = format!(
        "volume {id}: {}\nbare:   {}\ncache {}; medians of {ROUNDS}\n\n{:<28}{:>6}{:>16}{:>16}{:>7}{:>13}{:>11}\n",
        volume.what, bare.what, live.cache, "", "DEPTH", "VOLUME", "BARE", "RATIO", "P99 VOLUME", "BARE"
    );
    for cell in cells {
        let rate = |samples| match (cell.rate(samples), cell.is_in_bytes()) {
            (Some(rate), true) => format!("{rate:.0} MB/s"),
            (Some(rate), false) => format!("{rate:.0}/s"),
            (None, _) => "-".to_owned(),
        };
        let p99 = |samples| Cell::p99_us(samples).map_or_else(|| "-".to_owned(), |us| format!("{us:.0} µs"));
        let ratio = cell.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        text += &format!(
            "{:<28}{:>6}{:>16}{:>16}{ratio:>7}{:>13}{:>11}\n",
            cell.job.name,
            cell.job.requests.depth,
            rate(&cell.volume),
            rate(&cell.bare),
            p99(&cell.volume),
            p99(&cell.bare)
        );
    }
    if !volume.writable {
        text += "\nOnly read: writes need a file system to write to (attach VOL DIR). What was never written reads faster.\n";
    } else if !bare.writable {
        text += "\nThe backing was only read: it is a device, and the volume lies on it.\n";
    }
    text
}
