//! Who is asking KMS, or is to be allowed to: an IAM principal by its ARN.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// KMS takes no longer name of a principal.
const MAX_LEN: usize = 256;

/// A principal that a grant can be made out to: an account, a user, a role, or a session of one
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns>).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PrincipalArn(String);

#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not the ARN of a principal (arn:aws:iam::ACCOUNT:role/NAME, arn:aws:iam::ACCOUNT:user/NAME, \
     arn:aws:iam::ACCOUNT:root or arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION)"
)]
pub struct InvalidPrincipalArn(String);

impl PrincipalArn {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PrincipalArn {
    type Err = InvalidPrincipalArn;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let known = matches!(parts[..], ["arn", partition, service, "", account, resource]
            if !partition.is_empty() && is_account(account) && is_principal(service, resource));
        // The characters that KMS takes (`PrincipalIdType` in its service model).
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte));
        if known && plain && text.len() <= MAX_LEN {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPrincipalArn(text.to_owned()))
        }
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_principal(service: &str, resource: &str) -> bool {
    let mut names = resource.split('/');
    let kind = names.next().unwrap_or_default();
    let names: Vec<&str> = names.collect();
    if names.iter().any(|name| name.is_empty()) {
        return false;
    }
    match (service, kind) {
        ("iam", "root") => names.is_empty(),
        // A name may have a path before it.
        ("iam", "user" | "role") => !names.is_empty(),
        ("sts", "assumed-role") => names.len() == 2,
        ("sts", "federated-user") => names.len() == 1,
        _ => false,
    }
}

impl TryFrom<String> for PrincipalArn {
    type Error = InvalidPrincipalArn;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PrincipalArn> for String {
    fn from(arn: PrincipalArn) -> Self {
        arn.0
    }
}

impl fmt::Display for PrincipalArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_can_hold_a_grant_is_a_principal() {
        for good in [
            "arn:aws:iam::111122223333:root",
            "arn:aws:iam::111122223333:user/envol-volume",
            "arn:aws:iam::111122223333:user/teams/storage/envol-volume",
            "arn:aws-cn:iam::111122223333:role/envol-volume",
            "arn:aws:sts::111122223333:assumed-role/envol-volume/i-0c9d",
            "arn:aws:sts::111122223333:federated-user/somebody@example.com",
        ] {
            assert_eq!(good.parse::<PrincipalArn>().expect(good).as_str(), good);
        }
        let long = format!("arn:aws:iam::111122223333:role/{}", "x".repeat(256));
        for bad in [
            "",
            "envol-volume",
            "111122223333",
            "*",
            "arn:aws:iam::111122223333:user/",
            "arn:aws:iam::111122223333:user",
            "arn:aws:iam::111122223333:role//x",
            "arn:aws:iam::111122223333:group/storage",
            "arn:aws:iam::111122223333:policy/x",
            "arn:aws:iam::111122223333:root/x",
            "arn:aws:iam::1111:user/x",
            "arn:aws:iam:us-east-1:111122223333:user/x",
            "arn::iam::111122223333:user/x",
            "arn:aws:sts::111122223333:role/x",
            "arn:aws:sts::111122223333:assumed-role/x",
            "arn:aws:sts::111122223333:assumed-role/x/y/z",
            "arn:aws:kms:us-east-1:111122223333:key/1234",
            "arn:aws:iam::111122223333:user/a b",
            "arn:aws:iam::111122223333:user/a*",
            "arn:aws:iam::111122223333:user/a\n",
            &long,
        ] {
            assert!(bad.parse::<PrincipalArn>().is_err(), "{bad:?}");
        }
    }
}
