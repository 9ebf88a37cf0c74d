//! `envol attach`: in the foreground the daemon itself, else a daemon that is waited for until it serves.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use serde_json::json;

use super::arguments::{Arguments, Attach, Verb};
use super::error::CliError;
use super::exit_code::ExitStatus;
use super::output::Output;
use crate::catalog::{CatalogError, Root, VolumePaths};
use crate::daemon::{self, AttachOptions, Started};
use crate::host::loop_device::LoopDevice;
use crate::host::mounts::Mounts;
use crate::host::tools::Tool;
use crate::revocation::GuardianOptions;

/// A name server may be asked for the user.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(10);

pub(super) fn run(root: &Root, verb: &Attach, arguments: &Arguments, output: &Output) -> Result<(), CliError> {
    let mut paths = root.existing(&verb.volume)?;
    if let Some(owner) = &verb.owner {
        check_owner(owner)?;
    }
    let dir = verb.dir.as_deref().map(|dir| check_dir(root, &paths, dir)).transpose()?;
    if verb.foreground {
        let options = AttachOptions {
            dir,
            file_system: verb.fs,
            owner: verb.owner.clone(),
            mkfs: verb.mkfs,
            force: verb.force,
            kms_profile: verb.kms_profile.clone(),
            wait_for_kms: verb.wait_for_kms,
            cache: verb.cache,
            on_event: verb.on_event.clone(),
            metrics_listen: verb.metrics_listen,
            keep_processes: verb.keep_processes,
            exit_code: |error| ExitStatus::of_daemon(error) as u8,
            guardian: GuardianOptions {
                probe_interval: verb.probe_interval,
                confirm_denial: verb.confirm_denial,
                max_unverified: verb.max_unverified,
            },
        };
        return daemon::run(root, &mut paths, &options).map_err(|error| {
            let error = CliError::from(error);
            daemon::report_failure(&error.message);
            error
        });
    }
    let (pid, warnings) = start(root, &mut paths, verb, dir.as_deref(), arguments.verbose, output)?;
    warnings.iter().for_each(|warning| output.warning(warning));
    report(&paths, dir.as_deref(), pid, output)
}

/// For a command that needs the volume served for a while.
pub(super) fn attach_raw(
    root: &Root,
    paths: &VolumePaths,
    kms_profile: Option<&str>,
    output: &Output,
) -> Result<(), CliError> {
    let mut typed = vec!["envol".to_owned(), "attach".to_owned(), "--raw".to_owned()];
    typed.extend(kms_profile.map(|profile| format!("--kms-profile={profile}")));
    typed.push(paths.id().to_string());
    let parsed = Arguments::try_parse_from(typed).map_err(|error| CliError::usage(error.to_string()))?;
    let Verb::Attach(verb) = &parsed.verb else { unreachable!("that is what was typed") };
    // What there is to warn of is not this command's business.
    start(root, &mut paths.clone(), verb, None, 0, output).map(drop)
}

/// The daemon's pid, and what it warns of.
fn start(
    root: &Root,
    paths: &mut VolumePaths,
    verb: &Attach,
    dir: Option<&Path>,
    verbose: u8,
    output: &Output,
) -> Result<(u32, Vec<String>), CliError> {
    let arguments = foreground_arguments(root, verb, dir, verbose);
    match daemon::spawn_detached(&arguments, paths, |status| output.progress(status))? {
        Started::Ready { pid, warnings } => Ok((pid, warnings)),
        Started::Ended { status, message } if !message.is_empty() => {
            let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(ExitStatus::Unexpected as u8);
            Err(CliError { code, message, printed: false })
        }
        Started::Ended { status, .. } => {
            let log = paths.log();
            let message =
                format!("volume {}: the daemon ended before it served ({status}); see {}", paths.id(), log.display());
            Err(CliError::new(ExitStatus::Unexpected, message))
        }
    }
}

fn report(paths: &VolumePaths, dir: Option<&Path>, pid: u32, output: &Output) -> Result<(), CliError> {
    let image = paths.attach_link().join(crate::fuse::IMAGE_NAME);
    let text = match dir {
        Some(dir) => format!("volume {} is attached at {}", paths.id(), dir.display()),
        None => format!("volume {} is attached: its image is {}", paths.id(), image.display()),
    };
    let object = json!({
        "volume_id": paths.id(),
        "state": "in-use",
        "mount_point": dir,
        "image": image,
        "pid": pid,
    });
    output.print(&text, &object)
}

/// Before anything is made or mounted for somebody who is not there.
fn check_owner(owner: &str) -> Result<(), CliError> {
    let (user, group) = owner.split_once(':').map_or((owner, None), |(user, group)| (user, Some(group)));
    let known = |database: &str, name: &str| {
        let tool = Tool::new("getent", LOOKUP_DEADLINE).map_err(CatalogError::from)?;
        Ok::<_, CliError>(tool.args([database, name]).run().is_ok())
    };
    let is_number = |name: &str| name.parse::<u32>().is_ok();
    if !is_number(user) && !known("passwd", user)? {
        return Err(CliError::usage(format!("there is no user `{user}`")));
    }
    match group.filter(|group| !group.is_empty() && !is_number(group)) {
        Some(group) if !known("group", group)? => Err(CliError::usage(format!("there is no group `{group}`"))),
        _ => Ok(()),
    }
}

/// DIR as the kernel names it, when a killed daemon left this very volume mounted there. Its dead file system is not
/// asked: a stat of a shut-down XFS fails, as if there were no such directory.
fn left_mounted(paths: &VolumePaths, dir: &Path) -> Option<PathBuf> {
    let dir = dir.parent()?.canonicalize().ok()?.join(dir.file_name()?);
    let mounted = Mounts::read().ok()?.at(&dir)?.device;
    let devices = LoopDevice::backed_by(&paths.image()).ok()?;
    devices.iter().any(|device| device.device_number().is_ok_and(|number| number == mounted)).then_some(dir)
}

/// What can be said of DIR before the volume is touched.
fn check_dir(root: &Root, paths: &VolumePaths, dir: &Path) -> Result<PathBuf, CliError> {
    if !rustix::process::geteuid().is_root() {
        return Err(CliError::usage(
            "mounting a file system needs root. As another user, leave DIR away and use --raw: it shows the image file",
        ));
    }
    let dir = std::path::absolute(dir).map_err(|error| CliError::usage(format!("{}: {error}", dir.display())))?;
    if let Some(left) = left_mounted(paths, &dir) {
        return Ok(left);
    }
    if !dir.exists() {
        std::fs::create_dir_all(&dir).map_err(CatalogError::io("make", &dir))?;
    }
    let dir = dir.canonicalize().map_err(CatalogError::io("find", &dir))?;
    if !dir.is_dir() {
        return Err(CliError::usage(format!("{} is not a directory", dir.display())));
    }
    for (what, path) in [("the root directory", root.path().to_owned()), ("the volume's image", paths.backing())] {
        if path.canonicalize().is_ok_and(|path| path.starts_with(&dir)) {
            return Err(CliError::usage(format!(
                "{what} lies in {}: mounted there, the volume would hide what it is made of",
                dir.display()
            )));
        }
    }
    // Once more: a symbolic link may have led there.
    if left_mounted(paths, &dir).is_none() {
        check_nothing_to_hide(&dir)?;
    }
    Ok(dir)
}

/// What lies in a directory is out of sight as long as something is mounted on it: a database that lived there would
/// seem to be gone.
fn check_nothing_to_hide(dir: &Path) -> Result<(), CliError> {
    if let Some(mount) = Mounts::read().map_err(CatalogError::from)?.at(dir) {
        let message = format!(
            "{} is a mount point already, of {}; choose another directory",
            dir.display(),
            mount.source.display()
        );
        return Err(CliError::new(ExitStatus::Busy, message));
    }
    match std::fs::read_dir(dir).map_err(CatalogError::io("look into", dir))?.next() {
        None => Ok(()),
        Some(_) => Err(CliError::usage(format!(
            "{} is not empty, and what is in it could not be seen while the volume is mounted there. Choose another \
             directory, or move it away; then copy it to the volume",
            dir.display()
        ))),
    }
}

/// The same command, for the daemon.
fn foreground_arguments(root: &Root, verb: &Attach, dir: Option<&Path>, verbose: u8) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["--root".into(), root.path().into()];
    // The daemon's stderr is its log: what it does is worth a line there.
    arguments.extend(std::iter::repeat_n("-v".into(), usize::from(verbose.max(1))));
    arguments.extend(["attach".into(), "--foreground".into()]);
    let millis = |duration: Duration| format!("{}ms", duration.as_millis());
    let mut option = |name: &str, value: &str| arguments.push(format!("--{name}={value}").into());
    option("probe-interval", &millis(verb.probe_interval));
    option("confirm-denial", &millis(verb.confirm_denial));
    if let Some(most) = verb.max_unverified {
        option("max-unverified", &millis(most));
    }
    if let Some(cache) = verb.cache {
        option("cache", &cache.to_string());
    }
    if let Some(kind) = verb.fs {
        option("fs", &kind.to_string());
    }
    if let Some(owner) = &verb.owner {
        option("owner", owner);
    }
    if let Some(profile) = &verb.kms_profile {
        option("kms-profile", profile);
    }
    if let Some(hook) = &verb.on_event {
        option("on-event", hook);
    }
    if let Some(address) = verb.metrics_listen {
        option("metrics-listen", &address.to_string());
    }
    match verb.wait_for_kms {
        None => {}
        Some(Duration::MAX) => arguments.push("--wait-for-kms".into()),
        Some(limit) => arguments.push(format!("--wait-for-kms={}", millis(limit)).into()),
    }
    for (name, given) in
        [("--mkfs", verb.mkfs), ("--raw", verb.raw), ("--force", verb.force), ("--keep-processes", verb.keep_processes)]
    {
        if given {
            arguments.push(name.into());
        }
    }
    arguments.push(verb.volume.as_str().into());
    arguments.extend(dir.map(OsString::from));
    arguments
}
