//! What a person asks of `attach`.

use std::path::PathBuf;

use crate::format::FileSystemKind;
use crate::revocation::GuardianOptions;

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
    pub guardian: GuardianOptions,
}
