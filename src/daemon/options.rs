//! What a person asks of `attach`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::error::DaemonError;
use crate::format::FileSystemKind;
use crate::revocation::GuardianOptions;
use crate::store::CacheMode;

/// Checked as far as that goes without the volume.
#[derive(Clone, Debug)]
pub struct AttachOptions {
    /// Where to mount the volume's file system; without, only the image is shown.
    pub dir: Option<PathBuf>,
    /// The file system to make on a blank volume, and to expect on any other; without, ext4 or what is there.
    pub file_system: Option<FileSystemKind>,
    /// `USER[:GROUP]` as chown(1) takes it: who owns the root of the file system.
    pub owner: Option<String>,
    /// Make a file system even where an earlier attempt was interrupted or something was written.
    pub mkfs: bool,
    /// End the processes that hold on to what a killed daemon left mounted.
    pub force: bool,
    pub kms_profile: Option<String>,
    /// For how long to ask again while KMS cannot be reached: [`Duration::MAX`] for as long as it takes, `None` not at all.
    pub wait_for_kms: Option<Duration>,
    /// Without, past the page cache where the backing can do that.
    pub cache: Option<CacheMode>,
    /// Do not end the processes that use the volume when it ends.
    pub keep_processes: bool,
    pub guardian: GuardianOptions,
    /// Of a failure that a command is told of, as that command exits with it.
    pub exit_code: fn(&DaemonError) -> u8,
    /// A URL or a command line that is told of each event: [`crate::revocation::events::HookTarget`].
    pub on_event: Option<String>,
    /// Where to serve the metrics of the volume over HTTP.
    pub metrics_listen: Option<SocketAddr>,
}
