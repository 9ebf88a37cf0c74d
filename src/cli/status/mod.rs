//! `envol status`: what the disk says, and what the daemon knows better; once, again and again, or for Prometheus.

mod figures;
mod watch;

use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::arguments::Status;
use super::error::CliError;
use super::output::{Output, printed};
use super::quantity::size;
use crate::catalog::{self, LastSnapshot, Root, VolumePaths, VolumeSummary};
use crate::daemon::{Command, ControlError, Counters, LiveStatus, Program, Reply, ask, exposition, finish_interrupted};
use crate::format::VolumeId;
use crate::host::fuse_connection::FuseConnection;
use crate::revocation::events::EventKind;

pub(super) fn run(root: &Root, verb: &Status, output: &Output) -> Result<(), CliError> {
    let paths = root.existing(&verb.volume)?;
    finish_interrupted(&paths);
    if verb.watch {
        return watch::run(&paths, output);
    }
    let merged = merged(&paths, catalog::summarize(&paths));
    if verb.prometheus {
        if output.json {
            return Err(CliError::usage("metrics are text: --prometheus and --json exclude each other"));
        }
        let text = exposition(&merged.on_disk, merged.live.as_ref());
        return printed(io::stdout().lock().write_all(text.as_bytes()));
    }
    output.print(&merged.to_text(), &merged.to_json())
}

/// One volume: `on_disk` already has what the daemon says of its state.
pub(super) struct Merged {
    pub(super) on_disk: VolumeSummary,
    pub(super) live: Option<LiveStatus>,
}

pub(super) fn merged(paths: &VolumePaths, mut on_disk: VolumeSummary) -> Merged {
    let live = match ask(paths, &Command::Status) {
        Ok(Reply::Status(live)) => Some(*live),
        Err(error) if error.is_nobody() && is_left_mounted(paths) => {
            on_disk.cause =
                Some("a daemon that was killed left it mounted; the next attach or detach clears that".to_owned());
            None
        }
        Err(ControlError::AnotherRoot { .. }) => None,
        Err(error) if error.is_nobody() => None,
        answer => {
            if on_disk.state == "available" {
                on_disk.state = "in-use".to_owned();
                on_disk.cause = Some(match answer {
                    Err(error) if error.is_silence() => error.to_string(),
                    Err(error) => format!("its daemon does not answer: {error}"),
                    Ok(Reply::Failed { message }) => format!("its daemon does not answer: {message}"),
                    Ok(_) => "its daemon answered another question".to_owned(),
                });
            }
            None
        }
    };
    if let Some(live) = &live {
        live.refine(&mut on_disk);
    }
    Merged { on_disk, live }
}

/// From the kernel's table: the dead mount itself is not asked.
fn is_left_mounted(paths: &VolumePaths) -> bool {
    FuseConnection::at(&paths.mount_point()).is_ok_and(|connection| connection.is_some())
}

impl Merged {
    pub(super) fn to_json(&self) -> Value {
        let live = self.live.as_ref();
        let counters = self.counters();
        json!({
            "volume_id": self.on_disk.volume_id,
            "state": self.on_disk.state,
            "cause": self.on_disk.cause,
            "detail": self.on_disk.detail,
            "since": self.on_disk.since,
            "rds_status": self.rds_status(),
            "recoverable_until": self.on_disk.recoverable_until,
            "next": next_step(&self.on_disk, live.is_some()),
            "on_revocation": self.on_disk.on_revocation,
            "db_id": self.on_disk.db_id,
            "kms_key": self.on_disk.kms_key,
            "grant_id": self.on_disk.grant_id,
            "size_bytes": self.on_disk.size_bytes,
            "allocated_bytes": self.on_disk.allocated_bytes,
            "file_system": self.on_disk.file_system,
            "last_snapshot": self.on_disk.last_snapshot,
            "snapshot_age_s": self.on_disk.last_snapshot.as_ref().map(|last| age_s(last.created_at)),
            "backing": self.on_disk.backing,
            "pid": live.map(|live| live.pid),
            "mount_point": live.and_then(|live| live.mount_point.as_deref()),
            "device": live.and_then(|live| live.device.as_deref()),
            "verified_at": live.and_then(|live| live.verified_at),
            "unverified_s": live.map(|live| live.unverified_s),
            "last_kms_error": live.and_then(|live| live.last_kms_error.as_deref()),
            "cache": live.map(|live| live.cache),
            "daemon_version": live.and_then(|live| live.program.as_ref()).map(|program| &program.version),
            "daemon_outdated": live.map(is_outdated),
            "key_memory": live.map(|live| live.key_memory.as_str()),
            "refused": live.map(|live| &live.refused),
            "io": counters.map(|counters| figures::io(&counters.io)),
            "probes": counters.map(|counters| figures::probes(&counters.probes)),
        })
    }

    fn counters(&self) -> Option<&Counters> {
        self.live.as_ref()?.counters.as_ref()
    }

    /// What RDS calls it, for operators who know that.
    fn rds_status(&self) -> Option<&'static str> {
        match self.on_disk.state.as_str() {
            "terminal" => EventKind::Terminal.rds_status(),
            "recoverable" => EventKind::Recoverable.rds_status(),
            _ => None,
        }
    }

    fn to_text(&self) -> String {
        let volume = &self.on_disk;
        let mut lines = vec![("volume", volume.volume_id.to_string())];
        let since = volume.since.map_or_else(String::new, |since| format!(" since {}", to_the_second(since)));
        lines.push(("state", format!("{}{since}", volume.state)));
        let mut add = |name, value: Option<String>| lines.extend(value.map(|value| (name, value)));
        add("in RDS", self.rds_status().map(str::to_owned));
        add("cause", volume.cause.clone());
        add("detail", volume.detail.clone());
        add("next", next_step(volume, self.live.is_some()));
        add("database", volume.db_id.clone());
        add("KMS key", volume.kms_key.clone());
        add("grant", volume.grant_id.clone());
        add("on revocation", volume.on_revocation.clone());
        add("size", volume.size_bytes.map(|bytes| size_and_allocated(bytes, volume.allocated_bytes)));
        add("file system", volume.file_system.clone());
        add("snapshot", volume.last_snapshot.as_ref().map(last_snapshot));
        add("image", Some(volume.backing.display().to_string()));
        if let Some(live) = &self.live {
            add("mounted on", live.mount_point.clone());
            add("device", live.device.clone());
            add("cache", Some(live.cache.to_string()));
            let version = live.program.as_ref().map_or("of an earlier version", |program| &program.version);
            add("daemon", Some(format!("pid {}, envol {version}, keys in {}", live.pid, live.key_memory)));
            add("outdated", is_outdated(live).then(|| outdated(&volume.volume_id)));
            add("key verified", Some(verification(live)));
            for refused in &live.refused {
                add("not allowed", Some(refused.clone()));
            }
        }
        lines.iter().map(|(name, value)| format!("{name:<13} {value}\n")).collect()
    }
}

/// The daemon goes on with the binary that it was started from, whatever is installed since.
fn is_outdated(live: &LiveStatus) -> bool {
    live.program.as_ref() != Some(&Program::running())
}

fn outdated(id: &VolumeId) -> String {
    format!(
        "the daemon runs another binary than this command ({}): to change over, stop the database, `envol detach {id}`, and attach again",
        Program::running().version
    )
}

fn verification(live: &LiveStatus) -> String {
    let at = live.verified_at.map_or_else(|| "never".to_owned(), |at| to_the_second(at).to_string());
    match (live.unverified_s, &live.last_kms_error) {
        (_, Some(error)) => format!("{at}; unverified for {} s: {error}", live.unverified_s),
        _ => at,
    }
}

fn next_step(volume: &VolumeSummary, live: bool) -> Option<String> {
    match volume.state.as_str() {
        "terminal" => Some(way_back(volume)),
        "recoverable" => {
            let until =
                volume.recoverable_until.map_or_else(String::new, |until| format!(" before {}", to_the_second(until)));
            Some(format!(
                "allow the key again, then `envol attach {}`{until}; after that it is terminal",
                volume.volume_id
            ))
        }
        "error" if live => Some("detach, mend the cause (is the disk full?), attach again".to_owned()),
        "error" => {
            let id = &volume.volume_id;
            Some(format!(
                "`envol check {id}` says more; `envol header restore {id} FILE` brings back a header that was backed up"
            ))
        }
        _ => None,
    }
}

fn way_back(volume: &VolumeSummary) -> String {
    match &volume.last_snapshot {
        Some(last) => format!(
            "allow the key again, then `envol create --snapshot {} --store {} --db-id … --kms-key …`",
            last.snapshot_id, last.store
        ),
        None => "allow the key again, create a new volume, restore the database from a backup".to_owned(),
    }
}

fn size_and_allocated(bytes: u64, allocated_bytes: Option<u64>) -> String {
    let allocated = allocated_bytes.map_or_else(String::new, |bytes| format!(", its image takes {}", size(bytes)));
    format!("{}{allocated}", size(bytes))
}

fn age_s(at: Timestamp) -> i64 {
    Timestamp::now().duration_since(at).as_secs().max(0)
}

fn last_snapshot(last: &LastSnapshot) -> String {
    let age = jiff::SignedDuration::from_secs(age_s(last.created_at));
    format!("{}, {age:#} ago, in {}", last.snapshot_id, last.store)
}

fn to_the_second(at: Timestamp) -> Timestamp {
    at.round(jiff::Unit::Second).unwrap_or(at)
}
