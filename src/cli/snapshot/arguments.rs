//! What can be typed after `envol snapshot`.

use std::num::NonZeroU64;

use clap::{Args, Subcommand};
use kms_client::PrincipalArn;

use crate::cli::quantity::parse_size;
use crate::format::{SnapshotId, VolumeId};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Snapshot {
    /// Take a snapshot of a volume, and print its id. A volume that is not attached is, for as long as it takes
    Create(Create),
    /// Show the snapshots of a store, of one volume or of all
    List(List),
    /// Show one snapshot: its sizes, its key, and what it was made of
    Show(One),
    /// Copy a snapshot under another KMS key, to another store, or both; print the id of the copy
    Copy(Copy),
    /// Make a snapshot that another account can copy and restore; print its id
    Share(Share),
    /// Read and authenticate every chunk of a snapshot
    Verify(One),
    /// Delete a snapshot; what others still need of it stays
    Delete(Delete),
    /// Delete the snapshots of a volume that no rule keeps
    Prune(Prune),
    /// Remove what interrupted commands left in a store
    Gc(Gc),
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Store {
    /// Directory, or s3://BUCKET/PREFIX with the AWS variables and profiles [default: ROOT/snapshots]
    #[arg(long, value_name = "DIR|URL")]
    pub(in crate::cli) store: Option<String>,

    /// AWS profile for a store in S3 [default: the caller's own]
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) store_profile: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// The volume's id
    #[arg(value_name = "VOL")]
    pub(super) volume: VolumeId,

    #[command(flatten)]
    pub(super) store: Store,

    /// Freeze the file system for that moment, 2 s at most; without, what it has in memory is written before
    #[arg(long)]
    pub(super) freeze: bool,

    /// Store the data as it is
    #[arg(long)]
    pub(super) no_compression: bool,

    /// Bytes to upload in a second, at most
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(super) bandwidth: Option<NonZeroU64>,

    /// Room under the root directory for chunks that are written before they are stored
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = parse_size)]
    pub(super) spill: u64,

    /// AWS profile that unwraps the key of a volume that is not attached
    #[arg(long, value_name = "NAME")]
    pub(super) kms_profile: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// The volume's id [default: all volumes]
    #[arg(value_name = "VOL")]
    pub(super) volume: Option<VolumeId>,

    #[command(flatten)]
    pub(super) store: Store,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct One {
    /// The snapshot's id
    #[arg(value_name = "SNAP")]
    pub(super) snapshot: SnapshotId,

    #[command(flatten)]
    pub(super) store: Store,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Copy {
    /// The snapshot's id
    #[arg(value_name = "SNAP")]
    pub(super) snapshot: SnapshotId,

    #[command(flatten)]
    pub(super) store: Store,

    /// Where the copy goes [default: the same store]
    #[arg(long, value_name = "DIR|URL")]
    pub(super) to_store: Option<String>,

    /// AWS profile for that store, if it is in S3 [default: as --store-profile]
    #[arg(long, value_name = "NAME")]
    pub(super) to_store_profile: Option<String>,

    /// KMS key of the copy [default: the same key]
    #[arg(long, value_name = "KEY")]
    pub(super) kms_key: Option<String>,

    /// Bytes to upload in a second, at most
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(super) bandwidth: Option<NonZeroU64>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Share {
    /// The snapshot's id
    #[arg(value_name = "SNAP")]
    pub(super) snapshot: SnapshotId,

    /// The account, or the ARN of the user or role, that may copy and restore it
    #[arg(long, value_name = "ACCOUNT|ARN", value_parser = parse_principal)]
    pub(super) with: PrincipalArn,

    #[command(flatten)]
    pub(super) store: Store,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Delete {
    /// The snapshot's id
    #[arg(value_name = "SNAP")]
    pub(super) snapshot: SnapshotId,

    #[command(flatten)]
    pub(super) store: Store,

    /// Do not ask
    #[arg(long)]
    pub(super) yes: bool,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("rules").required(true).multiple(true))]
pub(in crate::cli) struct Prune {
    /// The volume's id
    #[arg(value_name = "VOL")]
    pub(super) volume: VolumeId,

    #[command(flatten)]
    pub(super) store: Store,

    /// The newest N
    #[arg(long, value_name = "N", group = "rules")]
    pub(super) keep_last: Option<u32>,

    /// The newest of each of the last N hours that have one
    #[arg(long, value_name = "N", group = "rules")]
    pub(super) keep_hourly: Option<u32>,

    /// The same of days (UTC)
    #[arg(long, value_name = "N", group = "rules")]
    pub(super) keep_daily: Option<u32>,

    /// Of weeks, from Monday
    #[arg(long, value_name = "N", group = "rules")]
    pub(super) keep_weekly: Option<u32>,

    /// Of months
    #[arg(long, value_name = "N", group = "rules")]
    pub(super) keep_monthly: Option<u32>,

    /// Only say what would go
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Gc {
    #[command(flatten)]
    pub(super) store: Store,

    /// Only say what would go
    #[arg(long)]
    pub(super) dry_run: bool,
}

fn parse_rate(text: &str) -> Result<NonZeroU64, String> {
    NonZeroU64::new(parse_size(text)?).ok_or_else(|| "more than nothing".to_owned())
}

/// An account's id stands for the account as a whole.
fn parse_principal(text: &str) -> Result<PrincipalArn, String> {
    let is_account = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    let arn = if is_account { format!("arn:aws:iam::{text}:root") } else { text.to_owned() };
    arn.parse().map_err(|error: kms_client::InvalidPrincipalArn| error.to_string())
}
