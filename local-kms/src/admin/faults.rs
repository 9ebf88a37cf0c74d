//! Faults, from the administrator's side.

use std::time::{Duration, Instant};

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::AdminError;
use crate::faults::{Fault, FaultKind};
use crate::kms::Kms;
use crate::operations::{apply_due, names};

pub(super) fn set(
    kms: &Kms,
    operation: Option<&str>,
    fault: FaultKind,
    for_ms: Option<u64>,
) -> Result<Value, AdminError> {
    if let Some(name) = operation.filter(|name| !names().any(|known| known == *name)) {
        return Err(AdminError::Usage(format!("the KMS has no operation {name}; write it as in Decrypt")));
    }
    if let FaultKind::Throttling { percent } = fault
        && !(1..=100).contains(&percent)
    {
        return Err(AdminError::Usage("throttle 1 to 100 percent of the calls".to_owned()));
    }
    let until = for_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)));
    kms.faults.set(Fault { operation: operation.map(str::to_owned), kind: fault, until });
    tracing::warn!(operation, ?fault, "a fault was asked for");
    Ok(list(kms))
}

pub(super) fn set_propagation(kms: &Kms, delay_ms: u64) -> Value {
    kms.state.set_lag(Duration::from_millis(delay_ms));
    list(kms)
}

/// What is due by then happens before this returns.
pub(super) fn advance_clock(kms: &Kms, by_ms: u64) -> Result<Value, AdminError> {
    let by = i64::try_from(by_ms).map_err(|_| AdminError::Usage("that is too far".to_owned()))?;
    kms.clock.advance(SignedDuration::from_millis(by));
    apply_due(kms)?;
    Ok(list(kms))
}

pub(super) fn clear(kms: &Kms) -> Value {
    kms.faults.clear();
    kms.state.set_lag(Duration::ZERO);
    kms.clock.move_back();
    list(kms)
}

pub(super) fn list(kms: &Kms) -> Value {
    let now = Instant::now();
    let faults = kms.faults.list().into_iter().map(|fault| {
        let mut entry = json!(fault.kind);
        entry["operation"] = json!(fault.operation);
        let left_ms = fault.until.map(|until| u64::try_from(until.duration_since(now).as_millis()).unwrap_or(u64::MAX));
        entry["left_ms"] = json!(left_ms);
        entry
    });
    let propagation_ms = u64::try_from(kms.state.lag().as_millis()).unwrap_or(u64::MAX);
    let clock_moved_by_ms = u64::try_from(kms.clock.moved_by().as_millis()).unwrap_or(0);
    json!({
        "faults": faults.collect::<Vec<_>>(),
        "propagation_ms": propagation_ms,
        "clock_moved_by_ms": clock_moved_by_ms,
        "now": kms.clock.now().to_string(),
    })
}
