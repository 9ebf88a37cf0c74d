//! A PostgreSQL cluster on an attached volume, as people run one: PGDATA is a folder inside of the mount, durability is
//! left at its defaults, and only a Unix socket listens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::Client;
use super::{Ran, ran, wait_until};

const END_DEADLINE: Duration = Duration::from_secs(30);

/// A cluster and the directory outside of the volume for its socket and log.
pub struct Postgres {
    data: PathBuf,
    outside: TempDir,
}

impl Postgres {
    /// A new cluster in `pgdata` below `dir`, which must belong to the user postgres; not started.
    pub fn init(dir: &Path) -> Self {
        let postgres = Self::at(dir);
        postgres.run("initdb", &["--auth=trust", "--no-instructions", "-D", postgres.data_text()]).expect_code(0);
        postgres
    }

    /// The one that is below `dir` already.
    pub fn at(dir: &Path) -> Self {
        let outside = TempDir::with_prefix("envol-test-pg-").expect("a temporary directory");
        let owned = Command::new("chown").arg("postgres:").arg(outside.path()).status().expect("chown runs");
        assert!(owned.success(), "there is no user postgres; scripts/test.sh installs PostgreSQL");
        Self { data: dir.join("pgdata"), outside }
    }

    /// One of PostgreSQL's programs, as the user postgres, talking to this cluster.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(binaries().join(program));
        command.envs([("LC_ALL", "C"), ("PGUSER", "postgres"), ("PGDATABASE", "postgres")]);
        command.env("PGHOST", self.outside.path()).env("HOME", self.outside.path());
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    pub fn run(&self, program: &str, arguments: &[&str]) -> Ran {
        ran(&self.command(program).args(arguments).output().expect("setpriv runs"))
    }

    /// Returns when it accepts connections, after recovery if there is something to recover.
    #[track_caller]
    pub fn start(&self) {
        let started = self.try_start();
        assert_eq!(started.code, 0, "{}\n{}", started.stderr, self.log());
    }

    pub fn try_start(&self) -> Ran {
        let options = format!("-k {} -c listen_addresses=", self.outside.path().display());
        let log = self.outside.path().join("log");
        let log = log.to_str().expect("plain");
        self.run("pg_ctl", &["start", "-w", "-t", "120", "-D", self.data_text(), "-l", log, "-o", &options])
    }

    #[track_caller]
    pub fn stop(&self) {
        self.run("pg_ctl", &["stop", "-w", "-m", "fast", "-D", self.data_text()]).expect_code(0);
    }

    /// What psql prints for it, unaligned and without headings.
    #[track_caller]
    pub fn query(&self, sql: &str) -> String {
        self.try_query(sql).expect_code(0).stdout.trim_end().to_owned()
    }

    pub fn try_query(&self, sql: &str) -> Ran {
        self.run("psql", &["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql])
    }

    /// A psql, of which each statement that is asked answers one line.
    pub fn client(&self) -> Client {
        let mut command = self.command("psql");
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1"]);
        Client::start(command)
    }

    /// Every table and index of every database, each index compared with its table.
    #[track_caller]
    pub fn check(&self) {
        let options = ["--all", "--install-missing", "--heapallindexed", "--parent-check"];
        assert_eq!(self.run("pg_amcheck", &options).expect_code(0).stdout, "");
    }

    /// What the server wrote, over all its starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.outside.path().join("log")).unwrap_or_default()
    }

    /// Whether its postmaster is there, whatever state it is in. PostgreSQL does not start while it is, be it a zombie.
    pub fn is_running(&self) -> bool {
        self.postmaster().is_some()
    }

    /// As the power switch: no checkpoint, no good-bye. Its other processes end when the postmaster is gone.
    pub fn kill(&self) {
        if let Some(postmaster) = self.postmaster() {
            let _ = kill_process(postmaster, Signal::KILL);
        }
        wait_until("the end of the postmaster", END_DEADLINE, || !self.is_running());
    }

    /// Known from its first log line since the last start: the volume with its pid file may be away.
    fn postmaster(&self) -> Option<Pid> {
        let log = self.log();
        let line = log.lines().rev().find(|line| line.contains("LOG:  starting PostgreSQL"))?;
        let pid = line.split_once('[')?.1.split_once(']')?.0.parse().ok()?;
        Path::new(&format!("/proc/{pid}")).exists().then(|| Pid::from_raw(pid)).flatten()
    }

    fn data_text(&self) -> &str {
        self.data.to_str().expect("plain")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("-- end of the log of PostgreSQL:");
            lines.into_iter().rev().for_each(|line| eprintln!("{line}"));
        }
        if let Some(postmaster) = self.postmaster() {
            let _ = kill_process(postmaster, Signal::KILL);
        }
    }
}

/// Where Debian keeps them; the newest version, when there are several.
fn binaries() -> PathBuf {
    let versions =
        fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is not installed; scripts/test.sh installs it");
    let numbers = versions.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    format!("/usr/lib/postgresql/{}/bin", numbers.max().expect("a version of PostgreSQL")).into()
}
