//! ListRetirableGrants: the grants, of all keys, that a principal may retire.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::create_grant::{check_principal, constrain_principal};
use super::grant_entry::Page;
use super::page::PageRequest;
use crate::error::KmsError;
use crate::state::{GrantId, KeyId};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListRetirableGrants {
    limit: Option<i64>,
    marker: Option<String>,
    retiring_principal: Option<String>,
    retiring_service_principal: Option<String>,
}

impl Operation for ListRetirableGrants {
    const NAME: &'static str = "ListRetirableGrants";
    const READ_ONLY: bool = true;
    type Response = Page;

    fn parameters(&self) -> Value {
        json!({
            "retiringPrincipal": self.retiring_principal,
            "retiringServicePrincipal": self.retiring_service_principal,
            "limit": self.limit,
            "marker": self.marker,
        })
    }

    fn perform(&self, call: &mut Call) -> Result<Page, KmsError> {
        let mut constraints = Constraints::default();
        let retiring = self.retiring_principal.as_deref().or(self.retiring_service_principal.as_deref());
        constraints.required("retiringPrincipal", retiring);
        constrain_principal(&mut constraints, "retiringPrincipal", retiring);
        constraints.check()?;
        let page = PageRequest::parse(self.limit, self.marker.as_deref(), (50, 100))?;
        let after = page.after.as_deref().map(parse_marker).transpose()?;
        let retiring = retiring.unwrap_or_default();
        check_principal(retiring)?;
        call.permit("*")?;
        let mut grants = call.kms.state.read()?.retirable_grants_after(retiring, after, page.fetch())?;
        let next_marker = page.cut(&mut grants, |last| [last.key.as_bytes(), last.id.as_bytes()].concat());
        Ok(Page::new(grants, next_marker, &call.kms.account))
    }
}

fn parse_marker(bytes: &[u8]) -> Result<(KeyId, GrantId), KmsError> {
    let (key, grant) = bytes.split_first_chunk::<16>().ok_or(KmsError::InvalidMarker)?;
    let grant = <[u8; 32]>::try_from(grant).map_err(|_| KmsError::InvalidMarker)?;
    Ok((KeyId::from_bytes(*key), GrantId::from_bytes(grant)))
}
