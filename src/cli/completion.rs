//! What can be typed next, for shells: every verb and option by the command line itself, and the ids of volumes and snapshots as
//! they lie on this host. Asks neither KMS nor a daemon.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, Command};
use clap_complete::{ArgValueCandidates, CompleteEnv, CompletionCandidate};

use super::quantity::size;
use crate::catalog::{self, Root};
use crate::host::mounts::Mounts;
use crate::snapshot::{SnapshotStore, StoreLocation};

/// A variable and not a verb: the scripts in `packaging/completions` set it for the one command that answers them. With
/// a name of our own, so that a `COMPLETE` that somebody exported for another program is none of our business.
const VARIABLE: &str = "ENVOL_COMPLETE";

/// `None` where no shell asks.
pub(super) fn answer_a_shell() -> Option<ExitCode> {
    let words: Vec<OsString> = env::args_os().collect();
    // Somebody types, and a message in between would be in their way; who asks for the script wants to see what is wrong.
    let is_typing = words.len() > 1;
    let complete = CompleteEnv::with_factory(|| with_values(super::command())).var(VARIABLE).completer("envol");
    match complete.try_complete(words, env::current_dir().ok().as_deref()) {
        Ok(true) => Some(ExitCode::SUCCESS),
        Ok(false) => None,
        Err(_) if is_typing => Some(ExitCode::FAILURE),
        Err(error) => {
            eprintln!("envol: {VARIABLE}: {error}");
            Some(ExitCode::from(2))
        }
    }
}

/// By what the help calls a value, so that a new verb has its ids completed from the start.
fn with_values(command: Command) -> Command {
    command.mut_args(with_value).mut_subcommands(with_values)
}

fn with_value(arg: Arg) -> Arg {
    let name = match arg.get_value_names() {
        Some([name]) => name.to_string(),
        _ => return arg,
    };
    match name.as_str() {
        "VOL" => arg.add(ArgValueCandidates::new(volumes)),
        "SNAP" => arg.add(ArgValueCandidates::new(snapshots)),
        // `ext4|xfs` are words to type, `DIR|URL` are not.
        words if words.contains('|') && !words.contains(char::is_uppercase) => {
            let words: Vec<String> = words.split('|').map(str::to_owned).collect();
            arg.add(ArgValueCandidates::new(move || words.iter().map(CompletionCandidate::new).collect()))
        }
        _ => arg,
    }
}

fn volumes() -> Vec<CompletionCandidate> {
    let Ok(root) = Root::new(typed("--root").map(PathBuf::from).as_deref()) else { return Vec::new() };
    // Behind `sudo` it is the caller who completes, and may not look into root's directory; what is mounted everybody sees.
    if root.volumes().read_dir().is_err() && typed("--root").is_none() {
        return attached();
    }
    let summaries = catalog::list(&root).unwrap_or_default().into_iter();
    let candidate = |volume: catalog::VolumeSummary| {
        let help = volume.db_id.zip(volume.size_bytes).map(|(database, bytes)| format!("{database}, {}", size(bytes)));
        CompletionCandidate::new(volume.volume_id.as_str()).help(help.map(Into::into))
    };
    summaries.map(candidate).collect()
}

fn attached() -> Vec<CompletionCandidate> {
    let mounts = Mounts::read().unwrap_or_default();
    let ids = mounts.iter().filter(|mount| mount.file_system == "fuse.envol").filter_map(|mount| {
        let id: crate::format::VolumeId = mount.mount_point.file_name()?.to_str()?.parse().ok()?;
        Some(CompletionCandidate::new(id.as_str()))
    });
    ids.collect()
}

/// Those of a directory: a bucket would have to be asked over the network, while somebody waits with a finger on the key.
fn snapshots() -> Vec<CompletionCandidate> {
    let location = match typed("--store") {
        Some(store) => store.into_string().ok(),
        None => Root::new(typed("--root").map(PathBuf::from).as_deref())
            .ok()
            .map(|root| root.snapshots().display().to_string()),
    };
    let Some(location) = location.and_then(|text| text.parse::<StoreLocation>().ok()) else { return Vec::new() };
    // Opening it would make the directory.
    if !location.directory().is_some_and(Path::is_dir) {
        return Vec::new();
    }
    let Ok(store) = SnapshotStore::open(&location, None, None) else { return Vec::new() };
    let mut headers = store.headers().unwrap_or_default().headers;
    headers.reverse();
    let candidate = |header: crate::snapshot::SnapshotHeader| {
        let help = format!("{} of {}", header.draft.created_at, header.draft.volume_id);
        CompletionCandidate::new(header.id().as_str()).help(Some(help.into()))
    };
    headers.into_iter().map(candidate).collect()
}

/// The value of an option earlier on the line that is being typed. Bash hands over `--root=DIR` as three words.
fn typed(option: &str) -> Option<OsString> {
    let mut words = env::args_os().skip_while(|word| word != "--").skip(1);
    while let Some(word) = words.next() {
        if word == option {
            return words.find(|word| word != "=");
        }
        let value = word.to_str().and_then(|word| word.strip_prefix(option)?.strip_prefix('='));
        if let Some(value) = value {
            return Some(value.into());
        }
    }
    None
}
