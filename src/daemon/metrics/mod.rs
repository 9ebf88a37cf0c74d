//! What the daemon counts of its volume, and its text for Prometheus.

mod exposition;
pub mod listener;

use serde::{Deserialize, Serialize};

use crate::fuse::IoCounters;
use crate::revocation::ProbeCounters;

pub use exposition::exposition;
pub(super) use listener::{bind, serve};

/// Since the volume was attached.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    pub io: IoCounters,
    pub probes: ProbeCounters,
}
