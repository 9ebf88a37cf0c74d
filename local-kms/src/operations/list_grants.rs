//! ListGrants: the grants of a key, in every state.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::create_grant::{check_principal, constrain_principal};
use super::grant_entry::Page;
use super::page::PageRequest;
use super::revoke_grant::parse_grant_id;
use crate::error::KmsError;
use crate::state::{GrantId, GrantRecord, Lookup};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListGrants {
    limit: Option<i64>,
    marker: Option<String>,
    key_id: Option<String>,
    grant_id: Option<String>,
    grantee_principal: Option<String>,
    grantee_service_principal: Option<String>,
}

impl Operation for ListGrants {
    const NAME: &'static str = "ListGrants";
    const READ_ONLY: bool = true;
    type Response = Page;

    fn parameters(&self) -> Value {
        json!({
            "keyId": self.key_id,
            "grantId": self.grant_id,
            "granteePrincipal": self.grantee_principal,
            "granteeServicePrincipal": self.grantee_service_principal,
            "limit": self.limit,
            "marker": self.marker,
        })
    }

    fn perform(&self, call: &mut Call) -> Result<Page, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        let grantee = self.grantee_principal.as_deref().or(self.grantee_service_principal.as_deref());
        constrain_principal(&mut constraints, "granteePrincipal", grantee);
        constraints.length("grantId", self.grant_id.as_deref(), 1..=128);
        constraints.check()?;
        let page = PageRequest::parse(self.limit, self.marker.as_deref(), (50, 100))?;
        let after = page.after_id()?.map(GrantId::from_bytes);
        grantee.map(check_principal).transpose()?;
        let only = self.grant_id.as_deref().map(parse_grant_id).transpose()?;

        call.describe_grant_use();
        let reading = call.kms.state.read()?;
        let key = call.key(&reading, key_id)?;
        let mut grants = match only {
            Some(id) => {
                let of_grantee = |grant: &GrantRecord| grantee.is_none_or(|grantee| grant.grantee == grantee);
                reading.grant(key.id, id)?.filter(of_grantee).into_iter().collect()
            }
            None => reading.grants_after(key.id, grantee, after, page.fetch())?,
        };
        let next_marker = page.cut(&mut grants, |last| last.id.as_bytes().to_vec());
        Ok(Page::new(grants, next_marker, &call.kms.account))
    }
}
