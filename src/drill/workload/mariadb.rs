//! MariaDB with a client that inserts without pause; only a Unix socket outside of the volume listens.

use std::path::PathBuf;
use std::process::{Child, Command};

use super::{
    Announce, Place, Resumed, Workload, background, find_program, ids_of, number, private_directory, run, text,
    wait_for,
};
use crate::drill::error::DrillError;
use crate::drill::observer::Commit;
use crate::drill::process::as_user;
use crate::drill::typed;
use crate::host::ProcessName;

pub(super) const USER: &str = "mysql";

const SETTINGS: [&str; 4] =
    ["--skip-networking", "--innodb-log-file-size=32M", "--innodb-buffer-pool-size=64M", "--skip-grant-tables"];

pub(super) fn is_installed() -> bool {
    ["mariadbd", "mariadb-install-db", "mariadb"].iter().all(|name| find_program(name).is_some())
        && ids_of(USER).is_some()
}

pub(super) fn start(place: &Place<'_>, announce: &mut Announce<'_>) -> Result<Workload, DrillError> {
    let server = Server::new(place)?;
    run(server.command("mariadb-install-db", &server.at(&["--skip-test-db"]))?, "mariadb-install-db")?;
    let mariadbd = server.start(announce)?;
    let process = ProcessName::of(mariadbd.id());
    let version = wait_for("MariaDB", || server.sql("SELECT VERSION()"))?;
    server.sql(
        "CREATE DATABASE drill; CREATE TABLE drill.load_rows (id INT PRIMARY KEY, text CHAR(200)); \
         CREATE TABLE drill.commits (at TIMESTAMP(6))",
    )?;
    // Always the same rows: the volume must not fill up.
    let work = "BEGIN NOT ATOMIC LOOP REPLACE INTO drill.load_rows VALUES (FLOOR(RAND() * 100000), REPEAT('x', 200)); \
                END LOOP; END//";
    let load = server.client(&["--delimiter=//", "-e", work]);
    let log = server.outside.join("load.log");
    let load = background(server.command("mariadb", &load)?, &log, "the load on MariaDB", announce)?;
    Ok(server.workload(format!("MariaDB {version}, one client inserting"), process, vec![mariadbd, load]))
}

/// Its first answer comes when it has recovered.
pub(super) fn resume(place: &Place<'_>, announce: &mut Announce<'_>) -> Result<Resumed, DrillError> {
    let server = Server::new(place)?;
    let mariadbd = server.start(announce)?;
    let process = ProcessName::of(mariadbd.id());
    let commits = wait_for("MariaDB", || server.sql("SELECT COUNT(*) FROM drill.commits"))?;
    let workload = server.workload("MariaDB".to_owned(), process, vec![mariadbd]);
    Ok(Resumed { workload, commits: number(&commits)? })
}

struct Server<'a> {
    data: PathBuf,
    outside: PathBuf,
    program: PathBuf,
    client: PathBuf,
    place: &'a Place<'a>,
}

impl<'a> Server<'a> {
    fn new(place: &'a Place<'a>) -> Result<Self, DrillError> {
        let outside = place.outside.join("my");
        private_directory(&outside, USER)?;
        let find = |name: &str| find_program(name).ok_or_else(|| DrillError::Failed(format!("{name} is gone")));
        let (program, client) = (find("mariadbd")?, find("mariadb")?);
        Ok(Self { data: place.dir.join("data"), outside, program, client, place })
    }

    fn command(&self, name: &str, arguments: &[String]) -> Result<Command, DrillError> {
        let path = find_program(name).ok_or_else(|| DrillError::Failed(format!("{name} is gone")))?;
        let mut command = as_user(USER, &path, self.place.drill_id);
        command.args(arguments);
        Ok(command)
    }

    fn at(&self, arguments: &[&str]) -> Vec<String> {
        let fixed = ["--no-defaults".to_owned(), format!("--datadir={}", text(&self.data))];
        fixed.into_iter().chain(arguments.iter().map(|argument| (*argument).to_owned())).collect()
    }

    /// With its files outside of the volume.
    fn arguments(&self, settings: &[&str]) -> Vec<String> {
        let files = [("socket", "socket"), ("pid-file", "pid")];
        let files = files.map(|(option, name)| format!("--{option}={}", text(&self.outside.join(name))));
        self.at(settings).into_iter().chain(files).collect()
    }

    fn start(&self, announce: &mut Announce<'_>) -> Result<Child, DrillError> {
        background(self.command("mariadbd", &self.arguments(&SETTINGS))?, &self.log(), "MariaDB", announce)
    }

    fn client(&self, arguments: &[&str]) -> Vec<String> {
        let socket = format!("--socket={}", text(&self.outside.join("socket")));
        let fixed = ["--no-defaults".to_owned(), socket, "-BN".to_owned()];
        fixed.into_iter().chain(arguments.iter().map(|argument| (*argument).to_owned())).collect()
    }

    fn sql(&self, statement: &str) -> Result<String, DrillError> {
        run(self.command("mariadb", &self.client(&["-e", statement]))?, "mariadb")
    }

    fn log(&self) -> PathBuf {
        self.outside.join("log")
    }

    fn workload(&self, name: String, server: Option<ProcessName>, children: Vec<Child>) -> Workload {
        let privileges = ["--reuid=mysql", "--regid=mysql", "--init-groups", "--", &text(&self.client)];
        let privileges = privileges.iter().map(|argument| (*argument).to_owned());
        let words = ["runuser", "-u", USER, "--"].map(str::to_owned).into_iter().chain([text(&self.program)]);
        Workload {
            name,
            server,
            commit: Commit::Client {
                program: "setpriv".into(),
                arguments: privileges.chain(self.client(&["--unbuffered"])).collect(),
                environment: Vec::new(),
                statement: "INSERT INTO drill.commits VALUES (NOW(6)); SELECT 'committed';".to_owned(),
            },
            typed: Some(typed::line(words.chain(self.arguments(&[])))),
            log: Some(self.log()),
            children,
        }
    }
}
