//! `envol rewrap`: by the daemon of a volume that is attached, else here.

use serde_json::json;

use super::arguments::Rewrap;
use super::create::named_key;
use super::error::CliError;
use super::exit_code::ExitStatus;
use super::output::Output;
use crate::catalog::{self, Rewrapped, Root, VolumePaths, WrappedKeys};
use crate::daemon::{Command, ControlError, Reply, ask, clear_leftovers};

pub(super) fn run(root: &Root, verb: &Rewrap, output: &Output) -> Result<(), CliError> {
    let to = named_key(&verb.kms_key)?;
    let paths = root.existing(&verb.volume)?;
    if let Some(revoked) = catalog::read_revoked(&paths) {
        return Err(revoked.into());
    }
    let rewrapped = match ask(&paths, &Command::Status) {
        Ok(_) => {
            if verb.kms_profile.is_some() {
                output.note("the volume is attached: its daemon proves the new key with its own credentials");
            }
            by_daemon(&paths, catalog::rewrap_in_kms(&paths, &to)?)?
        }
        Err(error) if error.is_nobody() => {
            clear_leftovers(&paths, false)?;
            catalog::rewrap(&paths, &to, verb.kms_profile.as_deref(), |warning| output.warning(warning))?
        }
        Err(error) => return Err(error.into()),
    };
    show(&paths, &rewrapped, output)
}

fn by_daemon(paths: &VolumePaths, keys: Option<WrappedKeys>) -> Result<Rewrapped, CliError> {
    let id = paths.id();
    match ask(paths, &Command::Rewrap { keys: keys.map(Box::new) }) {
        Ok(Reply::Rewrapped(rewrapped)) => Ok(rewrapped),
        Ok(Reply::RewrapFailed { message, exit_code }) => Err(CliError { code: exit_code, message, printed: false }),
        // Of another version: the message says what to do.
        Ok(Reply::Failed { message }) => Err(CliError::new(ExitStatus::Busy, format!("volume {id}: {message}"))),
        Ok(_) => Err(CliError::new(ExitStatus::Unexpected, "the daemon answered another question")),
        Err(error) => Err(lost(paths, error)),
    }
}

fn lost(paths: &VolumePaths, error: ControlError) -> CliError {
    if let Some(revoked) = catalog::read_revoked(paths) {
        return revoked.into();
    }
    if !error.is_lost() && !error.is_nobody() {
        return error.into();
    }
    let id = paths.id();
    let message = format!("the daemon of volume {id} ended before it answered; the same command finishes the move");
    CliError::new(ExitStatus::Unexpected, message)
}

fn show(paths: &VolumePaths, rewrapped: &Rewrapped, output: &Output) -> Result<(), CliError> {
    let id = paths.id();
    let Rewrapped { from_kms_key, kms_key, key_generation, standing_grants } = rewrapped;
    for standing in standing_grants {
        output.warning(&format!("volume {id} is under {kms_key}, but its old {standing}"));
    }
    let mut text = match from_kms_key {
        Some(from) => format!(
            "volume {id} is under {kms_key} now (key generation {key_generation}), and not under {from} any more"
        ),
        None => format!("volume {id} is under {kms_key} already"),
    };
    if from_kms_key.is_some() {
        text += "\nIts snapshots stay under the keys that they were taken under: `envol snapshot copy --kms-key` makes a copy \
                 under another one. Keep the old key enabled as long as one of them is needed";
        text += &format!(
            "\nA header backup from before is of the old key: `envol header backup {id} FILE` makes a new one"
        );
    }
    let object = json!({
        "volume_id": id,
        "kms_key": kms_key,
        "from_kms_key": from_kms_key,
        "key_generation": key_generation,
        "grant_id": catalog::summarize(paths).grant_id,
        "standing_grants": standing_grants,
    });
    output.print(&text, &object)
}
