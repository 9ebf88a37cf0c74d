//! What a caller may write for a key: its id, its ARN, an alias or the ARN of an alias.

use crate::account::Account;
use crate::error::KmsError;
use crate::state::KeyId;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KeyReference {
    Key(KeyId),
    /// The whole name, `alias/…`.
    Alias(String),
}

impl KeyReference {
    /// For operations that resolve aliases: the cryptographic ones and DescribeKey.
    pub(crate) fn parse(text: &str, account: &Account) -> Result<Self, KmsError> {
        let name = match text.strip_prefix("arn:") {
            Some(rest) => resource(text, rest, account)?,
            None => text,
        };
        if name.starts_with("alias/") {
            return Ok(Self::Alias(name.to_owned()));
        }
        let id = if text.starts_with("arn:") {
            name.strip_prefix("key/").ok_or_else(|| KmsError::InvalidArn(text.to_owned()))?
        } else {
            name
        };
        id.parse().map(Self::Key).map_err(|_| KmsError::InvalidKeyId(text.to_owned()))
    }
}

/// The last part of `arn:PARTITION:kms:REGION:ACCOUNT:RESOURCE`; `rest` is what follows `arn:`.
fn resource<'a>(arn: &str, rest: &'a str, account: &Account) -> Result<&'a str, KmsError> {
    let parts: Vec<&str> = rest.splitn(5, ':').collect();
    let &[partition, service, region, account_id, resource] = parts.as_slice() else {
        return Err(KmsError::InvalidArn(arn.to_owned()));
    };
    if partition != "aws" || service != "kms" {
        return Err(KmsError::InvalidArn(arn.to_owned()));
    }
    if region != account.region {
        return Err(KmsError::InvalidArn(region.to_owned()));
    }
    if account_id != account.account_id {
        return Err(KmsError::KeyNotFound { arn: arn.to_owned() });
    }
    Ok(resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

    fn account() -> Account {
        Account { account_id: "111122223333".into(), region: "us-east-2".into() }
    }

    fn refusal(text: &str) -> String {
        let error = KeyReference::parse(text, &account()).unwrap_err();
        assert_eq!(error.code(), "NotFoundException");
        error.to_string()
    }

    #[test]
    fn the_four_forms_of_the_aws_documentation() {
        let parse = |text: &str| KeyReference::parse(text, &account()).unwrap();
        let key = KeyReference::Key(ID.parse().unwrap());
        let alias = KeyReference::Alias("alias/ExampleAlias".into());
        assert_eq!(parse(ID), key);
        assert_eq!(parse(&format!("arn:aws:kms:us-east-2:111122223333:key/{ID}")), key);
        assert_eq!(parse("alias/ExampleAlias"), alias);
        assert_eq!(parse("arn:aws:kms:us-east-2:111122223333:alias/ExampleAlias"), alias);
    }

    #[test]
    fn anything_else_is_not_found() {
        assert_eq!(refusal("fake-key-id"), "Invalid keyId 'fake-key-id'");
        assert_eq!(refusal(&ID.to_uppercase()), format!("Invalid keyId '{}'", ID.to_uppercase()));
        assert_eq!(refusal(&ID.replace('-', "")), format!("Invalid keyId '{}'", ID.replace('-', "")));
        assert_eq!(refusal(&format!("arn:aws:kms:eu-west-1:111122223333:key/{ID}")), "Invalid arn eu-west-1");
        let foreign = format!("arn:aws:kms:us-east-2:999999999999:key/{ID}");
        assert_eq!(refusal(&foreign), format!("Key '{foreign}' does not exist"));
        assert_eq!(refusal("arn:aws:kms"), "Invalid arn arn:aws:kms");
    }
}
