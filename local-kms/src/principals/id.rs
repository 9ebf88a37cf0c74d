//! Who may call: the names of principals, in the forms a person types and in ARNs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::account::ACCOUNT_ID;

/// The root of an account, a user, a role, or an AWS service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum PrincipalId {
    Root { account_id: String },
    User { account_id: String, name: String },
    Role { account_id: String, name: String },
    Service { name: String, acting_for: Option<Box<PrincipalId>> },
}

#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` names no principal; write a user as NAME or user/NAME, a role as role/NAME, the account as root, a service \
     as rds.us-east-1.amazonaws.com, or an ARN (arn:aws:iam::ACCOUNT:user/NAME)"
)]
pub struct NoPrincipal(String);

/// What joins a service and whom it acts for.
const ACTING_FOR: &str = " for ";

impl PrincipalId {
    pub(crate) fn user(name: &str) -> Self {
        Self::User { account_id: ACCOUNT_ID.to_owned(), name: name.to_owned() }
    }

    /// The account whose identity policies and limits are the principal's; services have none of their own.
    pub(crate) fn account_id(&self) -> &str {
        match self {
            Self::Root { account_id } | Self::User { account_id, .. } | Self::Role { account_id, .. } => account_id,
            Self::Service { acting_for, .. } => {
                acting_for.as_ref().map_or(ACCOUNT_ID, |principal| principal.account_id())
            }
        }
    }

    /// The ARN, or the name of a service.
    pub(crate) fn arn(&self) -> String {
        match self {
            Self::Root { account_id } => format!("arn:aws:iam::{account_id}:root"),
            Self::User { account_id, name } => format!("arn:aws:iam::{account_id}:user/{name}"),
            Self::Role { account_id, name } => format!("arn:aws:iam::{account_id}:role/{name}"),
            Self::Service { name, .. } => name.clone(),
        }
    }

    /// Its AWS profile in the files that the server writes. A user and a role of one name would share it, so the second
    /// is refused.
    pub(crate) fn profile(&self) -> String {
        let account = match self.account_id() {
            ACCOUNT_ID => String::new(),
            other => format!("-{other}"),
        };
        match self {
            Self::Root { .. } => format!("root{account}"),
            Self::User { name, .. } | Self::Role { name, .. } => format!("{name}{account}"),
            Self::Service { name, acting_for: None } => name.clone(),
            Self::Service { name, acting_for: Some(principal) } => {
                format!("{}-for-{}", name.split('.').next().unwrap_or_default(), principal.profile())
            }
        }
    }
}

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Root { account_id } if account_id == ACCOUNT_ID => f.write_str("root"),
            Self::User { account_id, name } if account_id == ACCOUNT_ID => write!(f, "user/{name}"),
            Self::Role { account_id, name } if account_id == ACCOUNT_ID => write!(f, "role/{name}"),
            Self::Service { name, acting_for: Some(principal) } => write!(f, "{name}{ACTING_FOR}{principal}"),
            other => f.write_str(&other.arn()),
        }
    }
}

impl FromStr for PrincipalId {
    type Err = NoPrincipal;

    fn from_str(text: &str) -> Result<Self, NoPrincipal> {
        let none = || NoPrincipal(text.to_owned());
        if let Some((service, principal)) = text.split_once(ACTING_FOR) {
            // Nobody acts for one who acts for another; asked here, a name of any length is looked at once.
            if principal.contains(ACTING_FOR) {
                return Err(none());
            }
            let principal = principal.parse().map_err(|_| none())?;
            return match (service.parse().map_err(|_| none())?, principal) {
                (
                    Self::Service { name, acting_for: None },
                    principal @ (Self::User { .. } | Self::Role { .. } | Self::Root { .. }),
                ) => Ok(Self::Service { name, acting_for: Some(Box::new(principal)) }),
                _ => Err(none()),
            };
        }
        let (account_id, resource) = match text.strip_prefix("arn:aws:iam::") {
            Some(rest) => rest.split_once(':').ok_or_else(none)?,
            None => (ACCOUNT_ID, text),
        };
        if account_id.len() != 12 || !account_id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(none());
        }
        let (account_id, is_arn) = (account_id.to_owned(), text.starts_with("arn:"));
        match resource.split_once('/') {
            None if resource == "root" => Ok(Self::Root { account_id }),
            None if is_arn => Err(none()),
            None if is_service(resource) => Ok(Self::Service { name: resource.to_owned(), acting_for: None }),
            None if is_name(resource) => Ok(Self::User { account_id, name: resource.to_owned() }),
            Some(("user", name)) if is_name(name) => Ok(Self::User { account_id, name: name.to_owned() }),
            Some(("role", name)) if is_name(name) => Ok(Self::Role { account_id, name: name.to_owned() }),
            _ => Err(none()),
        }
    }
}

/// IAM: up to 64 characters of these.
fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(allowed)
}

fn is_service(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    name.len() <= 128 && name.ends_with(".amazonaws.com") && name.chars().all(allowed)
}

impl From<PrincipalId> for String {
    fn from(id: PrincipalId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for PrincipalId {
    type Error = NoPrincipal;

    fn try_from(text: String) -> Result<Self, NoPrincipal> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_length_is_refused_without_going_deeper_for_each_part() {
        // A request may have a MiB; so deep, the stack of a thread ends.
        let endless = "a.amazonaws.com for ".repeat(50_000);
        let refused = std::thread::Builder::new().stack_size(256 * 1024).spawn(move || endless.parse::<PrincipalId>());
        assert!(refused.unwrap().join().unwrap().is_err());
        assert!("a.amazonaws.com for b.amazonaws.com for user/alice".parse::<PrincipalId>().is_err());
        assert!("a.amazonaws.com for user/alice".parse::<PrincipalId>().is_ok(), "the control");
    }

    #[test]
    fn a_principal_reads_as_it_is_written() {
        for (text, arn, profile) in [
            ("root", "arn:aws:iam::111122223333:root", "root"),
            ("user/alice", "arn:aws:iam::111122223333:user/alice", "alice"),
            ("role/db", "arn:aws:iam::111122223333:role/db", "db"),
            ("rds.us-east-1.amazonaws.com", "rds.us-east-1.amazonaws.com", "rds.us-east-1.amazonaws.com"),
            ("rds.us-east-1.amazonaws.com for user/alice", "rds.us-east-1.amazonaws.com", "rds-for-alice"),
            ("arn:aws:iam::444455556666:user/bob", "arn:aws:iam::444455556666:user/bob", "bob-444455556666"),
        ] {
            let id: PrincipalId = text.parse().unwrap();
            assert_eq!((id.to_string().as_str(), id.arn().as_str(), id.profile().as_str()), (text, arn, profile));
        }
        assert_eq!("alice".parse::<PrincipalId>().unwrap(), PrincipalId::user("alice"));
        assert_eq!("arn:aws:iam::111122223333:user/alice".parse::<PrincipalId>().unwrap(), PrincipalId::user("alice"));
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for text in [
            "",
            "user/",
            "group/x",
            "a b",
            "x]\n[y",
            "role/a/b",
            "arn:aws:iam::1:user/x",
            "arn:aws:iam::111122223333:alice",
            "arn:aws:s3:::bucket",
            "alice for user/bob",
            "rds.amazonaws.com for rds.amazonaws.com",
        ] {
            assert!(text.parse::<PrincipalId>().is_err(), "{text}");
        }
    }
}
