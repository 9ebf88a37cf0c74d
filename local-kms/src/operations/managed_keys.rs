//! AWS managed keys: made when a service's key is first asked for.

use jiff::SignedDuration;

use crate::error::KmsError;
use crate::key_policy::ManagedKey;
use crate::kms::Kms;
use crate::state::{
    AliasRecord, AutomaticRotation, KeyId, KeyManager, KeyOrigin, KeyRecord, KeyState, Lookup, MaterialMade,
    MaterialRecord,
};

/// AWS rotates the keys of its services every year.
const ROTATION_PERIOD_DAYS: i64 = 365;

/// Whether the alias of this ARN is that of a service, whose key is there when this returns.
pub(super) fn create(kms: &Kms, alias_arn: &str) -> Result<bool, KmsError> {
    let alias = alias_arn.splitn(6, ':').last().unwrap_or_default();
    let Some(managed) = ManagedKey::of_alias(alias) else { return Ok(false) };
    let now = kms.clock.now();
    let id = KeyId::generate();
    let sealed = kms.seal_new_material(id)?;
    let key = KeyRecord {
        id,
        description: managed.description.to_owned(),
        created: now,
        state: KeyState::Enabled,
        material: Some(sealed.id),
        tags: Vec::new(),
        manager: KeyManager::Aws,
        origin: KeyOrigin::AwsKms,
        rotation: Some(AutomaticRotation {
            period_days: ROTATION_PERIOD_DAYS,
            next: now + SignedDuration::from_hours(24 * ROTATION_PERIOD_DAYS),
        }),
        materials: vec![MaterialRecord {
            id: sealed.id,
            made: MaterialMade::WithTheKey,
            current_since: Some(now),
            import: None,
        }],
    };
    kms.state.write(|writing| {
        // Somebody else may have been first.
        if writing.alias(alias)?.is_none() {
            writing.put_material(id, sealed.id, &sealed.bytes)?;
            writing.put_key(&key)?;
            writing.put_key_policy(id, &managed.policy(&kms.account))?;
            writing.put_alias(alias, &AliasRecord { target: id, created: now, updated: now })?;
        }
        Ok(true)
    })
}
