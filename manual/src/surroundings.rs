//! Variables and files that a verb looks at.

/// Verbs that ask KMS, or start who asks.
const WITH_KMS: &[&str] = &["create", "attach", "delete", "snapshot", "drill", "rewrap", "resize", "status", "header"];
const WITH_SNAPSHOTS: &[&str] = &["create", "snapshot", "drill"];
const EVERY: &[&str] = &[];

pub(crate) struct Definition {
    pub(crate) name: &'static str,
    /// `code` is bold.
    pub(crate) text: &'static str,
    /// First words after envol; none is every verb.
    verbs: &'static [&'static str],
}

impl Definition {
    /// envol's own page has all.
    pub(crate) fn is_for(&self, typed: &str) -> bool {
        typed.split(' ').nth(1).is_none_or(|verb| self.verbs.is_empty() || self.verbs.contains(&verb))
    }
}

pub(crate) const ENVIRONMENT: &[Definition] = &[
    Definition {
        name: "AWS_PROFILE, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, ...",
        text: "Who asks AWS, and where, as the AWS CLI takes it. SSO, credential processes, web identities, ECS and EC2 roles serve as well.",
        verbs: WITH_KMS,
    },
    Definition {
        name: "AWS_ENDPOINT_URL_KMS",
        text: "Another KMS than AWS's own, such as the local one: `envol kms init` prints it.",
        verbs: WITH_KMS,
    },
    Definition { name: "AWS_USE_FIPS_ENDPOINT", text: "`true`: the FIPS endpoints of AWS.", verbs: WITH_KMS },
    Definition {
        name: "AWS_ENDPOINT_URL_S3",
        text: "Another S3 than AWS's own, for snapshots with `--store s3://`...",
        verbs: WITH_SNAPSHOTS,
    },
    Definition {
        name: "XDG_DATA_HOME",
        text: "For others than root: volumes are kept in `envol` in it [default: ~/.local/share].",
        verbs: EVERY,
    },
    Definition {
        name: "XDG_RUNTIME_DIR",
        text: "For others than root: attached volumes are shown in `envol` in it.",
        verbs: EVERY,
    },
    Definition {
        name: "RUST_LOG",
        text: "What is logged to stderr, in place of what `-v` says: `envol=debug`.",
        verbs: EVERY,
    },
    Definition {
        name: "ENVOL_COMPLETE",
        text: "`bash`, `zsh` or `fish`: print the script for completions in that shell, and do nothing else. The Debian package has them set up.",
        verbs: EVERY,
    },
];

pub(crate) const FILES: &[Definition] = &[
    Definition {
        name: "/var/lib/envol",
        text: "ROOT: where volumes are kept, for root. Another directory with `--root`.",
        verbs: EVERY,
    },
    Definition {
        name: "ROOT/volumes/VOL/backing",
        text: "The image with the ciphertext, or a symbolic link to it.",
        verbs: EVERY,
    },
    Definition {
        name: "ROOT/volumes/VOL/daemon.log",
        text: "What the daemon of an attached volume has to say.",
        verbs: EVERY,
    },
    Definition {
        name: "ROOT/volumes/VOL/events.jsonl",
        text: "What became of the volume; `envol events VOL` shows it.",
        verbs: EVERY,
    },
    Definition {
        name: "ROOT/volumes/VOL/attach/image",
        text: "The decrypted image of an attached volume, for the owner of its daemon alone.",
        verbs: &["attach", "detach", "status", "resize"],
    },
    Definition {
        name: "ROOT/snapshots",
        text: "Snapshots, unless `--store` names another place.",
        verbs: WITH_SNAPSHOTS,
    },
    Definition {
        name: "ROOT/drills",
        text: "Reports of drills, unless `--report` names another place.",
        verbs: &["drill"],
    },
    Definition {
        name: "ROOT/kms",
        text: "The local KMS: its keys, its audit log, and the AWS profiles of its principals.",
        verbs: &["kms"],
    },
    Definition {
        name: "/run/envol",
        text: "Where root's attached volumes are shown, and the sockets of their daemons.",
        verbs: EVERY,
    },
];
