//! The command line, as it is typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand};

use kms_client::PrincipalArn;

use super::quantity::{
    AS_LONG_AS_IT_TAKES, parse_duration, parse_long_duration, parse_patience, parse_policy, parse_size,
};
use crate::drill::{Way, WorkloadKind};
use crate::format::{DatabaseName, FileSystemKind, RevocationPolicy, SnapshotId, VolumeId};
use crate::revocation::events::{HookTarget, InvalidHook};
use crate::store::CacheMode;

/// Volumes encrypted under a KMS key, for databases that you run yourself.
#[derive(Debug, Parser)]
#[command(name = "envol", version, max_term_width = 100)]
pub(super) struct Arguments {
    /// Where volumes are kept [default: /var/lib/envol as root, else the XDG data folder]
    #[arg(long, global = true, value_name = "DIR", display_order = 100)]
    pub(super) root: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long, global = true, display_order = 101)]
    pub(super) json: bool,

    /// Log more to stderr; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, display_order = 102)]
    pub(super) verbose: u8,

    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make a volume, and print its id
    Create(Create),
    /// Connect a volume to this host: its file system at DIR, or its image file
    Attach(Attach),
    /// Take an attached volume away, in good order
    Detach(Detach),
    /// Show the volumes under the root directory
    List,
    /// Show one volume: its state, why, and since when
    Status(Status),
    /// Show what became of a volume, oldest first; with --json each event as it is stored, one a line
    Events(Events),
    /// Look for damage in a volume's header, map and blocks; needs no key
    Check(Check),
    /// Move a volume to another KMS key, without touching its data; it may be attached and under load
    Rewrap(Rewrap),
    /// Keep a copy of a volume's header, and bring it back
    #[command(subcommand)]
    Header(Header),
    /// Make a volume larger, while it is used or not
    Resize(Resize),
    /// Destroy a volume
    Delete(Delete),
    /// Take snapshots of volumes, and look after them
    #[command(subcommand)]
    Snapshot(Box<super::snapshot::Snapshot>),
    /// Rehearse that the key of a volume is taken away, and the way back
    #[command(subcommand)]
    Drill(Drill),
    /// Show the header of an image file or device; needs no key
    Inspect(Inspect),
    /// Measure what this machine can do
    #[command(subcommand)]
    Bench(Bench),
    /// The local KMS: an AWS KMS for this machine
    #[cfg(feature = "local-kms")]
    #[command(subcommand)]
    Kms(Kms),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("database").required(true))]
pub(super) struct Create {
    /// The database that the volume is for, as in RDS: aws:rds:db-id in the encryption context
    #[arg(long, value_name = "ID", group = "database")]
    pub(super) db_id: Option<DatabaseName>,

    /// The same for a cluster, as in Aurora: aws:rds:dbc-id
    #[arg(long, value_name = "ID", group = "database")]
    pub(super) dbc_id: Option<DatabaseName>,

    /// 16MiB to 64TiB; KiB, MiB, GiB, TiB or bytes [default: that of the snapshot]
    #[arg(long, value_parser = parse_size, required_unless_present = "snapshot")]
    pub(super) size: Option<u64>,

    /// What to put on it: a snapshot, of whatever volume
    #[arg(long, value_name = "SNAP")]
    pub(super) snapshot: Option<SnapshotId>,

    #[command(flatten)]
    pub(super) store: super::snapshot::Store,

    /// Id, ARN, alias or alias ARN of the KMS key
    #[arg(long, value_name = "KEY")]
    pub(super) kms_key: String,

    /// ARN of the user or role that envol itself is: KMS gives it a grant for this volume, as RDS takes one
    #[arg(long, value_name = "ARN")]
    pub(super) grantee: Option<PrincipalArn>,

    /// AWS profile that envol itself uses to unwrap the volume key [default: the caller's own]
    #[arg(long, value_name = "NAME")]
    pub(super) kms_profile: Option<String>,

    /// What becomes of the volume when its key is revoked while it is served: `terminal`, for good; `recoverable=7d`,
    /// it may be attached again within that time once the key is back; `erase`, its wrapped keys are overwritten
    #[arg(long, value_name = "POLICY", default_value = "terminal", value_parser = parse_policy)]
    pub(super) on_revocation: RevocationPolicy,

    /// The volume's id, `vol-…` [default: a random one]
    #[arg(long)]
    pub(super) id: Option<VolumeId>,

    /// File or block device to keep the ciphertext in [default: a file under the root directory]
    #[arg(long, value_name = "PATH|DEVICE")]
    pub(super) backing: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Attach {
    /// The volume's id
    #[arg(value_name = "VOL")]
    pub(super) volume: VolumeId,

    /// Empty directory to mount the file system on; without, only the image file is shown
    #[arg(conflicts_with = "raw")]
    pub(super) dir: Option<PathBuf>,

    /// The file system: made when the volume has never had one [default: ext4, or what is there]
    #[arg(long, requires = "dir", value_name = "ext4|xfs")]
    pub(super) fs: Option<FileSystemKind>,

    /// Who owns the root of the file system
    #[arg(long, requires = "dir", value_name = "USER[:GROUP]")]
    pub(super) owner: Option<String>,

    /// Make the file system even if that was interrupted before; destroys what is there
    #[arg(long, requires = "dir")]
    pub(super) mkfs: bool,

    /// Only show the image file, ROOT/volumes/VOL/attach/image; works without root
    #[arg(long)]
    pub(super) raw: bool,

    /// End the processes that still hold what a killed daemon left
    #[arg(long)]
    pub(super) force: bool,

    /// AWS profile for unwrapping and probing
    #[arg(long, value_name = "NAME")]
    pub(super) kms_profile: Option<String>,

    /// Ask again while KMS cannot be reached, as at boot [default: fail; without DURATION: for as long as it takes]
    #[arg(
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        overrides_with = "wait_for_kms",
        default_missing_value = AS_LONG_AS_IT_TAKES,
        value_parser = parse_patience
    )]
    pub(super) wait_for_kms: Option<Duration>,

    /// Past the page cache to the image (none), or through it (writeback); without, none where the image's file system can
    #[arg(long, value_name = "none|writeback")]
    pub(super) cache: Option<CacheMode>,

    /// How often KMS is asked whether the key may still be used
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub(super) probe_interval: Duration,

    /// How long to ask again before AccessDenied or NotFound is believed
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub(super) confirm_denial: Duration,

    /// Stop serving when KMS has not answered for so long; the volume can be attached again once it answers [default: never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) max_unverified: Option<Duration>,

    /// Do not end the processes that use the volume when its key is revoked; what they have mapped stays readable to them
    #[arg(long)]
    pub(super) keep_processes: bool,

    /// Tell each event, as JSON: POST it to CMD if that is a URL, else run CMD with it on stdin
    #[arg(long, value_name = "CMD", value_parser = parse_hook)]
    pub(super) on_event: Option<String>,

    /// Serve the volume's metrics for Prometheus at http://ADDRESS:PORT/metrics, to everybody who reaches that address
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) metrics_listen: Option<std::net::SocketAddr>,

    /// Do not go to the background; report to systemd
    #[arg(long)]
    pub(super) foreground: bool,
}

#[derive(Debug, Args)]
pub(super) struct Detach {
    /// The volume's id
    #[arg(value_name = "VOL")]
    pub(super) volume: VolumeId,

    /// End the processes that use the volume: SIGTERM, then SIGKILL
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, Args)]
pub(super) struct Status {
    /// The volume's id
    #[arg(value_name = "VOL")]
    pub(super) volume: VolumeId,

    /// Show how it goes, once a second, until q or Ctrl-C; where stdout is no terminal, a line each time
    #[arg(long)]
    pub(super) watch: bool,

    /// Print its metrics in the text format of Prometheus
    #[arg(long, conflicts_with_all = ["watch", "json"])]
    pub(super) prometheus: bool,
}

#[derive(Debug, Args)]
pub(super) struct Events {
    /// The volume's id
    #[arg(value_name = "VOL")]
    pub(super) volume: VolumeId,

    /// Go on with what comes, until interrupted
    #[arg(long)]
    pub(super) follow: bool,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The volume's id
    #[arg(value_name = "VOL")]
    pub(super) volume: VolumeId,
}

#[derive(Debug, Args)]
pub(super) struct Rewrap {
    /// The volume's id
    #[arg(value_name = "VOL")]
    pub(super) volume: VolumeId,

    /// Id, ARN, alias or alias ARN of the KMS key where it goes, in the Region where it is
    #[arg(long, value_name = "KEY")]
    pub(super) kms_key: String,

    /// AWS profile that envol itself uses: it proves the new key before the old one is given up [default: the caller's
    /// own; of an attached volume that of its daemon]
    #[arg(long, value_name = "NAME")]
    pub(super) kms_profile: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Resize {
    /// The volume's id
    #[arg(value_name = "VOL")]
    pub(super) volume: VolumeId,

    /// Its new size, up to 64TiB; KiB, MiB, GiB, TiB or bytes
    #[arg(value_parser = parse_size)]
    pub(super) size: u64,

    /// Of a volume that is not attached: AWS profile that unwraps its key. An attached one asks KMS as it is attached
    #[arg(long, value_name = "NAME")]
    pub(super) kms_profile: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Header {
    /// Write a copy of the header to a new file
    ///
    /// It brings the volume back when the first MiB of its image is damaged. It holds the wrapped keys as they are now: while it is kept, and
    /// the KMS key is enabled, neither a rewrap nor an erase makes this volume unreadable to whoever has it.
    Backup {
        /// The volume's id
        #[arg(value_name = "VOL")]
        volume: VolumeId,

        /// Where to; must not be there yet
        file: PathBuf,
    },
    /// Write the header back to the image, as it was when it was backed up
    Restore {
        /// The volume's id
        #[arg(value_name = "VOL")]
        volume: VolumeId,

        /// What `header backup` wrote
        file: PathBuf,

        /// Go back although the header has changed since: an older KMS key, a smaller size, or no file system yet
        #[arg(long)]
        force_older: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    /// The volume's id
    #[arg(value_name = "VOL")]
    pub(super) volume: VolumeId,

    /// Do not ask
    #[arg(long)]
    pub(super) yes: bool,
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// Image file or block device of a volume
    pub(super) image: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum Drill {
    /// Make a volume, take its key away under load, look on, restore a snapshot, put everything back, and report
    Revoke(Box<DrillRevoke>),
    /// Finish the undo of every drill that was interrupted
    Undo,
}

#[derive(Debug, Args)]
pub(super) struct DrillRevoke {
    /// A volume of yours, attached, instead of a throw-away one: it ends, and a new one is made of its newest snapshot
    #[arg(value_name = "VOL", conflicts_with_all = ["from_snapshot", "store", "kms_key", "workload", "size", "grantee"])]
    pub(super) volume: Option<VolumeId>,

    /// Make the throw-away volume of this snapshot [default: a blank one]
    #[arg(long, value_name = "SNAP")]
    pub(super) from_snapshot: Option<SnapshotId>,

    #[command(flatten)]
    pub(super) store: super::snapshot::Store,

    /// How the key is taken away
    #[arg(
        long,
        value_name = "disable-key|schedule-key-deletion|revoke-grant|deny-policy|delete-key-material",
        hide_possible_values = true
    )]
    pub(super) by: Way,

    /// Key for the throw-away volume [default: one that the drill makes, and schedules for deletion]
    #[arg(long, value_name = "KEY")]
    pub(super) kms_key: Option<String>,

    /// What works on the volume meanwhile [default: postgres where it is installed]
    #[arg(long, value_name = "postgres|mariadb|none")]
    pub(super) workload: Option<WorkloadKind>,

    /// Size of the throw-away volume [default: 1GiB, or that of the snapshot]
    #[arg(long, value_parser = parse_size)]
    pub(super) size: Option<u64>,

    /// As in `create`: to whom KMS gives a grant for the volume
    #[arg(long, value_name = "ARN")]
    pub(super) grantee: Option<PrincipalArn>,

    /// As in `create` and `attach`: whose credentials the volume is served with
    #[arg(long, value_name = "NAME")]
    pub(super) kms_profile: Option<String>,

    /// How often KMS is asked whether the key may still be used; for VOL, what it was attached with [default: 1s; for VOL 10s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) probe_interval: Option<Duration>,

    /// How long to ask again before a denial is believed; for VOL, what it was attached with [default: 1s; for VOL 5s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) confirm_denial: Option<Duration>,

    /// Limit: from KMS's answer until the volume's verdict [default: probe interval + 1s, for denials + confirm-denial]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) detect_within: Option<Duration>,

    /// Limit: from the verdict until nothing of the volume is left
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    pub(super) purge_within: Duration,

    /// Limit: from the key being allowed again until the restored volume is at work [default: none]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) recover_within: Option<Duration>,

    /// Where report.json and report.html go [default: ROOT/drills/DRILL-ID]
    #[arg(long, value_name = "DIR")]
    pub(super) report: Option<PathBuf>,

    /// Go on although others have grants or volumes under the key: they lose it, too
    #[arg(long)]
    pub(super) shared_key: bool,

    /// The id of VOL, typed again
    #[arg(long, value_name = "VOL", requires = "volume")]
    pub(super) confirm: Option<VolumeId>,

    /// How old the newest snapshot of VOL may be: what was written since is lost [default: 1h]
    #[arg(long, value_name = "DURATION", requires = "volume", value_parser = parse_long_duration)]
    pub(super) max_snapshot_age: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Encryption alone, in memory: each path through the processor, beside the xts-mode crate and memcpy
    Cipher {
        /// Only this one: vaes-avx512, vaes-avx2, aes-ni or portable
        #[arg(long, value_name = "PATH")]
        path: Option<crate::cipher::Path>,
    },
    /// An attached volume, beside the bare backing file: half a minute of reads, writes and commits
    ///
    /// Where its file system is mounted, a file of 256 MiB that no other process sees is written there, and one beside the image;
    /// both are gone afterwards, also if this is killed; the image keeps their room until fstrim gives it back. Of a volume attached with --raw, or on a block device, only what can be
    /// read is.
    Volume {
        #[arg(value_name = "VOL")]
        volume: VolumeId,
    },
}

#[cfg(feature = "local-kms")]
#[derive(Debug, Subcommand)]
pub(super) enum Kms {
    /// Make the local KMS's directory and an AWS profile for each principal; prints the lines that make the AWS CLI use them
    Init {
        /// Address that `serve` listens on [default: 127.0.0.1:4599]
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<std::net::SocketAddr>,

        /// The region that the keys say they are in [default: us-east-1]
        #[arg(long)]
        region: Option<String>,
    },
    /// Serve the KMS protocol until interrupted
    Serve {
        /// Address to listen on [default: what `init` was given]
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<std::net::SocketAddr>,

        /// Allow an address that other machines can reach
        #[arg(long)]
        allow_remote: bool,
    },
    /// Who may call: users, roles, services, and their policies
    #[command(subcommand)]
    Principal(super::kms::Principal),
    /// Would this call be allowed? Shows which statement or grant decides, and which conditions fail
    Simulate(super::kms::Simulate),
    /// Make the server slow, throttle, or be out, for drills
    #[command(subcommand)]
    Fault(super::kms::Fault),
    /// Show the audit log, oldest first; with --json each record as it is stored, one a line
    ///
    /// It can be read whether the KMS is served or not. The records have the shape of CloudTrail's, so that with
    /// --json, which prints JSON lines here, they suit jq and what reads CloudTrail.
    Audit {
        /// Go on with what comes, until interrupted
        #[arg(long)]
        follow: bool,

        /// Only what touched or named this key (id or ARN), or named this alias (name or ARN)
        #[arg(long)]
        key: Option<String>,

        /// Only what has this pair in an encryption context; may be given several times, then all must be there
        #[arg(long, value_name = "NAME=VALUE", value_parser = super::kms::parse_pair)]
        context: Vec<(String, String)>,
    },
}

/// As it was typed: the daemon parses it once more.
fn parse_hook(text: &str) -> Result<String, InvalidHook> {
    text.parse::<HookTarget>().map(|_| text.to_owned())
}
