//! What was asked of KMS, when, and under which request id: for whoever has to show it afterwards.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

/// One request and its answer. A call that the SDK repeats is several.
#[derive(Clone, Debug, Serialize)]
pub struct CallRecord {
    /// `kms` or `sts`.
    pub service: String,
    /// The name AWS gives the operation.
    pub operation: String,
    /// As CloudTrail has it too; none when nobody answered.
    pub request_id: Option<String>,
    pub started_at: Timestamp,
    pub took_ms: f64,
    pub http_status: Option<u16>,
    pub error_code: Option<String>,
    /// The clock of who answered: the header `Date`, in whole seconds.
    pub server_date: Option<Timestamp>,
}

/// Shared by the clients that write to it.
#[derive(Clone, Debug, Default)]
pub struct CallLog(Arc<Mutex<Vec<CallRecord>>>);

impl CallLog {
    pub(crate) fn push(&self, record: CallRecord) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }

    /// In the order of their answers.
    #[must_use]
    pub fn records(&self) -> Vec<CallRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
