//! Takes the key away.

use kms_client::{Kms, KmsAdmin, KmsError, KmsKeyArn, KmsKeyId};

use super::error::DrillError;
use super::kms::DrillKms;
use super::moment::Moment;
use super::policy::with_denial;
use super::record::Step;
use super::report::KeyView;
use super::run::{Drill, Scene};
use super::typed;
use super::way::Way;

/// When it was asked for and acknowledged.
pub(super) struct Revoked {
    pub(super) asked: Moment,
    pub(super) acknowledged: Moment,
    /// As a person types it.
    pub(super) typed: String,
}

impl Drill<'_> {
    pub(super) fn take_away(&mut self, scene: &Scene, before: &KeyView) -> Result<Revoked, DrillError> {
        let (way, client, key, volume) = (self.request.way, &self.kms.client, &scene.key, &scene.volume_id);
        let mut edited = String::new();
        let ours = before.grants.iter().find(|grant| grant.name.as_deref() == Some(volume.as_str()));
        match way {
            Way::DisableKey | Way::ScheduleKeyDeletion => self.add(Step::KeyState { key: key.clone(), way })?,
            Way::DenyPolicy => {
                let grantee = scene.grantee.as_ref();
                let grantee = grantee.ok_or_else(|| DrillError::Failed("no grantee".to_owned()))?;
                let sid: String = self.directory.id().chars().filter(char::is_ascii_alphanumeric).collect();
                let sid = format!("EnvolDrill{}", sid.trim_start_matches("drill"));
                let original = before.policy.clone();
                edited = with_denial(&original, &sid, grantee, volume).map_err(DrillError::Failed)?;
                self.add(Step::Policy { key: key.clone(), sid, original, edited: edited.clone() })?;
            }
            // The volume does not come back: a restored one has a grant of its own, or the key is thrown away.
            Way::RevokeGrant | Way::DeleteKeyMaterial => {}
        }
        let asked = Moment::now();
        match way {
            Way::DisableKey => self.kms.wait(client.disable_key(key))?,
            Way::ScheduleKeyDeletion => self.kms.wait(client.schedule_key_deletion(key, 7))?,
            Way::DenyPolicy => self.kms.wait(client.put_key_policy(key, &edited))?,
            Way::DeleteKeyMaterial => self.kms.wait(client.delete_imported_key_material(key))?,
            Way::RevokeGrant => {
                let grant = ours.ok_or_else(|| DrillError::Failed(format!("volume {volume} has no grant on {key}")))?;
                self.kms.wait(client.revoke_grant(key, &grant.id))?;
            }
        }
        let acknowledged = Moment::now();
        let typed = typed::revocation(way, key, ours.map(|grant| grant.id.as_str()), &edited);
        Ok(Revoked { asked, acknowledged, typed })
    }
}

pub(super) fn view(kms: &DrillKms, key: &KmsKeyArn) -> Result<KeyView, KmsError> {
    let state = kms.wait(kms.client.describe_key(&KmsKeyId::from(key)))?.state;
    Ok(KeyView {
        state: state.to_string(),
        policy: kms.wait(kms.client.key_policy(key))?,
        grants: kms.wait(kms.client.list_grants(key))?,
    })
}
