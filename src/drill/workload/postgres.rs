//! PostgreSQL with pgbench at work on it; only a Unix socket outside of the volume listens.

use std::fs;
use std::path::{Path, PathBuf};
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

pub(super) const USER: &str = "postgres";

/// Small: the volume may be.
const SETTINGS: [&str; 4] = ["listen_addresses=", "max_wal_size=128MB", "shared_buffers=64MB", "max_connections=20"];

pub(super) fn is_installed() -> bool {
    ["initdb", "postgres", "psql", "pgbench"].iter().all(|name| program(name).is_some()) && ids_of(USER).is_some()
}

pub(super) fn start(place: &Place<'_>, announce: &mut Announce<'_>) -> Result<Workload, DrillError> {
    let server = Server::new(place)?;
    run(server.command("initdb", &["--auth=trust", "--no-instructions", "-D", &text(&server.data)])?, "initdb")?;
    let postgres = server.start(announce)?;
    let process = ProcessName::of(postgres.id());
    let version = wait_for("PostgreSQL", || run(server.psql("SHOW server_version")?, "psql"))?;
    run(server.psql("CREATE TABLE envol_drill (at timestamptz)")?, "psql")?;
    run(server.command("pgbench", &["-i", "-s", "1", "-q"])?, "pgbench -i")?;
    let load = server.command("pgbench", &["-n", "-c", "2", "-T", "86400"])?;
    let pgbench = background(load, &server.socket.join("pgbench.log"), "pgbench", announce)?;
    Ok(Workload {
        name: format!("PostgreSQL {version}, pgbench with 2 clients"),
        server: process,
        commit: server.commit()?,
        typed: Some(server.typed()?),
        log: Some(server.log()),
        children: vec![postgres, pgbench],
    })
}

/// Its first answer comes when it has recovered.
pub(super) fn resume(place: &Place<'_>, announce: &mut Announce<'_>) -> Result<Resumed, DrillError> {
    let server = Server::new(place)?;
    let postgres = server.start(announce)?;
    let process = ProcessName::of(postgres.id());
    let commits = wait_for("PostgreSQL", || run(server.psql("SELECT count(*) FROM envol_drill")?, "psql"))?;
    let workload = Workload {
        name: "PostgreSQL".to_owned(),
        server: process,
        commit: server.commit()?,
        typed: Some(server.typed()?),
        log: Some(server.log()),
        children: vec![postgres],
    };
    Ok(Resumed { workload, commits: number(&commits)? })
}

struct Server<'a> {
    data: PathBuf,
    socket: PathBuf,
    place: &'a Place<'a>,
}

impl<'a> Server<'a> {
    fn new(place: &'a Place<'a>) -> Result<Self, DrillError> {
        let socket = place.outside.join("pg");
        private_directory(&socket, USER)?;
        Ok(Self { data: place.dir.join("pgdata"), socket, place })
    }

    fn command<S: AsRef<std::ffi::OsStr>>(&self, name: &str, arguments: &[S]) -> Result<Command, DrillError> {
        let path = program(name).ok_or_else(|| DrillError::Failed(format!("{name} is gone")))?;
        let mut command = as_user(USER, &path, self.place.drill_id);
        command.args(arguments).envs(self.environment());
        Ok(command)
    }

    fn start(&self, announce: &mut Announce<'_>) -> Result<Child, DrillError> {
        let settings = SETTINGS.iter().flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()]);
        let arguments: Vec<String> = self.places().into_iter().chain(settings).collect();
        background(self.command("postgres", &arguments)?, &self.log(), "PostgreSQL", announce)
    }

    fn places(&self) -> [String; 4] {
        ["-D".to_owned(), text(&self.data), "-k".to_owned(), text(&self.socket)]
    }

    fn typed(&self) -> Result<String, DrillError> {
        let path = program("postgres").ok_or_else(|| DrillError::Failed("postgres is gone".to_owned()))?;
        let words = ["runuser", "-u", USER, "--"].map(str::to_owned).into_iter().chain([text(&path)]);
        Ok(typed::line(words.chain(self.places())))
    }

    fn log(&self) -> PathBuf {
        self.socket.join("log")
    }

    fn environment(&self) -> Vec<(String, String)> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![pair("PGHOST", &text(&self.socket)), pair("PGUSER", "postgres"), pair("PGDATABASE", "postgres")]
    }

    fn psql(&self, sql: &str) -> Result<Command, DrillError> {
        self.command("psql", &["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql])
    }

    /// One psql that stays; the statement commits by itself and answers with a line.
    fn commit(&self) -> Result<Commit, DrillError> {
        let psql = program("psql").ok_or_else(|| DrillError::Failed("psql is gone".to_owned()))?;
        let arguments = ["--reuid=postgres", "--regid=postgres", "--init-groups", "--", &text(&psql)];
        let options = ["-XAtq", "-v", "ON_ERROR_STOP=1"];
        Ok(Commit::Client {
            program: "setpriv".into(),
            arguments: arguments.iter().chain(&options).map(|argument| (*argument).to_owned()).collect(),
            environment: self.environment(),
            statement: "INSERT INTO envol_drill VALUES (clock_timestamp()) RETURNING 'committed';".to_owned(),
        })
    }
}

/// Debian keeps several versions side by side; the newest one.
fn program(name: &str) -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    let debian = newest.map(|version| Path::new("/usr/lib/postgresql").join(format!("{version}/bin")).join(name));
    debian.filter(|path| path.is_file()).or_else(|| find_program(name))
}
