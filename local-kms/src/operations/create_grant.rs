//! CreateGrant: lets a principal use a key, within constraints, until the grant is retired or revoked.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::cryptography::stop_if_dry_run;
use super::grant_tokens::{GrantTokens, token};
use crate::audit::without_nulls;
use crate::authorization::Child;
use crate::error::KmsError;
use crate::state::{GrantConstraints, GrantId, GrantRecord, GrantsFor, Lookup};

/// AWS: grants per KMS key.
const MAX_GRANTS: usize = 50_000;
const MAX_CONSTRAINT_PAIRS: usize = 8;
const MAX_CONSTRAINT_VALUE_LEN: usize = 384;

const OPERATIONS: [&str; 19] = [
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
    "Sign",
    "Verify",
    "GetPublicKey",
    "CreateGrant",
    "RetireGrant",
    "DescribeKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateMac",
    "VerifyMac",
    "DeriveSharedSecret",
    "Encapsulate",
    "Decapsulate",
];
/// Operations that a symmetric key does not have.
const NOT_OF_SYMMETRIC_KEYS: [&str; 8] =
    ["Sign", "Verify", "GetPublicKey", "GenerateMac", "VerifyMac", "DeriveSharedSecret", "Encapsulate", "Decapsulate"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateGrant {
    key_id: Option<String>,
    grantee_principal: Option<String>,
    retiring_principal: Option<String>,
    operations: Option<Vec<String>>,
    constraints: Option<GrantConstraints>,
    #[serde(default)]
    grant_tokens: GrantTokens,
    name: Option<String>,
    dry_run: Option<bool>,
    grantee_service_principal: Option<String>,
    retiring_service_principal: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    grant_token: String,
    grant_id: GrantId,
}

impl Operation for CreateGrant {
    const NAME: &'static str = "CreateGrant";
    const READ_ONLY: bool = false;
    type Response = Response;

    fn parameters(&self) -> Value {
        let constraints = self.constraints.as_ref().map(|constraints| {
            without_nulls(json!({
                "encryptionContextEquals": constraints.encryption_context_equals,
                "encryptionContextSubset": constraints.encryption_context_subset,
                "sourceArn": constraints.source_arn,
            }))
        });
        json!({
            "keyId": self.key_id,
            "granteePrincipal": self.grantee_principal,
            "retiringPrincipal": self.retiring_principal,
            "granteeServicePrincipal": self.grantee_service_principal,
            "retiringServicePrincipal": self.retiring_service_principal,
            "operations": self.operations,
            "constraints": constraints,
            "name": self.name,
            "dryRun": self.dry_run,
        })
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let key_id = self.check_constraints()?;
        let (grantee, retiring) = self.principals()?;
        let wanted = self.constraints.clone().unwrap_or_default();
        call.present(&self.grant_tokens)?;
        self.describe(call, &grantee, retiring.as_deref(), &wanted)?;
        let operations = self.operations.clone().unwrap_or_default();
        call.child = Some(Child { operations: operations.clone(), constraints: wanted.clone() });
        let kms = call.kms;
        let grant = kms.state.write(|writing| {
            let key = call.key(writing, key_id)?;
            call.require_enabled(&key)?;
            stop_if_dry_run(self.dry_run)?;
            let grant = GrantRecord {
                id: GrantId::generate()?,
                key: key.id,
                created: call.now,
                name: self.name.clone(),
                grantee,
                retiring,
                issuing_account_id: call.caller.account_id().to_owned(),
                operations,
                constraints: wanted,
            };
            // Asked again under the same name, the same grant is answered.
            let known = match &grant.name {
                Some(_) => writing.grants_of(key.id, &grant.grantee, GrantsFor::Context(&call.encryption_context))?,
                None => Vec::new(),
            };
            let known = known
                .into_iter()
                .find(|known| GrantRecord { id: known.id, created: known.created, ..grant.clone() } == *known);
            if let Some(known) = known {
                return Ok(known);
            }
            if writing.count_grants(key.id)? >= MAX_GRANTS {
                return Err(KmsError::LimitExceeded(format!(
                    "The key {} has {MAX_GRANTS} grants, which is the limit.",
                    call.arn(&key)
                )));
            }
            writing.put_grant(&grant)?;
            Ok(grant)
        })?;
        let arn = kms.account.key_arn(grant.key);
        call.trail.response_elements = Some(json!({ "grantId": grant.id, "keyId": arn }));
        Ok(Response { grant_token: token(kms, &grant)?, grant_id: grant.id })
    }
}

impl CreateGrant {
    fn check_constraints(&self) -> Result<&str, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        for (member, principal) in [
            ("granteePrincipal", &self.grantee_principal),
            ("retiringPrincipal", &self.retiring_principal),
            ("granteeServicePrincipal", &self.grantee_service_principal),
            ("retiringServicePrincipal", &self.retiring_service_principal),
        ] {
            constrain_principal(&mut constraints, member, principal.as_deref());
        }
        constraints.required("operations", self.operations.as_ref());
        for operation in self.operations.as_deref().unwrap_or_default() {
            constraints.one_of("operations", Some(operation), &OPERATIONS);
        }
        if let Some(name) = constraints.length("name", self.name.as_deref(), 1..=256) {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '/' | '_' | '-');
            constraints.characters("name", name, allowed, "^[a-zA-Z0-9:/_-]+$");
        }
        self.grant_tokens.constrain(&mut constraints);
        constraints.check()?;
        let invalid = |message: String| Err(KmsError::Validation(message));
        let operations = self.operations.as_deref().unwrap_or_default();
        if operations.is_empty() {
            return invalid("A grant must allow at least one operation.".to_owned());
        }
        if let Some(operation) = operations.iter().find(|name| NOT_OF_SYMMETRIC_KEYS.contains(&name.as_str())) {
            return invalid(format!(
                "Operation {operation} is not supported by a key with key spec SYMMETRIC_DEFAULT."
            ));
        }
        let wanted = self.constraints.clone().unwrap_or_default();
        let contexts = [&wanted.encryption_context_equals, &wanted.encryption_context_subset];
        if contexts.iter().all(|context| context.is_some()) {
            return invalid(
                "A grant has either EncryptionContextEquals or EncryptionContextSubset, not both.".to_owned(),
            );
        }
        for context in contexts.into_iter().flatten() {
            if context.0.len() > MAX_CONSTRAINT_PAIRS {
                return invalid(format!(
                    "A grant constraint has at most {MAX_CONSTRAINT_PAIRS} encryption context pairs."
                ));
            }
            if context.0.values().any(|value| value.chars().count() > MAX_CONSTRAINT_VALUE_LEN) {
                return invalid(format!(
                    "A value in a grant constraint has at most {MAX_CONSTRAINT_VALUE_LEN} characters."
                ));
            }
        }
        Ok(key_id)
    }

    /// Grantee, and who may retire the grant.
    fn principals(&self) -> Result<(String, Option<String>), KmsError> {
        let invalid = |message: &str| Err(KmsError::Validation(message.to_owned()));
        let source_arn = self.constraints.as_ref().and_then(|constraints| constraints.source_arn.as_ref());
        let grantee = match (&self.grantee_principal, &self.grantee_service_principal) {
            (Some(principal), None) => principal,
            (None, Some(service)) if source_arn.is_some() => service,
            (None, Some(_)) => return invalid("GranteeServicePrincipal requires the SourceArn grant constraint."),
            _ => return invalid("Specify exactly one of GranteePrincipal and GranteeServicePrincipal."),
        };
        let retiring = match (&self.retiring_principal, &self.retiring_service_principal) {
            (Some(_), Some(_)) => {
                return invalid("Specify at most one of RetiringPrincipal and RetiringServicePrincipal.");
            }
            (principal, service) => principal.as_ref().or(service.as_ref()),
        };
        for principal in [Some(grantee), retiring].into_iter().flatten() {
            check_principal(principal)?;
        }
        Ok((grantee.clone(), retiring.cloned()))
    }

    /// The condition keys of this operation.
    fn describe(
        &self,
        call: &mut Call,
        grantee: &str,
        retiring: Option<&str>,
        constraints: &GrantConstraints,
    ) -> Result<(), KmsError> {
        call.facts.insert("kms:GranteePrincipal", grantee);
        if let Some(retiring) = retiring {
            call.facts.insert("kms:RetiringPrincipal", retiring);
        }
        call.facts.insert_list("kms:GrantOperations", self.operations.clone().unwrap_or_default());
        let (equals, subset) = (&constraints.encryption_context_equals, &constraints.encryption_context_subset);
        if equals.is_some() {
            call.facts.insert("kms:GrantConstraintType", "EncryptionContextEquals");
        } else if subset.is_some() {
            call.facts.insert("kms:GrantConstraintType", "EncryptionContextSubset");
        }
        call.set_encryption_context(equals.as_ref().or(subset.as_ref()))?;
        call.describe_grant_use();
        Ok(())
    }
}

pub(super) fn constrain_principal(constraints: &mut Constraints, member: &str, principal: Option<&str>) {
    if let Some(principal) = constraints.length(member, principal, 1..=256) {
        let allowed = |c: char| c.is_alphanumeric() || "_+=,.@:/-".contains(c);
        constraints.characters(member, principal, allowed, "^[\\w+=,.@:/-]+$");
    }
}

/// An ARN of IAM or of a session, or the name of a service. Whether there is such a principal is not asked.
pub(super) fn check_principal(principal: &str) -> Result<(), KmsError> {
    let invalid = || KmsError::InvalidPrincipal(principal.to_owned());
    let is_account = |account: &str| account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let resource = match principal.split(':').collect::<Vec<_>>().as_slice() {
        ["arn", "aws", "iam" | "sts", "", account, resource] if is_account(account) => *resource,
        [service] if service.ends_with(".amazonaws.com") && !service.contains('/') => return Ok(()),
        _ => return Err(invalid()),
    };
    let kinds = ["user/", "role/", "assumed-role/", "federated-user/"];
    let named = kinds.iter().any(|kind| resource.strip_prefix(kind).is_some_and(|name| !name.is_empty()));
    if named || resource == "root" { Ok(()) } else { Err(invalid()) }
}
