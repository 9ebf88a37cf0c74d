//! The policies that keys begin with, in AWS's own words.

use serde_json::json;

use crate::account::Account;

/// The only name a key policy can have.
pub(crate) const POLICY_NAME: &str = "default";

/// Of a key that was created without a policy: the account may do everything, and gives leave by IAM
/// (<https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html>).
pub(crate) fn default_policy(account: &Account) -> String {
    format!(
        r#"{{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {{
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {{
      "AWS" : "{}"
    }},
    "Action" : "kms:*",
    "Resource" : "*"
  }} ]
}}"#,
        account.root_arn()
    )
}

/// A service that has a key of its own in every account.
pub(crate) struct ManagedKey {
    /// Below `alias/aws/`.
    pub(crate) alias: &'static str,
    /// The first label of its name.
    service: &'static str,
    name: &'static str,
    pub(crate) description: &'static str,
}

pub(crate) const MANAGED_KEYS: [ManagedKey; 2] = [
    ManagedKey {
        alias: "alias/aws/ebs",
        service: "ec2",
        name: "EBS",
        description: "Default key that protects my EBS volumes when no other key is defined",
    },
    ManagedKey {
        alias: "alias/aws/rds",
        service: "rds",
        name: "RDS",
        description: "Default key that protects my RDS database volumes when no other key is defined",
    },
];

impl ManagedKey {
    pub(crate) fn of_alias(alias: &str) -> Option<&'static Self> {
        MANAGED_KEYS.iter().find(|managed| managed.alias == alias)
    }

    /// Anybody of the account may use it through the service, and look at it; nobody may change it
    /// (<https://docs.aws.amazon.com/ebs/latest/userguide/how-ebs-encryption-works.html>).
    pub(crate) fn policy(&self, account: &Account) -> String {
        let (name, id) = (self.name, self.name.to_ascii_lowercase());
        let policy = json!({
            "Version": "2012-10-17",
            "Id": format!("auto-{id}-2"),
            "Statement": [
                {
                    "Sid": format!("Allow access through {name} for all principals in the account that are authorized to use {name}"),
                    "Effect": "Allow",
                    "Principal": { "AWS": "*" },
                    "Action": [
                        "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:CreateGrant",
                        "kms:ListGrants", "kms:DescribeKey",
                    ],
                    "Resource": "*",
                    "Condition": { "StringEquals": {
                        "kms:CallerAccount": account.account_id,
                        "kms:ViaService": format!("{}.{}.amazonaws.com", self.service, account.region),
                    } },
                },
                {
                    "Sid": "Allow direct access to key metadata to the account",
                    "Effect": "Allow",
                    "Principal": { "AWS": account.root_arn() },
                    "Action": ["kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant"],
                    "Resource": "*",
                },
            ],
        });
        serde_json::to_string_pretty(&policy).unwrap_or_default()
    }
}
