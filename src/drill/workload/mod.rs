//! What works on the volume while its key is taken away.

mod mariadb;
mod none;
mod postgres;

use std::fs::{self, File};
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::error::DrillError;
use super::observer::Commit;
use super::request::WorkloadKind;
use crate::host::ProcessName;
use crate::host::tools::Tool;

/// initdb, recovery and first connections on a slow disk.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// Tells the drill of each process as soon as it is there, so that it is in the undo record.
pub(super) type Announce<'a> = dyn FnMut(&str, ProcessName) -> Result<(), DrillError> + 'a;

pub(super) struct Place<'a> {
    /// The drill's own directory on the volume: whatever else lies there is not touched.
    pub(super) dir: &'a Path,
    /// Outside of the volume, for sockets and logs.
    pub(super) outside: &'a Path,
    pub(super) drill_id: &'a str,
}

/// A workload that runs.
pub(super) struct Workload {
    /// Such as `PostgreSQL 17.6`.
    pub(super) name: String,
    /// The database's own process, where there is one.
    pub(super) server: Option<ProcessName>,
    pub(super) commit: Commit,
    /// How a person starts the database.
    pub(super) typed: Option<String>,
    /// What the database itself writes about it.
    pub(super) log: Option<PathBuf>,
    /// Ended by undo; waited for here, so that none stays a zombie.
    children: Vec<Child>,
}

/// PostgreSQL where it is installed.
pub(super) fn choose(asked: Option<WorkloadKind>) -> Result<WorkloadKind, DrillError> {
    let missing = |what: &str| {
        let message =
            format!("{what} is not installed, or has no user of its own; install it or choose another --workload");
        DrillError::Refused(message)
    };
    match asked {
        Some(WorkloadKind::Postgres) if !postgres::is_installed() => Err(missing("PostgreSQL with pgbench")),
        Some(WorkloadKind::Mariadb) if !mariadb::is_installed() => {
            Err(missing("MariaDB (mariadbd, mariadb-install-db, mariadb)"))
        }
        Some(kind) => Ok(kind),
        None if postgres::is_installed() => Ok(WorkloadKind::Postgres),
        None => Ok(WorkloadKind::None),
    }
}

/// Who owns the root of the volume, and whom the way there must be open to.
pub(super) fn owner(kind: WorkloadKind) -> Option<&'static str> {
    match kind {
        WorkloadKind::Postgres => Some(postgres::USER),
        WorkloadKind::Mariadb => Some(mariadb::USER),
        WorkloadKind::None => None,
    }
}

pub(super) fn start(
    kind: WorkloadKind,
    place: &Place<'_>,
    announce: &mut Announce<'_>,
) -> Result<Workload, DrillError> {
    match kind {
        WorkloadKind::Postgres => postgres::start(place, announce),
        WorkloadKind::Mariadb => mariadb::start(place, announce),
        WorkloadKind::None => none::start(place, announce),
    }
}

/// What was found on a restored volume, as soon as the database answered.
pub(super) struct Resumed {
    pub(super) workload: Workload,
    /// Of the observer, as many as are there.
    pub(super) commits: u64,
}

/// The same database again, on a volume that was made of a snapshot, without its load.
pub(super) fn resume(
    kind: WorkloadKind,
    place: &Place<'_>,
    announce: &mut Announce<'_>,
) -> Result<Resumed, DrillError> {
    match kind {
        WorkloadKind::Postgres => postgres::resume(place, announce),
        WorkloadKind::Mariadb => mariadb::resume(place, announce),
        WorkloadKind::None => none::resume(place),
    }
}

/// The drill's directory on a volume. It must not be there: nobody else's is used.
pub(super) fn make_dir(kind: WorkloadKind, path: &Path) -> Result<(), DrillError> {
    match owner(kind) {
        Some(user) => private_directory(path, user),
        None => own_directory(path),
    }
}

impl Workload {
    /// The end of what the database wrote, which says what it saw.
    pub(super) fn log_tail(&self, lines: usize) -> Vec<String> {
        let text = self.log.as_ref().and_then(|path| fs::read(path).ok()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
    }

    /// They were killed, or are about to end.
    pub(super) fn reap(self) {
        for mut child in self.children {
            thread::spawn(move || child.wait());
        }
    }
}

fn io(action: &str) -> impl FnOnce(std::io::Error) -> DrillError {
    let action = action.to_owned();
    move |source| DrillError::Io { action, source }
}

/// A child in the background, its output in a file outside of the volume.
fn background(mut command: Command, log: &Path, what: &str, announce: &mut Announce<'_>) -> Result<Child, DrillError> {
    let file = File::options().create(true).append(true).mode(0o600).open(log).map_err(DrillError::io("open", log))?;
    let errors = file.try_clone().map_err(DrillError::io("open", log))?;
    let child = command.stdout(file).stderr(errors).spawn().map_err(io(&format!("start {what}")))?;
    let Some(process) = ProcessName::of(child.id()) else {
        return Err(DrillError::Failed(format!("{what} ended at once; see {}", log.display())));
    };
    announce(what, process)?;
    Ok(child)
}

fn run(mut command: Command, what: &str) -> Result<String, DrillError> {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().map_err(io(&format!("run {what}")))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(DrillError::Failed(format!(
        "{what} failed ({}): {} {}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )))
}

/// Asks until it succeeds.
fn wait_for(what: &str, mut ask: impl FnMut() -> Result<String, DrillError>) -> Result<String, DrillError> {
    let until = Instant::now() + START_PATIENCE;
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() > until => {
                return Err(DrillError::Failed(format!("{what} did not come up within {START_PATIENCE:?}: {error}")));
            }
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Uid and gid, as the host's name service has them.
fn ids_of(user: &str) -> Option<(u32, u32)> {
    let line = Tool::new("getent", Duration::from_secs(10)).ok()?.args(["passwd", user]).run().ok()?;
    let fields: Vec<&str> = line.split(':').collect();
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

fn own_directory(path: &Path) -> Result<(), DrillError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(path).map_err(DrillError::io("make", path))
}

/// For the database's user alone.
fn private_directory(path: &Path, user: &str) -> Result<(), DrillError> {
    own_directory(path)?;
    let (uid, gid) = ids_of(user).ok_or_else(|| DrillError::Failed(format!("there is no user {user}")))?;
    chown(path, Some(uid), Some(gid)).map_err(DrillError::io("hand over", path))
}

/// How many rows a database counted.
fn number(text: &str) -> Result<u64, DrillError> {
    text.trim().parse().map_err(|_| DrillError::Failed(format!("`{text}` is no number of commits")))
}

fn find_program(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/bin"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}

/// For argument lists.
fn text(path: &Path) -> String {
    path.display().to_string()
}
