//! ListKeyRotations: when a key got new material and why; with all its material, if asked.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::key_metadata::{EpochSeconds, expiration_model};
use super::page::PageRequest;
use crate::error::KmsError;
use crate::state::{KeyRecord, MaterialId, MaterialMade, MaterialRecord};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListKeyRotations {
    key_id: Option<String>,
    include_key_material: Option<String>,
    limit: Option<i64>,
    marker: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    rotations: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
    truncated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key_id: String,
    key_material_id: MaterialId,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_material_description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    import_state: Option<&'static str>,
    key_material_state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_model: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_to: Option<EpochSeconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation_date: Option<EpochSeconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation_type: Option<&'static str>,
}

impl Operation for ListKeyRotations {
    const NAME: &'static str = "ListKeyRotations";
    const READ_ONLY: bool = true;
    type Response = Response;

    fn parameters(&self) -> Value {
        json!({
            "keyId": self.key_id,
            "includeKeyMaterial": self.include_key_material,
            "limit": self.limit,
            "marker": self.marker,
        })
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        let include = self.include_key_material.as_deref();
        constraints.one_of("includeKeyMaterial", include, &["ALL_KEY_MATERIAL", "ROTATIONS_ONLY"]);
        constraints.check()?;
        let page = PageRequest::parse(self.limit, self.marker.as_deref(), (100, 1000))?;
        let after = page.after_id()?.map(MaterialId::from_bytes);
        let key = call.key(&call.kms.state.read()?, key_id)?;
        let all = include == Some("ALL_KEY_MATERIAL");
        let mut entries: Vec<Entry> = key
            .materials
            .iter()
            .filter(|material| all || is_rotation(material))
            .map(|material| entry(&key, material))
            .collect();
        if let Some(after) = after {
            let last = entries.iter().position(|entry| entry.key_material_id == after);
            entries.drain(..=last.ok_or(KmsError::InvalidMarker)?);
        }
        let next_marker = page.cut(&mut entries, |last| last.key_material_id.as_bytes().to_vec());
        Ok(Response { rotations: entries, truncated: next_marker.is_some(), next_marker })
    }
}

fn is_rotation(material: &MaterialRecord) -> bool {
    material.made != MaterialMade::WithTheKey && material.current_since.is_some()
}

fn entry(key: &KeyRecord, material: &MaterialRecord) -> Entry {
    let import = material.import.as_ref();
    let present = import.filter(|import| import.present);
    Entry {
        key_id: key.id.to_string(),
        key_material_id: material.id,
        key_material_description: import.and_then(|import| import.description.clone()),
        import_state: import.map(|import| if import.present { "IMPORTED" } else { "PENDING_IMPORT" }),
        key_material_state: match material.current_since {
            None => "PENDING_ROTATION",
            Some(_) if key.material == Some(material.id) => "CURRENT",
            Some(_) => "NON_CURRENT",
        },
        expiration_model: present.map(|import| expiration_model(import.expires)),
        valid_to: present.and_then(|import| import.expires).map(EpochSeconds),
        rotation_date: material.current_since.filter(|_| is_rotation(material)).map(EpochSeconds),
        rotation_type: match material.made {
            _ if !is_rotation(material) => None,
            MaterialMade::OnDemand => Some("ON_DEMAND"),
            _ => Some("AUTOMATIC"),
        },
    }
}
