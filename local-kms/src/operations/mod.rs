//! The operations of KMS, one file each: `cryptography`, `constraints`, `key_metadata` and `page` are what they share.

mod call;
mod cancel_key_deletion;
mod constraints;
mod create_alias;
mod create_key;
mod cryptography;
mod data_key;
mod decrypt;
mod delete_alias;
mod describe_key;
mod disable_key;
mod enable_key;
mod encrypt;
mod generate_data_key;
mod generate_data_key_without_plaintext;
mod generate_random;
mod key_metadata;
mod list_aliases;
mod list_keys;
mod page;
mod re_encrypt;
mod schedule_key_deletion;
#[cfg(test)]
mod tests;
mod update_alias;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::audit::{Origin, Record, Trail};
use crate::error::KmsError;
use crate::kms::Kms;
use call::Call;

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

/// Performs `operation` for an authenticated caller. Its record is in the audit log when this returns.
pub(crate) fn call(kms: &Kms, origin: &Origin, operation: &str, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    let run = match operation {
        "CancelKeyDeletion" => run::<cancel_key_deletion::CancelKeyDeletion>,
        "CreateAlias" => run::<create_alias::CreateAlias>,
        "CreateKey" => run::<create_key::CreateKey>,
        "Decrypt" => run::<decrypt::Decrypt>,
        "DeleteAlias" => run::<delete_alias::DeleteAlias>,
        "DescribeKey" => run::<describe_key::DescribeKey>,
        "DisableKey" => run::<disable_key::DisableKey>,
        "EnableKey" => run::<enable_key::EnableKey>,
        "Encrypt" => run::<encrypt::Encrypt>,
        "GenerateDataKey" => run::<generate_data_key::GenerateDataKey>,
        "GenerateDataKeyWithoutPlaintext" => {
            run::<generate_data_key_without_plaintext::GenerateDataKeyWithoutPlaintext>
        }
        "GenerateRandom" => run::<generate_random::GenerateRandom>,
        "ListAliases" => run::<list_aliases::ListAliases>,
        "ListKeys" => run::<list_keys::ListKeys>,
        "ReEncrypt" => run::<re_encrypt::ReEncrypt>,
        "ScheduleKeyDeletion" => run::<schedule_key_deletion::ScheduleKeyDeletion>,
        "UpdateAlias" => run::<update_alias::UpdateAlias>,
        // Not in the audit log: CloudTrail has no event for what is not an operation.
        _ => {
            tracing::warn!(operation, user = origin.user.name, "no such operation");
            return Err(KmsError::UnknownOperation);
        }
    };
    kms.delete_due_keys()?;
    run(kms, origin, body)
}

fn run<O: Operation>(kms: &Kms, origin: &Origin, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    let now = kms.clock.now();
    let mut call = Call { kms, now, trail: Trail::default() };
    let request = serde_json::from_slice::<O>(body).map_err(|_| KmsError::Serialization);
    let (parameters, answered) = match request {
        Ok(request) => (request.parameters(), request.perform(&mut call).and_then(|response| encoded(&response))),
        Err(error) => (Value::Null, Err(error)),
    };
    let operation = (O::NAME, O::READ_ONLY);
    let error = answered.as_ref().err();
    kms.audit.append(&Record::call(&kms.account, now, origin, operation, parameters, call.trail, error))?;
    answered
}

fn encoded(response: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    let mut body = Zeroizing::new(Vec::with_capacity(RESPONSE_CAPACITY));
    serde_json::to_writer(&mut *body, response).map_err(|error| KmsError::Internal(Box::new(error)))?;
    Ok(body)
}
