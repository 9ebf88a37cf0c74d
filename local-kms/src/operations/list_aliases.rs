//! ListAliases: the aliases of the account, or of one key.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::key_metadata::EpochSeconds;
use super::page::PageRequest;
use crate::error::KmsError;
use crate::state::KeyId;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListAliases {
    key_id: Option<String>,
    limit: Option<i64>,
    marker: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    aliases: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
    truncated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    alias_name: String,
    alias_arn: String,
    target_key_id: KeyId,
    creation_date: EpochSeconds,
    last_updated_date: EpochSeconds,
}

impl Operation for ListAliases {
    const NAME: &'static str = "ListAliases";
    const READ_ONLY: bool = true;
    type Response = Response;

    fn parameters(&self) -> Value {
        json!({ "keyId": self.key_id, "limit": self.limit, "marker": self.marker })
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.optional_key_id("keyId", self.key_id.as_deref());
        constraints.check()?;
        call.permit("*")?;
        let page = PageRequest::parse(self.limit, self.marker.as_deref(), (50, 100))?;
        let after = page.after_text()?;

        let reading = call.kms.state.read()?;
        let target = key_id.map(|id| call.existing(&reading, id)).transpose()?;
        let mut aliases = reading.aliases_after(after, target, page.fetch())?;
        let next_marker = page.cut(&mut aliases, |(name, _)| name.clone().into_bytes());
        let entry = |(alias_name, alias): (String, crate::state::AliasRecord)| Entry {
            alias_arn: call.kms.account.alias_arn(&alias_name),
            alias_name,
            target_key_id: alias.target,
            creation_date: EpochSeconds(alias.created),
            last_updated_date: EpochSeconds(alias.updated),
        };
        Ok(Response {
            aliases: aliases.into_iter().map(entry).collect(),
            truncated: next_marker.is_some(),
            next_marker,
        })
    }
}
