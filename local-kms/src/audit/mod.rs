//! The audit log: one CloudTrail record a line, in files that are begun anew when they are full.

mod file_name;
mod filter;
mod log;
mod reader;
mod record;

pub use filter::AuditFilter;
pub(crate) use log::AuditLog;
pub use reader::{AuditRecord, AuditSummary, read_audit};
pub(crate) use record::{Origin, Record, Trail, long_date, without_nulls};

#[cfg(test)]
mod fixture;
