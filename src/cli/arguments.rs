//! The command line, as it is typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand};

use kms_client::PrincipalArn;

use super::quantity::{parse_duration, parse_size};
use crate::format::{DatabaseName, FileSystemKind, VolumeId};

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
    /// Look for damage in a volume's header, map and blocks; needs no key
    Check(Check),
    /// Destroy a volume
    Delete(Delete),
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

    /// 16MiB to 64TiB; KiB, MiB, GiB, TiB or bytes
    #[arg(long, value_parser = parse_size)]
    pub(super) size: u64,

    /// Id, ARN, alias or alias ARN of the KMS key
    #[arg(long, value_name = "KEY")]
    pub(super) kms_key: String,

    /// ARN of the user or role that envol itself is: KMS gives it a grant for this volume, as RDS takes one
    #[arg(long, value_name = "ARN")]
    pub(super) grantee: Option<PrincipalArn>,

    /// AWS profile that envol itself uses to unwrap the volume key [default: the caller's own]
    #[arg(long, value_name = "NAME")]
    pub(super) kms_profile: Option<String>,

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

    /// How often KMS is asked whether the key may still be used
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub(super) probe_interval: Duration,

    /// How long to ask again before AccessDenied or NotFound is believed
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub(super) confirm_denial: Duration,

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
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The volume's id
    #[arg(value_name = "VOL")]
    pub(super) volume: VolumeId,
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
pub(super) enum Bench {
    /// Encryption alone, in memory: each path through the processor, beside the xts-mode crate and memcpy
    Cipher {
        /// Only this one: vaes-avx512, vaes-avx2, aes-ni or portable
        #[arg(long, value_name = "PATH")]
        path: Option<crate::cipher::Path>,
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
