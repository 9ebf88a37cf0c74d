//! DescribeKey: the metadata of a key, in every state.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::grant_tokens::GrantTokens;
use super::key_metadata::KeyMetadata;
use crate::error::KmsError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribeKey {
    key_id: Option<String>,
    #[serde(default)]
    grant_tokens: GrantTokens,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_metadata: KeyMetadata,
}

impl Operation for DescribeKey {
    const NAME: &'static str = "DescribeKey";
    const READ_ONLY: bool = true;
    type Response = Response;

    fn parameters(&self) -> Value {
        json!({ "keyId": self.key_id })
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        self.grant_tokens.constrain(&mut constraints);
        constraints.check()?;
        call.present(&self.grant_tokens)?;
        let key = call.key_or_alias(&call.kms.state.read()?, key_id)?;
        Ok(Response { key_metadata: KeyMetadata::of(&key, &call.kms.account) })
    }
}
