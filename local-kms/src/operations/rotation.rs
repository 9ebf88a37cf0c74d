//! What happens to keys by themselves, and the making of new material: rotation, expiry, deletion.

use jiff::{SignedDuration, Timestamp};

use crate::audit::Record;
use crate::ciphertext::KeyMaterial;
use crate::error::KmsError;
use crate::kms::Kms;
use crate::state::{KeyId, KeyRecord, KeyState, Lookup, MaterialId, MaterialMade, MaterialRecord, Writing};

/// Does what is due: called before each operation, so that none sees a key that should be gone.
pub(crate) fn apply_due(kms: &Kms) -> Result<(), KmsError> {
    let now = kms.clock.now();
    if !kms.state.read_newest()?.anything_due(now)? {
        return Ok(());
    }
    let events = kms.state.write(|writing| {
        let mut events = Vec::new();
        for id in writing.due_keys(now)? {
            if let Some(mut key) = writing.key(id)? {
                events.extend(apply(kms, writing, &mut key, now)?.into_iter().map(|event| (id, event)));
            }
        }
        Ok::<_, KmsError>(events)
    })?;
    for (key, event) in events {
        tracing::info!(%key, event, "done by itself");
        kms.audit.append(&Record::service_event(&kms.account, now, event, key))?;
    }
    Ok(())
}

/// The service events by which AWS records what was done.
fn apply(kms: &Kms, writing: &Writing, key: &mut KeyRecord, now: Timestamp) -> Result<Vec<&'static str>, KmsError> {
    if matches!(key.state, KeyState::PendingDeletion { .. }) {
        writing.remove_key(key)?;
        return Ok(vec!["DeleteKey"]);
    }
    let mut events = Vec::new();
    for expired in expired_materials(key, now) {
        forget_material(writing, key, expired)?;
        events.push("DeleteExpiredKeyMaterial");
    }
    if let Some(mut rotation) = key.rotation.filter(|rotation| rotation.next <= now && key.state == KeyState::Enabled) {
        let sealed = kms.seal_new_material(key.id)?;
        writing.put_material(key.id, sealed.id, &sealed.bytes)?;
        replace_material(key, sealed.id, MaterialMade::ByAutomaticRotation, now);
        rotation.next = now + SignedDuration::from_hours(24 * rotation.period_days);
        key.rotation = Some(rotation);
        events.push("RotateKey");
    }
    writing.put_key(key)?;
    Ok(events)
}

fn expired_materials(key: &KeyRecord, now: Timestamp) -> Vec<MaterialId> {
    let expired = |material: &&MaterialRecord| {
        let import = material.import.as_ref().filter(|import| import.present);
        import.and_then(|import| import.expires).is_some_and(|expires| expires <= now)
    };
    key.materials.iter().filter(expired).map(|material| material.id).collect()
}

/// Destroys an imported material; the key waits until it is imported again. One that never encrypted anything, since it
/// was pending rotation, the key does not miss. The caller puts the key.
pub(super) fn forget_material(writing: &Writing, key: &mut KeyRecord, id: MaterialId) -> Result<(), KmsError> {
    writing.remove_material(key.id, id)?;
    if key.material_record(id).is_some_and(|material| material.current_since.is_none()) {
        key.materials.retain(|material| material.id != id);
        return Ok(());
    }
    if let Some(import) = key.material_record(id).and_then(|material| material.import.as_mut()) {
        import.present = false;
        import.expires = None;
    }
    if !matches!(key.state, KeyState::PendingDeletion { .. }) {
        key.state = KeyState::PendingImport;
    }
    Ok(())
}

/// Makes `id` the material that encrypts; what older ones encrypted stays readable.
pub(super) fn replace_material(key: &mut KeyRecord, id: MaterialId, made: MaterialMade, now: Timestamp) {
    key.material = Some(id);
    match key.material_record(id) {
        Some(material) => (material.made, material.current_since) = (made, Some(now)),
        None => key.materials.push(MaterialRecord { id, made, current_since: Some(now), import: None }),
    }
}

/// Fresh material, sealed.
pub(super) struct SealedMaterial {
    pub(super) id: MaterialId,
    pub(super) bytes: Vec<u8>,
}

impl Kms {
    pub(super) fn seal_new_material(&self, key: KeyId) -> Result<SealedMaterial, KmsError> {
        let id = MaterialId::generate()?;
        Ok(SealedMaterial { id, bytes: self.seal_material(key, id, &KeyMaterial::generate()?)? })
    }
}
