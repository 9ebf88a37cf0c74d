//! A MariaDB server on an attached volume, as people run one: its datadir is a folder inside of the mount, durability is
//! left at its defaults, and only a Unix socket listens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::client::Client;
use super::{Ran, ran};

/// Recovery after a crash included.
const START_DEADLINE: Duration = Duration::from_secs(120);

/// A server and the directory outside of the volume for its socket, its log and its temporary files.
pub struct MariaDb {
    data: PathBuf,
    outside: TempDir,
    server: Mutex<Option<Child>>,
}

/// Clients that insert rows as fast as they are committed, each row on its own, until they are dropped or refused.
pub struct Load(Vec<Child>);

impl MariaDb {
    /// A new datadir in `mariadb` below `dir`, which must belong to the user mysql; not started.
    pub fn init(dir: &Path) -> Self {
        let mariadb = Self::at(dir);
        let data = format!("--datadir={}", mariadb.data.display());
        let options = ["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", &data];
        mariadb.run("mariadb-install-db", &options).expect_code(0);
        mariadb
    }

    /// The one that is below `dir` already.
    pub fn at(dir: &Path) -> Self {
        let outside = TempDir::with_prefix("envol-test-mariadb-").expect("a temporary directory");
        let owned = Command::new("chown").arg("mysql:").arg(outside.path()).status().expect("chown runs");
        assert!(owned.success(), "there is no user mysql; scripts/test.sh installs MariaDB");
        Self { data: dir.join("mariadb"), outside, server: Mutex::default() }
    }

    /// One of MariaDB's programs, as the user mysql.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=mysql", "--regid=mysql", "--init-groups", "--", program]);
        command.env("HOME", self.outside.path()).env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
        command
    }

    /// The same of a client, as root of the database.
    fn client(&self, program: &str) -> Command {
        let mut command = self.command(program);
        command.args(["--no-defaults", "--user=root"]).arg(format!("--socket={}", self.socket()));
        command
    }

    /// Where clients connect, whose root needs no password.
    pub fn socket(&self) -> String {
        self.outside("socket")
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Ran {
        ran(&self.command(program).args(arguments).output().expect("setpriv runs"))
    }

    /// Returns when it answers, after recovery if there is something to recover.
    #[track_caller]
    pub fn start(&self) {
        assert!(self.try_start(), "MariaDB does not start:\n{}", self.log());
    }

    /// Whether it came to answer; otherwise it is not running.
    pub fn try_start(&self) -> bool {
        let mut command = self.command("mariadbd");
        command.args(["--no-defaults", "--skip-networking"]).arg(format!("--datadir={}", self.data.display()));
        for (option, name) in [("socket", "socket"), ("pid-file", "pid"), ("log-error", "log.err"), ("tmpdir", "")] {
            command.arg(format!("--{option}={}", self.outside(name)));
        }
        let server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("setpriv runs");
        *self.server.lock().expect("not poisoned") = Some(server);
        let until = Instant::now() + START_DEADLINE;
        while self.is_running() && Instant::now() < until {
            if self.try_query("SELECT 1").code == 0 {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.kill();
        false
    }

    /// In good order.
    #[track_caller]
    pub fn stop(&self) {
        ran(&self.client("mariadb-admin").arg("shutdown").output().expect("setpriv runs")).expect_code(0);
        super::wait_until("the end of MariaDB", START_DEADLINE, || !self.is_running());
    }

    /// What the client prints for it, without headings.
    #[track_caller]
    pub fn query(&self, sql: &str) -> String {
        self.try_query(sql).expect_code(0).stdout.trim_end().to_owned()
    }

    pub fn try_query(&self, sql: &str) -> Ran {
        let mut client = self.client("mariadb");
        ran(&client.args(["--batch", "--skip-column-names", "-e", sql]).output().expect("setpriv runs"))
    }

    /// A client of that database, of which each statement that is asked answers one line.
    pub fn session(&self, database: &str) -> Client {
        let mut command = self.client("mariadb");
        command.args(["--batch", "--skip-column-names", "--unbuffered", database]);
        Client::start(command)
    }

    /// Into `load.added`, which is made if it is not there.
    pub fn load(&self) -> Load {
        self.query("CREATE DATABASE IF NOT EXISTS `load`");
        self.query("CREATE TABLE IF NOT EXISTS `load`.added (n BIGINT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(255))");
        self.query("CREATE TABLE IF NOT EXISTS `load`.counted (at DATETIME)");
        let mut processes = Vec::new();
        for _ in 0..2 {
            let mut yes = Command::new("yes");
            yes.arg("INSERT INTO `load`.added (text) VALUES (REPEAT('x', 200));").stdout(Stdio::piped());
            let mut statements = yes.stderr(Stdio::null()).spawn().expect("yes runs");
            let mut client = self.client("mariadb");
            client.stdin(statements.stdout.take().expect("piped")).stdout(Stdio::null()).stderr(Stdio::null());
            processes.extend([client.spawn().expect("setpriv runs"), statements]);
        }
        Load(processes)
    }

    /// How many rows of the load are committed. InnoDB shows a row before it is on disk; a commit of our own, after that,
    /// waits until everything before it is.
    #[track_caller]
    pub fn added(&self) -> u64 {
        let sql = "SELECT COUNT(*) FROM `load`.added; INSERT INTO `load`.counted VALUES (NOW())";
        self.query(sql).parse().expect("a number")
    }

    /// Every table of every database, each row and index.
    #[track_caller]
    pub fn check(&self) {
        let mut check = self.client("mariadb-check");
        let checked = ran(&check.args(["--all-databases", "--check", "--extended"]).output().expect("setpriv runs"));
        let checked = checked.expect_code(0).stdout;
        let tables: Vec<&str> = checked.lines().collect();
        assert!(!tables.is_empty() && tables.iter().all(|table| table.ends_with("OK")), "{checked}");
    }

    /// What the server wrote, over all its starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.outside("log.err")).unwrap_or_default()
    }

    pub fn is_running(&self) -> bool {
        let mut server = self.server.lock().expect("not poisoned");
        server.as_mut().is_some_and(|server| server.try_wait().expect("our child").is_none())
    }

    /// As the power switch.
    pub fn kill(&self) {
        if let Some(mut server) = self.server.lock().expect("not poisoned").take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    fn outside(&self, name: &str) -> String {
        self.outside.path().join(name).to_str().expect("plain").to_owned()
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("-- end of the log of MariaDB:");
            lines.into_iter().rev().for_each(|line| eprintln!("{line}"));
        }
        self.kill();
    }
}

impl Load {
    /// Whether every client still has the server's answers.
    pub fn goes_on(&mut self) -> bool {
        self.0.iter_mut().all(|process| process.try_wait().expect("our child").is_none())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for process in &mut self.0 {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
