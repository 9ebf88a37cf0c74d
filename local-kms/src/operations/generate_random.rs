//! GenerateRandom: random bytes that no key has to do with.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::cryptography::refuse_recipient;
use crate::blob::Blob;
use crate::error::KmsError;
use crate::random;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GenerateRandom {
    number_of_bytes: Option<i64>,
    custom_key_store_id: Option<String>,
    recipient: Option<IgnoredAny>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    plaintext: Blob,
}

impl Operation for GenerateRandom {
    const NAME: &'static str = "GenerateRandom";
    const READ_ONLY: bool = true;
    type Response = Response;

    fn parameters(&self) -> Value {
        json!({ "numberOfBytes": self.number_of_bytes, "customKeyStoreId": self.custom_key_store_id })
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let mut constraints = Constraints::default();
        constraints.number("numberOfBytes", self.number_of_bytes, 1..=1024);
        constraints.check()?;
        call.permit("*")?;
        let len_bytes = self.number_of_bytes.and_then(|number| usize::try_from(number).ok());
        let len_bytes = len_bytes.ok_or_else(|| KmsError::Validation("NumberOfBytes is required.".to_owned()))?;
        refuse_recipient(self.recipient.as_ref())?;
        if self.custom_key_store_id.is_some() {
            return Err(KmsError::Unsupported("Custom key stores are not supported by this server.".to_owned()));
        }
        let mut plaintext = Zeroizing::new(vec![0; len_bytes]);
        random::fill(&mut plaintext)?;
        Ok(Response { plaintext: Blob(plaintext) })
    }
}
