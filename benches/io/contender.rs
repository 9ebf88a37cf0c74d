//! Who takes part, at which level, and what they need on the host.

use std::fmt;
use std::process::{Command, Stdio};

use clap::ValueEnum;

use crate::arguments::{Arguments, Level};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Contender {
    /// The backing file itself; a file system is on a loop device with direct I/O
    Raw,
    /// A file system on a loop device that goes through the page cache
    RawBuffered,
    /// The plain front-end answering from nothing
    NoStore,
    /// The plain front-end: FUSE and the store, no cipher
    Plain,
    /// The plain front-end past the page cache
    PlainNoCache,
    Envol,
    /// `envol attach --cache none`
    EnvolNoCache,
    /// qemu-storage-daemon, LUKS over its FUSE export
    QemuLuks,
    /// The same with cache.direct=on
    QemuNoCache,
    /// nbdkit's LUKS filter through nbdfuse
    NbdkitLuks,
    Gocryptfs,
}

use Contender::{
    Envol, EnvolNoCache, Gocryptfs, NbdkitLuks, NoStore, Plain, PlainNoCache, QemuLuks, QemuNoCache, Raw, RawBuffered,
};

impl Contender {
    pub(crate) const OURS: [Self; 2] = [Envol, EnvolNoCache];

    fn at(level: Level) -> &'static [Self] {
        match level {
            Level::Image => {
                &[Raw, NoStore, Plain, PlainNoCache, Envol, EnvolNoCache, QemuLuks, QemuNoCache, NbdkitLuks, Gocryptfs]
            }
            Level::Database => {
                &[Raw, RawBuffered, Plain, PlainNoCache, Envol, EnvolNoCache, QemuLuks, QemuNoCache, Gocryptfs]
            }
            Level::Beside => &[Raw, RawBuffered, Plain, PlainNoCache, Envol, EnvolNoCache],
        }
    }

    /// Of `envol attach`; `None`: it is none of envol's.
    pub(crate) fn cache(self) -> Option<&'static str> {
        match self {
            Envol => Some("--cache=writeback"),
            EnvolNoCache => Some("--cache=none"),
            _ => None,
        }
    }

    /// Whose work and cache are the same as that of `self`, which is one of envol's.
    pub(crate) fn is_like(self, other: Self) -> bool {
        match self {
            Envol => matches!(other, Raw | RawBuffered | NoStore | Plain | QemuLuks | NbdkitLuks | Gocryptfs),
            EnvolNoCache => matches!(other, Raw | PlainNoCache | Envol | QemuNoCache),
            _ => false,
        }
    }

    /// Each with its Debian package.
    fn programs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            QemuLuks | QemuNoCache => &[("qemu-storage-daemon", "qemu-utils"), ("qemu-img", "qemu-utils")],
            // LUKS is laid out by qemu-img: nbdkit only opens it.
            NbdkitLuks => &[("nbdkit", "nbdkit"), ("nbdfuse", "libnbd-bin"), ("qemu-img", "qemu-utils")],
            Gocryptfs => &[("gocryptfs", "gocryptfs")],
            _ => &[],
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().unwrap().get_name())
    }
}

/// Those of `level` who were asked for and can take part. Who cannot is named, with what is missing.
pub(crate) fn present(level: Level, arguments: &Arguments) -> Vec<Contender> {
    let wanted = |contender: &Contender| arguments.contenders.is_empty() || arguments.contenders.contains(contender);
    let mut present: Vec<_> = Contender::at(level).iter().copied().filter(wanted).collect();
    present.retain(|contender| {
        let missing = contender.programs().iter().find(|(program, _)| !is_installed(program));
        if let Some((program, package)) = missing {
            eprintln!("{contender} is left out: there is no {program} (Debian package {package})");
        }
        missing.is_none()
    });
    present
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
