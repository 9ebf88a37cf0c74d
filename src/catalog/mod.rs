//! The volumes under a root directory and their life. There is no database: a volume is its directory, and its
//! header is the truth.

mod binding;
mod check;
mod create;
mod delete;
mod error;
mod header;
mod listing;
mod mount_record;
mod paths;
mod peek;

pub use check::{CheckReport, check};
pub use create::{CreateRequest, create};
pub use delete::delete;
pub use error::CatalogError;
pub use header::{ReadHeader, UnlockedHeader, read_header, read_terminal, terminal_record, write_terminal_record};
pub use listing::{VolumeSummary, list, summarize};
pub use mount_record::MountRecord;
pub use paths::{Root, VolumePaths};
pub use peek::{Peek, peek};
