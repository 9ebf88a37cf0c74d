//! The operations of KMS, one file each. What they share: `call` (who may), `constraints` (what a request may hold),
//! `cryptography`, `grant_tokens`, `grant_entry`, `key_metadata`, `key_request`, `managed_keys`, `opaque`, `page`,
//! `rotation`, `tags`.

mod call;
mod cancel_key_deletion;
mod constraints;
mod create_alias;
mod create_grant;
mod create_key;
mod cryptography;
mod data_key;
mod decrypt;
mod delete_alias;
mod delete_imported_key_material;
mod describe_key;
mod disable_key;
mod disable_key_rotation;
mod enable_key;
mod enable_key_rotation;
mod encrypt;
mod generate_data_key;
mod generate_data_key_without_plaintext;
mod generate_random;
mod get_key_last_usage;
mod get_key_policy;
mod get_key_rotation_status;
mod get_parameters_for_import;
mod grant_entry;
mod grant_tokens;
mod import_key_material;
mod key_metadata;
mod key_request;
mod list_aliases;
mod list_grants;
mod list_key_policies;
mod list_key_rotations;
mod list_keys;
mod list_resource_tags;
mod list_retirable_grants;
mod managed_keys;
mod opaque;
mod page;
mod put_key_policy;
mod re_encrypt;
mod retire_grant;
mod revoke_grant;
mod rotate_key_on_demand;
mod rotation;
mod schedule_key_deletion;
mod tag_resource;
mod tags;
#[cfg(test)]
mod tests;
mod untag_resource;
mod update_alias;
mod update_key_description;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::audit::{Origin, Record};
use crate::error::KmsError;
use crate::kms::Kms;
use crate::state::LastUsage;
pub(crate) use call::{Call, describe_encryption_context, describe_key, permission, rules};
pub(crate) use rotation::apply_due;

/// One request of one operation, parsed.
trait Operation: DeserializeOwned {
    const NAME: &'static str;
    /// What CloudTrail says of it: whether it leaves everything as it was.
    const READ_ONLY: bool;
    type Response: Serialize;

    /// The request as the audit log shows it: no plaintext, no ciphertext, no grant token. Nulls are left out.
    fn parameters(&self) -> Value;

    fn perform(&self, call: &mut Call) -> Result<Self::Response, KmsError>;
}

/// The response of operations that have none.
#[derive(Serialize)]
struct Done {}

/// Room for the largest response, so that no reallocation leaves a copy of a plaintext behind.
const RESPONSE_CAPACITY: usize = 16 * 1024;

type Run = fn(&Kms, &Origin, &[u8]) -> Result<Zeroizing<Vec<u8>>, KmsError>;

/// Every operation there is.
const RUNS: [(&str, Run); 38] = [
    entry::<cancel_key_deletion::CancelKeyDeletion>(),
    entry::<create_alias::CreateAlias>(),
    entry::<create_grant::CreateGrant>(),
    entry::<create_key::CreateKey>(),
    entry::<decrypt::Decrypt>(),
    entry::<delete_alias::DeleteAlias>(),
    entry::<delete_imported_key_material::DeleteImportedKeyMaterial>(),
    entry::<describe_key::DescribeKey>(),
    entry::<disable_key::DisableKey>(),
    entry::<disable_key_rotation::DisableKeyRotation>(),
    entry::<enable_key::EnableKey>(),
    entry::<enable_key_rotation::EnableKeyRotation>(),
    entry::<encrypt::Encrypt>(),
    entry::<generate_data_key::GenerateDataKey>(),
    entry::<generate_data_key_without_plaintext::GenerateDataKeyWithoutPlaintext>(),
    entry::<generate_random::GenerateRandom>(),
    entry::<get_key_last_usage::GetKeyLastUsage>(),
    entry::<get_key_policy::GetKeyPolicy>(),
    entry::<get_key_rotation_status::GetKeyRotationStatus>(),
    entry::<get_parameters_for_import::GetParametersForImport>(),
    entry::<import_key_material::ImportKeyMaterial>(),
    entry::<list_aliases::ListAliases>(),
    entry::<list_grants::ListGrants>(),
    entry::<list_key_policies::ListKeyPolicies>(),
    entry::<list_key_rotations::ListKeyRotations>(),
    entry::<list_keys::ListKeys>(),
    entry::<list_resource_tags::ListResourceTags>(),
    entry::<list_retirable_grants::ListRetirableGrants>(),
    entry::<put_key_policy::PutKeyPolicy>(),
    entry::<re_encrypt::ReEncrypt>(),
    entry::<retire_grant::RetireGrant>(),
    entry::<revoke_grant::RevokeGrant>(),
    entry::<rotate_key_on_demand::RotateKeyOnDemand>(),
    entry::<schedule_key_deletion::ScheduleKeyDeletion>(),
    entry::<tag_resource::TagResource>(),
    entry::<untag_resource::UntagResource>(),
    entry::<update_alias::UpdateAlias>(),
    entry::<update_key_description::UpdateKeyDescription>(),
];

const fn entry<O: Operation>() -> (&'static str, Run) {
    (O::NAME, run::<O>)
}

/// Their names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    RUNS.iter().map(|(name, _)| *name)
}

/// Performs `operation` for an authenticated caller. Its record is in the audit log when this returns.
pub(crate) fn call(kms: &Kms, origin: &Origin, operation: &str, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    let Some((_, run)) = RUNS.iter().find(|(name, _)| *name == operation) else {
        // Not in the audit log: CloudTrail has no event for what is not an operation.
        tracing::warn!(operation, caller = origin.caller.arn(), "no such operation");
        return Err(KmsError::UnknownOperation);
    };
    apply_due(kms)?;
    run(kms, origin, body)
}

fn run<O: Operation>(kms: &Kms, origin: &Origin, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    let mut call = Call::new(kms, origin, O::NAME, kms.clock.now());
    let request = serde_json::from_slice::<O>(body).map_err(|_| KmsError::Serialization);
    let (parameters, answered) = match request {
        Ok(request) => (request.parameters(), perform(&request, &mut call, origin)),
        Err(error) => (Value::Null, Err(error)),
    };
    let operation = (O::NAME, O::READ_ONLY);
    let Call { now, trail, used, .. } = call;
    let error = answered.as_ref().err().map(|error| (error.code(), error.to_string()));
    let record = Record::call(&kms.account, now, origin, operation, parameters, trail, error);
    kms.audit.append(&record)?;
    if answered.is_ok() {
        for key in used {
            let (event_id, request_id) = (record.event_id().to_owned(), origin.request_id.clone());
            kms.note_usage(key, LastUsage { operation: O::NAME.to_owned(), at: now, event_id, request_id });
        }
    }
    answered
}

fn perform<'a, O: Operation>(
    request: &O,
    call: &mut Call<'a>,
    origin: &Origin<'a>,
) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    if call.kms.faults.throttles(O::NAME) {
        return Err(KmsError::Throttled);
    }
    let answered = match request.perform(call) {
        // The key of a service is made when it is first asked for.
        Err(KmsError::AliasNotFound { arn }) if managed_keys::create(call.kms, &arn)? => {
            *call = Call::new(call.kms, origin, O::NAME, call.now);
            request.perform(call)
        }
        answered => answered,
    };
    answered.and_then(|response| encoded(&response))
}

fn encoded(response: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    let mut body = Zeroizing::new(Vec::with_capacity(RESPONSE_CAPACITY));
    serde_json::to_writer(&mut *body, response).map_err(|error| KmsError::Internal(Box::new(error)))?;
    Ok(body)
}
