//! What is asked for.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::contender::Contender;
use crate::place::Kind;

/// envol's I/O beside others
#[derive(Parser)]
#[command(name = "scripts/bench.sh io")]
pub(crate) struct Arguments {
    /// Where the ciphertext lies
    #[arg(long, value_enum, default_value_t = Places::Both)]
    pub(crate) place: Places,

    /// Times that everybody does everything
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rounds: u64,

    /// Length of one job; a database runs five times as long
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,

    /// One level instead of all
    #[arg(long, value_enum)]
    only: Option<Level>,

    /// Those who take part, separated by commas [default: all who are installed]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) contenders: Vec<Contender>,

    /// Only jobs whose names contain one of these, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    jobs: Vec<String>,

    /// MiB of each image
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(64..))]
    pub(crate) size: u64,

    /// MiB of what each file system is on
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(2048..))]
    pub(crate) file_system_size: u64,

    /// Do not write every image once in full before: what is written for the first time costs more
    #[arg(long)]
    pub(crate) sparse: bool,

    /// Drop the kernel's caches before each job; of a tmpfs they are the store
    #[arg(long)]
    pub(crate) uncached: bool,

    /// Directory on the disk to measure
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub(crate) disk: PathBuf,

    /// Directory on a tmpfs
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    pub(crate) tmpfs: PathBuf,

    /// Where to write io.json and the charts
    #[arg(long, value_name = "DIR", default_value = "target/bench-io")]
    pub(crate) out: PathBuf,

    /// The program of that name, of the package envol-bench
    #[arg(long, value_name = "PROGRAM", default_value = "target/release/plain-front-end")]
    pub(crate) plain_front_end: PathBuf,

    /// What cargo bench adds
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Places {
    Disk,
    Tmpfs,
    Both,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// One file, opened with O_DIRECT
    Image,
    /// ext4 with databases on it
    Database,
    /// How long a commit takes beside a bulk writer
    Beside,
}

impl Arguments {
    pub(crate) fn levels(&self) -> Vec<Level> {
        self.only.map_or_else(|| Level::value_variants().to_vec(), |only| vec![only])
    }

    pub(crate) fn wants(&self, job: &str) -> bool {
        self.jobs.is_empty() || self.jobs.iter().any(|part| job.contains(part))
    }
}

impl Places {
    pub(crate) fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Disk => &[Kind::Disk],
            Self::Tmpfs => &[Kind::Tmpfs],
            Self::Both => &[Kind::Tmpfs, Kind::Disk],
        }
    }
}
