//! The verbs of `envol kms` that have many options, as they are typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::quantity::{parse_duration, parse_long_duration};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Principal {
    /// Make a user, a role, the account root or a service, with an AWS profile of its own
    Create {
        /// alice or user/alice, role/NAME, root, a service as rds.us-east-1.amazonaws.com, or an ARN
        name: String,

        /// Of a service: whom it acts for. Its calls are that principal's, with kms:ViaService set
        #[arg(long, value_name = "PRINCIPAL")]
        acting_for: Option<String>,

        /// Of a role: who may assume it; can be given again
        #[arg(long, value_name = "PRINCIPAL")]
        trusts: Vec<String>,

        /// Of a role: its trust policy, a JSON file (- is stdin)
        #[arg(long, value_name = "FILE", conflicts_with = "trusts")]
        trust_policy: Option<PathBuf>,
    },
    /// Show the principals, their profiles and their policies
    List,
    /// Take a principal and its credentials away
    Delete {
        /// As `list` shows it
        name: String,
    },
    /// Set an identity policy of a user or role, in place of one of the same name
    AttachPolicy(AttachPolicy),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AttachPolicy {
    /// As `list` shows it
    principal: String,

    /// JSON file with the policy (- is stdin)
    #[arg(required_unless_present = "remove")]
    file: Option<PathBuf>,

    /// The policy's name [default: that of the file, without its ending]
    #[arg(long)]
    name: Option<String>,

    /// Take the policy of this name away instead
    #[arg(long, value_name = "NAME", conflicts_with_all = ["file", "name"])]
    remove: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Simulate {
    /// Who would call: as `principal list` shows it
    #[arg(long)]
    pub(super) principal: String,

    /// The permission, as kms:Decrypt
    #[arg(long)]
    pub(super) action: String,

    /// Id, ARN, alias or alias ARN of the key
    #[arg(long)]
    pub(super) key: Option<String>,

    /// A pair of the encryption context; can be given again
    #[arg(long, value_name = "K=V", value_parser = parse_pair)]
    pub(super) context: Vec<(String, String)>,

    /// The service that would call for the principal, as rds.us-east-1.amazonaws.com
    #[arg(long, value_name = "SERVICE")]
    pub(super) via_service: Option<String>,

    /// Another condition key, as aws:SourceIp=10.0.0.1; can be given again
    #[arg(long, value_name = "K=V", value_parser = parse_pair)]
    pub(super) condition_key: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Fault {
    /// Answer later
    Latency {
        /// By how much
        #[arg(value_name = "DURATION", value_parser = parse_duration)]
        delay: Duration,
        #[command(flatten)]
        scope: Scope,
    },
    /// Answer ThrottlingException
    Throttle {
        /// For how many of a hundred calls
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100))]
        percent: u8,
        #[command(flatten)]
        scope: Scope,
    },
    /// Be out
    Outage {
        /// What clients see
        #[arg(long, value_enum, default_value_t = OutageAnswer::Unavailable)]
        answer: OutageAnswer,
        #[command(flatten)]
        scope: Scope,
    },
    /// Let changes be seen only some time after they were made, as on AWS
    Propagation {
        #[arg(value_name = "DURATION", value_parser = parse_duration)]
        delay: Duration,
    },
    /// Move the clock on by which keys are rotated, expire and are deleted
    Clock {
        #[arg(long, value_name = "DURATION", value_parser = parse_long_duration)]
        advance: Duration,
    },
    /// Show the faults that are in force
    List,
    /// End all faults, and set the clock right
    Clear,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Scope {
    /// Only this operation, as Decrypt [default: all]
    #[arg(long, value_name = "NAME")]
    pub(super) operation: Option<String>,

    /// End by itself after this long [default: when cleared, or when the server ends]
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub(super) duration: Option<Duration>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum OutageAnswer {
    /// HTTP 500, KMSInternalException
    InternalError,
    /// HTTP 503
    Unavailable,
    /// No answer at all
    Silence,
}

/// The value may hold `=`; the key may not.
pub(in crate::cli) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

impl AttachPolicy {
    pub(super) fn principal(&self) -> &str {
        &self.principal
    }

    /// The file, and the name of the policy in it; or the name of the policy to take away.
    pub(super) fn what(&self) -> Result<(Option<&PathBuf>, String), String> {
        if let Some(name) = &self.remove {
            return Ok((None, name.clone()));
        }
        let stem = || self.file.as_ref()?.file_stem()?.to_str().filter(|stem| *stem != "-").map(str::to_owned);
        let name = self.name.clone().or_else(stem);
        let name = name.ok_or("give the policy a name: --name NAME")?;
        Ok((self.file.as_ref(), name))
    }
}
